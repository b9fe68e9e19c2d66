"""Checkpoints of a run: the last two states of a pytree, whole, verified, and bit for bit as they were."""

import errno
import hashlib
import json
import logging
import os
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import zip_longest
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp

from jaxgnn.host.storage import writable_folder


class OtherRunError(ValueError):
    """The checkpoints in a folder are of another run."""


class Checkpoints:
    """The checkpoints in a folder of the run that `fingerprint` identifies.

    A process killed at any moment leaves the checkpoints from before or the whole new one. Half-written ones are
    removed when the object is made, so only one object may write to a folder at a time.

    Raises:
      ValueError: the folder cannot be made or written to.
    """

    def __init__(self, folder: Path, fingerprint: str):
        self._folder = writable_folder(Path(folder).resolve())
        self._fingerprint = fingerprint
        self._newest: int | None = None
        self._damaged: list[int] = []
        # Orbax would remove them in a thread of its own, at some time before the next save.
        for unfinished in self._folder.glob("*.orbax-checkpoint-tmp*"):
            shutil.rmtree(unfinished, ignore_errors=True)  # a save interrupted in this process may still write there
        # One process of several reads and writes: it waits for no other.
        alone = ocp.options.MultiprocessingOptions(
            primary_host=jax.process_index(), active_processes={jax.process_index()}, barrier_sync_key_prefix="alone"
        )
        options = ocp.CheckpointManagerOptions(
            create=False,
            multiprocessing_options=alone,
            preservation_policy=ocp.checkpoint_managers.LatestN(2),
            enable_async_checkpointing=False,
            save_root_metadata=False,
            lightweight_initialize=True,  # a damaged checkpoint is found when it is read
        )
        # Parameters hardly compress.
        handler = ocp.PyTreeCheckpointHandler(use_compression=False, multiprocessing_options=alone)
        self._manager = ocp.CheckpointManager(self._folder, options=options, item_handlers=handler)

    def save(self, step: int, tree: Any) -> None:
        """Writes the arrays of a pytree (JAX, typed PRNG keys among them, or numpy) and keeps the last two checkpoints.

        Raises ValueError where a leaf is no array, `step` is not after the newest checkpoint, or the folder holds
        checkpoints that this object neither wrote nor restored; OSError where the disk is full.
        """
        packed = _packed(step, self._fingerprint, tree)
        whole = max(set(self._manager.all_steps()).difference(self._damaged), default=None)
        if whole != self._newest:
            raise ValueError(f"{self._folder} holds checkpoints: restore them first, or choose another folder")
        if whole is not None and step <= whole:
            raise ValueError(f"step={step}: the newest checkpoint is of step {whole}, allowed are later ones")
        while self._damaged:  # as the newest ones they would be kept in place of whole ones
            self._manager.delete(self._damaged.pop())
        try:
            with _unlogged():
                self._manager.save(step, args=ocp.args.PyTreeSave(packed), force=True)
        except ValueError as error:  # what tensorstore makes of an error of the system
            full = os.strerror(errno.ENOSPC)
            if full not in str(error):
                raise
            raise OSError(errno.ENOSPC, full, str(self._folder)) from error
        self._newest = step

    def restore(self, like: Any, *, earlier: tuple[str, Any] | None = None) -> tuple[int, Any] | None:
        """Step and tree of the newest whole checkpoint, or None where there is none.

        A damaged one is named in a warning, left out, and removed by the next save.

        like: a pytree of arrays with the structure, shapes and dtypes that were saved. Leaves that are numpy arrays in
        it come back as such, all others as JAX arrays.
        earlier: another fingerprint that is taken as well, and a pytree like its trees.

        Raises OtherRunError where that checkpoint has another fingerprint, and ValueError where it has another
        structure, shape or dtype.
        """
        self._newest, self._damaged = None, []
        for step in sorted(self._manager.all_steps(), reverse=True):
            try:
                header, data = self._read(step)
            except Exception as error:  # whatever a reader may raise on bytes that nobody wrote
                self._damaged.append(step)
                reason = f"is damaged ({type(error).__name__}) and left out"
                warnings.warn(f"checkpoint {self._folder / str(step)} {reason}", stacklevel=2)
                continue
            wanted = dict([(self._fingerprint, like), *([] if earlier is None else [earlier])])
            if header["fingerprint"] not in wanted:
                raise OtherRunError(f"{self._folder} holds a run with other options, data, versions or device")
            tree = _unpacked(self._folder / str(step), header["leaves"], data, wanted[header["fingerprint"]])
            self._newest = step
            return step, tree
        return None

    def _read(self, step: int) -> tuple[dict[str, Any], np.ndarray]:
        """Header and data of a checkpoint; raises anything where they are not what was saved at that step."""
        host = ocp.RestoreArgs(restore_type=np.ndarray)  # for JAX arrays it would want a sharding
        with _unlogged():
            stored = self._manager.restore(step, args=ocp.args.PyTreeRestore(restore_args={"state": host}))
        sha256, state = np.split(stored["state"], [hashlib.sha256().digest_size])
        if hashlib.sha256(state).digest() != sha256.tobytes():
            raise ValueError("its SHA-256 is another")
        header, _, data = state.tobytes().partition(b"\n")
        header = json.loads(header)
        if header["step"] != step:
            raise ValueError(f"it is of step {header['step']}")
        return header, np.frombuffer(data, np.uint8)


