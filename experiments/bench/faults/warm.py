"""Imports what the library stands on, and then runs pytest in a child for every line that comes: half a test's time.

A line is JSON: `arguments` of pytest and a file for what it prints. The answers are the child's number and, when it has
ended, its exit code. Nothing of the library is imported before the child is there.
"""

import contextlib
import importlib
import json
import os
import sys

for name in (
    "flax.linen",
    "jax.experimental.compilation_cache.compilation_cache",
    "jraph",
    "matfree.decomp",
    "matplotlib.figure",
    "networkx",
    "optax",
    "pytest",
    "scipy.optimize",
    "scipy.sparse.linalg",
    "scipy.stats",
):
    with contextlib.suppress(ImportError):
        importlib.import_module(name)

for line in sys.stdin:
    task = json.loads(line)
    child = os.fork()
    if not child:
        import pytest

        with open(task["output"], "wb") as output:
            os.dup2(output.fileno(), 1)
            os.dup2(output.fileno(), 2)
        code = int(pytest.main(task["arguments"]))
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    print(child, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
