"""`jaxgnn.diagnose`: the cause that a network fails of, the evidence, a remedy, and whether it came true."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import jax
import numpy as np

from jaxgnn.diagnosis import remedies
from jaxgnn.diagnosis.causes import Finding, from_signals, named, works
from jaxgnn.diagnosis.reach import SQUASHED, Reach, label_reach, passed_through
from jaxgnn.diagnosis.signals import Signals, measured
from jaxgnn.diagnosis.verify import Verified, by_training, compared, run
from jaxgnn.graphs.graph import Graph
from jaxgnn.host.options import check_flag, check_seed, check_whole
from jaxgnn.network.adapters import as_network
from jaxgnn.network.model import DeepGNN

_GAIN, _TARGETS = 0.05, 100
NOT_ASKED = ("under_reach", "over_squashing", "bound_too_small", "depth_not_needed")


@dataclass(frozen=True)
class Diagnosis:
    """Why a network fails.

    Attributes:
      cause: "forward_collapse", "rank_collapse", "gradient_vanishing", "gradient_smoothing", "expansion",
        "over_squashing", "under_reach", "dead_readout", "bound_too_small", "dead_units", "depth_not_needed", "healthy".
      also: other causes that hold.
      layer: where the cause begins; None where it has no layer.
      evidence: what was measured of every cause, holding or not; `holds` is None for what was not asked.
      remedy: what to change, and what is predicted of it, in a sentence.
      prediction: the same in numbers; None where nothing can be predicted.
      verified: what short trainings showed; None without `verify`.
      networks: how many (seeds) the numbers are of; ends of intervals are the lowest and the highest of them.
      signals: of each network.
    """

    cause: str
    also: tuple[str, ...]
    layer: int | None
    evidence: dict[str, Finding]
    remedy: str
    prediction: remedies.Remedy | None
    verified: Verified | None
    networks: int
    signals: list[Signals] = field(repr=False)

    @property
    def lines(self) -> tuple[str, str, str]:
        """What happened, why (the measurement that says so), and what to try next."""
        where = "" if self.layer is None else f", from layer {self.layer}"
        also = f"; also {', '.join(self.also)}" if self.also else ""
        found = self.evidence.get(self.cause)
        if found is None:
            why = "no cause was found: every number is on the good side of its threshold"
        else:
            why = f"{found.means}: {_range(found)}, {found.side} {found.threshold:g}"
        return f"{self.cause}{where}{also}", why, self.remedy + _said(self.verified)

    def __repr__(self) -> str:
        return "Diagnosis(\n  " + "\n  ".join(self.lines) + "\n)"

    def as_json(self) -> dict[str, Any]:
        """Plain values: cause, also, layer, evidence, remedy, verified."""
        evidence = {name: _plain(one._asdict()) for name, one in self.evidence.items()}
        verified = None
        if self.verified is not None:
            verified = _plain(self.verified._asdict())
            verified["runs"] = {name: _plain(one._asdict()) for name, one in self.verified.runs.items()}
        return {
            "cause": self.cause,
            "also": list(self.also),
            "layer": self.layer,
            "evidence": evidence,
            "remedy": self.remedy,
            "verified": verified,
        }


def diagnose(
    model: Any,
    params: Any,
    task: Any,
    x: Any = None,
    loss: Callable[[Any], Any] | None = None,
    *,
    verify: bool = False,
    steps: int = 100,
    seeds: int = 3,
    seed: int = 0,
    distance: int | None = None,
    **training: Any,
) -> Diagnosis:
    """Why a network fails, from one forward and one backward pass, the labels' reach, and with `verify` trainings.

    Args:
      model: a DeepGNN, or a network of any library that `jaxgnn.probe` takes.
      params: what `model.init` returned, or with a leading axis of networks (`result.final_params`), over which
        numbers are medians; None for `seeds` initial ones.
      task: a task, or a prepared graph with `x` and `loss`, logits -> scalar; then causes that need labels are not
        asked.
      x, loss: where a graph is given.
      verify: trains the network as it is and remedied, and decides what only training can (a bound too small, depth
        that is not needed): needs a task and a DeepGNN.
      steps, seeds, training: of those trainings, as `jaxgnn.train` takes them.
      seed: of all randomness.
      distance: hops that the labels are known to depend on; else it is estimated from one label a node.

    Raises ValueError for a graph that is not prepared, a loss that is missing, and options out of range.
    """
    check_flag("verify", verify)
    for option, value in {"steps": steps, "seeds": seeds}.items():
        check_whole(option, value, least=1)
    check_seed("seed", seed)
    if distance is not None:
        check_whole("distance", distance, least=1)
    batch = _batch(task, x, loss, seed)
    model = as_network(model, batch.graph, batch.x)
    networks = remedies.initial(model, batch, seeds, seed) if params is None else _networks(model, params, batch)
    signals = [measured(model, one, batch.graph, batch.x, batch.loss) for one in networks]
    logits = jax.eval_shape(model.apply, networks[0], batch.graph, batch.x)
    classes = logits.shape[-1]
    evidence = from_signals(signals, classes)
    reach = label_reach(task, field=remedies.field(model), seed=seed) if distance is None and loss is None else None
    targets = _targets(task, batch, seed)
    evidence |= _reached(model, batch.graph, reach, distance, targets)
    working = works(signals)
    needed = distance if distance is not None else reach.distance if reach is not None else None
    verified, runs = None, {}
    can_train = verify and loss is None and isinstance(model, DeepGNN)
    if verify and not can_train:
        raise ValueError("verify=True trains the network: a task and a DeepGNN are needed")
    options = {"steps": steps, "seeds": seeds, "seed": seed, **training}
    cause, also = named(evidence, working=working)
    if can_train:
        runs["as it is"] = run(model, task, **options)
        if cause == "healthy":
            decided, more = by_training(model, task, runs["as it is"], options=options)
            evidence |= decided
            runs |= more
            cause, also = named(evidence, working=working)
    prediction = None
    if isinstance(model, DeepGNN) and cause != "healthy":
        more = {"distance": needed, "reach": reach, "targets": targets}
        prediction = remedies.remedy(
            evidence[cause], model, batch, classes=classes, seeds=len(networks), seed=seed, **more
        )
    if can_train:
        verified = _verified(model, task, prediction, runs, options)
    return Diagnosis(
        cause=cause,
        also=tuple(also),
        layer=evidence[cause].layer if cause in evidence else None,
        evidence=evidence,
        remedy=remedies.described(prediction, cause),
        prediction=prediction,
        verified=verified,
        networks=len(networks),
        signals=signals,
    )


@dataclass(frozen=True)
class _Given:
    """A graph, features and a loss that were given in place of a task."""

    graph: Graph
    x: Any
    loss: Callable[[Any], Any]


def _batch(task: Any, x: Any, loss: Any, seed: int) -> Any:
    if isinstance(task, Graph):
        if x is None or not callable(loss):
            raise ValueError("with a graph in place of a task, x and loss(logits) are needed: diagnose(.., x, loss)")
        return _Given(task, x, loss)
    if not hasattr(task, "batch"):
        raise ValueError(f"task is a {type(task).__name__}: a task, or a graph that jaxgnn.prepare made, is needed")
    if x is not None or loss is not None:
        raise ValueError("x and loss go with a graph: a task has its own")
    return task.batch(jax.random.key(seed), 0)


def _networks(model: Any, params: Any, batch: Any) -> list[Any]:
    """One network's variables, or those along a leading axis."""
    one = jax.eval_shape(model.init, jax.random.key(0), batch.graph, batch.x)
    flat, given = jax.tree.leaves(one), jax.tree.leaves(params)
    if len(flat) == len(given) and all(np.ndim(b) == a.ndim + 1 for a, b in zip(flat, given, strict=True)):
        return [jax.tree.map(lambda a, i=i: a[i], params) for i in range(np.shape(given[0])[0])]
    return [params]