@contextmanager
def _unlogged() -> Iterator[None]:
    """What orbax raises it would log as well."""
    logger, nothing = logging.getLogger("absl"), logging.Filter("nothing")
    logger.addFilter(nothing)
    try:
        yield
    finally:
        logger.removeFilter(nothing)


def _packed(step: int, fingerprint: str, tree: Any) -> dict[str, np.ndarray]:
    """One array, which takes a fifth of the time of one for each leaf: SHA-256, a line of JSON, bytes of the leaves.

    The SHA-256 is over all that follows it: step, fingerprint, and every leaf's path, dtype, shape and bytes.
    """
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    header = {"step": step, "fingerprint": fingerprint, "leaves": [_described(*leaf) for leaf in leaves]}
    parts = [np.asarray(_plain(leaf)).tobytes() for _, leaf in leaves]
    state = b"".join([json.dumps(header).encode(), b"\n", *parts])
    return {"state": np.frombuffer(hashlib.sha256(state).digest() + state, np.uint8)}


def _unpacked(name: Path, saved: list[list[Any]], data: np.ndarray, like: Any) -> Any:
    wanted, treedef = jax.tree_util.tree_flatten_with_path(like)
    for has, needs in zip_longest(saved, (_described(*leaf) for leaf in wanted)):
        if has != needs:
            texts = ("{} {}{}".format(*leaf) if leaf else "no further leaf" for leaf in (has, needs))
            raise ValueError("checkpoint {} has {}, but {} is needed".format(name, *texts))
    leaves, start = [], 0
    for _, leaf in wanted:
        stop = start + _plain(leaf).nbytes
        value = data[start:stop].view(_plain(leaf).dtype).reshape(_plain(leaf).shape).copy()
        leaves.append(value if isinstance(leaf, np.ndarray) else _on_device(value, leaf))
        start = stop
    return jax.tree.unflatten(treedef, leaves)


def _on_device(value: np.ndarray, like: Any) -> jax.Array:
    with jax.enable_x64(True):  # 64-bit leaves stay so, whatever the mode
        array = jnp.array(value)
    return jax.random.wrap_key_data(array, impl=jax.random.key_impl(like)) if _is_key(like) else array


def _described(path: Any, leaf: Any) -> list[Any]:
    """Path, dtype and shape of a leaf, as JSON has them."""
    where, kinds = jax.tree_util.keystr(path), (np.bool_, np.number, jax.dtypes.prng_key)
    if not (hasattr(leaf, "dtype") and any(jnp.issubdtype(leaf.dtype, kind) for kind in kinds)):
        raise ValueError(f"leaf {where} is a {type(leaf).__name__}: checkpoints hold arrays of numbers only")
    return [where, str(leaf.dtype), list(leaf.shape)]


def _is_key(leaf: Any) -> bool:
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _plain(leaf: Any) -> Any:
    return jax.random.key_data(leaf) if _is_key(leaf) else leaf
