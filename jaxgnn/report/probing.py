"""The page of `jaxgnn probe`: features, gradients and errors by layer, their theory's lines, and during training."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jaxgnn.report import plots
from jaxgnn.report.page import FigureBlock, Section, Table, write_page
from jaxgnn.report.probing_plots import Curve, curves
from jaxgnn.report.probing_ranges import ABOUT as ABOUT_RANGE
from jaxgnn.report.probing_ranges import ranges_said
from jaxgnn.report.probing_ranks import ABOUT, SIGNALS, ranks_said
from jaxgnn.report.recorded import STYLES, recorded

HEADER = ("state", "network", "loss", "‖G⁽⁰⁾‖/‖G⁽ᴸ⁾‖", "off span at 0", "least", "at L", "linear recursion", "gradient")
Arrays = Mapping[str, np.ndarray]
STATES = {"init": "At initialisation", "trained": "After training"}


def write_probing(out: Path, results: Mapping[str, Any], arrays: Arrays, command: str) -> Path:
    """Writes figures/*.png and *.svg and index.html into `out`; returns the page's path."""
    figures = out / "figures"
    figures.mkdir(exist_ok=True)
    sections = [Section("All numbers", _how(results), Table(HEADER, table(results)))]
    for state in results["states"]:
        sections += _State(figures, state, results, arrays).sections()
    if any(name.startswith("record/") for name in arrays):
        sections.append(
            recorded(figures, list(results["training"]), arrays, results["config"]["probe"]["record_every"])
        )
    versions = ", ".join(f"{name} {version}" for name, version in results["versions"].items() if version)
    footer = [
        f"Made by: {command}",
        f"{versions}; {results['device']['kind']}; commit {results['commit'] or 'unknown'}",
    ]
    model, dataset = results["config"]["model"], results["config"]["data"]["dataset"]
    title = f"Backward errors of {model['layer'].upper()} with {model['depth']} layers on {dataset}"
    page = out / "index.html"
    lead = [results["headline"], ranks_said(results), ranges_said(results)]
    write_page(page, title, [text for text in lead if text], sections, footer)
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
            rows.append((state, name, _number(layers["loss"]["median"]), ratio, first, least, last, linear, v["words"]))
    return rows


class _State:
    """The figures of one state: in each, all networks."""

    def __init__(self, folder: Path, state: str, results: Mapping[str, Any], arrays: Arrays):
        self.folder, self.state, self.arrays = folder, state, arrays
        self.models, self.graph = results["states"][state], results["graph"]
        self.first = state == next(iter(results["states"]))

    def sections(self) -> list[Section]:
        where = STATES[self.state]
        lines, basis = ([_LINES], [_BASIS]) if self.first else ([], [])
        return [
            Section(f"{where}: sizes and lines", lines + self._lines_said(), figures=self._sizes()),
            Section(f"{where}: vanishing apart from smoothing", figures=self._separated()),
            Section(f"{where}: the errors' shape", basis, figures=self._shapes()),
            Section(f"{where}: ranks", [ABOUT] if self.first else [], figures=self._ranks()),
            *self._range(),
        ]

    def _sizes(self) -> list[FigureBlock]:
        symbols = {"features": "X⁽ˡ⁾", "feature_grads": "G⁽ˡ⁾", "errors": "B⁽ˡ⁾"}
        of_all = self.graph["components"] == 1
        blocks = []
        for signal, X in symbols.items():
            span = self.graph["spans"][0 if signal == "features" else 1]
            line = self._line("forward" if signal == "features" else "backward", of_errors=signal == "errors")
            drawn = self._of(f"{signal}/mu") | (line if of_all and span == "span(1)" else {})
            said = self._ends(f"{signal}/mu")
            blocks.append(
                self._block(f"{signal}-mu", drawn, f"μ and E of {X}", said, f"μ({X})", nodes=self.graph["nodes"])
            )
            if of_all and span == "span(1)":
                continue
            drawn, said = self._of(f"{signal}_off/mu") | line, self._ends(f"{signal}_off/mu")
            title = f"{X} off {span}" + ("" if of_all else ", largest component")
            blocks.append(self._block(f"{signal}-off-span", drawn, title, said, f"distance to {span}"))
        return blocks

    def _separated(self) -> list[FigureBlock]:
        relative = self._of("feature_grads_off/relative_mu") | self._of(
            "feature_grads/relative_mu", ", μ/‖G‖", thin=True
        )
        said = {
            name: self._ends(name) for name in ("feature_grads/norm", "feature_grads_off/relative_mu", "weight_grads")
        }
        norm, off, weights = said.values()
        norm += " A norm that falls says nothing about smoothness."
        off += " Blind to the norm. Thin: μ/‖G‖ of all nodes."
        span = self.graph["spans"][1]
        return [
            self._block(
                "gradients-norm", self._of("feature_grads/norm"), "Vanishing: the norm of G⁽ˡ⁾", norm, "‖G⁽ˡ⁾‖"
            ),
            self._block(
                "gradients-relative", relative, f"Smoothing: G⁽ˡ⁾ off {span} over its norm", off, "relative distance"
            ),
            self._block(
                "weight-gradients", self._of("weight_grads"), "Gradients of the weights", weights, "‖∂loss/∂W⁽ˡ⁾‖"
            ),
        ]

    def _shapes(self) -> list[FigureBlock]:
        parts = self._of("errors/mu", ": off the mean", colour=0) | self._of("error_mean", ": along the mean", colour=1)
        said = f"Along the mean: {self._ends('error_mean')} ‖B‖² is the sum of both squares."
        cosines = self._of("cosine", ": ⟨B⁽ˡ⁾, B⁽ˡ⁺¹⁾⟩", colour=0) | self._of("alignment", ": of BBᵀ", colour=2)
        cosines |= self._of("linear_cosine", ": with the recursion", colour=1)
        of_cosines = f"Of BBᵀ: {self._ends('alignment')} With the linear recursion: {self._ends('linear_cosine')}"
        linear = f"‖B⁽ˡ⁾ - (1d̄ᵀ)∗G⁽ˡ⁺¹⁾‖/‖B⁽ˡ⁾‖, d̄ the mean of ρ′(H⁽ˡ⁾) over the nodes: {self._ends('linear_distance')}"
        linear += " Where a line is missing it is 0: all nodes have the same ρ′."
        title = "Cosines of neighbouring layers' errors"
        distance = self._of("linear_distance")
        return [
            self._block("errors-mean", parts, "B⁽ˡ⁾ along its mean and off it", said, "‖1bᵀ‖ and μ(B⁽ˡ⁾)"),
            self._block("errors-cosine", cosines, title, of_cosines, "cosine", log=False),
            self._block("errors-linear", distance, "Distance to the linear recursion", linear, "relative distance"),
        ]

    def _ranks(self) -> list[FigureBlock]:
        blocks = []
        for signal, X in SIGNALS.items():
            name = f"{signal}_ranks"
            drawn = self._of(f"{name}/effective", ": effective", colour=0) | self._of(
                f"{name}/stable", ": stable", colour=1
            )
            said = f"Effective: {self._ends(f'{name}/effective')} Stable: {self._ends(f'{name}/stable')}"
            file = f"{signal.replace('_', '-')}-ranks"
            blocks.append(self._block(file, drawn, f"Ranks of {X}", said, f"rank of {X}"))
        return blocks

    def _range(self) -> list[Section]:
        if any(found["range"] is None for found in self.models.values()):
            return []
        drawn = self._of("range/range")
        by_layer = self._block("range", drawn, "Range of X⁽ˡ⁾", self._ends("range/range"), "range (edges)", log=False)
        lines = {}
        for i, name in enumerate(self.models):
            total = self.arrays[f"{self.state}/{name}/influence/total"]
            lines[name] = Curve(np.arange(total.shape[1]), total, i, STYLES[i])
        figure = curves(lines, xlabel="distance in the graph (edges)", ylabel="Tₕ, the mean over nodes", log=True)
        svg = plots.save(figure, self.folder, f"{self.state}-influence")
        said = "How much the logits of a node depend on X⁽⁰⁾ of all nodes at a distance."
        by_distance = FigureBlock(svg, "Influence against distance", said)
        about = [ABOUT_RANGE] if self.first else []
        return [Section(f"{STATES[self.state]}: range", about, figures=[by_layer, by_distance])]

    def _of(self, quantity: str, label: str = "", *, colour: int | None = None, thin: bool = False) -> dict[str, Curve]:
        """A quantity of every network; thin lines are medians alone."""
        found = {}
        for i, name in enumerate(self.models):
            values = self.arrays[f"{self.state}/{name}/{quantity}"]
            values = np.median(values, axis=0, keepdims=True) if thin else values
            number = i if colour is None else colour
            found[name + label] = Curve(np.arange(values.shape[1]), values, number, STYLES[i], 0.8 if thin else 1.6)
        return found

    def _line(self, way: str, *, of_errors: bool) -> dict[str, Curve]:
        """The theory's lines; that of B^(l) is that of G^(l+1), of which it is rho'(H^(l)) times."""
        found = {}
        for i, name in enumerate(self.models):
            line = self.models[name]["lines"][way]
            if f"{self.state}/{name}/{way}_line" not in self.arrays or (of_errors and not line["of_errors"]):
                continue
            values = self.arrays[f"{self.state}/{name}/{way}_line"][:, 1 if of_errors else 0 :]
            label = f"{name}: {'bound' if line['holds'] else 'line, no bound'}"
            found[label] = Curve(np.arange(values.shape[1]), values, (6, 3)[i], ":", 1.3)
        return found

    def _block(
        self, name: str, lines: Mapping[str, Curve], title: str, sentence: str, ylabel: str, *, log=True, nodes=None
    ) -> FigureBlock:
        figure = curves(lines, xlabel="layer", ylabel=ylabel, log=log, nodes=nodes)
        return FigureBlock(plots.save(figure, self.folder, f"{self.state}-{name}"), title, sentence)

    def _ends(self, quantity: str) -> str:
        """First and last layer's medians, network by network."""
        medians = {name: found["layers"][quantity]["median"] for name, found in self.models.items()}
        said = (f"{n}: {_number(m[0])} at layer 0, {_number(m[-1])} at {len(m) - 1}" for n, m in medians.items() if m)
        return ("; ".join(said) or "there is none, in one layer") + "."

    def _lines_said(self) -> list[str]:
        said = []
        for name, found in self.models.items():
            parts = []
            for way, line in found["lines"].items():
                if "worst_ratio" not in line:
                    parts.append(f"{way}, {line['why']}")
                    continue
                kind = "a bound" if line["holds"] else f"drawn, but no bound here ({line['why']})"
                parts.append(f"{way}, {kind}: the largest measured value is {_number(line['worst_ratio'])} of it")
            said.append(f"{name.upper()}: {'; '.join(parts)}.")
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
    said = [
        f"{graph['nodes']:,} nodes, {graph['edges']:,} directed edges, P: {graph['normalisation']}. {lam} "
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
        failed = f"; {found['failed_seeds']} seeds failed" if found["failed_seeds"] else ""
        said.append(
            f"{name.upper()} after {config['train']['steps']} steps: training loss {losses}, the best constant "
            f"predictor's {results['constant_loss']:.4f}; test score at the best validation score {scores}{failed}."
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


_LINES = (
    "The dotted lines are, forward, the distance of X⁽⁰⁾ to the span times the product over the layers j < l of "
    "αⱼ + λ sⱼ, and backward that of G⁽ᴸ⁾ times the product over j ≥ l; sⱼ = ‖W⁽ʲ⁾‖₂ after the bound, αⱼ = 0 without "
    "a residual and 1 with the identity (DeepGNN.dynamics has the others). The MLP has P = I and λ = 1. Source: Park & "
    "Kim 2024; Keriven 2025."
)
_BASIS = (
    "The cosine of B⁽ˡ⁾ and B⁽ˡ⁺¹⁾ is not free of the basis: where hidden features are rotated (permuted, unless "
    "ρ = id), W⁽ˡ⁾ → W⁽ˡ⁾Q and W⁽ˡ⁺¹⁾ → QᵀW⁽ˡ⁺¹⁾, the network stays what it is, B⁽ˡ⁾ becomes B⁽ˡ⁾Q and B⁽ˡ⁺¹⁾ stays; "
    "with random W it is near 0 whatever the nodes' errors do. Free of it are the cosine of BBᵀ, which compares which "
    "nodes' errors are alike, and the cosine of B⁽ˡ⁾ with what the linear recursion makes of B⁽ˡ⁺¹⁾, (1d̄ᵀ)∗G⁽ˡ⁺¹⁾: W "
    "acts on both. There is no linear recursion where B⁽ˡ⁾ is no entrywise multiple of G⁽ˡ⁺¹⁾: with a norm, a gate, or "
    "an SSM that mixes features."
)
