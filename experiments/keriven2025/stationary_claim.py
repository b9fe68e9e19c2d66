"""What `stationary` says: evidence and verdict, every number from the results."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from jaxgnn.evidence.finding import Finding, Value, Verdict
from jaxgnn.experiments.keriven2025.networks import Setting
from jaxgnn.experiments.keriven2025.stationary_figures import figures, tables
from jaxgnn.experiments.keriven2025.stationary_plan import Config, Results, comparison, nonlinear, studies

# What "the claim holds" means: a loss of at least so much of the constant predictor's, and layers so many times nearer
# to stationary than the MLP's.
_HIGH, _NEARER = 0.98, 10
_GAP = 0.9  # the largest lambda at which 32 layers smooth
_WHEN = {"adam": "after Adam", "stationary": "at 1e-8"}


class _Case(NamedTuple):
    """A GCN against the MLP: where the claim holds, and whether the GCN is farther from stationary after Adam."""

    name: str
    kind: Setting
    holds: dict[str, bool]
    above: bool


def finding(results: Results) -> Finding:
    """All that the page says."""
    evidence = [_what(results.config), *_by_graph(results), _linear(results), _drawn(results), _remedies(results)]
    verdict, reason = judged(results)
    return Finding(
        evidence=" ".join(filter(None, [*evidence, _around(results)])),
        verdict=verdict,
        reason=reason,
        values=list(_values(results)),
        figures=figures(results),
        tables=tables(results),
        notes=_notes(results.config),
    )


def _notes(config: Config) -> list[str]:
    return [
        "csbm, csbm-dense and csbm-homophilous are contextual block models of 240 nodes, 3 classes and 180 training "
        "nodes, with 10, 30 and 10 neighbours on average and homophily 0.6, 0.4 and 0.8; cora and cora-public the "
        "largest component with the split geom:0 and the public one; ring 60 nodes and grid 8 x 8, their labels three "
        "stretches; in karate the validation nodes train as well. Every graph is one draw.",
        "Layers are orthogonal, times sqrt(2) for relu, X^(0) has RMS 1, and everything is in float64. With a remedy "
        "the readout is trained on X^(L) over its RMS, as residuals make it grow. What the paper's own settings are is "
        "not known to us.",
        "At 1e-8: the readout that changes least for a gradient norm of 1e-8 (a path of penalised Newton problems). "
        "Exact: Newton's method in every direction of the features above 1e-9 of the largest. Where the labels are "
        "linearly separated (column separates) the loss has no minimum: as R grows it goes to 0, and E with it.",
        f"Adam is {config.adam_steps} steps at {config.learning_rate:g}: where it stops depends on both. Columns "
        "without a heading of their own go on with the quantity to their left; ratio is over each layer's own ||B_k||, "
        "over output over ||B_(L-1)||, gradient the norm itself; all are medians over layers and networks.",
    ]


def _what(config: Config) -> str:
    return (
        f"GCN and MLP of {config.depth} layers of width {config.width}, orthogonal weights, no decay, float64, "
        f"connected graphs, {config.seeds} networks each (medians over them and over layers): the readout trained "
        f"alone by {config.adam_steps} steps of Adam, or to gradient norm 1e-8 with the smallest change. Relative "
        "gradient: ||d loss / d W_k|| / (||P X_k|| ||B_(L-1)||); loss: over the constant predictor's. GCN doubly / GCN "
        "sym / MLP:"
    )


def _values(results: Results) -> Iterable[Value]:
    for graph in results.config.graphs:
        for activation in nonlinear(results.config):
            for kind in comparison(results.config, graph, activation):
                name = "MLP" if kind.layer == "mlp" else f"GCN {kind.normalisation}"
                loss = results.relative_loss(kind, "adam")
                yield Value(
                    f"{graph}, {activation}, {name}: loss over the constant's after Adam", np.median(loss), loss.std()
                )


def _by_graph(results: Results) -> list[str]:
    """One sentence a graph: losses and relative gradients of the three networks."""
    sentences = []
    for graph in results.config.graphs:
        parts = []
        for activation in nonlinear(results.config):
            kinds = comparison(results.config, graph, activation)
            for stage, when in _WHEN.items():
                loss = " / ".join(_number(_loss(results, kind, stage)) for kind in kinds)
                relative = " / ".join(_number(results.median(kind, f"{stage}/output_ratio")) for kind in kinds)
                parts.append(f"{activation} {when} loss {loss}, relative gradient {relative}")
        kinds = comparison(results.config, graph, results.config.activations[0])[:-1]
        lambdas = ", ".join(f"{results.median(kind, 'eigenvalue'):.4f} {kind.normalisation}" for kind in kinds)
        sentences.append(f"{graph} (lambda {lambdas}): {'; '.join(parts)}.")
    return sentences


def _linear(results: Results) -> str:
    largest = {}
    for layer in ("gcn", "mlp"):
        kinds = _compared(results, layer, ["identity"])
        ratios = [results.of(kind, "stationary/output_ratio").max(axis=1) for kind in kinds]
        separates = [results.of(kind, "stationary/separates") for kind in kinds]
        found = [ratio[~apart] for ratio, apart in zip(ratios, separates, strict=True) if not apart.all()]
        largest[layer] = np.concatenate(found).max() if found else np.nan
    if np.isnan(list(largest.values())).any():
        return ""
    return (
        "Linear networks at 1e-8, where the labels are not separated: at most "
        f"{_number(largest['gcn'])} in any layer of any GCN and {_number(largest['mlp'])} of any MLP."
    )


def _drawn(results: Results) -> str:
    """The gradients before training, for both initialisations."""
    gradients: dict[tuple[str, str], list[float]] = {}
    for kind in studies(results.config)["weights"]:
        gradients.setdefault((kind.layer, kind.weights), []).append(results.median(kind, "initial/gradient"))
    parts = [f"{layer.upper()} {weights} {_range(values)}" for (layer, weights), values in gradients.items()]
    return (
        f"Before any training the gradients themselves are, by network and weights: {', '.join(parts)}. That is "
        "vanishing, which the relative gradient leaves out."
    )


def _remedies(results: Results) -> str:
    config, parts = results.config, []
    for graph in config.remedy_graphs:
        found: dict[str, list[tuple[float, float]]] = {}
        for kind in studies(config)["remedies"]:
            if kind.graph == graph:
                pair = (_loss(results, kind, "adam"), results.median(kind, "adam/output_ratio"))
                found.setdefault(kind.remedy, []).append(pair)
        middle = {remedy: np.median(values, axis=0) for remedy, values in found.items()}
        ordered = sorted(middle, key=lambda remedy: middle[remedy][0])
        parts.append(
            f"{graph}: " + ", ".join(f"{r} {_number(middle[r][0])} ({_number(middle[r][1])})" for r in ordered)
        )
    if not parts:
        return ""
    return f"Loss (relative gradient) of the GCN after Adam with each remedy, over activations: {'; '.join(parts)}."


def _around(results: Results) -> str:
    """The slices and the Hessians."""
    if not results.around:
        return ""

    def both(layer, name):
        """The range of a number, of all slices of a layer, after Adam and at 1e-8."""
        found = [arrays for setting, arrays in results.around.items() if setting.layer == layer]
        ends = {stage: [] for stage in _WHEN}
        for stage, values in ends.items():
            for arrays in found:
                value = arrays[f"{stage}/{name}"] / (arrays["constant_loss"] if name == "loss" else 1.0)
                values += [value.min(), value.max()]
        return [_range(values) for values in ends.values()]

    config = results.config
    loss, highest, lowest = ({k: both(k, n) for k in ("gcn", "mlp")} for n in ("loss", "highest", "lowest"))
    return (
        f"Around the point ({config.slice_depth} layers of width {config.slice_width}, all slices of "
        f"{', '.join(config.sweep_graphs)}) the loss is {loss['gcn'][0]} for the GCN after Adam and {loss['gcn'][1]} "
        f"at 1e-8, {' and '.join(loss['mlp'])} for the MLP; the largest eigenvalue of the Hessian in all layers' "
        f"weights {' and '.join(highest['gcn'])}, MLP {' and '.join(highest['mlp'])}; the smallest "
        f"{' and '.join(lowest['gcn'])}, MLP {' and '.join(lowest['mlp'])}."
    )


def _cases(results: Results) -> list[_Case]:
    cases = []
    for graph in results.config.graphs:
        for activation in nonlinear(results.config):
            *networks, mlp = comparison(results.config, graph, activation)
            for kind in networks:
                ratio = {s: [results.median(k, f"{s}/output_ratio") for k in (kind, mlp)] for s in _WHEN}
                holds = {
                    s: _loss(results, kind, s) >= _HIGH and _NEARER * own <= its for s, (own, its) in ratio.items()
                }
                above = ratio["adam"][0] > ratio["adam"][1]
                cases.append(_Case(f"{graph} {kind.normalisation} {activation}", kind, holds, above))
    return cases


def judged(results: Results) -> tuple[Verdict, str]:
    """Reproduced where the claim holds in every case after Adam and at 1e-8, partly where it does in any."""
    cases = _cases(results)
    holding = {stage: [case.name for case in cases if case.holds[stage]] for stage in _WHEN}
    fails = [case.name for case in cases if not case.holds["adam"]]
    above = [case.name for case in cases if case.above]
    undone = [case.kind for case in cases if case.holds["adam"] and not case.holds["stationary"]]
    said = [
        f"After Adam the claim holds (loss at least {_HIGH:g} of the constant's, relative gradient at most one "
        f"{_NEARER}th of the MLP's) in {len(holding['adam'])} of {len(cases)} cases: "
        f"{', '.join(holding['adam']) or 'none'}; not on {', '.join(fails) or 'none'}. At gradient norm 1e-8 it holds "
        f"in {len(holding['stationary'])}."
    ]
    if above:
        said.append(f"On {', '.join(above)} the GCN is farther from stationary than the MLP.")
    if undone:
        growth = _range([results.median(kind, "stationary/readout_norm") for kind in undone])
        loss = _range([_loss(results, kind, "stationary") for kind in undone])
        raw = max(results.median(kind, "stationary/gradient") for kind in undone)
        said.append(
            "It is a claim about how far the readout is trained, not about stationary points: in "
            f"{len(undone)} cases the readout has at 1e-8 undone the smoothing: ||R|| ||X_L|| / sqrt(n) is {growth}, "
            f"the loss {loss} of the constant's, and the layers' gradients themselves, which grow with R, are up to "
            f"{_number(raw)}."
        )
    said.append(_why(results))
    if "identity" in results.config.activations:
        said.append(
            "Linear networks tell nothing: with invertible weights a stationary readout makes every layer stationary, "
            "with a graph and without, whatever the loss."
        )
    everywhere = all(all(case.holds.values()) for case in cases)
    verdict = "reproduced" if everywhere else "partly" if any(holding.values()) else "not reproduced"
    return verdict, " ".join(filter(None, said))


def _why(results: Results) -> str:
    """Where there is a gap: whether signal and error do not correlate, or little of the error arrives."""
    gapped = {
        kind.graph for kind in studies(results.config)["graphs"] if 0 < results.median(kind, "eigenvalue") <= _GAP
    }
    if not gapped:
        return ""
    ends = {}
    for layer in ("gcn", "mlp"):
        kinds = [kind for kind in _compared(results, layer, nonlinear(results.config)) if kind.graph in gapped]
        ratio = np.concatenate([results.of(kind, "adam/ratio") for kind in kinds])
        first = np.concatenate([results.of(kind, "adam/output_ratio")[:, 0] for kind in kinds])
        values = np.stack([ratio[:, -1], ratio[:, 0], first / ratio[:, 0]])
        ends[layer] = [_number(value) for value in np.median(values, axis=1)]
    last, first, arrived = (f"{gcn}, MLP {mlp}" for gcn, mlp in zip(ends["gcn"], ends["mlp"], strict=True))
    return (
        f"Where the gradient goes (medians after Adam, lambda at most {_GAP:g}): the ratio over each layer's own "
        f"||B_k|| is {last} in the last layer and {first} in the first, where ||B_0|| / ||B_(L-1)|| is {arrived}."
    )


def _compared(results: Results, layer: str, activations: Sequence[str]) -> list[Setting]:
    """The kinds that are compared on graphs, of one layer and these activations."""
    return [k for k in studies(results.config)["graphs"] if k.layer == layer and k.activation in activations]


def _loss(results: Results, kind: Setting, stage: str) -> float:
    """The median network's, over the constant predictor's."""
    return float(np.median(results.relative_loss(kind, stage)))


def _range(values: Iterable[float]) -> str:
    values = list(values)
    low, high = _number(min(values)), _number(max(values))
    return low if low == high else f"{low} to {high}"


def _number(value: float) -> str:
    return f"{value:.3f}" if 0.01 <= abs(value) < 100 else f"{value:.0e}"
