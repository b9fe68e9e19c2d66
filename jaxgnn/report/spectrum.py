"""The page of `jaxgnn spectrum`: every layer's spectra, and what the network does to perturbations through depth."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp

from jaxgnn.report import plots, ranges
from jaxgnn.report import spectrum_plots as draw
from jaxgnn.report.page import FigureBlock, Section, Table, write_page

HEADER = ("layer", "method", "σ₁", "largest |λ|", "mean σ²", "variance of σ²", "mean log σ", "zero", "range", "seconds")
Arrays = Mapping[str, np.ndarray]


def write_spectrum(out: Path, results: Mapping[str, Any], arrays: Arrays, command: str) -> Path:
    """Writes figures/*.png and *.svg and index.html into `out`; returns the page's path."""
    figures = out / "figures"
    figures.mkdir(exist_ok=True)
    sections = [Section("All numbers", _ERRORS, Table(HEADER, table(results)))]
    sections += [_layer(figures, record, arrays) for record in results["layers"]]
    if results["depth"] is not None:
        sections.append(_depth(figures, results["depth"], arrays))
    config = results["config"]
    versions = ", ".join(f"{name} {version}" for name, version in results["versions"].items() if version)
    footer = [
        f"Made by: {command}",
        f"{versions}; {results['device']['kind']}; commit {results['commit'] or 'unknown'}",
    ]
    model = config["model"]
    when = "trained" if config["spectrum"]["trained"] else "at initialisation"
    title = f"Jacobian spectra of {model['layer'].upper()} with {model['depth']} layers on {config['data']['dataset']}"
    page = out / "index.html"
    write_page(page, f"{title}, {when}", [headline(results)], sections, footer)
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


def _layer(figures: Path, record: Mapping[str, Any], arrays: Arrays) -> Section:
    k = record["layer"]
    if "error" in record:
        return Section(f"Layer {k}", [record["error"]])
    parts = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in record["seconds_of"].items())
    said = [
        f"{record['method'].capitalize()}, {record['why']}. Estimated beforehand: {record['cost']}; it took "
        f"{record['seconds']:.1f} s, of which {parts}. {record['accuracy'].capitalize()}.",
        f"The sparse Jacobian has {record['sparse']['entries']:,} entries; on random vectors it is "
        f"{record['sparse']['relative_error']:.1e} off (pattern: {record['sparse']['pattern']}).",
    ]
    said.append(f"Range: {ranges.said(record['range'])}.")
    blocks = [
        _singular_values(figures, record, arrays),
        _density(figures, record, arrays),
        _modulus(figures, record, arrays),
        _plane(figures, record, arrays),
        _heat_map(figures, record, arrays),
    ]
    return Section(f"Layer {k}", said, figures=blocks)


def _singular_values(figures: Path, record: Mapping[str, Any], arrays: Arrays) -> FigureBlock:
    k = record["layer"]
    if f"{k}/singular_values" in arrays:
        values = arrays[f"{k}/singular_values"]
        lines, sentence = {"all": draw.Ranked(values)}, f"All {values.size:,}, from {values[0]:.4g} down."
    else:
        lines, parts = {}, []
        for which in ("largest", "smallest"):
            if f"{k}/{which}/values" not in arrays:
                continue
            values, lower, upper = (arrays[f"{k}/{which}/{name}"] for name in ("values", "lower", "upper"))
            lines[f"{which} {values.size}"] = draw.Ranked(values, lower, upper)
            proved = "certified" if arrays[f"{k}/{which}/certified"].all() else "not certified from above"
            if values.size:
                parts.append(f"{which} {values.size}: {values[0]:.4g} to {values[-1]:.4g}, {proved}")
        sentence = f"The {'; the '.join(parts)}; bars are bounds."
    figure = draw.singular_values_by_rank(lines, xlabel="rank, from its end of the spectrum")
    return FigureBlock(plots.save(figure, figures, f"layer-{k}-singular-values"), "Singular values", sentence)


def _density(figures: Path, record: Mapping[str, Any], arrays: Arrays) -> FigureBlock:
    k = record["layer"]
    names = ("grid", "density", "standard_error", "bias")
    curve = draw.DensityCurve(*(arrays[f"{k}/density/{name}"] for name in names))
    laws, said = {}, ""
    if "law" in record:
        laws["Marchenko–Pastur mixture"] = plots.Line(arrays[f"{k}/law/grid"], arrays[f"{k}/law/density"])
        said = (
            " The mixture is the law of a linear layer P X W with random weights of the same mean square (Arroyo et "
            f"al. 2025, theorem 3.2); the Kolmogorov–Smirnov distance to it is {record['law']['distance']:.3f}."
        )
    figure = draw.singular_value_density(
        {"Lanczos quadrature": curve}, laws=laws, exact=arrays.get(f"{k}/singular_values")
    )
    bandwidth, zero = (float(arrays[f"{k}/density/{name}"]) for name in ("bandwidth", "zero_mass"))
    sentence = (
        f"Smoothed with bandwidth {bandwidth:.2g}; standard error at most {curve.standard_error.max():.1e}; {zero:.1%} "
        f"more are 0, because their rows or columns are.{said}"
    )
    return FigureBlock(plots.save(figure, figures, f"layer-{k}-density"), "Density of singular values", sentence)


def _modulus(figures: Path, record: Mapping[str, Any], arrays: Arrays) -> FigureBlock:
    k = record["layer"]
    figure = draw.eigenvalue_moduli({f"layer {k}": arrays[f"{k}/eigenvalues"]})
    sentence = f"Eigenvalues: {record['eigenvalues']}. The largest modulus is {record['spectral_radius']:.4g}."
    return FigureBlock(plots.save(figure, figures, f"layer-{k}-modulus"), "Modulus of eigenvalues", sentence)


def _plane(figures: Path, record: Mapping[str, Any], arrays: Arrays) -> FigureBlock:
    k, values = record["layer"], arrays[f"{record['layer']}/eigenvalues"]
    figure = draw.eigenvalues_in_plane({f"layer {k}": values})
    complex_ones = int((np.abs(values.imag) > 1e-9 * np.abs(values).max(initial=0.0)).sum())
    outside = int((np.abs(values) > 1).sum())
    sentence = f"{outside} of {values.size:,} eigenvalues lie outside the unit circle; {complex_ones} are not real."
    return FigureBlock(plots.save(figure, figures, f"layer-{k}-plane"), "Eigenvalues in the complex plane", sentence)


def _heat_map(figures: Path, record: Mapping[str, Any], arrays: Arrays) -> FigureBlock:
    k = record["layer"]
    parts = tuple(arrays[f"{k}/block_norms/{name}"] for name in ("data", "indices", "indptr"))
    figure = draw.jacobian_blocks(sp.csr_matrix(parts, record["blocks"]))
    share = record["sparse"]["entries"] / max(record["shape"][0] * record["shape"][1], 1)
    sentence = f"Norm of ∂X⁽ˡ⁺¹⁾ᵥ/∂X⁽ˡ⁾ᵤ for all pairs of nodes; {share:.3%} of the Jacobian's entries are not 0."
    return FigureBlock(plots.save(figure, figures, f"layer-{k}-blocks"), "The Jacobian by block", sentence)


def _depth(figures: Path, depth: Mapping[str, Any], arrays: Arrays) -> Section:
    if "error" in depth:
        return Section("Through depth", [depth["error"]])
    exponents, errors = (arrays[f"depth/lyapunov/{name}"] for name in ("exponents", "standard_error"))
    line = plots.Line(np.arange(1, exponents.size + 1), exponents, np.where(np.isfinite(errors), errors, np.nan))
    svg = plots.save(draw.lyapunov_exponents({"exponents": line}), figures, "depth-lyapunov")
    first = FigureBlock(
        svg,
        "Lyapunov exponents",
        f"The network read as a recurrent system; the first is {exponents[0]:.3g} a layer. 0 is the edge of chaos.",
    )
    values = {n: arrays[f"depth/largest/{n}"] for n in ("values", "lower", "upper")}
    svg = plots.save(draw.singular_values_by_rank({"largest": draw.Ranked(**values)}), figures, "depth-end-to-end")
    span = f"{values['values'][0]:.3g} to {values['values'][-1]:.3g}" if values["values"].size else "none"
    second = FigureBlock(svg, "The whole network's Jacobian", f"Largest singular values of ∂X⁽ᴸ⁾/∂X⁽⁰⁾: {span}.")
    distance, mean, high = (arrays[f"depth/sensitivity/{n}"] for n in ("distances", "mean", "maximum"))
    bound = arrays.get("depth/sensitivity/bound")
    svg = plots.save(
        draw.sensitivity_by_distance({"‖∂Xᵥ⁽ᴸ⁾/∂Xᵤ⁽⁰⁾‖": draw.ByDistance(distance, mean, high, bound=bound)}),
        figures,
        "depth-sensitivity",
    )
    falls = f"The mean falls from {mean[0]:.2g} at distance {distance[0]} to {mean[-1]:.2g} at {distance[-1]}."
    said = f"{falls} Bound, its mean over the same pairs: {depth['bound']}."
    third = FigureBlock(svg, "Sensitivity against distance", said)
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
