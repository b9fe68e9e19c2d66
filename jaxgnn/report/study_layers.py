"""What a study measured through the layers, one depth at a time: signals before and after training, and Jacobians."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxgnn.report import panels
from jaxgnn.report.page import FigureBlock, Section, Selector, drawn_view
from jaxgnn.report.panels import AFTER, BEFORE

Arrays = Mapping[tuple[int, str], Mapping[str, np.ndarray]]
Cells = Sequence[Mapping[str, Any]]
_STATES = {"trained": AFTER, "initial": BEFORE}


class _Quantity(NamedTuple):
    """An array of every cell: title, axis label, the noun of a sentence, and whether it is read towards the input."""

    array: str
    title: str
    label: str
    noun: str
    backward: bool


_BY_LAYER = (
    _Quantity("features/mu", "Features: distance from equal rows", "μ(X⁽ˡ⁾)", "μ of the features", False),
    _Quantity("feature_grads/mu", "Gradients: distance from equal rows", "μ(G⁽ˡ⁾)", "μ of the gradients", True),
    _Quantity(
        "features/dirichlet", "Features: Dirichlet energy", "tr Xᵀ(I−P)X", "the features' Dirichlet energy", False
    ),
    _Quantity(
        "feature_grads/dirichlet", "Gradients: Dirichlet energy", "tr Gᵀ(I−P)G", "the gradients' Dirichlet energy", True
    ),
    _Quantity(
        "features/relative_mu",
        "Features: μ relative to the norm",
        "μ(X⁽ˡ⁾) / ‖X⁽ˡ⁾‖",
        "the features' relative μ",
        False,
    ),
    _Quantity(
        "feature_grads/relative_mu",
        "Gradients: μ relative to the norm",
        "μ(G⁽ˡ⁾) / ‖G⁽ˡ⁾‖",
        "the gradients' relative μ",
        True,
    ),
)


def network_name(remedy: str) -> str:
    """What text and legends call a remedy: the plain network has none."""
    return {"none": "plain", "mlp": "graph-blind MLP"}.get(remedy, remedy)


def through_layers(figures: Path, cells: Cells, arrays: Arrays) -> tuple[Section, Section]:
    """The signals by layer, and the singular values of three layers' Jacobians, both by depth."""
    depths = sorted({cell["depth"] for cell in cells})
    by_depth = {depth: [cell for cell in cells if cell["depth"] == depth] for depth in depths}
    selector = Selector("depth", tuple(map(str, depths)), str(depths[-1]))
    signals = [_signal(figures, quantity, by_depth, arrays) for quantity in _BY_LAYER]
    said = (
        "Dotted: before training. Solid: after training. Medians over seeds; a line that ends has reached 0 or is not "
        "finite."
    )
    jacobians = [_spectrum(figures, where, by_depth, arrays) for where in ("First", "Middle", "Last")]
    return (
        Section("Through the layers", [said], figures=signals, selectors=[selector]),
        Section(
            "Jacobians of single layers",
            ["Singular values of ∂X⁽ˡ⁺¹⁾/∂X⁽ˡ⁾ for the first seed. Where all are 1 a layer keeps every length."],
            figures=[block for block in jacobians if block.views],
            selectors=[selector],
        ),
    )


def _signal(figures: Path, quantity: _Quantity, by_depth: Mapping[int, Cells], arrays: Arrays) -> FigureBlock:
    views, file = [], quantity.array.replace("/", "-")
    limits = panels.PART if quantity.array.endswith("relative_mu") else panels.ANY
    for depth, cells in by_depth.items():
        # The median over seeds keeps one diverged seed from hiding the others.
        states = {
            state: {
                network_name(c["remedy"]): np.median(arrays[depth, c["remedy"]][f"{state}/{quantity.array}"], axis=0)
                for c in cells
            }
            for state in _STATES
        }
        panel = panels.by_layer(states["initial"], states["trained"], ylabel=quantity.label, limits=limits)
        sentence = _layer_sentence(states, quantity)
        views.append(drawn_view(figures, f"depth-{depth}-{file}", panel, sentence, {"depth": str(depth)}))
    return FigureBlock(quantity.title, views, "relative" if limits is panels.PART else "", file)


