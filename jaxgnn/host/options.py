"""Options: whatever is given, what does not fit is refused by name, with its value and what is allowed."""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from jaxgnn.host.spelling import meant


def check_known(option: str, value: Any, allowed: Iterable[str]) -> None:
    """Raises ValueError unless the value is one of these texts."""
    allowed = tuple(allowed)
    if not isinstance(value, str) or value not in allowed:
        near = meant(value, allowed) if isinstance(value, str) else ":"
        raise ValueError(f"{option}={shown(value)} is not known{near} allowed are {', '.join(allowed)}")


def check_whole(option: str, value: Any, *, least: int | None = None) -> None:
    """Raises ValueError unless the value is an integer, no boolean, of at least `least`."""
    if not is_whole(value) or (least is not None and value < least):
        allowed = "whole numbers" if least is None else f"{least} and more, whole"
        raise ValueError(f"{option}={shown(value)}: allowed are {allowed}")


def check_seed(option: str, value: Any) -> None:
    """Raises ValueError unless the value is a whole number that a key of 32 bits tells from all others."""
    if not is_whole(value) or not 0 <= value < 2**32:
        raise ValueError(f"{option}={shown(value)}: allowed are whole numbers from 0 to {2**32 - 1}")


def check_number(option: str, value: Any, inside: Callable[[Any], Any], allowed: str) -> None:
    """Raises ValueError unless the value is a real number, no boolean, for which `inside` holds; NaN never is."""
    if not is_number(value) or not inside(value):
        raise ValueError(f"{option}={shown(value)}: allowed are {allowed}")


def check_finite(option: str, value: Any) -> None:
    """Raises ValueError unless the value is a finite real number."""
    check_number(option, value, lambda v: abs(v) < np.inf, "finite numbers")


def check_flag(option: str, value: Any) -> None:
    """Raises ValueError unless the value is True or False."""
    if not isinstance(value, bool | np.bool):
        raise ValueError(f"{option}={shown(value)}: allowed are True and False")


def checked_list(option: str, values: Any) -> list[Any]:
    """The values as a list; raises ValueError for a text or what holds no values."""
    if isinstance(values, str | bytes) or not isinstance(values, Iterable) or np.ndim(values) == 0:
        raise ValueError(f"{option}={shown(values)}: a list of values is needed")
    return list(values)


def check_texts(option: str, values: Any) -> None:
    """Raises ValueError unless it is a list of texts."""
    for value in checked_list(option, values):
        if not isinstance(value, str):
            raise ValueError(f"{option}={shown(value)}: allowed are texts")


def is_whole(value: Any) -> bool:
    """Whether it is an integer, Python's or numpy's; a boolean is none."""
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def is_number(value: Any) -> bool:
    """Whether it is one real number: Python's, numpy's, or an array without axes. NaN is none, nor is a boolean."""
    if isinstance(value, int) and not isinstance(value, bool):
        return True
    dtype = getattr(value, "dtype", None)
    if not (isinstance(value, float) or (dtype is not None and np.ndim(value) == 0 and dtype.kind in "iuf")):
        return False
    return bool(value == value)


def shown(value: Any) -> str:
    """A value in a sentence: numbers as they are written, texts in quotes."""
    return str(value) if isinstance(value, int | float | np.number) else repr(value)
