"""The page of `jaxgnn spectrum`: every layer's spectra, and what the network does to perturbations through depth."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp

from jaxgnn.host.spelling import counted
from jaxgnn.report import panels, ranges
from jaxgnn.report import spectrum_plots as draw
from jaxgnn.report.canvas import save
from jaxgnn.report.explanation import Explain
from jaxgnn.report.html import write_page
from jaxgnn.report.page import FigureBlock, Section, Selector, Table, View, drawn_view, figure_block
from jaxgnn.report.panels import ByDistance, DensityCurve, Line, Ranked
from jaxgnn.report.provenance import footer

HEADER = ("layer", "method", "σ₁", "largest |λ|", "mean σ²", "variance of σ²", "mean log σ", "zero", "range", "seconds")
Arrays = Mapping[str, np.ndarray]


def write_spectrum(
    out: Path, results: Mapping[str, Any], arrays: Arrays, command: str, *, explain: Explain | None = None
) -> Path:
    """Writes figures/*.png, *.svg and *.json and index.html into `out`; returns the page's path.

    explain: (results, arrays) -> the three lines at the top.
    """
    figures = out / "figures"
    figures.mkdir(exist_ok=True)
    sections = [Section("All numbers", _ERRORS, Table(HEADER, table(results)))]
    sections.append(_layers(figures, results["layers"], arrays))
    if results["depth"] is not None:
        sections.append(_depth(figures, results["depth"], arrays))
    config = results["config"]
    model = config["model"]
    when = "trained" if config["spectrum"]["trained"] else "at initialisation"
    network = f"{model['layer'].upper()} with {counted(model['depth'], 'layer')}"
    title = f"Jacobian spectra of {network} on {config['data']['dataset']}"
    page = out / "index.html"
    explanation = None if explain is None else explain(results, arrays)
    write_page(page, f"{title}, {when}", [headline(results)], sections, footer(command, results), explanation)
    return page


def headline(results: Mapping[str, Any]) -> str:
    """The result in a sentence or two."""
    norms = [
        f"{record['statistics']['spectral']['value']:.3g} at layer {record['layer']}"
        for record in results["layers"]
        if "error" not in record
    ]
    said = f"Largest singular value of ∂X⁽ˡ⁺¹⁾/∂X⁽ˡ⁾: {', '.join(norms) or 'none, the features overflow'}."
    depth = results["depth"]
    if depth is None or "error" in depth:
        return said
    exponent, error = depth["edge_of_chaos"], depth["standard_error"][0]
    if not np.isfinite(exponent):
        return f"{said} Through depth every perturbation dies out: the first Lyapunov exponent is -∞."
    does = "grow" if exponent > 0 else "die out"
    known = f" ± {error:.2g}" if np.isfinite(error) else ""
    return f"{said} Through depth perturbations {does}: the first Lyapunov exponent is {exponent:.3g}{known} a layer."


def range_numbers(results: Mapping[str, Any]) -> dict[str, Any]:
    """The range of each layer, by number, and of the network, under "depth"; what was not measured is left out."""
    found = {str(record["layer"]): record["range"] for record in results["layers"] if "range" in record}
    depth = results["depth"] or {}
    return found | ({"depth": depth["range"]} if "range" in depth else {})


def range_line(results: Mapping[str, Any]) -> str:
    """The ranges in a sentence."""
    found = range_numbers(results)
    layers = ", ".join(f"{_range(r['range'])} at layer {name}" for name, r in found.items() if name != "depth")
    said = [f"Range of a layer (edges, mean distance of what a node depends on): {layers or 'none'}"]
    if "depth" in found:
        said.append(f"of the network, X⁽⁰⁾ to X⁽ᴸ⁾: {ranges.said(found['depth'])}")
    return "; ".join(said) + "."


def table(results: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """One row of texts a layer, under HEADER."""
    rows = []
    for record in results["layers"]:
        if "error" in record:
            rows.append((str(record["layer"]), record["error"], *[""] * (len(HEADER) - 2)))
            continue
        s = record["statistics"]
        numbers = [_with_error(s[name]) for name in ("mean_square", "variance_square", "mean_log")]
        least = "" if record["zero"]["all"] else "≥ "
        zero = f"{least}{record['zero']['count']:,} of {min(record['shape']):,}"
        first = (str(record["layer"]), record["method"], f"{s['spectral']['value']:.4g}")
        reach = _range(record["range"]["range"])
        rows.append((*first, f"{record['spectral_radius']:.4g}", *numbers, zero, reach, f"{record['seconds']:.1f}"))
    return rows


def _layers(figures: Path, records: Sequence[Mapping[str, Any]], arrays: Arrays) -> Section:
    """The spectra of every layer that was measured, one at a time."""
    said, known = [], [record for record in records if "error" not in record]
    for record in records:
        said.append(f"Layer {record['layer']}: {_how(record) if record in known else record['error']}")
    blocks = []
    for title, name, view, scale in (
        ("Singular values", "singular-values", _singular_values, "singular values"),
        ("Density of singular values", "density", _density, ""),
        ("Modulus of eigenvalues", "modulus", _modulus, ""),
        ("Eigenvalues in the complex plane", "plane", _plane, ""),
        ("The Jacobian by block", "blocks", _heat_map, ""),
    ):
        if known:
            blocks.append(FigureBlock(title, [view(figures, record, arrays) for record in known], scale, name))
    names = tuple(str(record["layer"]) for record in known)
    selectors = [Selector("layer", names, names[0])] if names else []
    return Section("Layer by layer", said, figures=blocks, selectors=selectors)


def _how(record: Mapping[str, Any]) -> str:
    parts = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in record["seconds_of"].items())
    return (
        f"{record['method']}, {record['why']}. Estimated beforehand: {record['cost']}; it took "
        f"{record['seconds']:.1f} s, of which {parts}. {record['accuracy'].capitalize()}. The sparse Jacobian has "
        f"{record['sparse']['entries']:,} entries; on random vectors it is {record['sparse']['relative_error']:.1e} "
        f"off (pattern: {record['sparse']['pattern']}). Range: "
        f"{ranges.said(record['range'])}."
    )


def _view(figures: Path, layer: int, name: str, panel: panels.Panel, sentence: str) -> View:
    return drawn_view(figures, f"layer-{layer}-{name}", panel, sentence, {"layer": str(layer)})


def _singular_values(figures: Path, record: Mapping[str, Any], arrays: Arrays) -> View:
    k = record["layer"]
    if f"{k}/singular_values" in arrays:
        values = arrays[f"{k}/singular_values"]
        lines, sentence = {"all": Ranked(values)}, f"All {values.size:,}, from {values[0]:.4g} down."
    else:
        lines, parts = {}, []
        for which in ("largest", "smallest"):
            if f"{k}/{which}/values" not in arrays:
                continue
            values, lower, upper = (arrays[f"{k}/{which}/{name}"] for name in ("values", "lower", "upper"))
            lines[f"{which} {values.size}"] = Ranked(values, lower, upper)
            proved = "certified" if arrays[f"{k}/{which}/certified"].all() else "not certified from above"
            if values.size:
                parts.append(f"{which} {values.size}: {values[0]:.4g} to {values[-1]:.4g}, {proved}")
        sentence = f"The {'; the '.join(parts)}; bars are bounds."
    panel = panels.spectra(lines, xlabel="rank, from its end of the spectrum", isometry=True)
    return _view(figures, k, "singular-values", panel, sentence)


def _density(figures: Path, record: Mapping[str, Any], arrays: Arrays) -> View:
    k = record["layer"]
    names = ("grid", "density", "standard_error", "bias")
    curve = DensityCurve(*(arrays[f"{k}/density/{name}"] for name in names))
    laws, said = {}, ""
    if "law" in record:
        laws["Marchenko–Pastur mixture"] = Line(arrays[f"{k}/law/grid"], arrays[f"{k}/law/density"])
        said = (
            " The mixture is the law of a linear layer P X W with random weights of the same mean square (Arroyo et "
            f"al. 2025, theorem 3.2); the Kolmogorov–Smirnov distance to it is {record['law']['distance']:.3f}."
        )
    panel = panels.densities({"Lanczos quadrature": curve}, laws=laws, exact=arrays.get(f"{k}/singular_values"))
    bandwidth, zero = (float(arrays[f"{k}/density/{name}"]) for name in ("bandwidth", "zero_mass"))
    sentence = (
        f"Smoothed with bandwidth {bandwidth:.2g}; standard error at most {curve.standard_error.max():.1e}; {zero:.1%} "
        f"more are 0, because their rows or columns are.{said}"
    )
    return _view(figures, k, "density", panel, sentence)


def _modulus(figures: Path, record: Mapping[str, Any], arrays: Arrays) -> View:
    k = record["layer"]
    sentence = f"Eigenvalues: {record['eigenvalues']}. The largest modulus is {record['spectral_radius']:.4g}."
    return _view(figures, k, "modulus", draw.moduli({"eigenvalues": arrays[f"{k}/eigenvalues"]}), sentence)


def _plane(figures: Path, record: Mapping[str, Any], arrays: Arrays) -> View:
    k, values = record["layer"], arrays[f"{record['layer']}/eigenvalues"]
    complex_ones = int((np.abs(values.imag) > 1e-9 * np.abs(values).max(initial=0.0)).sum())
    outside = int((np.abs(values) > 1).sum())
    sentence = f"{outside} of {values.size:,} eigenvalues lie outside the unit circle; {complex_ones} are not real."
    return _view(figures, k, "plane", draw.plane({"eigenvalues": values}), sentence)


def _heat_map(figures: Path, record: Mapping[str, Any], arrays: Arrays) -> View:
    k = record["layer"]
    parts = tuple(arrays[f"{k}/block_norms/{name}"] for name in ("data", "indices", "indptr"))
    figure = draw.jacobian_blocks(sp.csr_matrix(parts, record["blocks"]))
    share = record["sparse"]["entries"] / max(record["shape"][0] * record["shape"][1], 1)
    sentence = f"Norm of ∂X⁽ˡ⁺¹⁾ᵥ/∂X⁽ˡ⁾ᵤ for all pairs of nodes; {share:.3%} of the Jacobian's entries are not 0."
    return View(sentence, None, save(figure, figures, f"layer-{k}-blocks"), {"layer": str(k)})


def _depth(figures: Path, depth: Mapping[str, Any], arrays: Arrays) -> Section:
    if "error" in depth:
        return Section("Through depth", [depth["error"]])
    exponents, errors = (arrays[f"depth/lyapunov/{name}"] for name in ("exponents", "standard_error"))
    line = Line(np.arange(1, exponents.size + 1), exponents, np.where(np.isfinite(errors), errors, np.nan))
    first = figure_block(
        figures,
        "depth-lyapunov",
        panels.exponents({"exponents": line}),
        "Lyapunov exponents",
        f"The network read as a recurrent system; the first is {exponents[0]:.3g} a layer. 0 is the edge of chaos.",
    )
    values = {n: arrays[f"depth/largest/{n}"] for n in ("values", "lower", "upper")}
    span = f"{values['values'][0]:.3g} to {values['values'][-1]:.3g}" if values["values"].size else "none"
    second = figure_block(
        figures,
        "depth-end-to-end",
        panels.spectra({"largest": Ranked(**values)}),
        "The whole network's Jacobian",
        f"Largest singular values of ∂X⁽ᴸ⁾/∂X⁽⁰⁾: {span}.",
    )
    distance, mean, high = (arrays[f"depth/sensitivity/{n}"] for n in ("distances", "mean", "maximum"))
    found = ByDistance(distance, mean, high, bound=arrays.get("depth/sensitivity/bound"))
    falls = f"The mean falls from {mean[0]:.2g} at distance {distance[0]} to {mean[-1]:.2g} at {distance[-1]}."
    third = figure_block(
        figures,
        "depth-sensitivity",
        panels.sensitivities({"‖∂Xᵥ⁽ᴸ⁾/∂Xᵤ⁽⁰⁾‖": found}),
        "Sensitivity against distance",
        f"{falls} Bound, its mean over the same pairs: {depth['bound']}.",
    )
    text = f"The range from X⁽⁰⁾ to X⁽ᴸ⁾ is {ranges.said(depth['range'])}. {ranges.ABOUT} Bars are one standard error."
    lines = {"X⁽⁰⁾ to X⁽ᴸ⁾": ranges.line("depth/influence", arrays)}
    fourth = ranges.figure(figures, "depth-influence", lines, "Influence against distance", text)
    return Section("Through depth", figures=[first, second, third, fourth])


def _range(value: float | None) -> str:
    return "unknown" if value is None or not np.isfinite(value) else f"{value:.3g}"


def _with_error(estimate: Mapping[str, float | None]) -> str:
    value, error = estimate["value"], estimate["error"]
    if value is None or not np.isfinite(value):
        return "unknown"
    shown = f"{value:.4g}"
    return shown if error is None or not error > 1e-6 * abs(value) else f"{shown} ± {error:.1g}"


_ERRORS: Sequence[str] = (
    "Means are over all singular values. Zero counts those up to max(M, N) eps σ₁, and log σ leaves them out (≥: those "
    "of zero rows and columns; few Lanczos steps do not tell others near 0 apart, and mean log σ has them in it). "
    "Exact spectra are shown without an error, it is below 1e-6 of the number; ± is one standard error over probes. "
    "Under dynamical isometry the mean of σ² is 1 and its variance 0.",
)
