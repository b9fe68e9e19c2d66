"""Causes that a network fails of, each by one number of its signals and a threshold.

Numbers are scale-free; thresholds were set on one half of the networks with planted causes that
`jaxgnn reproduce questions/diagnosis` makes, and are judged by the other half.
"""

from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

import numpy as np
from scipy import stats

from jaxgnn.diagnosis.signals import Signals

Name = Literal[
    "forward_collapse",
    "rank_collapse",
    "gradient_vanishing",
    "gradient_smoothing",
    "expansion",
    "over_squashing",
    "under_reach",
    "dead_readout",
    "bound_too_small",
    "dead_units",
    "depth_not_needed",
    "healthy",
]
WORKS = 0.5  # a network whose loss is below so much of the constant predictor's is not said to fail


class Finding(NamedTuple):
    """What was found of one cause.

    Attributes:
      cause: its name.
      value: the number, over networks its median; NaN where it was not measured.
      low, high: the lowest and the highest over networks.
      threshold: that it is compared with.
      side: "below" or "above", where the cause holds.
      layer: the first layer where it does; None where it does not, or has no layer.
      holds: True, False, or None for not asked.
      means: what the number is, in words.
    """

    cause: str
    value: float
    low: float
    high: float
    threshold: float
    side: Literal["below", "above"]
    layer: int | None
    holds: bool | None
    means: str

    @property
    def severity(self) -> float:
        """Decades beyond the threshold; more where what is measured is 0 or not finite."""
        if not self.holds:
            return -np.inf
        a, b = (self.threshold, self.value) if self.side == "below" else (self.value, self.threshold)
        ratio = a / b if b else np.inf
        return float(np.log10(ratio)) if np.isfinite(ratio) and ratio > 0 else 300.0


class Rule(NamedTuple):
    """One cause: signals -> the number by layer, [k], which holds where one entry is beyond the threshold."""

    cause: str
    by_layer: Callable[[Signals, int], np.ndarray]
    threshold: float
    side: Literal["below", "above"]
    means: str


def _relative_gradient(s: Signals, classes: int) -> np.ndarray:
    with np.errstate(all="ignore"):  # G^(L) = 0: nothing is known of its way back
        return s.grad_norm / s.grad_norm[-1]


def _growth(s: Signals, classes: int) -> np.ndarray:
    """||G^(l)|| / ||G^(L)||, and where features overflow infinity."""
    ratio = _relative_gradient(s, classes)
    return np.where(np.isfinite(s.feature_norm) & np.isfinite(s.grad_norm), ratio, np.inf)


def _rank(s: Signals, classes: int) -> np.ndarray:
    """(effective rank - 1) / (classes - 1), where the nodes are still apart."""
    apart = s.feature_off >= THRESHOLDS["forward_collapse"]
    return np.where(apart, (s.feature_rank - 1) / max(classes - 1, 1), np.inf)[1:]


def _readout(s: Signals, classes: int) -> np.ndarray:
    """How far the readout is from stationary, or what it passes back; infinite at another than the constant loss."""
    if not abs(s.loss - s.constant_loss) <= 0.02 * abs(s.constant_loss) + 1e-12:
        return np.array([np.inf])
    return np.array([np.nanmin([np.nanmax([s.readout_gradient, s.error_mean]), s.passed])])


