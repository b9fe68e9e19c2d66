"""torch_geometric.utils.total_influence and ours with the same weights, in float32."""

import warnings
from itertools import pairwise

import jax.numpy as jnp
import numpy as np
import pytest

import jaxgnn as jg

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    torch = pytest.importorskip("torch")
    pyg = pytest.importorskip("torch_geometric.nn")
    from torch_geometric.data import Data
    from torch_geometric.utils import total_influence

D, HIDDEN, OUT, DEPTH = 4, 5, 3, 3
WIDTHS = (D, HIDDEN, HIDDEN, OUT)


class Network(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = torch.nn.ModuleList(pyg.GCNConv(a, b) for a, b in pairwise(WIDTHS))

    def forward(self, x, edge_index):
        for layer in self.layers:
            x = torch.tanh(layer(x, edge_index))
        return x


def ours(P, weights, x):
    for W, b in weights:
        x = jnp.tanh(P @ (x @ W) + b)
    return x


@pytest.mark.parametrize("graph_name", ["ring", "directed", "several_components"])
def test_total_influence(graphs, graph_name):
    edges = getattr(graphs, graph_name)(*[9] if graph_name == "ring" else [])
    if graph_name == "several_components":
        edges |= {"num_nodes": 14}  # without the lone nodes: PyG counts nodes by the largest number in an edge
    graph = jg.prepare(**edges)
    n = graph.num_nodes
    x = np.random.default_rng(0).standard_normal((n, D)).astype(np.float32)
    index = torch.as_tensor(np.stack([graph.senders, graph.receivers]).astype(np.int64))
    torch.manual_seed(7)
    network = Network()
    # More hops than layers: at the edge of a subgraph nodes have other degrees.
    arguments = {"max_hops": DEPTH + 2, "normalize": False}
    data = Data(x=torch.tensor(x), edge_index=index, num_nodes=n)
    torch.manual_seed(8)
    rows, R = total_influence(network, data, **arguments, average=False)
    torch.manual_seed(8)
    order = torch.randperm(n).numpy()  # the rows come in a random order
    mean, _ = total_influence(network, data, **arguments)

    weights = [(layer.lin.weight.detach().numpy().T, layer.bias.detach().numpy()[None]) for layer in network.layers]
    found = jg.influence(lambda x: ours(graph.propagation, weights, x), x, graph)
    expected = np.zeros((n, DEPTH + 3))
    expected[order] = rows.numpy()
    hops = found.by_node.shape[1]
    assert 1 < hops <= DEPTH + 1
    np.testing.assert_allclose(found.by_node, expected[:, :hops], rtol=1e-5, atol=1e-6)
    assert (expected[:, hops:] == 0).all()
    np.testing.assert_allclose(found.total, mean.numpy()[:hops], rtol=1e-5)
    assert found.range == pytest.approx(R, abs=1e-5)
