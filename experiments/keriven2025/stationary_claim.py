"""What `stationary` says: claim, evidence and verdict, every number from the results."""

from collections.abc import Iterable, Sequence

import numpy as np

from jaxgnn.experiments.keriven2025.stationary_cells import Cell
from jaxgnn.experiments.keriven2025.stationary_figures import stages_of
from jaxgnn.experiments.keriven2025.stationary_plan import Config, Results, comparison, nonlinear, studies
from jaxgnn.report.claim import Claim

# What "the claim holds" means: a loss of at least so much of the constant predictor's, and layers so many times nearer
# to stationary than the MLP's.
_HIGH, _NEARER = 0.98, 10
_GAP = 0.9  # the largest lambda at which 32 layers smooth


def claim(results: Results) -> Claim:
    """Claim, evidence and verdict."""
    evidence = [_what(results.config), *_by_graph(results), _linear(results), _drawn(results), _remedies(results)]
    return Claim(
        title="Are the layers near-stationary once the readout is trained?",
        claim="Once the readout of a deep GNN is trained alone, the mean output error vanishes, every layer's gradient "
        "is near 0 and the loss stays at the constant predictor's; in an MLP of equal depth not (Keriven 2025).",
        evidence=" ".join(filter(None, [*evidence, _around(results)])),
        verdict=_verdict(results),
    )


def notes(config: Config) -> list[str]:
    """Settings and limits."""
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


def _by_graph(results: Results) -> list[str]:
    """One sentence a graph: losses and relative gradients of the three networks."""
    sentences = []
    for graph in results.config.graphs:
        parts = []
        for activation in nonlinear(results.config):
            found = [results.of(kind) for kind in comparison(results.config, graph, activation)]
            for stage, when in (("adam", "after Adam"), ("stationary", "at 1e-8")):
                loss = " / ".join(_number(_loss(cells, stage)) for cells in found)
                relative = " / ".join(_number(_median(cells, stage, "output_ratio")) for cells in found)
                parts.append(f"{activation} {when} loss {loss}, relative gradient {relative}")
        lambdas = ", ".join(f"{cells[0].eigenvalue:.4f} {cells[0].setting.normalisation}" for cells in found[:-1])
        sentences.append(f"{graph} (lambda {lambdas}): {'; '.join(parts)}.")
    return sentences


def _linear(results: Results) -> str:
    largest = {}
    for layer in ("gcn", "mlp"):
        cells = [c for c in _compared(results, layer, ["identity"]) if not c.stages["stationary"].separates]
        largest[layer] = max((c.stages["stationary"].balance.output_ratio.max() for c in cells), default=np.nan)
    if np.isnan(list(largest.values())).any():
        return ""
    return (
        "Linear networks at 1e-8, where the labels are not separated: at most "
        f"{_number(largest['gcn'])} in any layer of any GCN and {_number(largest['mlp'])} of any MLP."
    )


def _drawn(results: Results) -> str:
    """The gradients before training, for both initialisations."""
    gradients = {}
    for kind in studies(results.config)["weights"]:
        found = gradients.setdefault((kind.layer, kind.weights), [])
        found.append(_median(results.of(kind), "initial", "gradient"))
    ranges = {key: _range(values) for key, values in gradients.items()}
    return (
        f"Before any training the gradients themselves are {ranges['gcn', 'glorot']} with Glorot weights and "
        f"{ranges['gcn', 'orthogonal']} with orthogonal ones in the GCN, {ranges['mlp', 'glorot']} and "
        f"{ranges['mlp', 'orthogonal']} in the MLP: that is vanishing, which the relative gradient leaves out."
    )


def _remedies(results: Results) -> str:
    config = results.config
    parts = []
    for graph in config.remedy_graphs:
        found: dict[str, list[tuple[float, float]]] = {}
        for kind in studies(config)["remedies"]:
            if kind.graph == graph:
                cells = results.of(kind)
                pair = (_loss(cells, "adam"), _median(cells, "adam", "output_ratio"))
                found.setdefault(kind.remedy, []).append(pair)
        middle = {remedy: np.median(values, axis=0) for remedy, values in found.items()}
        ordered = sorted(middle, key=lambda remedy: middle[remedy][0])
        listed = ", ".join(f"{r} {_number(middle[r][0])} ({_number(middle[r][1])})" for r in ordered)
        parts.append(f"{graph}: {listed}")
    if not parts:
        return ""
    return f"Loss (relative gradient) of the GCN after Adam with each remedy, over activations: {'; '.join(parts)}."


