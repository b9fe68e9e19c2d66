"""A statement on many random cases, and on what it must not let pass."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from jaxgnn.theory.statement import AssumptionError, Shape, Statement

_PLANTED = Shape(nodes=12, width=4, depth=6)  # where no shape of the cases will do


class Finding(NamedTuple):
    """What became of a statement.

    Attributes:
      name, source, claim: the statement's.
      cases: networks drawn.
      spoke: those on which a bound stood above rounding.
      failures: those on which it did not hold.
      worst: the least slack of those on which it spoke, NaN where there is none; `Check.slack` says what it is.
      median: of the slacks.
      refused: the sentence with which the first of the cases was refused, None where none was.
      planted: violations planted, each in several draws.
      missed: those that the check let pass, in words.
    """

    name: str
    source: str
    claim: str
    cases: int
    spoke: int
    failures: int
    worst: float
    median: float
    refused: str | None
    planted: int
    missed: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """Whether it held on every case, spoke on some, and let nothing planted pass."""
        return not self.failures and not self.missed and (self.spoke > 0 or self.refused is not None)


def examine(statement: Statement, shapes: Sequence[Shape], *, seeds: int, seed: int = 0, plants: int = 3) -> Finding:
    """Checks a statement on `seeds` random networks of every shape, and each of its planted violations `plants` times.

    Raises ValueError for no shapes or fewer than one seed.
    """
    if not shapes or seeds < 1:
        raise ValueError(f"shapes={list(shapes)}, seeds={seeds}: allowed are one shape and one seed, or more")
    rng = np.random.default_rng([seed, *statement.name.encode()])
    slacks, failures, cases, refused = [], 0, 0, None
    for shape in shapes:
        for _ in range(seeds):
            cases += 1
            try:
                check = statement.check(*statement.draw(rng, shape))
            except AssumptionError as error:
                refused = refused or str(error)
                continue
            failures += not check.holds
            slacks.append(check.slack)
    spoken = np.array(slacks)[~np.isnan(slacks)] if slacks else np.zeros(0)
    # Deep enough for exponents to matter; a shape of the cases has its programs compiled already.
    planted = next((shape for shape in shapes if shape.depth >= 3 and shape.nodes <= 32 and not shape.graph), _PLANTED)
    missed = [
        what for what, draw in statement.plants.items() if not all(_caught(statement, draw, planted, rng, plants))
    ]
    return Finding(
        *statement[:3],
        cases=cases,
        spoke=len(spoken),
        failures=failures,
        worst=float(spoken.min()) if spoken.size else float("nan"),
        median=float(np.median(spoken)) if spoken.size else float("nan"),
        refused=refused,
        planted=len(statement.plants),
        missed=tuple(missed),
    )


def _caught(statement, draw, shape, rng, times):
    for _ in range(times):
        try:
            yield not statement.check(*draw(rng, shape)).holds
        except AssumptionError:
            yield True
