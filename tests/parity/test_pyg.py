"""PyTorch Geometric's layers and ours with the same weights: outputs and gradients, in float32.

The table that is printed at the end holds the largest absolute differences.
"""

import dataclasses
import inspect
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxgnn as jg
from jaxgnn.layers import LAYERS
from jaxgnn.network.norms import NORMS

with warnings.catch_warnings():
    # Both warn of their own deprecated parts while they are imported.
    warnings.simplefilter("ignore")
    torch = pytest.importorskip("torch")
    pyg = pytest.importorskip("torch_geometric.nn")
    from torch_geometric.utils import get_laplacian

TOLERANCE = 1e-5
D, EDGE_DIM, INDEX = 8, 3, 2
EPSILON = 0.1  # step of the anti-symmetric layer

# (name, graph, difference of outputs, difference of gradients) of every comparison
RESULTS: list[tuple[str, str, float, float]] = []


def random_edges(seed, *, undirected=False, loops=0, isolated=0, components=1, n=24, e=48):
    """Edge arrays of e different edges and some duplicates; the last `isolated` nodes have none."""
    rng = np.random.default_rng(seed)
    component = rng.integers(0, components, n)
    pairs = [(u, v) for u in range(n - isolated) for v in range(n - isolated) if component[u] == component[v]]
    pairs = np.array([(u, v) for u, v in pairs if (u < v if undirected else u != v)])
    pairs = pairs[rng.choice(len(pairs), (e - loops) // (2 if undirected else 1), replace=False)]
    looped = rng.choice(n - isolated, loops, replace=False)[:, None] * np.ones(2, int)
    edges = np.concatenate([pairs, pairs[:, ::-1], looped] if undirected else [pairs, looped])
    assert len(edges) == e  # as many in all graphs: the layers are compiled once for them
    senders, receivers = np.concatenate([edges, edges[:5]]).T
    return {"senders": senders, "receivers": receivers, "num_nodes": n, "undirected": undirected}


GRAPHS = {
    "undirected": random_edges(0, undirected=True),
    "directed": random_edges(1),
    "directed, isolated nodes": random_edges(2, isolated=8),
    "directed, loops": random_edges(3, loops=8),
    "components, isolated nodes, loops": random_edges(4, undirected=True, loops=6, isolated=3, components=3),
}


def without_loops(edges):
    kept = edges["senders"] != edges["receivers"]
    return edges | {"senders": edges["senders"][kept], "receivers": edges["receivers"][kept]}


def prepare_for_cheb(edges):
    """ChebConv drops loops and takes the degrees of senders: the same where the graph is symmetric."""
    graph = jg.prepare(**without_loops(edges), loops=False)
    if graph.propagation.backward is None:
        return graph
    index = torch.as_tensor(np.stack([graph.senders, graph.receivers]).astype(np.int64))
    index, weights = get_laplacian(index, normalization="sym", dtype=torch.float64, num_nodes=graph.num_nodes)
    off_diagonal = index[0] != index[1]
    senders, receivers = index[:, off_diagonal].numpy()
    weights = -weights[off_diagonal].numpy()
    return jg.prepare(
        senders=senders,
        receivers=receivers,
        num_nodes=graph.num_nodes,
        weights=weights,
        normalisation="raw",
        undirected=False,
    )


class Parity(NamedTuple):
    """A layer of ours, the PyG module it is compared with, and where each parameter goes.

    `names` maps PyG's parameters to paths of ours, matrices transposed unless they are in `straight`.
    """

    layer: str
    options: dict[str, Any]
    module: Callable[[], Any]
    names: dict[str, Any]
    prepare: Callable[[dict[str, Any]], jg.Graph] = lambda edges: jg.prepare(**edges)
    call: Callable[..., Any] = lambda module, X, index, x0, E: module(X, index)
    straight: tuple[str, ...] = ()
    features: int = D
    edge_features: bool = False
    weights: bool = False
    wrap: Callable[..., Any] = lambda X, H: H


def gat_names(bias):
    names = {"lin.weight": "linear/kernel", "att_src": "attention_sender", "att_dst": "attention_receiver"}
    return names | ({"bias": "bias"} if bias else {})


def gatv2_names(share, bias):
    names = {"lin_l.weight": "sender/kernel", "att": "attention"}
    names |= {"lin_l.bias": "sender/bias", "bias": "bias"} if bias else {}
    if not share:
        names |= {"lin_r.weight": "receiver/kernel"} | ({"lin_r.bias": "receiver/bias"} if bias else {})
    return names


GIN_NAMES = {
    "nn.0.weight": "first/kernel",
    "nn.0.bias": "first/bias",
    "nn.2.weight": "second/kernel",
    "nn.2.bias": "second/bias",
}
SAGE_NAMES = {"lin_l.weight": "neighbours/kernel", "lin_l.bias": "bias", "lin_r.weight": "self/kernel"}
GATED_NAMES = {
    f"lin_{part}.{kind}": f"{part}/{ours}"
    for part in ("key", "query", "value")
    for kind, ours in (("weight", "kernel"), ("bias", "bias"))
} | {"lin_skip.weight": "skip/kernel", "bias": "bias"}
# PyG has one matrix for the columns of a node and of an edge side by side.
GATED_EDGE_NAMES = GATED_NAMES | {
    f"lin_{part}.weight": (f"{part}/kernel", f"{part}_edge/kernel") for part in ("key", "query", "value")
}


def with_edges(module, X, index, x0, E):
    """The module with edge features or weights."""
    return module(X, index, E)


def mlp(hidden):
    return torch.nn.Sequential(torch.nn.Linear(D, hidden), torch.nn.ReLU(), torch.nn.Linear(hidden, D))


PARITY = {
    "GCNConv": Parity(
        "gcn",
        {"use_bias": True},
        lambda: pyg.GCNConv(D, 5),
        {"lin.weight": "linear/kernel", "bias": "bias"},
        features=5,
    ),
    "GATConv, 1 head": Parity("gat", {}, lambda: pyg.GATConv(D, D, bias=False), gat_names(False)),
    "GATConv, 4 heads side by side": Parity(
        "gat", {"heads": 4, "use_bias": True}, lambda: pyg.GATConv(D, 2, heads=4), gat_names(True)
    ),
    "GATConv, mean of 3 heads": Parity(
        "gat",
        {"heads": 3, "concat": False, "use_bias": True, "negative_slope": 0.1},
        lambda: pyg.GATConv(D, D, heads=3, concat=False, negative_slope=0.1),
        gat_names(True),
    ),
    "GATv2Conv, 1 head": Parity("gatv2", {}, lambda: pyg.GATv2Conv(D, D, bias=False), gatv2_names(False, False)),
    "GATv2Conv, 4 heads side by side": Parity(
        "gatv2", {"heads": 4, "use_bias": True}, lambda: pyg.GATv2Conv(D, 2, heads=4), gatv2_names(False, True)
    ),
    "GATv2Conv, mean of 3 heads, shared": Parity(
        "gatv2",
        {"heads": 3, "concat": False, "use_bias": True, "share_weights": True},
        lambda: pyg.GATv2Conv(D, D, heads=3, concat=False, share_weights=True),
        gatv2_names(True, True),
    ),
    "GINConv, eps fixed": Parity(
        "gin", {"hidden": 10, "eps": 0.3, "use_bias": True}, lambda: pyg.GINConv(mlp(10), eps=0.3), GIN_NAMES
    ),
    "GINConv, eps learned": Parity(
        "gin",
        {"eps": 0.3, "learn_eps": True, "use_bias": True},
        lambda: pyg.GINConv(mlp(D), eps=0.3, train_eps=True),
        GIN_NAMES | {"eps": "eps"},
    ),
    **{
        f"SAGEConv, {how}": Parity(
            "sage", {"aggregation": how, "use_bias": True}, lambda how=how: pyg.SAGEConv(D, D, aggr=how), SAGE_NAMES
        )
        for how in ("mean", "max", "sum")
    },
    "ResGatedGraphConv": Parity("gated_gcn", {"use_bias": True}, lambda: pyg.ResGatedGraphConv(D, D), GATED_NAMES),
    "ResGatedGraphConv, edge features": Parity(
        "gated_gcn",
        {"use_bias": True},
        lambda: pyg.ResGatedGraphConv(D, D, edge_dim=EDGE_DIM),
        GATED_EDGE_NAMES,
        call=with_edges,
        edge_features=True,
    ),
    "GATConv, residual": Parity(
        "gat",
        {"heads": 2, "residual": True, "use_bias": True},
        lambda: pyg.GATConv(D, D // 2, heads=2, residual=True),
        gat_names(True) | {"res.weight": "residual/kernel"},
    ),
    "GATv2Conv, residual": Parity(
        "gatv2",
        {"heads": 2, "residual": True, "use_bias": True},
        lambda: pyg.GATv2Conv(D, D // 2, heads=2, residual=True),
        gatv2_names(False, True) | {"res.weight": "residual/kernel"},
    ),
    "SAGEConv, projected": Parity(
        "sage",
        {"aggregation": "max", "project": True, "use_bias": True},
        lambda: pyg.SAGEConv(D, D, aggr="max", project=True),
        SAGE_NAMES | {"lin.weight": "project/kernel", "lin.bias": "project/bias"},
    ),
    "ChebConv, lambda_max": Parity(
        "cheb",
        {"K": 3, "lambda_max": 1.9, "use_bias": True},
        lambda: pyg.ChebConv(D, D, K=3),
        {f"lins.{k}.weight": f"linear_{k}/kernel" for k in range(3)} | {"bias": "bias"},
        prepare=prepare_for_cheb,
        call=lambda module, X, index, x0, E: module(X, index, lambda_max=torch.tensor(1.9)),
    ),
    "GATConv, edge features": Parity(
        "gat",
        {"heads": 2, "use_bias": True},
        lambda: pyg.GATConv(D, D // 2, heads=2, edge_dim=EDGE_DIM),
        gat_names(True) | {"lin_edge.weight": "edge/kernel", "att_edge": "attention_edge"},
        call=with_edges,
        edge_features=True,
    ),
    "GATv2Conv, edge features": Parity(
        "gatv2",
        {"heads": 2, "use_bias": True},
        lambda: pyg.GATv2Conv(D, D // 2, heads=2, edge_dim=EDGE_DIM),
        gatv2_names(False, True) | {"lin_edge.weight": "edge/kernel"},
        call=with_edges,
        edge_features=True,
    ),
    "GCNConv, weights": Parity(
        "gcn",
        {"use_bias": True},
        lambda: pyg.GCNConv(D, D),
        {"lin.weight": "linear/kernel", "bias": "bias"},
        call=with_edges,
        weights=True,
    ),
    "GCN2Conv, weights": Parity(
        "gcnii",
        {"alpha": 0.2, "theta": 0.7},
        lambda: pyg.GCN2Conv(D, alpha=0.2, theta=0.7, layer=INDEX + 1),
        {"weight1": "linear/kernel"},
        call=lambda module, X, index, x0, E: module(X, x0, index, E),
        straight=("weight1",),
        weights=True,
    ),
    "SGConv, weights": Parity(
        "sgc",
        {"K": 3, "use_bias": True},
        lambda: pyg.SGConv(D, D, K=3),
        {"lin.weight": "linear/kernel", "lin.bias": "bias"},
        call=with_edges,
        weights=True,
    ),
    "APPNP, weights": Parity(
        "appnp",
        {"K": 10, "alpha": 0.15},
        lambda: pyg.APPNP(K=10, alpha=0.15),
        {},
        call=with_edges,
        weights=True,
    ),
    "AntiSymmetricConv, weights": Parity(
        "a_dgn",
        {"gamma": 0.2, "use_bias": True},
        lambda: pyg.AntiSymmetricConv(D, epsilon=EPSILON, gamma=0.2),
        {"W": "kernel", "bias": "bias", "phi.lin.weight": "neighbours/kernel"},
        call=with_edges,
        straight=("W",),
        weights=True,
        wrap=lambda X, H: X + EPSILON * jnp.tanh(H),
    ),
    "GCN2Conv": Parity(
        "gcnii",
        {"alpha": 0.2, "theta": 0.7},
        lambda: pyg.GCN2Conv(D, alpha=0.2, theta=0.7, layer=INDEX + 1),
        {"weight1": "linear/kernel"},
        call=lambda module, X, index, x0, E: module(X, x0, index),
        straight=("weight1",),
    ),
    "SGConv": Parity(
        "sgc",
        {"K": 3, "use_bias": True},
        lambda: pyg.SGConv(D, D, K=3),
        {"lin.weight": "linear/kernel", "lin.bias": "bias"},
    ),
    "APPNP": Parity("appnp", {"K": 10, "alpha": 0.15}, lambda: pyg.APPNP(K=10, alpha=0.15), {}),
    "ChebConv": Parity(
        "cheb",
        {"K": 4, "use_bias": True},
        lambda: pyg.ChebConv(D, D, K=4),
        {f"lins.{k}.weight": f"linear_{k}/kernel" for k in range(4)} | {"bias": "bias"},
        prepare=prepare_for_cheb,
    ),
    "AntiSymmetricConv": Parity(
        "a_dgn",
        {"gamma": 0.2, "use_bias": True},
        lambda: pyg.AntiSymmetricConv(D, epsilon=EPSILON, gamma=0.2),
        {"W": "kernel", "bias": "bias", "phi.lin.weight": "neighbours/kernel"},
        straight=("W",),
        # PyG's layer is the whole step.
        wrap=lambda X, H: X + EPSILON * jnp.tanh(H),
    ),
}


def normal(*shape, seed):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def at(tree, path):
    """The parameter at a path, or parameters side by side."""
    if isinstance(path, tuple):
        return np.concatenate([at(tree, p) for p in path])
    for name in path.split("/"):
        tree = tree[name]
    return np.asarray(tree)


def as_pyg(case, tree):
    """Our parameters, or their gradients, by PyG's names and in its shapes."""
    arrays = {name: at(tree, path) for name, path in case.names.items()}
    return {name: a.T if a.ndim == 2 and name not in case.straight else a for name, a in arrays.items()}


def run_pyg(case, params, X, x0, E, edge_index, cotangent):
    """PyG's output, and its gradients with respect to X and every parameter."""
    module = case.module()
    module.load_state_dict({name: torch.tensor(a) for name, a in params.items()}, strict=False)
    assert {name for name, _ in module.named_parameters()} == set(params)
    X = torch.tensor(X, requires_grad=True)
    H = case.call(module, X, edge_index, torch.tensor(x0), None if E is None else torch.tensor(E))
    (H * torch.tensor(cotangent)).sum().backward()
    return H.detach().numpy(), X.grad.numpy(), {name: p.grad.numpy() for name, p in module.named_parameters()}


@partial(jax.jit, static_argnums=(0, 1))
def run_ours(name, module, params, graph, X, x0, cotangent):
    """The same of ours."""
    taken = inspect.signature(module.__call__).parameters
    extras = {k: v for k, v in {"x0": x0, "index": INDEX}.items() if k in taken}

    def loss(params, X):
        H = PARITY[name].wrap(X, module.apply(params, graph, X, **extras))
        return jnp.sum(H * cotangent), H

    (_, H), (in_params, in_X) = jax.value_and_grad(loss, argnums=(0, 1), has_aux=True)(params, X)
    return H, in_X, in_params


def random_params(module, graph, X, x0):
    """Every parameter normal, biases and attention vectors too."""
    taken = inspect.signature(module.__call__).parameters
    extras = {k: v for k, v in {"x0": x0, "index": INDEX}.items() if k in taken}
    shapes = jax.eval_shape(lambda: module.init(jax.random.key(0), graph, X, **extras))
    rng = np.random.default_rng(13)
    return jax.tree.map(lambda a: (rng.standard_normal(a.shape) / np.sqrt(D)).astype(np.float32), shapes)


def largest_difference(ours, theirs):
    assert jax.tree.structure(ours) == jax.tree.structure(theirs)
    differences = jax.tree.map(lambda a, b: np.max(np.abs(a - b), initial=0.0), ours, theirs)
    return float(max(jax.tree.leaves(differences)))


@pytest.fixture(scope="module", autouse=True)
def table(request):
    """Prints the differences when all comparisons are done, past pytest's capturing."""
    yield
    if not RESULTS:
        return
    width = max(len(name) for name, *_ in RESULTS)
    lines = [f"{'layer':<{width}}  graphs  output   gradient", f"{'':-<{width}}  ------  -------  --------"]
    for name in dict.fromkeys(name for name, *_ in RESULTS):
        rows = [row for row in RESULTS if row[0] == name]
        output, gradient = (max(row[i] for row in rows) for i in (2, 3))
        lines.append(f"{name:<{width}}  {len(rows):>6}  {output:.1e}  {gradient:.1e}")
    with request.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        print("\n\nLargest absolute differences from PyTorch Geometric, float32:\n\n" + "\n".join(lines))


@pytest.mark.parametrize("graph_name", GRAPHS)
@pytest.mark.parametrize("name", PARITY)
def test_layer_and_its_gradients(name, graph_name):
    case, edges = PARITY[name], GRAPHS[graph_name]
    graph = jg.prepare(**edges)
    edge_index = torch.as_tensor(np.stack([graph.senders, graph.receivers]).astype(np.int64))
    n = graph.num_nodes
    X, x0 = normal(n, D, seed=10), normal(n, D, seed=11)
    E = normal(graph.num_edges, EDGE_DIM, seed=12) if case.edge_features else None
    if case.weights:
        E = np.random.default_rng(15).uniform(0.5, 2, graph.num_edges).astype(np.float32)
        ends = {"senders": graph.senders, "receivers": graph.receivers, "num_nodes": n}
        graph = jg.prepare(**ends, weights=E, undirected=False)
    else:
        graph = case.prepare(edges)
    if case.edge_features:
        graph = dataclasses.replace(graph, graphs_tuple=graph.graphs_tuple._replace(edges=E))
    module = LAYERS[case.layer](features=case.features, **case.options)
    params, cotangent = random_params(module, graph, X, x0), normal(n, case.features, seed=14)
    H, in_X, in_params = run_ours(name, module, params, graph, X, x0, cotangent)
    weights, gradients = (as_pyg(case, tree.get("params", {})) for tree in (params, in_params))
    H_pyg, in_X_pyg, gradients_pyg = run_pyg(case, weights, X, x0, E, edge_index, cotangent)
    output = largest_difference(H, H_pyg)
    gradient = largest_difference((in_X, gradients), (in_X_pyg, gradients_pyg))
    RESULTS.append((name, graph_name, output, gradient))
    assert np.max(np.abs(H_pyg)) > 0.1
    assert output < TOLERANCE
    assert gradient < TOLERANCE


def test_every_layer_with_a_counterpart_is_compared():
    # the control; not in PyG; a GCN in a block of its own, twice; not in PyG
    ours = {"mlp", "grand", "graphcon", "g2", "mp_ssm", "mp_ssm_step", "unitary", "swan", "ph_dgn", "drew"}
    assert {case.layer for case in PARITY.values()} == set(LAYERS) - ours


class NormParity(NamedTuple):
    """A norm of ours with options, PyG's in training mode, where its parameters go, and whether it has batches."""

    norm: str
    options: dict[str, Any]
    module: Callable[[], Any]
    names: dict[str, str]
    several_graphs: bool = False


AFFINE = {"weight": "norm/scale", "bias": "norm/bias"}
NORM_PARITY = {
    "PairNorm": NormParity("pairnorm", {"scale": 1.3}, lambda: pyg.PairNorm(scale=1.3), {}, several_graphs=True),
    "MeanSubtractionNorm": NormParity("mean_subtraction", {}, lambda: pyg.MeanSubtractionNorm(), {}, True),
    "BatchNorm": NormParity("batch", {}, lambda: pyg.BatchNorm(D), {f"module.{k}": v for k, v in AFFINE.items()}),
    "LayerNorm, of nodes": NormParity("layer", {}, lambda: pyg.LayerNorm(D, mode="node"), AFFINE),
    "DiffGroupNorm": NormParity(
        "dgn",
        {"groups": 5, "strength": 0.2},
        lambda: pyg.DiffGroupNorm(D, groups=5, lamda=0.2),
        {"lin.weight": "assignment/kernel", "norm.weight": "groups/norm/scale", "norm.bias": "groups/norm/bias"},
    ),
}


@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize("name", NORM_PARITY)
def test_norm_and_its_gradients(name, several):
    case, n = NORM_PARITY[name], 24
    if several and not case.several_graphs:
        pytest.skip("the same for one graph and for several")
    sizes = np.array([7, 12, 5] if several else [n])
    graph = jg.prepare(**GRAPHS["directed"])
    graph = dataclasses.replace(graph, graphs_tuple=graph.graphs_tuple._replace(n_node=sizes.astype(np.int32)))
    X, cotangent = 2 * normal(n, D, seed=20) + 1, normal(n, D, seed=21)
    ours, rng = NORMS[case.norm](**case.options), np.random.default_rng(22)
    variables = dict(ours.init(jax.random.key(0), graph, X, True))
    stats = {k: v for k, v in variables.items() if k != "params"}
    params = jax.tree.map(lambda a: rng.uniform(0.5, 1.5, a.shape).astype(np.float32), variables.get("params", {}))

    @jax.jit
    def run(params, X):
        def loss(params, X):
            H, _ = ours.apply({"params": params, **stats}, graph, X, True, mutable=["batch_stats"])
            return jnp.sum(H * cotangent), H

        return jax.value_and_grad(loss, argnums=(0, 1), has_aux=True)(params, X)

    (_, H), (in_params, in_X) = run(params, X)
    module = case.module().train()
    weights, gradients = (
        {
            theirs: at(tree, ours).T if at(tree, ours).ndim == 2 else at(tree, ours)
            for theirs, ours in case.names.items()
        }
        for tree in (params, in_params)
    )
    with torch.no_grad():
        for theirs, parameter in module.named_parameters():
            parameter.copy_(torch.tensor(weights[theirs]))
    X_torch = torch.tensor(X, requires_grad=True)
    batch = (torch.as_tensor(np.repeat(np.arange(3), sizes)),) if several else ()
    H_torch = module(X_torch, *batch)
    (H_torch * torch.tensor(cotangent)).sum().backward()
    gradients_torch = {theirs: p.grad.numpy() for theirs, p in module.named_parameters()}
    output = largest_difference(H, H_torch.detach().numpy())
    gradient = largest_difference((in_X, gradients), (X_torch.grad.numpy(), gradients_torch))
    RESULTS.append((name, "several graphs" if several else "one graph", output, gradient))
    assert np.max(np.abs(H_torch.detach().numpy())) > 0.1
    assert output < TOLERANCE
    assert gradient < TOLERANCE


def test_every_norm_with_a_counterpart_is_compared():
    assert {case.norm for case in NORM_PARITY.values()} == set(NORMS) - {"none", "group"}  # torch's own, not PyG's
