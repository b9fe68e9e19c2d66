import numpy as np
import pytest

from jaxgnn.analysis.explained import of_probing, of_spectrum, of_study, of_training


def cell(remedy, score, loss, depth=8, c=None):
    return {
        "remedy": remedy,
        "depth": depth,
        "score_mean": score,
        "score_std": 0.0,
        "train_loss": loss,
        "bound_c": c,
        "constant_loss": 1.0,
        "failed_seeds": 0,
    }


def gradients(ratio, relative):
    norm = np.geomspace(ratio, 1.0, 5)[None]
    return {"initial/feature_grads/norm": norm, "initial/feature_grads/relative_mu": np.full((1, 5), relative)}


@pytest.mark.parametrize(
    ("ratio", "relative", "words"),
    [
        (1e-9, 0.8, "vanishing, not smoothing"),
        (1e9, 0.8, "exploding, not smoothing"),
        (1.0, 0.01, "smooth throughout, not vanishing"),
        (1.0, 0.8, "neither vanishing nor smoothing"),
    ],
)
def test_a_study_is_explained_by_the_plain_networks_gradient(ratio, relative, words):
    cells = [cell("none", 0.3, 1.0), cell("residual+frobenius", 0.8, 0.1, c=0.5)]
    said = of_study({"cells": cells}, {(8, c["remedy"]): gradients(ratio, relative) for c in cells})
    assert words in said.why
    assert "that of the constant predictor" in said.why
    assert "0.300" in said.happened
    assert said.next.startswith("residual+frobenius with c = 0.5")


def test_where_nothing_is_better_that_is_said():
    cells = [cell("none", 0.9, 0.1), cell("residual", 0.2, 0.9)]
    said = of_study({"cells": cells}, {(8, c["remedy"]): gradients(1.0, 0.8) for c in cells})
    assert said.next.startswith("None of what was tried (plain, residual) is better than plain")


@pytest.mark.parametrize(
    ("loss", "why"), [(1.0, "constant predictor"), (None, "diverged"), (9.0, "above"), (0.1, "more")]
)
def test_a_training_is_explained_by_its_loss(loss, why):
    row = {"train_loss": loss, "failed_seeds": int(loss is None), "scores": [0.1]}
    said = of_training({"rows": [row], "chosen": 0, "constant_loss": 1.0}, {})
    assert why in said.why
    assert ("--bound" in said.next) == (loss != 0.1)


def test_a_probe_is_explained_by_the_verdict_and_its_control():
    seen = {"words": "vanishing, not smoothing", "ratio": 1e-9, "relative_mu": 0.8}
    states = {"init": {"gcn": {"verdict": seen}, "mlp": {"verdict": seen}}}
    said = of_probing({"states": states, "graph": {"spans": ["span(1)", "span(1)"]}}, {})
    assert said.happened == "At initialisation GCN's gradient is: vanishing, not smoothing."
    assert "MLP, without the graph: the same: the graph alone is not why." in said.why
    assert "--residual identity" in said.next


@pytest.mark.parametrize(
    ("exponent", "words"), [(-0.5, "shrinks"), (0.5, "grow"), (-np.inf, "dies out"), (None, "dies out")]
)
def test_a_spectrum_is_explained_by_the_first_exponent(exponent, words):
    layers = [{"statistics": {"spectral": {"value": 1.2}}}]
    said = of_spectrum({"layers": layers, "depth": {"edge_of_chaos": exponent}}, {})
    assert words in said.why
    assert of_spectrum({"layers": layers, "depth": None}, {}).why == "The whole depth was not measured."
