"""The three lines at the top of a page, from what its run measured: what happened, why, what to try next.

Each function has the form of `jaxgnn.report.explanation.Explain`. They say what the verdict on the gradient
(`jaxgnn.analysis.verdict`), the loss and the exponents show, and no more; `jaxgnn diagnose` looks for the cause.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxgnn.analysis.verdict import CHANGED, verdict
from jaxgnn.host.spelling import counted
from jaxgnn.report.depth_study import headline as study_headline
from jaxgnn.report.explanation import Explanation
from jaxgnn.report.study_layers import network_name

_STUCK = 0.02  # of the constant predictor's loss: what is that near to it has learnt nothing more


def of_study(results: Mapping[str, Any], arrays: Mapping[tuple[int, str], Mapping[str, np.ndarray]]) -> Explanation:
    """The deepest plain network against the best remedy; why, by its gradient before training."""
    cells = results["cells"]
    depth = max(cell["depth"] for cell in cells)
    deepest = {cell["remedy"]: cell for cell in cells if cell["depth"] == depth}
    name = "none" if "none" in deepest else next(iter(deepest))
    cell, found = deepest[name], arrays[depth, name]
    gradient = {kind: found[f"initial/feature_grads/{kind}"] for kind in ("norm", "relative_mu") if _has(found, kind)}
    why = "Its gradient was not measured."
    if len(gradient) == 2:
        seen = verdict(
            {"feature_grads/norm": gradient["norm"], "feature_grads_off/relative_mu": gradient["relative_mu"]}
        )
        why = (
            f"Before training the {network_name(name)} network's gradient at layer 0 has {_times(seen['ratio'])} the "
            f"norm at the output and relative μ {_number(seen['relative_mu'])}: {seen['words']}."
        )
    if (stuck := _stuck(cell["train_loss"], cell["constant_loss"])) is not None:
        why += f" {stuck}"
    sign = 1 if cell.get("maximise", True) else -1
    known = [c for c in deepest.values() if c["score_mean"] is not None and np.isfinite(c["score_mean"])]
    best = max(known, key=lambda c: sign * c["score_mean"], default=cell)
    if best["remedy"] in ("none", "mlp"):
        tried = ", ".join(network_name(r) for r in deepest)
        then = (
            f"None of what was tried ({tried}) is better than {network_name(best['remedy'])} at this depth: use fewer "
        )
        then += "layers, or other remedies."
    else:
        c = "" if best["bound_c"] is None else f" with c = {best['bound_c']:g}"
        then = f"{best['remedy']}{c}, the best of what was tried at this depth."
    return Explanation(study_headline(cells), why, f"{then} {_DIAGNOSE}")


def of_training(results: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Explanation:
    """The chosen run's loss against the constant predictor's; the layers' Jacobians where they were measured."""
    del arrays
    row, constant = results["rows"][results["chosen"]], results["constant_loss"]
    failed = row.get("failed_seeds", 0)
    happened = (
        f"The final training loss is {_number(row['train_loss'])}; the best constant predictor has {constant:.4f}."
    )
    if failed:
        happened += f" {counted(failed, 'run')} of {len(row['scores'])} failed."
    norms = [one["initial"]["value"] for one in results.get("layer_norms", ()) if one["initial"]["value"] is not None]
    stuck = _stuck(row["train_loss"], constant)
    why = stuck or "It learns more than the constant predictor knows: nothing here says that it fails."
    if norms:
        low, high = _number(min(norms)), _number(max(norms))
        why += f" At initialisation the layers stretch by {low if low == high else f'{low} to {high}'} at most."
    if stuck or failed:
        then = f"A residual with a bound (--residual identity --bound frobenius --grid bound_c=0.25,0.5,1). {_DIAGNOSE}"
    else:
        then = "More seeds or steps to tell settings apart; --grid searches a setting by validation."
    return Explanation(happened, why, then)


def of_probing(results: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Explanation:
    """The verdict on the gradient of the network, and what its control without the graph does."""
    del arrays
    state = list(results["states"])[-1]
    (name, network), *others = results["states"][state].items()
    seen, when = network["verdict"], {"init": "At initialisation", "trained": "After training"}[state]
    happened = f"{when} {name.upper()}'s gradient is: {seen['words']}."
    why = (
        f"At layer 0 it has {_times(seen['ratio'])} the norm at the output, and {_number(seen['relative_mu'])} of it "
        f"is off {results['graph']['spans'][1]}."
    )
    for other, found in others:
        words = found["verdict"]["words"]
        said = "the same: the graph alone is not why" if words == seen["words"] else words
        why += f" {other.upper()}, without the graph: {said}."
    return Explanation(happened, why, f"{_next(seen)} {_DIAGNOSE}")


def of_spectrum(results: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Explanation:
    """Whether perturbations grow or die out through depth."""
    del arrays
    depth = results["depth"]
    norms = [r["statistics"]["spectral"]["value"] for r in results["layers"] if "error" not in r]
    happened = (
        f"The layers' largest singular values are {', '.join(map(_number, norms)) or 'not known: features overflow'}."
    )
    if depth is None or "error" in depth:
        return Explanation(happened, "The whole depth was not measured.", _DIAGNOSE)
    exponent = depth["edge_of_chaos"]
    if exponent is None or not np.isfinite(exponent):
        why, then = "Every perturbation dies out on the way.", _VANISHES
    elif exponent < 0:
        why, then = f"Through depth even the slowest perturbation shrinks, by exp({exponent:.3g}) a layer.", _VANISHES
    else:
        why, then = f"Through depth perturbations grow, by exp({exponent:.3g}) a layer.", _EXPLODES
    return Explanation(happened, why, f"{then} {_DIAGNOSE}")


_VANISHES = "A residual (--residual identity) or orthogonal weights (--init-weights orthogonal) keep the size."
_EXPLODES = "A bound on the weights (--bound frobenius, c by --grid bound_c=0.25,0.5,1), or smaller weights."
_DIAGNOSE = "`jaxgnn diagnose` looks for the cause."


def _next(seen: Mapping[str, Any]) -> str:
    if not np.isfinite(seen["ratio"]):
        return "Fewer layers, or other weights: there is no gradient to follow."
    if seen["ratio"] < 1 / CHANGED:
        return _VANISHES
    if seen["ratio"] > CHANGED:
        return _EXPLODES
    return "The gradient arrives: look for the failure elsewhere, if there is one."


def _stuck(loss: float | None, constant: float) -> str | None:
    if loss is None or not np.isfinite(loss):
        return "Training diverged."
    if abs(loss - constant) <= _STUCK * abs(constant):
        return f"Its training loss, {loss:.4f}, is that of the constant predictor: it has learnt nothing beyond it."
    return "Its training loss is above the constant predictor's." if loss > constant else None


def _has(found: Mapping[str, np.ndarray], kind: str) -> bool:
    return f"initial/feature_grads/{kind}" in found


def _times(ratio: float) -> str:
    return f"{_number(ratio)} times"


def _number(value: float | None) -> str:
    return "not finite" if value is None or not np.isfinite(value) else f"{value:.3g}"
