"""What was recorded while networks trained, as figures: gradients, features and errors of three layers by step."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from jaxgnn.report import panels
from jaxgnn.report.page import Section, figure_block
from jaxgnn.report.panels import Curve
from jaxgnn.report.probing_ranks import KINDS, SIGNALS

_COLOUR = {"first layer": 0, "middle layer": 1, "last layer": 2}
STYLES = ("-", "--")  # of the network, and of the one beside it
_RECORDED = (
    ("gradients-norm", "feature_grads/norm", "‖G⁽ˡ⁾‖", "Norm of the gradients"),
    ("gradients-relative", "feature_grads/relative_mu", "μ(G⁽ˡ⁾)/‖G⁽ˡ⁾‖", "Relative μ of the gradients"),
    ("features-relative", "features/relative_mu", "μ(X⁽ˡ⁾)/‖X⁽ˡ⁾‖", "Relative μ of the features"),
    ("errors-relative", "errors/relative_mu", "μ(B⁽ˡ⁾)/‖B⁽ˡ⁾‖", "Relative μ of the errors"),
    ("weight-gradients", "weight_grads", "‖∂loss/∂W⁽ˡ⁾‖", "Gradients of the weights"),
)
_RANKS = tuple(  # where they were asked for
    (f"{kind}-rank-{name}".replace("_", "-"), f"{name}_ranks/{kind}", f"rank of {X}", f"{kind.title()} rank of {X}")
    for name, X in SIGNALS.items()
    for kind in KINDS
)


def recorded(folder: Path, names: Sequence[str], arrays: Mapping[str, np.ndarray], every: int) -> Section:
    """The section "During training": arrays has record/NAME/... of `jaxgnn.training.recorder.Record` for every name."""
    blocks = []
    for name, quantity, ylabel, title in _RECORDED + _RANKS:
        if not all(f"record/{network}/{quantity}" in arrays for network in names):
            continue
        lines, said = _by_step(quantity, names, arrays)
        limits = panels.PART if quantity.endswith("relative_mu") else panels.ANY
        panel = panels.curves(lines, xlabel="step", ylabel=ylabel, log=True, limits=limits)
        scale = "relative" if limits is panels.PART else ""
        blocks.append(figure_block(folder, f"training-{name}", panel, title, said, scale=scale))
    return Section("During training", [f"Every {every} steps, in float32, of all nodes."], figures=blocks)


def _by_step(quantity: str, names: Sequence[str], arrays: Mapping[str, np.ndarray]) -> tuple[dict[str, Curve], str]:
    """A recorded quantity of the first, the middle and the last layer, and what happens at the first, in words."""
    found, said = {}, []
    for i, name in enumerate(names):
        steps, values = arrays[f"record/{name}/steps"], arrays[f"record/{name}/{quantity}"]  # [seeds, samples, layers]
        L = values.shape[2] - 1
        for layer in sorted({0, L // 2, L}):
            shown, group = name.upper(), "first layer" if layer == 0 else "last layer" if layer == L else "middle layer"
            look = {"group": group, "variants": (shown,) * (len(names) > 1)}
            found[f"{shown}, layer {layer}"] = Curve(steps, values[:, :, layer], _COLOUR[group], STYLES[i % 2], **look)
        first, last = np.median(values[:, 0, 0]), np.median(values[:, -1, 0])
        said.append(f"{name.upper()}, layer 0: {_number(first)} at step 0, {_number(last)} at {steps[-1]}")
    return found, "; ".join(said) + "."


def _number(value: float) -> str:
    return f"{value:.3g}" if np.isfinite(value) else "not finite"
