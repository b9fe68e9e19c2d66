"""The page of `jaxgnn probe`: features, gradients and errors by layer, their theory's lines, and during training."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jaxgnn.host.spelling import counted
from jaxgnn.report.explanation import Explain
from jaxgnn.report.html import write_page
from jaxgnn.report.page import Section, Table
from jaxgnn.report.probing_figures import Figures
from jaxgnn.report.probing_ranges import ABOUT as ABOUT_RANGE
from jaxgnn.report.probing_ranges import ranges_said
from jaxgnn.report.probing_ranks import ABOUT, ranks_said
from jaxgnn.report.provenance import footer
from jaxgnn.report.recorded import recorded

HEADER = ("state", "network", "loss", "‖G⁽⁰⁾‖/‖G⁽ᴸ⁾‖", "off span at 0", "least", "at L", "linear recursion", "gradient")
Arrays = Mapping[str, np.ndarray]
STATES = {"init": "At initialisation", "trained": "After training"}


def write_probing(
    out: Path, results: Mapping[str, Any], arrays: Arrays, command: str, *, explain: Explain | None = None
) -> Path:
    """Writes figures/*.png, *.svg and *.json and index.html into `out`; returns the page's path.

    explain: (results, arrays) -> the three lines at the top.
    """
    folder = out / "figures"
    folder.mkdir(exist_ok=True)
    figures = Figures(folder, results, arrays)
    sections = [
        Section("All numbers", _how(results), Table(HEADER, table(results))),
        Section("Sizes and lines", [_LINES, *_lines_said(results)], figures=figures.sizes()),
        Section("Vanishing apart from smoothing", [_APART], figures=figures.separated()),
        Section("The errors' shape", [_BASIS], figures=figures.shapes()),
        Section("Ranks", [ABOUT], figures=figures.ranks()),
    ]
    if found := figures.ranges():
        sections.append(Section("Range", [ABOUT_RANGE], figures=found))
    if any(name.startswith("record/") for name in arrays):
        every = results["config"]["probe"]["record_every"]
        sections.append(recorded(folder, list(results["training"]), arrays, every))
    model, dataset = results["config"]["model"], results["config"]["data"]["dataset"]
    title = f"Backward errors of {model['layer'].upper()} with {counted(model['depth'], 'layer')} on {dataset}"
    page = out / "index.html"
    lead = [results["headline"], ranks_said(results), ranges_said(results)]
    explanation = None if explain is None else explain(results, arrays)
    write_page(page, title, [text for text in lead if text], sections, footer(command, results), explanation)
    return page


def table(results: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """One row of texts a state and network, under HEADER."""
    rows = []
    for state, models in results["states"].items():
        for name, found in models.items():
            v, layers = found["verdict"], found["layers"]
            distance = np.asarray(layers["linear_distance"]["median"], float)
            known = distance[np.isfinite(distance)]
            linear = _number(np.median(known)) if known.size else "none"
            ratio, first, last = (_number(v[key]) for key in ("ratio", "relative_mu", "relative_mu_output"))
            least = f"{_number(v['least'])} at {v['least_at']}"
            rows.append(
                (
                    STATES[state].lower(),
                    name.upper(),
                    _number(layers["loss"]["median"]),
                    ratio,
                    first,
                    least,
                    last,
                    linear,
                    v["words"],
                )
            )
    return rows


def _lines_said(results: Mapping[str, Any]) -> list[str]:
    said = []
    for state, models in results["states"].items():
        for name, found in models.items():
            parts = []
            for way, line in found["lines"].items():
                if "worst_ratio" not in line:
                    parts.append(f"{way}, {line['why']}")
                    continue
                kind = "a bound" if line["holds"] else f"drawn, but no bound here ({line['why']})"
                parts.append(f"{way}, {kind}: the largest measured value is {_number(line['worst_ratio'])} of it")
            said.append(f"{STATES[state]}, {name.upper()}: {'; '.join(parts)}.")
    return said


def _how(results: Mapping[str, Any]) -> list[str]:
    graph, probe, config = results["graph"], results["config"]["probe"], results["config"]
    seeds = "one seed" if probe["seeds"] == 1 else f"medians of {probe['seeds']} seeds, bands from lowest to highest"
    lam = "There is no λ: P is not symmetric, or its largest eigenvalue is not 1."
    if graph["eigenvalue"] is not None:
        lam = f"λ = {graph['eigenvalue']:.6g}, the second largest |eigenvalue| of P."
    if graph["components"] > 1:
        lam += (
            f" There are {graph['components']} components: λ, lines and distances to the span are of the largest alone "
            f"({graph['largest_component']:,} nodes); on the whole graph λ = 1 and a line would be vacuous."
        )
    if not graph["of_propagation"]:
        lam += " The layer does not propagate with P alone: the span is that of equal rows."
    sizes = f"{counted(graph['nodes'], 'node')}, {counted(graph['edges'], 'directed edge')}"
    said = [
        f"{sizes}, P: {graph['normalisation']}. {lam} "
        f"Numbers are {seeds}; probed in {probe['precision']}, trained in float32.",
        "The gradient G⁽ˡ⁾ = ∂loss/∂X⁽ˡ⁾ vanishes or explodes where its norm at layer 0 is a thousandth, or a thousand "
        "times, of that at the output; it is smooth where its distance to the span, on the largest component, is below "
        "a tenth of its norm at any layer. μ is the distance to equal rows, span(1), and E = μ/√n. The table has the "
        "relative distance to the span at layer 0, where it is least, and at L, and the median over layers of the "
        "distance to the linear recursion.",
    ]
    for name, found in results["training"].items():
        scores = ", ".join(f"{s:.3f}" for s in found["scores"])
        losses = ", ".join(map(_number, found["train_losses"]))
        failed = f"; {counted(found['failed_seeds'], 'seed')} failed" if found["failed_seeds"] else ""
        said.append(
            f"{name.upper()} after {counted(config['train']['steps'], 'step')}: training loss {losses}, the best "
            f"constant predictor's {results['constant_loss']:.4f}; test score at the best validation score "
            f"{scores}{failed}."
        )
    return said


def headline(results: Mapping[str, Any]) -> str:
    """What becomes of the gradient on the way to layer 0, in a sentence for each state."""
    span, parts = results["graph"]["spans"][1], []
    for state, models in results["states"].items():
        found = ((name, network["verdict"]) for name, network in models.items())
        said = "; ".join(
            f"{name.upper()}'s gradient has {_number(v['ratio'])} of the norm at the output, "
            f"and {_number(v['relative_mu'])} of that off {span} (least at layer {v['least_at']}: "
            f"{_number(v['least'])}): {v['words']}"
            for name, v in found
        )
        parts.append(f"{STATES[state]}, at layer 0: {said}.")
    return " ".join(parts)


def _number(value: Any) -> str:
    return "not finite" if value is None or not np.isfinite(value) else f"{value:.3g}"


_APART = (
    "A norm that falls says nothing about smoothness: the gradient vanishes. Smoothing is blind to the norm: it is the "
    "distance to the span, or to equal rows, over the norm."
)
_LINES = (
    "The dashed lines of theory are, forward, the distance of X⁽⁰⁾ to the span times the product over the layers j < l "
    "of αⱼ + λ sⱼ, and backward that of G⁽ᴸ⁾ times the product over j ≥ l; sⱼ = ‖W⁽ʲ⁾‖₂ after the bound, αⱼ = 0 "
    "without a residual and 1 with the identity (DeepGNN.dynamics has the others). The MLP has P = I and λ = 1. "
    "Source: Park & Kim 2024; Keriven 2025."
)
_BASIS = (
    "The cosine of B⁽ˡ⁾ and B⁽ˡ⁺¹⁾ is not free of the basis: where hidden features are rotated (permuted, unless "
    "ρ = id), W⁽ˡ⁾ → W⁽ˡ⁾Q and W⁽ˡ⁺¹⁾ → QᵀW⁽ˡ⁺¹⁾, the network stays what it is, B⁽ˡ⁾ becomes B⁽ˡ⁾Q and B⁽ˡ⁺¹⁾ stays; "
    "with random W it is near 0 whatever the nodes' errors do. Free of it are the cosine of BBᵀ, which compares which "
    "nodes' errors are alike, and the cosine of B⁽ˡ⁾ with what the linear recursion makes of B⁽ˡ⁺¹⁾, (1d̄ᵀ)∗G⁽ˡ⁺¹⁾: W "
    "acts on both. There is no linear recursion where B⁽ˡ⁾ is no entrywise multiple of G⁽ˡ⁺¹⁾: with a norm, a gate, or "
    "an SSM that mixes features."
)
