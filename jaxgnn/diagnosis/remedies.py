"""The cheapest remedy of a cause, and what is predicted of it: by a bound where one is known, and by measuring the
changed network at initialisation."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxgnn.diagnosis.causes import Finding, from_signals
from jaxgnn.diagnosis.reach import SQUASHED, Reach, passed_through
from jaxgnn.diagnosis.signals import measured
from jaxgnn.graphs import rewiring
from jaxgnn.graphs.graph import Graph
from jaxgnn.graphs.prepare import prepare
from jaxgnn.network.model import DeepGNN

_GROWTH = 4.0  # that a remedied gradient may grow by through all layers
_REWIRED = (0.1, 0.5)  # edges to add, of those that there are


class Remedy(NamedTuple):
    """What to change, and what that is predicted to do.

    Attributes:
      says: options of the command line, or words where there is no option.
      options: of DeepGNN, for `model.clone`.
      graph: the rewired graph; None where it stays.
      cause: what it is against.
      before, predicted: the cause's number as it is, and of the changed network at initialisation.
      threshold, side: as the cause has them.
      by_theory: a bound that the change implies, in a sentence; "" where there is none.
    """

    says: str
    options: dict[str, Any]
    graph: Graph | None
    cause: str
    before: float
    predicted: float
    threshold: float
    side: str
    by_theory: str = ""

    @property
    def enough(self) -> bool:
        """Whether the prediction is on the good side of the threshold."""
        return bool(self.predicted >= self.threshold if self.side == "below" else self.predicted <= self.threshold)


_WORDS = {
    "dead_readout": "make the layers' signals differ between nodes (an identity residual and a bound), then train anew",
    "dead_units": "an activation without a flat half, as leaky_relu or gelu",
    "expansion": "bound the layers' matrices: ||W||_F = c with (1 + c)^L near 1",
    "forward_collapse": "an identity residual with bounded matrices",
    "rank_collapse": "an identity residual with bounded matrices",
    "gradient_vanishing": "an identity residual with bounded matrices",
    "gradient_smoothing": "an identity residual with bounded matrices",
    "under_reach": "more layers, or layers of more hops",
    "over_squashing": "rewire the graph, or propagate over pairs at a distance (khop)",
    "bound_too_small": "a larger bound_c",
    "depth_not_needed": "fewer layers",
    "healthy": "nothing",
}


def in_words(cause: str) -> str:
    """What helps against a cause, for networks whose options are not known."""
    return _WORDS[cause]


def candidates(cause: str, model: DeepGNN, *, distance: int | None = None) -> list[tuple[str, dict[str, Any]]]:
    """Options to try, the cheapest first: what to type, and for `model.clone`."""
    if cause == "dead_units":
        return [(f"--activation {name}", {"activation": name}) for name in ("leaky_relu", "gelu")]
    if cause == "bound_too_small":
        return [_bounded(model, c=4 * model.bound_c)]
    if cause == "depth_not_needed":
        return [("--depth 2", {"depth": 2})]
    if cause == "under_reach" and distance is not None:
        return [_bounded(model, depth=distance)]
    if cause in ("over_squashing", "healthy"):
        return []
    return [_bounded(model), _bounded(model, norm="layer")]


def _bounded(model: DeepGNN, *, c: float | None = None, depth: int | None = None, **more: Any) -> tuple[str, Any]:
    """An identity residual and ||W||_F = c: with ||W||_2 near 2 c / sqrt(d), (1 + ||W||_2)^L is at most _GROWTH."""
    depth = model.depth if depth is None else depth
    growth = _GROWTH ** (1 / max(depth, 1)) - 1
    c = float(f"{growth * math.sqrt(model.width) / 2:.2g}") if c is None else c
    options = {"residual": "identity", "bound": "frobenius", "bound_c": c, **more}
    if depth != model.depth:
        options["depth"] = depth
    changed = {name: value for name, value in options.items() if getattr(model, name) != value}
    return " ".join(f"--{name.replace('_', '-')} {value}" for name, value in changed.items()), options


def remedy(
    found: Finding,
    model: DeepGNN,
    batch: Any,
    *,
    classes: int,
    seeds: int,
    seed: int,
    distance: int | None = None,
    reach: Reach | None = None,
    targets: Any = None,
) -> Remedy | None:
    """The first candidate that is predicted to be enough, or the last that was tried; None where there is none."""
    last = None
    if found.cause == "over_squashing":
        return _rewired(found, batch.graph, np.asarray(targets), int(distance or 0))
    for says, options in candidates(found.cause, model, distance=distance):
        changed = model.clone(**options)
        theory = _by_theory(changed, batch.graph)
        if found.cause == "under_reach":
            far = field(changed) or 0
            predicted = float(far - (distance or 0)) if reach is None else reach.gain_beyond(far)[0]
        elif found.cause in ("bound_too_small", "depth_not_needed"):
            predicted = np.nan  # only training tells
        else:
            again = from_signals(initial_signals(changed, batch, seeds=seeds, seed=seed), classes)[found.cause]
            predicted = again.value
        last = Remedy(says, options, None, found.cause, found.value, predicted, found.threshold, found.side, theory)
        if last.enough:
            return last
    return last


def initial_signals(model: Any, batch: Any, *, seeds: int, seed: int) -> list[Any]:
    """The signals of networks as `jaxgnn.train` starts them with these seeds."""
    return [measured(model, params, batch.graph, batch.x, batch.loss) for params in initial(model, batch, seeds, seed)]


def initial(model: Any, batch: Any, seeds: int, seed: int) -> list[Any]:
    """What `jaxgnn.train` starts from."""
    keys = [jax.random.split(jax.random.fold_in(jax.random.key(seed), i))[0] for i in range(seeds)]
    init = jax.jit(model.init)
    return [init(key, batch.graph, batch.x) for key in keys]


def field(model: Any) -> int | None:
    """How many hops away a node's logits depend on features at most; None where it is not known."""
    if not isinstance(model, DeepGNN):
        return None
    kind, options = model._layer_options()
    hops = getattr(kind(**options, parent=None), "hops", None)
    if hops is None:
        return None
    reached = model.blocks * (model.blocks + 1) // 2 if model.khop else model.blocks * hops
    return reached + (2 * hops if model.ends == "layer" else 0)


