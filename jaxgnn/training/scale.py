"""Many devices: a mesh of seeds and nodes, what stands where on it, and several processes as one.

Runs (grid points x seeds) are shared out along the axis "seeds" and never meet. Along "nodes" every device holds the
rows of its nodes: XLA partitions all that goes row by row and adds up what sums over nodes, and P X exchanges rows at
the borders of the parts (`jaxgnn.graphs.partition`).
"""

from collections.abc import Callable
from dataclasses import fields, replace
from functools import partial
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from jaxgnn.graphs.partition import partitioned, taken
from jaxgnn.graphs.sparse_features import SparseFeatures
from jaxgnn.host.options import check_whole
from jaxgnn.network.model import DeepGNN
from jaxgnn.tasks.node_classification import NodeClassification
from jaxgnn.tasks.node_regression import NodeRegression
from jaxgnn.tasks.task import Task

T = TypeVar("T")
AXES = ("seeds", "nodes")
_NODE_TASKS = (NodeClassification, NodeRegression)


def mesh(*, seeds: int = 1, nodes: int = 1) -> Mesh:
    """The devices of all processes as a mesh of `seeds` x `nodes`, equally many of each process.

    Raises ValueError where a number is less than 1, there are fewer devices, or they cannot be shared out equally.
    """
    for name, value in (("seeds", seeds), ("nodes", nodes)):
        check_whole(name, value, least=1)
    wanted, processes = seeds * nodes, jax.process_count()
    if wanted > jax.device_count():
        raise ValueError(
            f"a mesh of seeds={seeds}, nodes={nodes} asks for {wanted} devices, but there "
            f"{'is' if jax.device_count() == 1 else 'are'} {jax.device_count()} ({jax.default_backend()})"
        )
    if wanted % processes:
        raise ValueError(
            f"a mesh of seeds={seeds}, nodes={nodes} has {wanted} devices, which {processes} processes cannot share "
            f"equally: allowed are multiples of {processes}"
        )
    devices = [[d for d in jax.devices() if d.process_index == p][: wanted // processes] for p in range(processes)]
    if any(len(of_process) < wanted // processes for of_process in devices):
        raise ValueError(f"every process needs {wanted // processes} devices, but not all have as many")
    return Mesh(np.asarray(devices).reshape(seeds, nodes), AXES, axis_types=(AxisType.Auto,) * 2)


def idle_devices() -> int:
    """CPU devices of this process that runs can be shared out over: 1 where a default device is set or others join."""
    alone = jax.process_count() == 1 and jax.config.jax_default_device is None
    return jax.local_device_count() if alone and jax.default_backend() == "cpu" else 1


def parse_mesh(text: str) -> dict[str, int]:
    """seeds=4,nodes=2 as numbers by axis, 1 for an axis that is not named. Raises ValueError for anything else."""
    sizes = {}
    if not isinstance(text, str):
        raise ValueError(f"mesh={text!r} is not understood: allowed are seeds=S,nodes=N with numbers of 1 and more")
    for part in text.split(","):
        name, equals, value = (piece.strip() for piece in part.partition("="))
        if name not in AXES or name in sizes or not equals or not value.isdecimal() or int(value) < 1:
            raise ValueError(f"mesh={text!r} is not understood: allowed are seeds=S,nodes=N with numbers of 1 and more")
        sizes[name] = int(value)
    return dict.fromkeys(AXES, 1) | sizes


def start_process(
    coordinator: str,
    processes: int,
    process: int,
    *,
    heartbeat: int = 100,
    say: Callable[[str], None] = lambda line: None,
) -> None:
    """Joins `processes` processes to one run; before anything is computed.

    Args:
      coordinator: address:port where process 0 listens.
      process: the number of this one, 0 to processes - 1.
      heartbeat: seconds without a sign of life after which a process counts as lost.
      say: is told for whom this process waits.

    Raises ValueError for numbers out of their range, or where the others are not found.
    """
    address, _, port = coordinator.rpartition(":") if isinstance(coordinator, str) else ("", "", "")
    if not address or not port.isdecimal():
        raise ValueError(f"coordinator={coordinator!r} is not understood: address:port is needed")
    check_whole("processes", processes, least=1)
    for name, value in (("process", process), ("heartbeat", heartbeat)):
        check_whole(name, value)
    if not 0 <= process < processes:
        raise ValueError(f"process={process} of processes={processes}: allowed are 0 to processes - 1")
    if heartbeat < 1:
        raise ValueError(f"heartbeat={heartbeat}: allowed are 1 and more seconds")
    rest = "process 1" if processes == 2 else f"processes 1 to {processes - 1}"
    if processes > 1:
        say(f"process {process} waits for {rest if process == 0 else 'process 0'} at {coordinator}")
    try:
        jax.distributed.initialize(
            coordinator,
            processes,
            process,
            cluster_detection_method="deactivate",
            heartbeat_timeout_seconds=heartbeat,
            shutdown_timeout_seconds=3600,  # the others wait there while the first one writes the page
        )
    except RuntimeError as error:
        raise ValueError(f"process {process} cannot join the run at {coordinator}: {error}") from error


def check_partitionable(model: DeepGNN, task: Task, devices: Mesh | None) -> None:
    """Raises ValueError where a task or a model cannot be partitioned by the mesh's axis "nodes"."""
    if devices is None:
        return
    if tuple(devices.axis_names) != AXES:
        raise ValueError(
            f"the mesh has the axes {devices.axis_names}: {AXES} are needed, as jaxgnn.scale.mesh makes them"
        )
    nodes = devices.shape["nodes"]
    if nodes > 1 and not isinstance(model, DeepGNN):
        raise ValueError(f"nodes={nodes} is for a DeepGNN: of another network the parts are not known; nodes=1 is")
    if nodes > 1 and model.dropedge > 0:
        raise ValueError(
            f"dropedge={model.dropedge} does not go with nodes={nodes}: its P is not in parts; nodes=1 does"
        )
    if nodes > 1 and not isinstance(task, _NODE_TASKS):
        raise ValueError(
            f"nodes={nodes} is for tasks on the nodes of one graph, not for {type(task).__name__}: nodes=1 is"
        )
    if nodes > 1 and isinstance(task.x, SparseFeatures):
        raise ValueError(f"sparse features do not go with nodes={nodes}: nodes=1 does, or an array x")


def spread(task: Any, devices: Mesh, *, shapes: bool = False) -> Any:
    """The same task with its arrays on the mesh: copied to all of "seeds", and by node along "nodes".

    With `shapes` they are `jax.ShapeDtypeStruct`, for devices that are not there.

    With several devices along "nodes" the nodes come in a partition's order, filled up to equal parts by nodes without
    edges outside all masks: losses and scores are the same up to rounding, dropout draws other numbers.

    Raises ValueError where nodes > 1 and the task is not on the nodes of one graph.
    """
    parts = devices.shape["nodes"]
    if parts == 1:
        return jax.tree.map(lambda a: _global(a, devices, PartitionSpec(), shapes=shapes), task)
    if not isinstance(task, _NODE_TASKS):
        raise ValueError(
            f"nodes={parts} is for tasks on the nodes of one graph, not for {type(task).__name__}: nodes=1 is"
        )
    found = partitioned(task.graph, parts, devices)

    def by_node(array: Any) -> jax.Array:
        return _global(array, devices, PartitionSpec("nodes"), shapes=shapes)

    P = found.graph.propagation
    placed = {"forward": P.forward, "backward": P.backward, "degree": P.degree}
    P = replace(P, **jax.tree.map(by_node, placed))
    mask = found.graph.node_mask
    # The edges stay on the host: only layers that do not use P read them, and XLA partitions those.
    graph = replace(found.graph, propagation=P, node_mask=None if mask is None else by_node(mask))
    by_row = {"x", "labels", "targets", "train_mask", "val_mask", "test_mask", "present"}
    of_nodes = {name for name in by_row.intersection(f.name for f in fields(task)) if getattr(task, name) is not None}
    return replace(task, graph=graph, **{name: by_node(taken(getattr(task, name), found.order)) for name in of_nodes})


class Runs(NamedTuple):
    """Where trees with a leading axis of runs stand: on a mesh, filled up to a multiple of "seeds", or as they are.

    Attributes:
      devices: the mesh, or None.
      count: number of runs.
    """

    devices: Mesh | None
    count: int

    def may_branch(self, *, one_by_one: bool) -> bool:
        """Whether a run may take a branch of its own.

        Not where devices exchange rows, which it would part, nor side by side, where `cond` computes both and reads a
        copy of the graph for every run.
        """
        seeds, nodes = (1, 1) if self.devices is None else (self.devices.shape["seeds"], self.devices.shape["nodes"])
        return nodes == 1 and (one_by_one or self.count <= seeds)

    def put(self, tree: T) -> T:
        """A tree of [count, ...] on the mesh; the last run is repeated."""
        devices = self.devices
        if devices is None:
            return tree
        extra = -self.count % devices.shape["seeds"]

        def put(leaf):
            array = np.asarray(_plain(leaf))
            array = np.concatenate([array, np.repeat(array[-1:], extra, axis=0)])
            placed = _global(array, devices, PartitionSpec("seeds"))
            return _like(leaf, placed)

        return jax.tree.map(put, tree)

    def settled(self, tree: T) -> T:
        """A tree that a program returned, where `put` would have it: a program is compiled for how its arrays stand.

        Of several processes it stays as it is: none can move arrays that lie on devices of others.
        """
        if self.devices is None or jax.process_count() > 1:
            return tree
        return jax.device_put(tree, NamedSharding(self.devices, PartitionSpec("seeds")))

    def get(self, tree: T) -> T:
        """The same tree, [count, ...], as numpy arrays and keys of this process; all processes call it together."""
        if self.devices is None:
            return tree
        host = _everywhere(jax.tree.map(_plain, tree), self.devices)
        return jax.tree.map(lambda old, new: _like(old, np.asarray(new)[: self.count]), tree, host)

    def each(self, function: Callable, task: Any, arguments: Any, *, one_by_one: bool) -> Any:
        """function(task, *arguments) of every run, inside `jax.jit`; side by side or, on each device, one by one.

        Side by side, a device's only run is called as it is: with a leading axis of one, TPUs lay arrays of nodes out a
        row a tile. One by one, its bits are those that it has among others.
        """
        devices = self.devices
        alone = not one_by_one or (devices is not None and devices.shape["nodes"] > 1)

        def of_device(task, arguments):
            if alone and jax.tree.leaves(arguments)[0].shape[0] == 1:
                found = function(task, *jax.tree.map(lambda a: a[0], arguments))
                return jax.tree.map(lambda a: a[None], found)
            if not one_by_one:
                return jax.vmap(lambda *a: function(task, *a))(*arguments)
            return _one_by_one(lambda a: function(task, *a), arguments)

        if devices is None:
            return of_device(task, arguments)
        by_seed = PartitionSpec("seeds")
        return jax.shard_map(
            of_device,
            mesh=devices,
            in_specs=(PartitionSpec(), by_seed),
            out_specs=by_seed,
            axis_names={"seeds"},
            check_vma=False,
        )(task, arguments)


def _one_by_one(function: Callable, arguments: Any) -> Any:
    """`jax.lax.map` of which the compiler does not see for how many runs: what runs once would get other bits."""
    given = jax.tree.map(_plain, arguments)
    count = jax.tree.leaves(given)[0].shape[0]
    if count == 1:  # an axis of one is no axis for it
        given = jax.tree.map(lambda a: jnp.concatenate([a, a]), given)
    kinds = []  # of keys among the results; None for the others

    def plain(i):
        run = jax.tree.map(lambda a: jax.lax.dynamic_index_in_dim(a, i, keepdims=False), given)
        found = function(jax.tree.map(_like, arguments, run))
        kinds[:] = [jax.random.key_impl(a) if _is_key(a) else None for a in jax.tree.leaves(found)]
        return jax.tree.map(_plain, found)

    def one(i, results):
        put = partial(jax.lax.dynamic_update_index_in_dim, index=i, axis=0)
        return jax.tree.map(put, results, plain(i))

    room = jax.eval_shape(plain, jnp.int32(0))
    room = jax.tree.map(lambda a: jnp.zeros((max(count, 2), *a.shape), a.dtype), room)
    results = jax.lax.fori_loop(0, jax.lax.optimization_barrier(jnp.int32(count)), one, room)
    leaves, tree = jax.tree.flatten(jax.tree.map(lambda a: a[:count], results))
    keys = (
        a if kind is None else jax.random.wrap_key_data(a, impl=kind) for a, kind in zip(leaves, kinds, strict=True)
    )
    return jax.tree.unflatten(tree, keys)


def is_first() -> bool:
    """Whether this is the process that reads and writes files."""
    return jax.process_index() == 0


def agreed(value: bool) -> bool:
    """Whether it holds in any process; all call it together."""
    if jax.process_count() == 1:
        return value
    return bool(_rows_of_processes(np.asarray([value], np.uint8)).any())


def by_first(action: Callable[[], T]) -> T | None:
    """What an action gives that only the first process does; None in the others, which wait for it.

    Raises what it raised, ValueError or OSError, and ValueError in the others.
    """
    found, error = None, None
    if is_first():
        try:
            found = action()
        except (ValueError, OSError) as caught:
            error = caught
    failed = agreed(error is not None)
    if error is not None:
        raise error
    if failed:
        raise ValueError("process 0 refused the run: its own message says why")
    return found


def from_first(tree: T) -> T:
    """The first process's tree of host arrays and keys in all processes; it has the same shapes everywhere."""
    if jax.process_count() == 1:
        return tree
    leaves, treedef = jax.tree.flatten(tree)
    plain = [np.asarray(_plain(leaf)) for leaf in leaves]
    mine = np.frombuffer(b"".join(a.tobytes() for a in plain), np.uint8)
    sent = np.split(_rows_of_processes(mine)[0], np.cumsum([a.nbytes for a in plain])[:-1])
    arrays = [np.frombuffer(b.tobytes(), a.dtype).reshape(a.shape).copy() for b, a in zip(sent, plain, strict=True)]
    return jax.tree.unflatten(treedef, map(_like, leaves, arrays))


def _plain(leaf: Any) -> Any:
    """The numbers of a PRNG key; any other array as it is."""
    return jax.random.key_data(leaf) if _is_key(leaf) else leaf


def _like(leaf: Any, plain: Any) -> Any:
    """What `_plain` gave as a key again, where the leaf is one."""
    return jax.random.wrap_key_data(plain, impl=jax.random.key_impl(leaf)) if _is_key(leaf) else plain


def _is_key(leaf: Any) -> bool:
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _rows_of_processes(mine: np.ndarray) -> np.ndarray:
    """[processes, ...]: every process's array."""
    processes = jax.process_count()
    devices = Mesh(np.asarray(jax.devices()).reshape(processes, -1), ("processes", "devices"))
    sharding = NamedSharding(devices, PartitionSpec("processes"))
    rows = jax.make_array_from_callback((processes, *mine.shape), sharding, lambda index: mine[None])
    return np.asarray(_everywhere(rows, devices))


def _everywhere(tree: T, devices: Mesh) -> T:
    if all(a.is_fully_addressable for a in jax.tree.leaves(tree)):
        return tree
    return jax.jit(lambda t: t, out_shardings=NamedSharding(devices, PartitionSpec()))(tree)


def _global(array: Any, devices: Mesh, spec: PartitionSpec, *, shapes: bool = False) -> Any:
    array = np.asarray(array)
    array = array.astype(jax.dtypes.canonicalize_dtype(array.dtype), copy=False)
    sharding = NamedSharding(devices, spec)
    if shapes:
        return jax.ShapeDtypeStruct(array.shape, array.dtype, sharding=sharding)
    return jax.make_array_from_callback(array.shape, sharding, lambda index: array[index])
