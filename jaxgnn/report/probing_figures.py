"""The figures of a probe: in each all networks, before and after training, by layer."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jaxgnn.report import panels
from jaxgnn.report.page import FigureBlock, figure_block
from jaxgnn.report.panels import AFTER, BEFORE, Curve
from jaxgnn.report.probing_ranks import SIGNALS

_STATES = {"init": (BEFORE, ":"), "trained": (AFTER, "-")}
_THEORY = "line of theory"
_SYMBOLS = {"features": "X⁽ˡ⁾", "feature_grads": "G⁽ˡ⁾", "errors": "B⁽ˡ⁾"}


class Figures:
    """Makes the figures; colours are networks, dotted is before training, dashed is theory."""

    def __init__(self, folder: Path, results: Mapping[str, Any], arrays: Mapping[str, np.ndarray]):
        self.folder, self.arrays = folder, arrays
        self.states, self.graph = results["states"], results["graph"]
        self.names = list(next(iter(self.states.values())))

    def sizes(self) -> list[FigureBlock]:
        """mu of all signals, and their distance to the span where it is another."""
        whole = self.graph["components"] == 1
        blocks = []
        for signal, X in _SYMBOLS.items():
            span = self.graph["spans"][0 if signal == "features" else 1]
            line = self._lines("forward" if signal == "features" else "backward", of_errors=signal == "errors")
            of_all = whole and span == "span(1)"
            file, said = signal.replace("_", "-"), self._ends(f"{signal}/mu")
            drawn = self._curves(f"{signal}/mu") | (line if of_all else {})
            title = f"μ and E of {X}"
            blocks.append(self._block(f"{file}-mu", drawn, title, said, f"μ({X})", nodes=self.graph["nodes"]))
            if of_all:
                continue
            drawn, said = self._curves(f"{signal}_off/mu") | line, self._ends(f"{signal}_off/mu")
            title = f"{X} off {span}" + ("" if whole else ", largest component")
            blocks.append(self._block(f"{file}-off-span", drawn, title, said, f"distance to {span}"))
        return blocks

    def separated(self) -> list[FigureBlock]:
        """The gradient's norm; how smooth it is, off the span and off equal rows; the gradients of the weights."""
        span = self.graph["spans"][1]
        return [
            self._plain("gradients-norm", "feature_grads/norm", "Vanishing: the norm of G⁽ˡ⁾", "‖G⁽ˡ⁾‖"),
            self._part(
                "gradients-relative",
                "feature_grads_off/relative_mu",
                f"Smoothing: G⁽ˡ⁾ off {span} over its norm",
                f"distance to {span} / ‖G⁽ˡ⁾‖",
            ),
            self._part(
                "gradients-mu", "feature_grads/relative_mu", "Smoothing: relative μ of G⁽ˡ⁾", "μ(G⁽ˡ⁾) / ‖G⁽ˡ⁾‖"
            ),
            self._plain("weight-gradients", "weight_grads", "Gradients of the weights", "‖∂loss/∂W⁽ˡ⁾‖"),
        ]

    def shapes(self) -> list[FigureBlock]:
        """What of the errors is along their mean, how alike neighbouring layers' are, how linear the recursion is."""
        linear = (
            f"d̄ is the mean of ρ′(H⁽ˡ⁾) over the nodes: {self._ends('linear_distance')} 0 where all have the same ρ′."
        )
        both = "‖B‖² is the sum of both squares."
        return [
            self._plain("errors-mean", "error_mean", "B⁽ˡ⁾ along its mean", "‖1bᵀ‖", more=both, scale="parts"),
            self._plain("errors-off-mean", "errors/mu", "B⁽ˡ⁾ off its mean", "μ(B⁽ˡ⁾)", more=both, scale="parts"),
            self._cosine("errors-cosine", "cosine", "Cosine of B⁽ˡ⁾ and B⁽ˡ⁺¹⁾"),
            self._cosine("errors-alignment", "alignment", "Cosine of BBᵀ of neighbouring layers", said="Of BBᵀ: "),
            self._cosine("errors-linear-cosine", "linear_cosine", "Cosine with the linear recursion"),
            self._block(
                "errors-linear",
                self._curves("linear_distance"),
                "Distance to the linear recursion",
                linear,
                "‖B⁽ˡ⁾ - (1d̄ᵀ)∗G⁽ˡ⁺¹⁾‖/‖B⁽ˡ⁾‖",
            ),
        ]

    def ranks(self) -> list[FigureBlock]:
        """Effective and stable ranks of all signals."""
        blocks = []
        for signal, X in SIGNALS.items():
            for kind in ("effective", "stable"):
                file = f"{signal.replace('_', '-')}-{kind}-rank"
                title = f"{kind.capitalize()} rank of {X}"
                blocks.append(self._plain(file, f"{signal}_ranks/{kind}", title, f"rank of {X}", scale="ranks"))
        return blocks

    def ranges(self) -> list[FigureBlock]:
        """How far what the logits depend on is, by layer, and how much they do by distance; [] where not measured."""
        if any(found["range"] is None for models in self.states.values() for found in models.values()):
            return []
        by_layer = self._block(
            "range", self._curves("range/range"), "Range of X⁽ˡ⁾", self._ends("range/range"), "range (edges)", log=False
        )
        said = "How much the logits of a node depend on X⁽⁰⁾ of all nodes at a distance."
        lines, label = self._curves("influence/total"), "Tₕ, the mean over nodes"
        panel = panels.curves(lines, xlabel="distance in the graph (edges)", ylabel=label, log=True)
        return [by_layer, figure_block(self.folder, "influence", panel, "Influence against distance", said)]

    def _plain(self, file: str, name: str, title: str, label: str, *, more: str = "", scale: str = "") -> FigureBlock:
        said = f"{self._ends(name)} {more}".rstrip()
        return self._block(file, self._curves(name), title, said, label, scale=scale)

    def _part(self, file: str, name: str, title: str, label: str) -> FigureBlock:
        options = {"limits": panels.PART, "scale": "relative"}
        return self._block(file, self._curves(name), title, self._ends(name), label, **options)

    def _cosine(self, file: str, name: str, title: str, said: str = "") -> FigureBlock:
        options = {"log": False, "limits": panels.Limits(-1.0, 1.0), "scale": "cosine"}
        return self._block(file, self._curves(name), title, said + self._ends(name), "cosine", **options)

    def _block(
        self,
        file: str,
        lines: Mapping[str, Curve],
        title: str,
        sentence: str,
        label: str,
        *,
        log: bool = True,
        nodes: int | None = None,
        limits: panels.Limits = panels.ANY,
        scale: str = "",
    ) -> FigureBlock:
        panel = panels.curves(lines, xlabel="layer", ylabel=label, log=log, nodes=nodes, limits=limits)
        return figure_block(self.folder, file, panel, title, sentence, scale=scale)

    def _curves(self, quantity: str) -> dict[str, Curve]:
        """A quantity of every network and state."""
        found = {}
        for state in self.states:
            words, dash = _STATES[state]
            for i, name in enumerate(self.names):
                values, label = self.arrays[f"{state}/{name}/{quantity}"], self._label(name, words)
                found[label] = Curve(np.arange(values.shape[1]), values, i, dash, group=name.upper(), variants=(words,))
        return found

    def _lines(self, way: str, *, of_errors: bool) -> dict[str, Curve]:
        """The theory's lines; that of B^(l) is that of G^(l+1), of which it is rho'(H^(l)) times."""
        found = {}
        for state, models in self.states.items():
            words, _ = _STATES[state]
            for i, name in enumerate(self.names):
                line = models[name]["lines"][way]
                if f"{state}/{name}/{way}_line" not in self.arrays or (of_errors and not line["of_errors"]):
                    continue
                values = self.arrays[f"{state}/{name}/{way}_line"][:, 1 if of_errors else 0 :]
                label = f"{self._label(name, words)}: {'bound' if line['holds'] else 'line, no bound'}"
                look = {"group": name.upper(), "variants": (words, _THEORY)}
                found[label] = Curve(np.arange(values.shape[1]), values, i, "--", 1.0, **look)
        return found

    def _label(self, name: str, words: str) -> str:
        return f"{name.upper()}, {words}" if len(self.states) > 1 else name.upper()

    def _ends(self, quantity: str) -> str:
        """First and last layer's medians, state by state and network by network."""
        said = []
        for state, models in self.states.items():
            medians = {name: found["layers"][quantity]["median"] for name, found in models.items()}
            parts = [
                f"{n.upper()} {_number(m[0])} at layer 0, {_number(m[-1])} at {len(m) - 1}"
                for n, m in medians.items()
                if m
            ]
            if parts:
                said.append(f"{_STATES[state][0].capitalize()}: {'; '.join(parts)}.")
        return " ".join(said) or "there is none, in one layer."


def _number(value: Any) -> str:
    return "not finite" if value is None or not np.isfinite(value) else f"{value:.3g}"
