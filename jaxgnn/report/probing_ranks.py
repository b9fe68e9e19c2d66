"""Ranks of features, gradients and errors, layer by layer, in numbers, in a sentence and for the page of a probe."""

from collections.abc import Mapping
from typing import Any

import numpy as np

SIGNALS = {"feature": "X⁽ˡ⁾", "feature_grad": "G⁽ˡ⁾", "error": "B⁽ˡ⁾"}
KINDS = ("effective", "stable")
ABOUT = (
    "The effective rank is exp(-Σ pᵢ log pᵢ), pᵢ = σᵢ/Σσⱼ of the singular values (Roy & Vetterli 2007), the stable "
    "rank ‖·‖²_F/‖·‖²₂ (the numerical rank of arXiv 2502.04591): 1 where all nodes' rows are multiples of one, at most "
    "the width; 0 of a signal that is 0. Neither changes with scale: unlike energies they tell features that "
    "collapse to few directions from features that vanish."
)


def ranks(results: Mapping[str, Any]) -> dict[str, Any]:
    """By state and network: medians over seeds at every layer, as feature_ranks/effective."""
    names = [f"{signal}_ranks/{kind}" for signal in SIGNALS for kind in KINDS]
    return {
        state: {model: {name: found["layers"][name]["median"] for name in names} for model, found in models.items()}
        for state, models in results["states"].items()
    }


def ranks_said(results: Mapping[str, Any]) -> str:
    """The effective ranks of features forward and gradients backward, in a sentence."""
    said = []
    for state, models in ranks(results).items():
        for model, found in models.items():
            X, G = found["feature_ranks/effective"], found["feature_grad_ranks/effective"]
            parts = f"X {shown(X[0])} at layer 0, {shown(X[-1])} at {len(X) - 1}; G {shown(G[-1])} there, {shown(G[0])}"
            said.append(f"{model}, {state}: {parts} at 0")
    return f"Effective ranks: {'. '.join(said)}."


def shown(value: float | None) -> str:
    return "not finite" if value is None or not np.isfinite(value) else f"{value:.3g}"
