"""The range of a probed network, layer by layer, in numbers, in a sentence and for its page."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxgnn.jacobian import Influence
from jaxgnn.report.probing_ranks import shown

ABOUT = (
    "Tₕ(v) is the sum over nodes u at distance h of Σᵢⱼ |∂logits(v)ᵢ/∂X⁽ˡ⁾(u)ⱼ| (arXiv 2503.09008), and the range of "
    "X⁽ˡ⁾ the mean over v of Σₕ h Tₕ(v)/Σₕ Tₕ(v) (arXiv 2506.05971): the mean distance, in edges, of what a node's "
    "logits depend on in X⁽ˡ⁾. At layer 0 it is the network's."
)


def by_seed(
    reached: list[tuple[Influence, ...] | str], blocks: int
) -> tuple[dict[str, Any] | None, dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Of X^(0) in plain numbers, a number a seed; [seeds, L+1] range and error of every layer; [seeds, H+1] T_h."""
    if not reached:
        return None, {}, {}
    known = [found for found in reached if not isinstance(found, str)]
    first = next((found[0] for found in known), None)
    missing = np.full(blocks + 1, np.nan)

    def by_layer(name: str) -> np.ndarray:
        return np.stack([missing if isinstance(f, str) else np.array([getattr(i, name) for i in f]) for f in reached])

    numbers = {name: by_layer(name) for name in ("range", "standard_error", "unreached_share", "without")}
    about = {
        "ranges": numbers["range"][:, 0].tolist(),
        "standard_errors": numbers["standard_error"][:, 0].tolist(),
        "unreached_shares": numbers["unreached_share"][:, 0].tolist(),
        "without_influence": [0 if isinstance(f, str) else f[0].without for f in reached],
        "nodes": 0 if first is None else int(first.nodes.size),
        "population": 0 if first is None else int(first.population),
        "norm": "entrywise",
        "why": next((found for found in reached if isinstance(found, str)), ""),
    }
    longest = max((found[0].total.size for found in known), default=0)
    totals = [np.full(longest, np.nan) if isinstance(f, str) else f[0].total for f in reached]
    total = np.stack([np.pad(t, (0, longest - t.size)) for t in totals])
    return about, {f"range/{name}": values for name, values in numbers.items()}, {"total": total}


def ranges(results: Mapping[str, Any]) -> dict[str, Any]:
    """By state and network, what there is of its range; empty where none was asked for."""
    return {
        state: {model: found["range"] for model, found in models.items() if found["range"] is not None}
        for state, models in results["states"].items()
    }


def ranges_said(results: Mapping[str, Any]) -> str:
    """The networks' ranges in a sentence; empty where none was asked for."""
    said = []
    for state, models in ranges(results).items():
        for model, found in models.items():
            said.append(f"{model}, {state}: {_one(found)}")
    return f"Range of the network, in edges: {'. '.join(said)}." if said else ""


def _one(found: Mapping[str, Any]) -> str:
    known = [r for r in found["ranges"] if r is not None and np.isfinite(r)]
    if not known:
        return f"unknown ({found['why'] or 'the logits depend on no node at a distance'})"
    value = shown(float(np.median(known)))
    if len(found["ranges"]) > 1:
        value += f", {shown(min(known))} to {shown(max(known))} over {len(known)} seeds"
    nodes, population = found["nodes"], found["population"]
    if nodes == population:
        value += f", exact, all {nodes:,} nodes"
    else:
        errors = [e for e in found["standard_errors"] if e is not None and np.isfinite(e)]
        error = f"± {max(errors):.2g} (standard error)" if errors else "without an error"
        value += f", {error} from {nodes:,} of {population:,} nodes"
    if any(found["without_influence"]):
        value += f", {max(found['without_influence'])} of them depend on nothing"
    if any(found["unreached_shares"]):
        value += f"; up to {max(s or 0 for s in found['unreached_shares']):.2%} of all influence has no distance"
    return value