def _targets(task: Any, batch: Any, seed: int) -> np.ndarray:
    """Nodes that are trained on, at most _TARGETS of them; all nodes where the task does not say."""
    mask = getattr(task, "train_mask", None)
    n = batch.graph.num_nodes
    nodes = np.flatnonzero(np.asarray(mask)) if mask is not None and np.ndim(mask) == 1 else np.arange(n)
    if batch.graph.node_mask is not None:
        nodes = nodes[np.asarray(batch.graph.node_mask)[nodes] > 0]
    return np.random.default_rng(seed).permutation(nodes)[:_TARGETS]


def _reached(
    model: Any, graph: Graph, reach: Reach | None, distance: int | None, targets: np.ndarray
) -> dict[str, Finding]:
    """Whether the network reaches as far as labels depend on features, and what of that the graph lets through."""
    reached = remedies.field(model)
    far = f"hops of {'' if reached is None else reached} that the network reaches, less those that labels depend on"
    far_away = "as long as the labels' distance" if distance is None else f"of {distance} steps"
    squashed = f"share of walks {far_away} that come from that far"
    unasked = Finding("under_reach", np.nan, np.nan, np.nan, 0.0, "below", None, None, far)
    no_walks = Finding("over_squashing", np.nan, np.nan, np.nan, SQUASHED, "below", None, None, squashed)
    if reached is None or (reach is None and distance is None):
        return {"under_reach": unasked, "over_squashing": no_walks}
    of_pairs = getattr(model, "khop", False)  # what is far comes without steps in between
    if distance is not None:
        short = float(reached - distance)
        under = Finding("under_reach", short, short, short, 0.0, "below", None, short < 0, far)
        if under.holds or of_pairs:
            return {"under_reach": under, "over_squashing": no_walks._replace(holds=False if of_pairs else None)}
        share = passed_through(graph, targets, distance)
        over = no_walks._replace(value=share, low=share, high=share, holds=bool(share < SQUASHED))
        return {"under_reach": under, "over_squashing": over}
    assert reach is not None
    under = _gained("under_reach", reach, reached, "")
    if under.holds or of_pairs:
        return {"under_reach": under, "over_squashing": no_walks._replace(holds=False if of_pairs else None)}
    arrives = 0
    while arrives < min(reached, int(reach.radii[-1])) and passed_through(graph, targets, arrives + 1) >= SQUASHED:
        arrives += 1
    over = _gained("over_squashing", reach, arrives, f", from where fewer than {SQUASHED:g} of the walks come")
    return {"under_reach": under, "over_squashing": over}


