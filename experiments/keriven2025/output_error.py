"""What the mean output error decides: it and the error at layer 0 while the readout alone is trained, GNN and MLP."""

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

import jaxgnn as jg
from jaxgnn.analysis.readout import Readout, descend_readout, readout_at, readout_path, with_readout
from jaxgnn.evidence.finding import Finding, Value
from jaxgnn.evidence.reproduction import Arrays, Reproduction
from jaxgnn.experiments.keriven2025.networks import OURS, Network, Setting, network, over_seeds
from jaxgnn.experiments.setting import mean_std
from jaxgnn.host.precision import precision
from jaxgnn.report.claim import Shown
from jaxgnn.report.figure import Axis, Panel, Series

_LITTLE = 0.1  # of ||B^(0)||, and of the part of the error that arrives: what counts as little


@dataclass(frozen=True)
class Config:
    """Networks in float64, P doubly stochastic, orthogonal weights, X^(0) of RMS 1; the readout is trained alone.

    Attributes:
      graphs: names of `networks.dataset`.
      activations: rho.
      depth, width: number of layers, features of each.
      seeds: networks of each kind.
      steps: of Adam, at which the errors are taken, from 0 on; and then at gradient norm 1e-8, by Newton's method.
      learning_rate: of Adam.
    """

    graphs: tuple[str, ...] = ("csbm", "csbm-dense", "cora")
    activations: tuple[str, ...] = ("relu", "tanh")
    depth: int = 32
    width: int = 32
    seeds: int = 3
    steps: tuple[int, ...] = (0, 10, 30, 100, 300, 1000)
    learning_rate: float = 1e-2


def cells(config: Config) -> Mapping[str, Callable[[], Arrays]]:
    return {_name(kind): partial(_measure, config, kind) for kind in _kinds(config)}


def _kinds(config: Config) -> list[Setting]:
    return [
        Setting(graph, layer=layer, activation=activation, depth=config.depth, width=config.width)
        for graph, activation, layer in itertools.product(config.graphs, config.activations, ("gcn", "mlp"))
    ]


def _name(kind: Setting) -> str:
    return f"{kind.graph}, {kind.activation}, {kind.layer}"


def _measure(config: Config, kind: Setting) -> Arrays:
    """Of every network, [seeds, points], E the output error and e its mean, the points `steps` and the stationary one.

    loss; error: ||E||; mean: ||1 e^T||; last, first: ||B^(L-1)||, ||B^(0)||; without: ||B^(0)|| of E - 1 e^T in place
    of E. And lambda and the constant predictor's loss, [seeds].
    """
    with precision(np.float64):
        return over_seeds(_trained(config, network(replace(kind, seed=seed))) for seed in range(config.seeds))


def _trained(config: Config, net: Network) -> Arrays:
    X = np.asarray(jg.probe(net.model, net.params, net.graph, net.x, net.loss).features[-1])
    start = net.params["params"]["readout"]
    given = (X, net.ds.labels, net.ds.train_mask, start["kernel"], start["bias"])
    readouts = [
        descend_readout(*given, steps=steps, learning_rate=config.learning_rate) if steps else readout_at(*given)
        for steps in config.steps
    ]
    points = over_seeds(_errors(net, X, readout) for readout in (*readouts, readout_path(*given)[-1]))
    return points | {"eigenvalue": net.eigenvalue, "constant": net.constant_loss}


def _errors(net: Network, X: np.ndarray, readout: Readout) -> Arrays:
    E = np.asarray(jax.grad(net.loss)(jnp.asarray(X @ readout.kernel + readout.bias)))
    mean = np.broadcast_to(E.mean(axis=0), E.shape)
    params = with_readout(net.params, readout)
    # B is linear in E where the readout is given: the gradient of <E, logits>.
    B, without = (
        np.asarray(jg.probe(net.model, params, net.graph, net.x, Partial(_product, given)).errors)
        for given in (E, E - mean)
    )
    norm = np.linalg.norm
    return {
        "loss": readout.loss,
        "error": norm(E),
        "mean": norm(mean),
        "last": norm(B[-1]),
        "first": norm(B[0]),
        "without": norm(without[0]),
    }


def _product(E, logits):
    return jnp.sum(E * logits)


