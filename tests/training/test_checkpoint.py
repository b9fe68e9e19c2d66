import errno
import logging
import subprocess
import sys
import warnings
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
import pytest

from jaxgnn.training.checkpoint import Checkpoints


class State(NamedTuple):
    params: dict
    optimiser: optax.OptState
    step: jax.Array
    key: jax.Array


def state(seed, shape=(40, 20)):
    """A training state whose every leaf depends on the seed."""
    params = {"w": jax.random.normal(jax.random.key(seed), shape), "b": jnp.full(2, float(seed))}
    optimiser = optax.chain(optax.clip(1.0), optax.adam(1e-3)).init(params)
    return State(params, optimiser, jnp.int32(seed), jax.random.key(seed))


def bits(leaf):
    key = jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
    return (str(leaf.dtype), leaf.shape, np.asarray(jax.random.key_data(leaf) if key else leaf).tobytes())


def assert_same_bits(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    assert [bits(leaf) for leaf in jax.tree.leaves(a)] == [bits(leaf) for leaf in jax.tree.leaves(b)]


def steps(folder):
    return sorted(int(path.name) for path in folder.iterdir())


def data_file(folder, step):
    """The file that holds the leaves."""
    return max(
        (path for path in (folder / str(step)).rglob("*") if path.is_file()), key=lambda path: path.stat().st_size
    )


@pytest.fixture
def two(tmp_path):
    """A folder with checkpoints of steps 1 and 2."""
    checkpoints = Checkpoints(tmp_path / "run", "a")
    for step in (1, 2):
        checkpoints.save(step, state(step))
    return tmp_path / "run"


def test_a_state_comes_back_bit_for_bit_in_its_structure(two):
    step, tree = Checkpoints(two, "a").restore(state(0))
    assert step == 2
    assert_same_bits(tree, state(2))
    assert jax.random.key_impl(tree.key) == jax.random.key_impl(state(2).key)


def test_every_dtype_and_every_bit_is_kept(tmp_path, x64):
    nan = np.array([0x7FC01234, 0xFFC00001, 0x80000000, 0x7F800000, 1], np.uint32).view(np.float32)
    tree = [
        *(
            jnp.asarray([0, 1, 3]).astype(d)
            for d in (bool, "int8", "int32", "uint32", "int64", "bfloat16", "complex64")
        ),
        jnp.asarray(nan),
        jnp.asarray([-0.0, np.nan, 1e-310, np.pi]),
        jnp.zeros((0, 3)),
        jax.random.key(3, impl="rbg"),
        jax.random.split(jax.random.key(0), (2, 3)),
        np.arange(6.0).reshape(2, 3).T,
        jnp.float32(0.1),
    ]
    Checkpoints(tmp_path, "a").save(0, tree)
    _, restored = Checkpoints(tmp_path, "a").restore(tree)
    assert_same_bits(restored, tree)
    assert [type(a) for a in restored] == [type(a) for a in tree]


def test_64_bit_leaves_stay_so_outside_64_bit_mode(tmp_path):
    with jax.enable_x64(True):
        tree = jnp.asarray([np.pi, -0.0])
    checkpoints = Checkpoints(tmp_path, "a")
    checkpoints.save(0, tree)
    assert_same_bits(checkpoints.restore(tree)[1], tree)


def test_a_tree_without_leaves_is_a_checkpoint_too(tmp_path):
    checkpoints = Checkpoints(tmp_path, "a")
    checkpoints.save(5, {"nothing": None})
    assert checkpoints.restore({"nothing": None}) == (5, {"nothing": None})


def test_an_empty_folder_has_nothing_to_restore(tmp_path):
    assert Checkpoints(tmp_path / "new" / "run", "a").restore(state(0)) is None


def test_the_last_two_are_kept(two):
    checkpoints = Checkpoints(two, "a")
    checkpoints.restore(state(0))
    for step in (3, 10):
        checkpoints.save(step, state(step))
    assert steps(two) == [3, 10]


def damage(path, how):
    content = bytearray(path.read_bytes())
    if how == "missing":
        path.unlink()
    elif how == "truncated":
        path.write_bytes(content[: len(content) // 2])
    elif how == "rubbish":
        path.write_bytes(b"{]\xff" * 100)
    else:
        content[int(how * len(content))] ^= 4
        path.write_bytes(content)


@pytest.mark.parametrize("how", ["missing", "truncated", "rubbish", 0.1, 0.3, 0.6])
def test_a_damaged_checkpoint_is_named_and_left_out(two, how):
    damage(data_file(two, 2), how)
    with pytest.warns(UserWarning, match=rf"^checkpoint {two}/2 is damaged \(\w+\) and left out$") as caught:
        step, tree = Checkpoints(two, "a").restore(state(0))
    assert len(caught) == step == 1
    assert_same_bits(tree, state(1))


@pytest.mark.parametrize("how", ["missing", "truncated", "rubbish", 0.3, 0.7])
def test_no_damage_to_any_file_gives_a_state_that_was_not_saved(two, how, capfd):
    for path in [path for path in (two / "2").rglob("*") if path.is_file()]:
        content = path.read_bytes()
        damage(path, how)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            step, tree = Checkpoints(two, "a").restore(state(0))
        assert_same_bits(tree, state(step))
        assert len(caught) == 2 - step  # files that are not needed may be missing
        path.write_bytes(content)
    assert capfd.readouterr() == ("", "")


def test_a_checkpoint_under_the_name_of_another_step_is_left_out(two):
    (two / "2").rename(two / "3")
    with pytest.warns(UserWarning, match=f"^checkpoint {two}/3 is damaged"):
        assert Checkpoints(two, "a").restore(state(0))[0] == 1


def test_what_orbax_reads_well_is_still_verified(two, monkeypatch):
    read = ocp.CheckpointManager.restore

    def flipped(manager, step, **options):
        stored = read(manager, step, **options)
        stored["state"][-1] ^= 128
        return stored

    monkeypatch.setattr(ocp.CheckpointManager, "restore", flipped)
    with pytest.warns(UserWarning, match="is damaged") as caught:
        assert Checkpoints(two, "a").restore(state(0)) is None
    assert len(caught) == 2


def test_where_all_are_damaged_a_run_starts_anew(two):
    for step in (1, 2):
        damage(data_file(two, step), "truncated")
    checkpoints = Checkpoints(two, "a")
    with pytest.warns(UserWarning, match="damaged"):
        assert checkpoints.restore(state(0)) is None
    checkpoints.save(1, state(7))
    assert steps(two) == [1]
    assert_same_bits(Checkpoints(two, "a").restore(state(0))[1], state(7))


def test_after_a_damaged_checkpoint_a_run_goes_on_from_the_one_before(two):
    damage(data_file(two, 2), "truncated")
    checkpoints = Checkpoints(two, "a")
    with pytest.warns(UserWarning, match="damaged"):
        checkpoints.restore(state(0))
    checkpoints.save(2, state(9))
    assert steps(two) == [1, 2]
    assert_same_bits(Checkpoints(two, "a").restore(state(0))[1], state(9))


def test_another_run_is_refused_in_one_sentence(two):
    message = rf"^{two} holds a run with other options, data, versions or device$"
    with pytest.raises(ValueError, match=message):
        Checkpoints(two, "b").restore(state(0))
    assert steps(two) == [1, 2]


@pytest.mark.parametrize(
    ("like", "message"),
    [
        (
            state(0, shape=(40, 2)),
            r"has \.params\['w'\] float32\[40, 20\], but \.params\['w'\] float32\[40, 2\] is needed$",
        ),
        (state(0)._replace(step=jnp.float32(0)), r"has \.step int32\[\], but \.step float32\[\] is needed$"),
        (state(0)._replace(key=None), r"has \.key key<fry>\[\], but no further leaf is needed$"),
        (state(0)._replace(key=jax.random.key(0, impl="rbg")), r"but \.key key<rbg>\[\] is needed$"),
        (state(0)._replace(key=jnp.zeros(2, jnp.uint32)), r"but \.key uint32\[2\] is needed$"),
    ],
    ids=["shape", "dtype", "fewer leaves", "kind of key", "key data"],
)
def test_another_structure_is_refused(two, like, message):
    with pytest.raises(ValueError, match=message):
        Checkpoints(two, "a").restore(like)


def test_what_is_no_array_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"^leaf \['name'\] is a str: checkpoints hold arrays of numbers only$"):
        Checkpoints(tmp_path, "a").save(0, {"name": "relu"})
    with pytest.raises(ValueError, match="is a ndarray: checkpoints hold arrays of numbers only"):
        Checkpoints(tmp_path, "a").save(0, np.array([object()]))
    assert steps(tmp_path) == []


def test_steps_go_up(two):
    checkpoints = Checkpoints(two, "a")
    checkpoints.restore(state(0))
    with pytest.raises(ValueError, match=r"^step=2: the newest checkpoint is of step 2, allowed are later ones$"):
        checkpoints.save(2, state(2))


def test_a_run_that_did_not_restore_does_not_write_among_anothers_checkpoints(two):
    with pytest.raises(ValueError, match=f"^{two} holds checkpoints: restore them first, or choose another folder$"):
        Checkpoints(two, "a").save(3, state(3))


def test_what_was_left_half_written_is_removed(two):
    half = two / "3.orbax-checkpoint-tmp"
    half.mkdir()
    (half / "file").write_text("")
    assert Checkpoints(two, "a").restore(state(0))[0] == 2
    assert steps(two) == [1, 2]


SAVE_FOR_EVER = """
import sys
import numpy as np
from jaxgnn.training.checkpoint import Checkpoints
checkpoints = Checkpoints(sys.argv[1], "a")
step, _ = checkpoints.restore(np.zeros(30_000)) or (0, None)
while True:
    step += 1
    checkpoints.save(step, np.full(30_000, float(step)))
    print(step, flush=True)
"""


def test_a_killed_process_leaves_whole_checkpoints(tmp_path):
    rng = np.random.default_rng(0)
    for _ in range(5):
        child = subprocess.Popen(
            [sys.executable, "-W", "error", "-c", SAVE_FOR_EVER, tmp_path], stdout=subprocess.PIPE, text=True
        )
        for _ in range(rng.integers(1, 6)):
            done = int(child.stdout.readline())
        with pytest.raises(subprocess.TimeoutExpired):
            child.wait(rng.uniform(0, 0.04))
        child.kill()
        done = int((child.communicate()[0].split() or [done])[-1])
        step, value = Checkpoints(tmp_path, "a").restore(np.zeros(30_000))
        np.testing.assert_array_equal(value, step)
        assert step in (done, done + 1)
        assert step in steps(tmp_path)  # and nothing half-written beside it


ONE_RUN = """
import sys, threading
import jax, numpy as np
from jaxgnn.training.checkpoint import Checkpoints
tree = {"w": jax.numpy.ones(5), "key": jax.random.key(0), "empty": np.zeros(0)}
for _ in range(2):
    checkpoints = Checkpoints(sys.argv[1], "a")
    step, _ = checkpoints.restore(tree) or (0, None)
    for i in range(3):
        checkpoints.save(step + i + 1, tree)
assert threading.enumerate() == [threading.main_thread()], threading.enumerate()
"""


def test_nothing_is_printed_and_nothing_keeps_the_process_alive(tmp_path):
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", ONE_RUN, tmp_path],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_folder_that_cannot_be_written_to_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match=r"cannot write to .*; choose another folder"):
        Checkpoints(tmp_path / "file" / "run", "a")


def test_a_full_disk_is_an_oserror_without_a_log_and_the_next_save_goes_on(two, monkeypatch, capfd):
    checkpoints = Checkpoints(two, "a")
    checkpoints.restore(state(0))

    def full(*args, **kwargs):
        logging.getLogger("absl").error("a traceback of many lines")
        raise ValueError("RESOURCE_EXHAUSTED: Failed to write 9 bytes: No space left on device [os_error_code='28']")

    with monkeypatch.context() as patch:
        patch.setattr(checkpoints._manager, "save", full)
        with pytest.raises(OSError, match="No space left on device") as error:
            checkpoints.save(7, state(7))
    assert (error.value.errno, error.value.filename) == (errno.ENOSPC, str(two))
    assert capfd.readouterr().err == ""
    checkpoints.save(7, state(7))
    assert_same_bits(Checkpoints(two, "a").restore(state(0))[1], state(7))
