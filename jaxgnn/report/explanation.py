"""The slot at the top of every page: what happened, why, and what to try next, a line each.

Every function that writes a page takes `explain`, a function of the run's results and arrays that returns an
Explanation; without it there is no slot. `jaxgnn.analysis.explained` has those that the commands pass. Whoever knows
more about a run (a diagnosis with its evidence) passes a function of the same form: nothing else of a page changes.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple


class Explanation(NamedTuple):
    """Three lines of plain text; each is escaped, and its symbols are explained.

    Attributes:
      happened: what was measured, with its number.
      why: the cause as far as the measurements show one, or that they show none.
      next: what to try, an option or a command.
    """

    happened: str
    why: str
    next: str


Explain = Callable[[Mapping[str, Any], Mapping[Any, Any]], Explanation]
TITLES = Explanation("What happened", "Why", "What to try next")
