"""Words: what somebody may have meant by a name that is not known, and numbers of things."""

import difflib
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


def counted(number: int, noun: str, nouns: str | None = None) -> str:
    """1 component, 2,708 components; nouns: the plural where it is not the noun with an s."""
    return f"{number:,} {noun if number == 1 else nouns or noun + 's'}"
