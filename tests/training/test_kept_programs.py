import os
import subprocess
import sys

import pytest

from jaxgnn.host.kept_programs import kept_programs

# What `plan` lowers, for the device that is here; then what `train` runs on a mesh of it.
SCRIPT = """
import sys, jax, jaxgnn as jg
from jaxgnn.host.kept_programs import kept_programs
from jaxgnn.host.targets import Chip, Target
from jaxgnn.training import planning
from jaxgnn.training.optimisers import TrainConfig
ds = jg.load_dataset("karate")
task = jg.tasks.node_classification(ds, jg.prepare(ds.graph))
model = jg.DeepGNN(depth=int(sys.argv[3]), width=4, out=task.out, residual="identity")
if sys.argv[1] == "plan":
    here = Target("cpu", Chip("CPU", 2**40, 1e10, 1e11, 1e10, 1e9), jax.devices(), False)
    with kept_programs(sys.argv[2]):
        planning.plan(model, task, TrainConfig(steps=20), here, planning.mesh_of(here), count=2)
else:
    jg.train(model, task, seeds=2, steps=20, mesh=jg.scale.mesh(), batching="vmap")
"""


def test_what_is_planned_is_what_training_loads(tmp_path):
    def run(what, depth=2):
        given = {name: value for name, value in os.environ.items() if not name.startswith(("JAX_", "XLA_"))}
        options = {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0", "JAX_COMPILATION_CACHE_DIR": str(tmp_path)}
        command = [sys.executable, "-c", SCRIPT, what, str(tmp_path), str(depth)]
        given |= {} if what == "plan" else options
        subprocess.run(command, env=given, check=True, capture_output=True, text=True)
        return {file.name for file in tmp_path.iterdir() if "_advance" in file.name and file.name.endswith("-cache")}

    planned = run("plan")
    assert len(planned) == 1
    assert run("train") == planned  # nothing compiled anew
    assert run("train", depth=3) > planned  # another network is


def test_a_folder_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="cannot be written to"), kept_programs(tmp_path / "file"):
        pass
