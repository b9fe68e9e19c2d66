"""Words: what somebody may have meant by a name that is not known, and numbers of things."""

import difflib
import re
from collections.abc import Iterable
from typing import Any


def meant(value: Any, allowed: Iterable[str]) -> str:
    """ ", did you mean 'x'?" where a name is near, else ":", for a sentence that goes on with what is allowed."""
    names = {name.casefold().replace("-", "_"): name for name in allowed}
    word = str(value).casefold().replace("-", "_")

    def likeness(name: str) -> tuple[float, bool]:  # letters that changed places go before others
        return difflib.SequenceMatcher(None, name, word).ratio(), sorted(name) == sorted(word)

    near = max(difflib.get_close_matches(word, names, 5), key=likeness, default=None)
    return ":" if near is None else f", did you mean {names[near]!r}?"


_THINGS = "seed layer network node edge step run draw graph feature component weight source split sample case"
# An adjective may stand between, as in "1 residual layers".
_ONE = re.compile(rf"(?<![\w.,/×-])1 ((?!of |in |to |and |or |at |is )[a-z-]+ )?({_THINGS.replace(' ', '|')})s\b")


def singular(text: str) -> str:
    """The text with "1 seed" where a setting of 1 made it "1 seeds"."""
    return _ONE.sub(lambda found: f"1 {found[1] or ''}{found[2]}", text)


def counted(number: int, noun: str, nouns: str | None = None) -> str:
    """1 component, 2,708 components; nouns: the plural where it is not the noun with an s."""
    return f"{number:,} {noun if number == 1 else nouns or noun + 's'}"