def _gained(cause: str, reach: Reach, field: int, beyond: str) -> Finding:
    """Whether labels depend on what lies beyond some hops."""
    gain = reach.gain_beyond(field)
    means = f"labels predicted from farther than {field} hops{beyond}, more than from nearer (share, 95% interval)"
    return Finding(cause, *gain, _GAIN, "above", None, gain[0] > _GAIN and gain[1] > 0, means)


def _verified(model: DeepGNN, task: Any, remedy: Any, runs: dict[str, Any], options: dict[str, Any]) -> Verified:
    nothing = (np.nan, np.nan, np.nan)
    if remedy is None or (remedy.graph is not None and not hasattr(task, "labels")):
        return Verified(options["steps"], options["seeds"], runs, nothing, nothing, None)
    known = f"bound_c {remedy.options.get('bound_c', np.nan):g}"
    there = task if remedy.graph is None else _on(task, remedy.graph)
    runs["remedy"] = runs[known] if known in runs else run(model.clone(**remedy.options), there, **options)
    loss, score, better = compared(runs["as it is"], runs["remedy"], maximise=bool(task.maximise))
    if remedy.cause == "depth_not_needed":  # as good with fewer layers is what was said
        better = not score[2] < 0
    return Verified(options["steps"], options["seeds"], runs, loss, score, better)


def _on(task: Any, graph: Graph) -> Any:
    """The same task on another graph of the same nodes."""
    return replace(task, graph=graph)


def _range(found: Finding) -> str:
    ends = f" [{found.low:.3g}, {found.high:.3g}]" if np.isfinite([found.low, found.high]).all() else ""
    return f"{found.value:.3g}{ends}"


def _said(verified: Verified | None) -> str:
    if verified is None or verified.came_true is None:
        return ""
    loss, low, high = verified.loss_change
    came = "came true" if verified.came_true else "did not come true"
    return (
        f"; {came} in {verified.steps} steps of {verified.seeds} seeds: "
        f"training loss changed by {loss:.3g} [{low:.3g}, {high:.3g}] decades"
    )


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    """Numbers as JSON has them; what is not finite is None."""

    def one(v: Any) -> Any:
        if isinstance(v, np.ndarray):
            return [one(float(a)) for a in v.ravel()]
        if isinstance(v, tuple):
            return [one(a) for a in v]
        if isinstance(v, float | np.floating):
            return float(v) if np.isfinite(v) else None
        return v

    return {name: one(v) for name, v in values.items()}