THRESHOLDS: dict[str, float] = {
    "dead_readout": 1e-2,
    "dead_units": 0.9,
    "expansion": 1e3,
    "forward_collapse": 1e-2,
    "rank_collapse": 0.05,
    "gradient_vanishing": 1e-3,
    "gradient_smoothing": 1e-2,
}
RULES = tuple(
    Rule(name, by_layer, THRESHOLDS[name], side, means)
    for name, by_layer, side, means in (
        (
            "dead_readout",
            _readout,
            "below",
            "relative gradient of the readout, or ‖G⁽ᴸ⁾‖ / ‖E‖, at the constant predictor's loss",
        ),
        ("dead_units", lambda s, c: s.dead, "above", "share of units whose slope is 0 at every node"),
        ("expansion", _growth, "above", "‖G⁽ˡ⁾‖ / ‖G⁽ᴸ⁾‖, largest"),
        ("forward_collapse", lambda s, c: s.feature_off, "below", "‖X⁽ˡ⁾ off equal rows‖ / ‖X⁽ˡ⁾‖, smallest"),
        ("rank_collapse", _rank, "below", "(effective rank of X⁽ˡ⁾ − 1) / (classes − 1), smallest"),
        ("gradient_vanishing", _relative_gradient, "below", "‖G⁽ˡ⁾‖ / ‖G⁽ᴸ⁾‖, smallest"),
        ("gradient_smoothing", lambda s, c: s.grad_off, "below", "‖G⁽ˡ⁾ off equal rows‖ / ‖G⁽ˡ⁾‖, smallest"),
    )
)
# Where two causes are as severe, what makes the other comes first.
ORDER = (*THRESHOLDS, "under_reach", "over_squashing", "bound_too_small", "depth_not_needed")


def from_signals(networks: list[Signals], classes: int) -> dict[str, Finding]:
    """What every rule finds over networks of one kind (seeds)."""
    return {rule.cause: _found(rule, networks, classes) for rule in RULES}


def _found(rule: Rule, networks: list[Signals], classes: int) -> Finding:
    below = rule.side == "below"
    curves = np.stack([rule.by_layer(s, classes) for s in networks])
    worst = np.where(np.isnan(curves), np.inf if below else -np.inf, curves)
    values = worst.min(axis=1) if below else worst.max(axis=1)
    if np.isnan(curves).all():
        return Finding(rule.cause, np.nan, np.nan, np.nan, rule.threshold, rule.side, None, None, rule.means)
    value = float(np.median(values))
    beyond = np.median(worst, axis=0)
    where = np.flatnonzero(beyond < rule.threshold if below else beyond > rule.threshold)
    holds = bool(value < rule.threshold if below else value > rule.threshold)
    # Backward the cause begins at the last layer that is beyond the threshold.
    backward = rule.cause in ("expansion", "gradient_vanishing", "gradient_smoothing")
    layer = int(where[-1] if backward else where[0]) if holds and where.size else None
    return Finding(
        rule.cause, value, float(values.min()), float(values.max()), rule.threshold, rule.side, layer, holds, rule.means
    )


def works(networks: list[Signals]) -> bool:
    """Whether the networks already do better than the constant predictor by far."""
    return bool(np.median([s.loss / s.constant_loss if s.constant_loss > 0 else np.inf for s in networks]) < WORKS)


def named(findings: Mapping[str, Finding], *, working: bool) -> tuple[str, list[str]]:
    """The cause, and the others that hold: by severity in decades, dead ends first.

    Where features have collapsed, a dead readout, dead units and errors that smooth are consequences (Keriven 2025);
    where signals expand, units that are off at every node are.
    """
    holding = [name for name in ORDER if name in findings and findings[name].holds]
    if working:  # what trained in spite of it is no cause of failing
        holding = [name for name in holding if name in ("under_reach", "over_squashing", "depth_not_needed")]
    if not holding:
        return "healthy", []
    follows = {"forward_collapse": ("dead_readout", "dead_units", "gradient_smoothing"), "expansion": ("dead_units",)}
    first = [name for name in holding if not any(name in follows.get(other, ()) for other in holding)]
    ends = [name for name in ("dead_readout", "dead_units") if name in first]
    cause = ends[0] if ends else max(first, key=lambda name: (findings[name].severity, -ORDER.index(name)))
    return cause, [name for name in holding if name != cause]


def interval(values: Any) -> tuple[float, float, float]:
    """Mean and Student's 95% interval of differences; NaN ends for fewer than two."""
    values = np.asarray(values, np.float64)
    if values.size < 2:
        return float(values.mean()) if values.size else np.nan, np.nan, np.nan
    half = stats.t.ppf(0.975, values.size - 1) * values.std(ddof=1) / np.sqrt(values.size)
    return float(values.mean()), float(values.mean() - half), float(values.mean() + half)
