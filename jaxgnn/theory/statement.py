"""What a theorem is here: two sides of an inequality, measured, with the room between them."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import networkx as nx
import numpy as np
from jaxtyping import Float


class AssumptionError(ValueError):
    """A statement does not speak about this network: its assumption, by name, is not met."""


class Check(NamedTuple):
    """Both sides of lhs <= rhs, as measured.

    Attributes:
      name: of the statement.
      source: paper and equation, or how it was derived.
      assumptions: those it was checked under, with the numbers that matter (lambda).
      lhs: [m] the left sides, of every layer and quantity that the statement speaks about.
      rhs: [m] the right sides.
      slack: the least of 1 - lhs/rhs over the sides that stand above rounding: 0 where the bound is attained,
        negative where it is violated; NaN where every right side is below rounding. Of an equation, 1 - error over
        what rounding allows.
      holds: lhs <= rhs + rounding everywhere.
    """

    name: str
    source: str
    assumptions: tuple[str, ...]
    lhs: Float[np.ndarray, "m"]
    rhs: Float[np.ndarray, "m"]
    slack: float
    holds: bool


class Shape(NamedTuple):
    """Of a random network: nodes n, features d, layers L; and the graph, where it is to be this one."""

    nodes: int
    width: int
    depth: int
    graph: nx.Graph | None = None


Draw = Callable[[np.random.Generator, Shape], tuple[Any, ...]]


class Statement(NamedTuple):
    """A theorem as a program.

    Attributes:
      name: in words.
      source: paper and equation, or how it was derived.
      claim: the inequality, in one line.
      check: measures both sides; raises AssumptionError where the theorem does not speak.
      draw: arguments of `check`, at random, that meet the assumptions.
      plants: by what is wrong with them, arguments that `check` must not pass: it finds a violation or refuses.
    """

    name: str
    source: str
    claim: str
    check: Callable[..., Check]
    draw: Draw
    plants: Mapping[str, Draw]


def require(condition: bool, sentence: str) -> None:
    """Raises AssumptionError with the sentence unless the condition holds."""
    if not condition:
        raise AssumptionError(sentence)


class About(NamedTuple):
    """Name and source of the statement that a check belongs to."""

    name: str
    source: str

    def at_most(self, assumptions: tuple[str, ...], lhs: Any, rhs: Any, rounding: Any) -> Check:
        """The check of lhs <= rhs + rounding, all broadcast to one shape; NaN anywhere does not hold."""
        lhs, rhs, rounding = (
            a.ravel() for a in np.broadcast_arrays(*(np.asarray(a, np.float64) for a in (lhs, rhs, rounding)))
        )
        above = rhs > 100 * rounding
        slack = float(np.min(1 - lhs[above] / rhs[above])) if above.any() else float("nan")
        holds = bool((lhs <= rhs + rounding).all())
        slack = max(slack, 0.0) if holds and above.any() else slack  # attained, up to rounding
        return Check(self.name, self.source, assumptions, lhs, rhs, slack, holds)

    def equal(self, assumptions: tuple[str, ...], measured: Any, stated: Any, rounding: Any) -> Check:
        """The check of |measured - stated| <= rounding, entry by entry."""
        measured, stated, rounding = np.broadcast_arrays(
            *(np.asarray(a, np.float64) for a in (measured, stated, rounding))
        )
        error, allowed = np.abs(measured - stated).ravel(), rounding.ravel()
        holds = bool((error <= allowed).all())
        some = allowed > 0
        slack = float(np.min(1 - error[some] / allowed[some])) if some.any() else float("nan")
        return Check(self.name, self.source, assumptions, error, allowed, slack, holds)