def _spectrum(figures: Path, where: str, by_depth: Mapping[int, Cells], arrays: Arrays) -> FigureBlock:
    views = []
    for depth, cells in by_depth.items():
        first = arrays[depth, cells[0]["remedy"]]
        known = sorted({int(key.split("/")[2]) for key in first if key.startswith("trained/singular_values/")})
        layer = {"First": 0, "Middle": depth // 2, "Last": depth - 1}[where]
        once = {"First": True, "Middle": layer not in (0, depth - 1), "Last": depth > 1}[where]
        if not once or layer not in known:
            continue
        lines = {}
        for cell in cells:
            for state, words in _STATES.items():
                sigma = arrays[depth, cell["remedy"]][f"{state}/singular_values/{layer}"]
                if sigma.size:
                    lines[network_name(cell["remedy"]), words] = panels.Ranked(sigma)
        panel = panels.spectra(lines, ylabel="singular value σ", xlabel="rank, largest first", isometry=True)
        sentence = _spectrum_sentence(layer, lines, cells, [arrays[depth, c["remedy"]] for c in cells])
        name = f"depth-{depth}-layer-{layer}-singular-values"
        views.append(drawn_view(figures, name, panel, sentence, {"depth": str(depth)}))
    return FigureBlock(f"{where} layer's Jacobian", views, "singular values", f"{where.lower()}-layer-singular-values")


def _spectrum_sentence(
    layer: int, lines: Mapping[tuple[str, str], panels.Ranked], cells: Cells, arrays: Sequence[Mapping[str, np.ndarray]]
) -> str:
    everything = cells[0]["spectrum"] == "exact"
    count = "All" if everything else f"The {max((v.values.size for v in lines.values()), default=0)} largest"
    ranges = "; ".join(f"{name} {_range(line.values, everything)}" for (name, at), line in lines.items() if at == AFTER)
    sentence = f"{count} singular values of layer {layer}, after training: {ranges or 'none, the features overflow'}."
    if everything:
        return sentence
    loose = max(_looseness(found, f"{state}/singular_values/{layer}") for found in arrays for state in _STATES)
    return f"{sentence} Block Lanczos: lower bounds, with residuals up to {loose:.1%}; upper bounds are not certified."


def _layer_sentence(states: Mapping[str, Mapping[str, np.ndarray]], quantity: _Quantity) -> str:
    changes = []
    for name, values in states["trained"].items():
        before = _change(states["initial"][name], quantity.backward)
        changes.append(f"{name} {before} before and {_change(values, quantity.backward)} after training")
    where = "from the output back to the input" if quantity.backward else "from the first layer to the last"
    return f"Factor by which {quantity.noun} changes {where}: {'; '.join(changes)}."


def _change(values: np.ndarray, backward: bool) -> str:
    start, end = (values[-1], values[0]) if backward else (values[0], values[-1])
    if not (np.isfinite(start) and np.isfinite(end)):
        return "not finite"
    if start <= 0:
        return "0 throughout" if end <= 0 else "from 0"
    return "to 0" if end <= 0 else f"{end / start:.2g}"


def _range(sigma: np.ndarray, everything: bool) -> str:
    if not np.isfinite(sigma).all():
        return "not finite"
    positive = sigma[sigma > 0]
    if not positive.size:
        return "all 0"
    zeros = sigma.size - positive.size
    tail = f", {zeros} exactly 0" if everything and zeros else ""
    return f"{_number(positive[0])} to {_number(positive[-1])}{tail}"


def _looseness(arrays: Mapping[str, np.ndarray], name: str) -> float:
    """The largest residual of a cell's Lanczos values, relative to the largest value."""
    values, upper = arrays[name], arrays.get(f"{name}/upper", arrays[name])
    return float(np.max(upper - values, initial=0.0) / np.max(values, initial=1e-300))


def _number(value: float) -> str:
    return f"{value:.3f}" if 0.01 <= abs(value) < 1000 or value == 0 else f"{value:.1e}"