def _around(results: Results) -> str:
    """The slices and the Hessians."""
    found: dict[tuple[str, str], list] = {}
    for around in results.around:
        found.setdefault((around.setting.layer, around.stage), []).append(around)
    if not found:
        return ""
    within = {
        key: _range(
            [value / a.constant_loss for a in values for value in (a.landscape.loss.min(), a.landscape.loss.max())]
        )
        for key, values in found.items()
    }
    highest = {key: _range([a.hessian.highest for a in values]) for key, values in found.items()}
    lowest = {key: _range([a.hessian.lowest for a in values]) for key, values in found.items()}
    config = results.config
    return (
        f"Around the point ({config.slice_depth} layers of width {config.slice_width}, all slices of "
        f"{', '.join(config.sweep_graphs)}) the loss is {within['gcn', 'adam']} for the GCN after Adam and "
        f"{within['gcn', 'stationary']} at 1e-8, {within['mlp', 'adam']} and {within['mlp', 'stationary']} for the "
        f"MLP; the largest eigenvalue of the Hessian in all layers' weights {highest['gcn', 'adam']} and "
        f"{highest['gcn', 'stationary']}, MLP {highest['mlp', 'adam']} and {highest['mlp', 'stationary']}; the "
        f"smallest {lowest['gcn', 'adam']} and {lowest['gcn', 'stationary']}, MLP {lowest['mlp', 'adam']} and "
        f"{lowest['mlp', 'stationary']}."
    )


def _verdict(results: Results) -> str:
    config = results.config
    holds: dict[str, list[str]] = {"adam": [], "stationary": []}
    fails: dict[str, list[str]] = {"adam": [], "stationary": []}
    undone, above = [], []
    for graph in config.graphs:
        for activation in nonlinear(config):
            *networks, mlp = [results.of(kind) for kind in comparison(config, graph, activation)]
            for cells in networks:
                name = f"{graph} {cells[0].setting.normalisation} {activation}"
                if _median(cells, "adam", "output_ratio") > _median(mlp, "adam", "output_ratio"):
                    above.append(name)
                for stage in holds:
                    nearer = _median(mlp, stage, "output_ratio") >= _NEARER * _median(cells, stage, "output_ratio")
                    (holds if _loss(cells, stage) >= _HIGH and nearer else fails)[stage].append(name)
                if name in holds["adam"] and name in fails["stationary"]:
                    undone.append(cells)
    total = len(holds["adam"]) + len(fails["adam"])
    said = [
        f"After Adam the claim holds (loss at least {_HIGH:g} of the constant's, relative gradient at most one "
        f"{_NEARER}th of the MLP's) in {len(holds['adam'])} of {total} cases: {', '.join(holds['adam']) or 'none'}; "
        f"not on {', '.join(fails['adam']) or 'none'}."
    ]
    if above:
        said.append(f"On {', '.join(above)} the GCN is farther from stationary than the MLP.")
    if undone:
        growth = _range([_median(cells, "stationary", "readout_norm") for cells in undone])
        loss = _range([_loss(cells, "stationary") for cells in undone])
        raw = max(_median(cells, "stationary", "gradient") for cells in undone)
        said.append(
            "It is a claim about how far the readout is trained, not about stationary points: at gradient norm 1e-8 it "
            f"holds in {len(holds['stationary'])} of {total}. In {len(undone)} cases the readout has by then undone "
            f"the smoothing: ||R|| ||X_L|| / sqrt(n) is {growth}, the loss {loss} of the constant's, and the layers' "
            f"gradients themselves, which grow with R, are up to {_number(raw)}."
        )
    gapped = {c.setting.graph for c in results.cells if c.setting.layer == "gcn" and c.eigenvalue <= _GAP}
    if gapped & set(config.graphs):
        ends = {}
        for layer in ("gcn", "mlp"):
            cells = [c for c in _compared(results, layer, nonlinear(config)) if c.setting.graph in gapped]
            balances = [c.stages["adam"].balance for c in cells]
            values = [(b.ratio[-1], b.ratio[0], b.output_ratio[0] / b.ratio[0]) for b in balances]
            ends[layer] = [_number(value) for value in np.median(values, axis=0)]
        last, first, arrived = (f"{gcn}, MLP {mlp}" for gcn, mlp in zip(ends["gcn"], ends["mlp"], strict=True))
        said.append(
            "Two things make it so, which the ratio over each layer's own ||B_k|| tells apart (medians after Adam, "
            f"lambda at most {_GAP:g}): in the last layer the smoothed signal and an error of mean 0 do not correlate "
            f"(ratio {last}); in the first layer they do (ratio {first}), but little of the error arrives there "
            f"(||B_0|| / ||B_(L-1)|| {arrived})."
        )
    said.append(
        "Linear networks tell nothing: with invertible weights a stationary readout makes every layer stationary, with "
        "a graph and without, whatever the loss."
    )
    return " ".join(said)


def _compared(results: Results, layer: str, activations: Sequence[str]) -> list[Cell]:
    """The networks that are compared on graphs, of one layer and these activations."""
    kinds = {k for k in studies(results.config)["graphs"] if k.layer == layer and k.activation in activations}
    return [cell for cell in results.cells if cell.setting.kind in kinds]


def _median(cells: list[Cell], stage: str, name: str) -> float:
    """Over layers and networks."""
    return float(np.median(stages_of(cells, stage, name)))


def _loss(cells: list[Cell], stage: str) -> float:
    """The median network's, over the constant predictor's."""
    return _median(cells, stage, "loss") / cells[0].constant_loss


def _range(values: Iterable[float]) -> str:
    values = list(values)
    low, high = _number(min(values)), _number(max(values))
    return low if low == high else f"{low} to {high}"


def _number(value: float) -> str:
    return f"{value:.3f}" if 0.01 <= abs(value) < 100 else f"{value:.0e}"
