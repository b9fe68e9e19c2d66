"""What a claim says of numbers: effects with a 95% interval and a threshold, and the verdict that follows from them."""

from collections.abc import Sequence
from typing import Literal, NamedTuple, get_args

import numpy as np
from jaxtyping import Float
from scipy import stats

from jaxgnn.evidence.finding import Verdict
from jaxgnn.evidence.intervals import Interval, mean_interval
from jaxgnn.report.page import Table

Side = Literal["above", "below"]
Outcome = Literal["holds", "fails", "undecided"]
Scale = Literal["literature", "small"]
Basis = Literal["text", "caption", "theorem"]
SHOWN = 3  # effects of each outcome that a reason writes out


class Effect(NamedTuple):
    """One number that a claim is about.

    Attributes:
      name: what it is, with its arms, data and unit.
      found: the estimate and its 95% interval.
      threshold: that the whole interval must be beyond.
      side: "above" or "below" it.
    """

    name: str
    found: Interval
    threshold: float
    side: Side = "above"

    @property
    def outcome(self) -> Outcome:
        """holds where the whole interval is on the side that is claimed, fails where none of it is.

        Without an interval (one run, or a value that is not finite) nothing is decided.
        """
        low, high = (self.found.low, self.found.high) if self.side == "above" else (-self.found.high, -self.found.low)
        threshold = self.threshold if self.side == "above" else -self.threshold
        if low > threshold:
            return "holds"
        return "fails" if high <= threshold else "undecided"

    def row(self, digits: int = 3) -> tuple[str, ...]:
        """Name, value with its interval, threshold and outcome."""
        return self.name, self.found.text(digits), f"{self.side} {self.threshold:g}", self.outcome


class Judgement(NamedTuple):
    """A verdict, the effects that it follows from in a sentence, and all of them as a table."""

    verdict: Verdict
    reason: str
    table: Table


def judge(
    effects: Sequence[Effect], *, scale: Scale, basis: Basis = "text", controls: Sequence[Effect] = ()
) -> Judgement:
    """The verdict on a claim that is all of these effects.

    scale: "reproduced" needs settings at the literature's order of size; with small ones a claim that holds is
    "consistent at small scale". basis: what the claim was read in; a theorem's "holds by theorem, measured", and of a
    figure of which only the caption was read the reason says so. controls: what is left of the effects beside a
    simpler arm; a claim that holds is "explained by its control" where one fails, "not told from its control" where one
    is undecided.
    """
    holding = "reproduced" if scale == "literature" else "consistent at small scale"
    if basis == "theorem":
        holding = "holds by theorem, measured"
    outcomes, beside = [effect.outcome for effect in effects], [effect.outcome for effect in controls]
    if outcomes and set(outcomes) == {"holds"}:
        verdict = holding
        if set(beside) - {"holds"}:
            verdict = "explained by its control" if "fails" in beside else "not told from its control"
    elif "holds" in outcomes:
        verdict = "partly"
    else:
        verdict = "not reproduced" if "fails" in outcomes else "undecided"
    read = "Caption only: the text was not read. " if basis == "caption" else ""
    said = f"{read}{_counted(effects)}" + (f" Beside the control {_counted(controls)}" if controls else "")
    rows = [
        (what, *one.row()) for what, ones in (("effect", effects), ("beside its control", controls)) for one in ones
    ]
    return Judgement(verdict, said, Table(("what", "of", "value [95% interval]", "threshold", "outcome"), rows))


def _counted(effects: Sequence[Effect]) -> str:
    """How many hold, with the first few of each outcome."""
    parts = [f"{sum(e.outcome == 'holds' for e in effects)} of {len(effects)} effects hold"]
    for outcome in get_args(Outcome):
        found = [effect for effect in effects if effect.outcome == outcome]
        if found:
            more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
            parts.append(f"{outcome}: " + ", ".join(f"{e.name} {e.found.text()}" for e in found[:SHOWN]) + more)
    return "; ".join(parts) + "."


def difference(a: Float[np.ndarray, "k"], b: Float[np.ndarray, "k"], *, paired: bool = True) -> Interval:
    """mean(a) - mean(b) with Student's 95% interval; `paired`: entry by entry, of the same seeds and splits.

    Not paired: Welch's interval. Without ends where there are fewer than two runs; NaN where a run is not finite.
    """
    a, b = (np.asarray(v, np.float64).ravel() for v in (a, b))
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        return Interval(np.nan, np.nan, np.nan)
    if paired:
        if a.size != b.size:
            raise ValueError(f"{a.size} and {b.size} runs: pairs need as many of each")
        return mean_interval(a - b)
    value = float(a.mean() - b.mean())
    if min(a.size, b.size) < 2:
        return Interval(value, np.nan, np.nan)
    parts = np.array([a.var(ddof=1) / a.size, b.var(ddof=1) / b.size])
    if not parts.sum():
        return Interval(value, value, value)
    freedom = parts.sum() ** 2 / (parts**2 / np.array([a.size - 1, b.size - 1])).sum()
    half = float(stats.t.ppf(0.975, freedom) * np.sqrt(parts.sum()))
    return Interval(value, value - half, value + half)
