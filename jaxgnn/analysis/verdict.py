"""What becomes of a gradient on its way through a network, in words: vanishing apart from smoothing."""

from collections.abc import Mapping
from typing import Any

import numpy as np

# The gradient vanishes or explodes where its norm has changed by so much from the output to layer 0, and is smooth
# where its relative distance to the span is below this.
CHANGED, SMOOTH = 1e3, 0.1


def verdict(numbers: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """What becomes of the gradient from layer L to layer 0, medians over seeds, and that in words.

    `ratio` is ||G^(0)|| / ||G^(L)||; `relative_mu` is of the distance to the span on the largest component, where
    smoothing can occur, at layer 0, and `least` where it is smallest.
    """
    norm, relative = numbers["feature_grads/norm"], numbers["feature_grads_off/relative_mu"]
    with np.errstate(all="ignore"):
        ratio = float(np.median(norm[:, 0] / norm[:, -1]))
    relative = np.median(relative, axis=0)
    least_at = int(np.argmin(np.where(np.isnan(relative), np.inf, relative)))
    least = float(relative[least_at])
    if not np.isfinite(ratio) or not np.isfinite(least):
        words = "no gradient to speak of: it is 0 or not finite"
    else:
        size = "vanishing" if ratio < 1 / CHANGED else "exploding" if ratio > CHANGED else None
        smooth = "smoothing" if least < SMOOTH <= relative[-1] else "smooth throughout" if least < SMOOTH else None
        words = {
            (True, True): f"{size} and {smooth}",
            (True, False): f"{size}, not smoothing",
            (False, True): f"{smooth}, not vanishing",
            (False, False): "neither vanishing nor smoothing",
        }[size is not None, smooth is not None]
    first, last = float(relative[0]), float(relative[-1])
    found = {"ratio": ratio, "relative_mu": first, "relative_mu_output": last, "least": least, "least_at": least_at}
    return found | {"words": words}
