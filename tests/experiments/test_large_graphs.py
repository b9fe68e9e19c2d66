import json

import numpy as np
import pytest

from jaxgnn.experiments.bench import large_graphs

CONFIG = large_graphs.Config(nodes=(100,), average_degree=4.0, depth=1, width=2, steps=1, rounds=1)


def check(row):
    assert row.nodes == 100
    assert 0 < row.packed_peak <= row.peak
    assert min(row.make, row.pack, row.step, row.probe) > 0
    assert 1 <= row.padding <= 4
    assert row.slots <= row.largest + 1
    assert np.isfinite(row.loss)


@pytest.mark.parametrize("kind", ["csbm", "power_law"])
def test_a_graph_is_made_packed_probed_and_trained_on(kind):
    row = large_graphs.measure(CONFIG, kind, 100)
    assert row.kind == kind
    check(row)
    assert kind == "csbm" or row.edges == 200
    assert large_graphs.table([row, row]).count("\n") == 3
    assert large_graphs.Row(*json.loads(json.dumps(row))) == row


def test_every_graph_gets_a_process():
    (row,) = large_graphs.run(large_graphs.Config(**vars(CONFIG) | {"kinds": ("power_law",)}))
    check(row)
    with pytest.raises(RuntimeError, match=r"^csbm of 9 nodes: ValueError: train_per_class=20 is not allowed"):
        large_graphs.run(large_graphs.Config(kinds=("csbm",), nodes=(9,)))