def _by_theory(model: DeepGNN, graph: Graph) -> str:
    """Between which factors ||G^(0)|| / ||G^(L)|| must lie, where the matrices are bounded beside an identity."""
    layer, plain = model.layer, model.norm == "none" and model.layer in ("gcn", "mlp")
    if not plain or model.residual != "identity" or model.bound != "frobenius":
        return ""
    norm = 1.0 if layer == "mlp" else float(np.sqrt(_largest_square(graph)))
    s, L = norm * model.bound_c, model.blocks
    low = max(1 - s, 0.0) ** L
    return f"‖G⁽⁰⁾‖ / ‖G⁽ᴸ⁾‖ lies between {low:.2g} and {(1 + s) ** L:.2g}, (1 ∓ ‖P‖₂ c)^L, for any 1-Lipschitz ρ"


def _largest_square(graph: Graph) -> float:
    """||P||_1 ||P||_inf >= ||P||_2^2."""
    P = abs(graph.propagation.sparse())
    return 1.0 if graph.propagation.normalisation in ("sym", "doubly") else float(P.sum(0).max() * P.sum(1).max())


def _rewired(found: Finding, graph: Graph, targets: np.ndarray, distance: int) -> Remedy | None:
    """Edges that raise the spectral gap, as few as are enough, and what then arrives from the same distance's nodes."""
    before, last = passed_through(graph, targets, distance), None
    for share in _REWIRED:
        try:
            added = rewiring.fosr(graph.graphs_tuple, edges=max(1, int(share * graph.num_edges / 2)))
        except ValueError:  # directed, or no pair without an edge
            return last
        rewired = prepare(added, normalisation=graph.propagation.normalisation)
        predicted = passed_through(rewired, targets, distance, of=graph)
        says = f"--rewiring fosr --rewired {(rewired.num_edges - graph.num_edges) // 2}"
        last = Remedy(says, {}, rewired, found.cause, before, predicted, SQUASHED, "below")
        if last.enough:
            return last
    return last


def described(one: Remedy | None, cause: str) -> str:
    """The remedy in a sentence."""
    if one is None:
        return _WORDS[cause]
    sentence = one.says or _WORDS[cause]
    if np.isfinite(one.predicted):
        sentence += f" (predicted: {one.before:.3g} becomes {one.predicted:.3g}, threshold {one.threshold:g}"
        sentence += f"; {one.by_theory})" if one.by_theory else ")"
    return sentence


def chosen(found: Sequence[Finding], name: str) -> Finding:
    """The finding of a cause."""
    return next(one for one in found if one.cause == name)
