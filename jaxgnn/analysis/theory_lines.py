"""What theory says of signals on a graph: the span they smooth to, and lines their distance to it stays under."""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from jaxgnn.graphs.connectivity import components, second_eigenvalue
from jaxgnn.graphs.graph import Graph
from jaxgnn.layers import LAYERS
from jaxgnn.network.model import DeepGNN

# rho(t v) = rho(t) v for v > 0: the columns that are multiples of a positive vector stay so.
_HOMOGENEOUS = ("identity", "relu", "leaky_relu")
_SPANS = {0.0: "span(1)", 0.5: "span(D̃^½ 1)", 1.0: "span(D̃ 1)"}  # by the power of the degrees


class Geometry(NamedTuple):
    """What a propagation matrix smooths to, on the largest connected component.

    Attributes:
      eigenvalue: lambda, the second largest |eigenvalue| of P there; None where P is not symmetric or has no
        eigenvalue 1 ("raw").
      components: of the graph; with more than one, lambda = 1 on the whole graph.
      nodes: of the largest component.
      forward, backward: [n] v with P v = v, and P^T v = v, on that component, 0 elsewhere: 1 and 1 ("doubly"),
        D~^(1/2) 1 both ("sym"), 1 and D~ 1 ("row"). For "raw" 1, which it does not smooth to.
      spans: span(v) of both in words.
      normalisation: of P.
    """

    eigenvalue: float | None
    components: int
    nodes: int
    forward: Float[np.ndarray, "n"]
    backward: Float[np.ndarray, "n"]
    spans: tuple[str, str]
    normalisation: str


def geometry(graph: Graph, *, of_propagation: bool = True) -> Geometry:
    """The `Geometry` of a prepared graph; lambda by Lanczos, to about 1e-8.

    of_propagation: without it, for a layer that does not propagate with P (attention), v = 1.
    """
    P, labels = graph.propagation, components(graph)
    counts = np.bincount(labels[labels >= 0])
    inside = labels == np.argmax(counts)
    kind = P.normalisation if of_propagation else "none"
    powers = {"sym": (0.5, 0.5), "row": (0.0, 1.0)}.get(kind, (0.0, 0.0))
    forward, backward = (np.where(inside, np.asarray(P.degree, np.float64) ** power, 0.0) for power in powers)
    symmetric = P.backward is None and P.normalisation in ("sym", "doubly")
    return Geometry(
        eigenvalue=second_eigenvalue(graph) if symmetric else None,
        components=counts.size,
        nodes=int(counts.max()),
        forward=forward,
        backward=backward,
        spans=(_SPANS[powers[0]], _SPANS[powers[1]]),
        normalisation=P.normalisation,
    )


class Line(NamedTuple):
    """A factor at every layer, of the distance to the span where the line starts.

    Attributes:
      factor: [L+1].
      broken: what the theorem assumes and the network does not have; empty where the line is a bound.
    """

    factor: Float[np.ndarray, "L+1"]
    broken: tuple[str, ...]


class Lines(NamedTuple):
    """The lines forward and backward, or None with the reason why there are none."""

    forward: Line | None
    backward: Line | None
    reason: str = ""


def lines(model: DeepGNN, params: Any, shape: Geometry) -> Lines:
    """Bounds by layer of a network's distance to the span, as factors of where they start.

    forward   prod_(j < l) (alpha_j + lambda s_j), from X^(0); of the graph-blind layer "mlp" with lambda = 1
    backward  prod_(j >= l) (alpha_j + lambda s_j), from G^(L)

    alpha_j and s_j are `model.dynamics`: 0 and ||W^(j)||_2 without a residual, 1 and ||W^(j)||_2 with "identity".
    Assumes P symmetric with P v = v for a v > 0. Forward rho is 1-Lipschitz and acts entrywise; unless v is constant
    it maps multiples of v to such (ReLU, not tanh), and there is no bias. Backward rho = id, and X^(L) alone is read
    out. Source: Park & Kim 2024; Keriven 2025; with a residual and other v derived: (I - v v^T / v^T v) P = P (...).
    """
    eigenvalue = 1.0 if model._layer_options()[0] is LAYERS["mlp"] else shape.eigenvalue
    if eigenvalue is None:
        return Lines(
            None, None, f"there is no line for this P ({shape.normalisation}): it is not symmetric with P v = v"
        )
    if model.residual == "initial":
        return Lines(None, None, "there is no line where X^(0) is added in every layer")
    try:
        alphas, scales = model.dynamics(params)
    except ValueError as error:
        return Lines(None, None, f"there is no line for {error}")
    step = alphas + eigenvalue * scales
    forward, backward = [], []
    if np.ptp(shape.forward[shape.forward > 0]) > 0:
        if model.activation not in _HOMOGENEOUS:
            forward.append(f"{model.activation} takes features off the span")
        if model.bias:
            forward.append("biases take features off the span")
    if model.activation != "identity":
        backward.append(f"it is a bound for ρ = id, and ρ is {model.activation}")
    if model.jumping != "last":
        backward.append(f"jumping={model.jumping!r} gives every layer a gradient of its own")
    with np.errstate(over="ignore"):
        down, up = np.cumprod(step), np.cumprod(step[::-1])[::-1]
    return Lines(
        Line(np.concatenate([[1.0], down]), tuple(forward)), Line(np.concatenate([up, [1.0]]), tuple(backward))
    )
