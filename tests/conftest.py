"""What all tests share: strict settings, float64, graphs with known answers, the network written out in numpy."""

import gc
import os
import signal
from pathlib import Path
from types import SimpleNamespace

# A shell starts what it runs in the background with Ctrl-C ignored; what is tested here is a program that gets it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Side by side with others, a test gets one thread for LAPACK: threads that wait for each other take ten times as long.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import jax
import numpy as np
import pytest
from jaxtyping import install_import_hook

# Annotations are checked where no test passes what they forbid, to see it refused, and no pytree of tracers is made
# into an annotated dataclass. An int is a float here, as everywhere in Python.
install_import_hook(
    [
        f"jaxgnn.{name}"
        for name in ("host.memory", "host.precision", "host.storage", "graphs.segment", "layers", "network.bounds")
    ],
    "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))",
)
import jaxgnn as jg  # noqa: E402
from jaxgnn.host.maps import let_programs_go  # noqa: E402

# Processes that tests start run the package that is tested here, not another one that is installed beside it.
os.environ["PYTHONPATH"] = os.pathsep.join(
    filter(None, [str(Path(jg.__file__).parents[1]), os.environ.get("PYTHONPATH")])
)

jax.config.update("jax_numpy_rank_promotion", "raise")

NO_DATA = "set JAXGNN_DATA to a folder of upstream files to run this test"


@pytest.fixture(autouse=True, scope="module")
def few_programs():
    """Lets programs go before the process has the memory maps Linux allows (65,530): XLA crashes then.

    What stays is frozen: JAX's check for leaks looks at every object that the collector knows, and they are millions.
    """
    yield
    if let_programs_go(10_000):
        gc.unfreeze()
    gc.collect()
    gc.freeze()


@pytest.fixture
def x64():
    """float64 as JAX's default."""
    with jax.enable_x64(True):
        yield


@pytest.fixture(params=["float32", "float64"])
def dtype(request):
    """Both precisions; in float64 mode for the second."""
    with jax.enable_x64(request.param == "float64"):
        yield np.dtype(request.param)


def undirected(pairs, num_nodes):
    a, b = np.asarray(pairs, np.int64).reshape(-1, 2).T
    return {"senders": np.concatenate([a, b]), "receivers": np.concatenate([b, a]), "num_nodes": num_nodes}


def ring(n):
    return undirected([(v, (v + 1) % n) for v in range(n)], n)


def path(n):
    return undirected([(v, v + 1) for v in range(n - 1)], n)


def star(n):
    """Node 0 joined to n - 1 leaves."""
    return undirected([(0, v) for v in range(1, n)], n)


def complete(n):
    return undirected([(u, v) for u in range(n) for v in range(u)], n)


def edgeless(n):
    return undirected([], n)


def isolated():
    """A triangle and a path among nodes without edges."""
    return undirected([(1, 2), (2, 4), (4, 1), (5, 6)], 9)


def several_components():
    """A ring of 5, a path of 3, a star of 6 and two lone nodes."""
    pairs = [(v, (v + 1) % 5) for v in range(5)] + [(5, 6), (6, 7)] + [(8, v) for v in range(9, 14)]
    return undirected(pairs, 16)


def directed(n=12, e=40, seed=0):
    """Random directed edges with loops, duplicates and nodes without in-edges."""
    rng = np.random.default_rng(seed)
    senders, receivers = rng.integers(0, n, e), rng.integers(0, n - 2, e)
    senders[:3] = receivers[:3]
    senders[3:5], receivers[3:5] = senders[5], receivers[5]
    return {"senders": senders, "receivers": receivers, "num_nodes": n, "undirected": False}


def directed_ring(n):
    """Every node receives from the two before it: P is not symmetric, and all rows are equally long."""
    v = np.arange(n)
    senders = np.concatenate([(v - 1) % n, (v - 2) % n])
    return {"senders": senders, "receivers": np.tile(v, 2), "num_nodes": n, "undirected": False}


def hub():
    """A star with 70 leaves and a tail: too large for the dense backend by default, with one heavy row."""
    return undirected([(0, v) for v in range(1, 71)] + [(70, 71), (71, 72)], 73)


BUILDERS = (ring, path, star, complete, edgeless, isolated, several_components, directed, directed_ring, hub)
GRAPHS = {
    "ring": ring(7),
    "even ring": ring(8),
    "star": star(9),
    "isolated nodes": isolated(),
    "several components": several_components(),
    "directed": directed(),
    "hub": hub(),
    "no edges": edgeless(4),
    "one node": edgeless(1),
    "no nodes": edgeless(0),
}


@pytest.fixture
def graphs():
    """The builders by name; each returns the edge arrays that `prepare` takes."""
    return SimpleNamespace(**{build.__name__: build for build in BUILDERS})


@pytest.fixture(params=GRAPHS)
def edges(request):
    """Every graph under test in turn."""
    return GRAPHS[request.param]


@pytest.fixture
def karate():
    return jg.load_dataset("karate")


@pytest.fixture
def cora():
    if not os.environ.get("JAXGNN_DATA"):
        pytest.skip(NO_DATA)
    return jg.load_dataset("cora")


@pytest.fixture
def random_variables():
    """What `model.init` returns, every parameter normal (biases too) and matrices of norm about `scale`."""

    def make(model, graph, x, *, seed=0, scale=1.0, dtype=np.float64):
        rng = np.random.default_rng(seed)
        shapes = jax.eval_shape(model.init, jax.random.key(0), graph, x)

        def draw(a):
            return (scale * rng.standard_normal(a.shape) / np.sqrt(a.shape[-1] if a.shape else 1)).astype(dtype)

        variables = model.init(jax.random.key(seed), graph, x)
        rest = {name: tree for name, tree in variables.items() if name != "params"}
        constants = jax.tree.map(lambda a: np.asarray(a, dtype), rest)
        return constants | {"params": jax.tree.map(draw, shapes["params"])}

    return make


@pytest.fixture
def written_out():
    """A DeepGNN of gcn (P) or mlp (P = I) layers, one layer after another in numpy."""
    rho = {
        "identity": lambda H: H,
        "relu": lambda H: np.maximum(H, 0),
        "leaky_relu": lambda H: np.where(H > 0, H, 0.01 * H),
        "tanh": np.tanh,
        "elu": lambda H: np.where(H > 0, H, np.expm1(np.minimum(H, 0))),
        "gelu": lambda H: H / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (H + 0.044715 * H**3))),
    }

    def bounded(W, bound, c):
        norm = np.sqrt(np.sum(W**2))
        return {"none": W, "frobenius": c * W / norm, "frobenius_soft": W if norm <= c else c * W / norm}[bound]

    def run(variables, P, x, *, activation="relu", residual="none", bound="none", c=1.0):
        params = jax.tree.map(lambda a: np.asarray(a, np.float64), variables["params"])
        layers = params["stack"]["layer"]
        features, pre_activation, weights = [x @ params["encoder"]["kernel"] + params["encoder"]["bias"]], [], []
        for layer, kernel in enumerate(layers["linear"]["kernel"]):
            weights.append(bounded(kernel, bound, c))
            H = P @ features[-1] @ weights[-1] + (layers["bias"][layer] if "bias" in layers else 0.0)
            pre_activation.append(H)
            features.append(rho[activation](H) + (features[-1] if residual == "identity" else 0.0))
        return SimpleNamespace(
            features=np.stack(features),
            pre_activation=np.stack(pre_activation),
            weights=np.stack(weights),
            logits=features[-1] @ params["readout"]["kernel"] + params["readout"]["bias"],
            readout=params["readout"]["kernel"],
        )

    return run