def show(config: Config, results: Mapping[str, Mapping[str, np.ndarray]]) -> Finding:
    kinds = _kinds(config)
    drawn, trained = 0, len(config.steps) - 1
    rest, arrives, mean, loss = {}, {}, {}, {}
    for kind in kinds:
        found = results[_name(kind)]
        rest[kind] = found["without"][:, drawn] / found["first"][:, drawn]
        share = found["first"] / found["last"]
        arrives[kind] = share[:, trained] / share[:, drawn]
        mean[kind] = (found["mean"] / found["error"])[:, trained]
        loss[kind] = found["loss"][:, trained] / found["constant"]
    gcn = [kind for kind in kinds if kind.layer == "gcn"]
    eigenvalues = {kind.graph: float(results[_name(kind)]["eigenvalue"][0]) for kind in gcn}
    blind = {kind: replace(kind, layer="mlp") for kind in gcn}
    decides = [k for k in gcn if np.median(rest[k]) <= _LITTLE < np.median(rest[blind[k]])]
    falls = [k for k in gcn if np.median(arrives[k]) <= _LITTLE < np.median(arrives[blind[k]])]
    both = [kind for kind in gcn if kind in decides and kind in falls]

    def pair(values, kind):
        return f"{np.median(values[kind]):.2g} / {np.median(values[blind[kind]]):.2g}"

    return Finding(
        evidence=f"{config.depth} layers of width {config.width}, {config.seeds} networks (medians), GCN / MLP. "
        "Without the mean of the output error, before any training, ||B_0|| is this share of what it is with it: "
        + "; ".join(f"{k.graph} {k.activation} {pair(rest, k)}" for k in gcn)
        + f". After {config.steps[-1]} steps of Adam on the readout ||B_0|| / ||B_(L-1)|| is so many times "
        "what it was: "
        + "; ".join(f"{k.graph} {k.activation} {pair(arrives, k)}" for k in gcn)
        + "; the loss over the constant predictor's "
        + "; ".join(f"{k.graph} {k.activation} {pair(loss, k)}" for k in gcn)
        + ".",
        verdict="reproduced" if len(both) == len(gcn) else "partly" if decides or falls else "not reproduced",
        reason=f"The mean output error decides the error at layer 0 (at most {_LITTLE:g} of it is left without the "
        f"mean, in the MLP more) in {len(decides)} of {len(gcn)} cases, and training the readout takes it away (to at "
        f"most {_LITTLE:g}, in the MLP not) in {len(falls)}: both on "
        f"{', '.join(f'{k.graph} {k.activation}' for k in both) or 'none'}; lambda is "
        f"{', '.join(f'{value:.4f} ({graph})' for graph, value in eigenvalues.items())}.",
        values=[
            *(Value(f"{_name(k)}: ||B_0|| without the mean over with it, as drawn", *mean_std(rest[k])) for k in kinds),
            *(Value(f"{_name(k)}: fall of ||B_0|| / ||B_(L-1)|| by training", *mean_std(arrives[k])) for k in kinds),
            *(Value(f"{_name(k)}: mean error over ||E|| after Adam", *mean_std(mean[k])) for k in kinds),
        ],
        figures={f"training-{graph}": _figure(config, results, graph) for graph in config.graphs},
        notes=[OURS, "The last point of every line is the readout at gradient norm 1e-8, by Newton's method."],
    )


def _figure(config: Config, results: Mapping[str, Mapping[str, np.ndarray]], graph: str) -> Shown:
    names = [*(str(steps) for steps in config.steps), "1e-8"]
    series, eigenvalue = [], 0.0
    for i, (activation, layer) in enumerate(itertools.product(config.activations, ("gcn", "mlp"))):
        found = results[f"{graph}, {activation}, {layer}"]
        eigenvalue = max(eigenvalue, float(found["eigenvalue"][0]))
        for top, bottom, dash, what in (
            ("mean", "error", ":", "mean error / ||E||"),
            ("first", "last", "-", "||B_0|| / ||B_(L-1)||"),
        ):
            share = np.median(found[top] / found[bottom], axis=0)
            group = f"{layer.upper()}, {activation}"
            look = {"colour": i, "dash": dash, "marked": True, "group": group, "variants": (what,)}
            series.append(Series(f"{group}: {what}", np.arange(share.size), share / share[0], **look))
    x = Axis("steps of Adam on the readout alone", ticks=tuple(range(len(names))), names=tuple(names))
    figure = Panel(x, Axis("relative to before training", "log"), tuple(series))
    sentence = "The mean output error, and how much error arrives at layer 0, while the readout is trained; medians."
    return Shown(figure, f"The mean error and layer 0, {graph}, λ = {eigenvalue:.4f}", sentence)


REPRODUCTION = Reproduction(
    name="keriven2025/output_error",
    title="The role of the average output error",
    claim="In a smoothed GNN the average output error decides the error at the first layers; training the readout "
    "alone makes it vanish, and them with it. In an MLP not.",
    presets={
        "smoke": Config(graphs=("karate",), activations=("relu",), depth=3, width=4, seeds=1, steps=(0, 5)),
        "cpu": Config(),
        "full": Config(
            graphs=("csbm", "csbm-dense", "csbm-homophilous", "cora", "cora-public"),
            activations=("relu", "tanh", "gelu"),
            depth=64,
            width=64,
            seeds=20,
        ),
    },
    cost={"smoke": "seconds", "cpu": "2 minutes", "full": "not run"},
    cells=cells,
    show=show,
)
