"""What is left to learn for the layers once the readout alone is trained.

Claim studied (Keriven 2025): a smoothed network is near-stationary in every layer as soon as its readout is, at a high
loss. With A_k = P X^(k), d loss / d W^(k) = A_k^T B^(k): it is small if A_k is, if B^(k) is, or if the two do not
correlate over nodes, and only numbers without a scale tell these apart (`balance`).
"""

from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Float

from jaxgnn.graphs.connectivity import components
from jaxgnn.graphs.graph import Graph
from jaxgnn.host.arrays import Array
from jaxgnn.host.magnitude import host_exponents


class Balance(NamedTuple):
    """Why ||d loss / d W^(k)||_F = ||A_k^T B^(k)||_F is as small or large as it is; each [L].

    With A_k = v a^T + S and B^(k) = v b^T + T, v the unit vector that P keeps and S, T orthogonal to it,
    d loss / d W^(k) = a b^T + S^T T.

    Attributes (all but the first do not depend on the scales of X, W, R and the loss):
      gradient: ||d loss / d W^(k)||_F.
      ratio: gradient / (||A_k|| ||B^(k)||).
      output_ratio: gradient / (||A_k|| ||B^(L-1)||), which counts the error's decay on its way back as well.
      mean_part: ||a|| ||b|| / (||A_k|| ||B^(k)||).
      off_part: ||S^T T||_F / (||A_k|| ||B^(k)||); ratio <= mean_part + off_part.
      forward_off: ||S|| / ||A_k||: small where the signal is smoothed.
      backward_off: ||T|| / ||B^(k)||: 1 where the error has no part along v; off_part <= forward_off backward_off.
      chance: root mean square of `ratio` if T were turned at random in the n - 1 dimensions beside v.
    """

    gradient: Float[np.ndarray, "L"]
    ratio: Float[np.ndarray, "L"]
    output_ratio: Float[np.ndarray, "L"]
    mean_part: Float[np.ndarray, "L"]
    off_part: Float[np.ndarray, "L"]
    forward_off: Float[np.ndarray, "L"]
    backward_off: Float[np.ndarray, "L"]
    chance: Float[np.ndarray, "L"]


def require_connected(graph: Graph) -> None:
    """Raises ValueError for a graph of several components: P then keeps a vector on each, lambda = 1."""
    count = int(components(graph).max(initial=-1)) + 1
    if count != 1:
        raise ValueError(
            f"the graph has {count} components and must have one, or lambda = 1 and nothing need smooth: take "
            "jaxgnn.largest_component"
        )


def kept_vector(graph: Graph) -> Float[np.ndarray, "n"]:
    """The unit vector v with P v = P^T v = v: D~^(1/2) 1 for "sym", 1 for "doubly", of unit length.

    Raises ValueError for other normalisations, and for a graph that is not connected.
    """
    require_connected(graph)
    P = graph.propagation
    if P.normalisation not in ("sym", "doubly"):
        raise ValueError(f"normalisation={P.normalisation!r}: allowed are sym, doubly, whose P keeps one known vector")
    v = np.sqrt(P.degree) if P.normalisation == "sym" else np.ones(P.num_nodes)
    return v / np.linalg.norm(v)


def norm_preserving(model: Any, params: Any, graph: Graph, x: Float[np.ndarray, "n f"]) -> Any:
    """The variables in float64, layers' matrices times sqrt(2) for relu, and the encoder so that X^(0) has RMS 1.

    With `init_weights="orthogonal"` a layer then keeps the norm of a normal signal, but for what P takes away.
    """
    params = jax.tree.map(lambda a: np.asarray(a, np.float64), params)
    x0 = np.asarray(model.apply(params, graph, np.asarray(x, np.float64), method="encode"))
    gain = np.sqrt(2.0) if model.activation == "relu" else 1.0
    stack = jax.tree.map(lambda W: gain * W if W.ndim == 3 else W, params["params"]["stack"]["layer"])
    encoder = jax.tree.map(lambda a: a / np.sqrt(np.mean(x0**2)), params["params"]["encoder"])
    changed = {"encoder": encoder, "stack": params["params"]["stack"] | {"layer": stack}}
    return params | {"params": params["params"] | changed}


def propagated(model: Any, graph: Graph, features: Float[np.ndarray, "L+1 n d"]) -> Float[np.ndarray, "L n d"]:
    """A_k = P X^(k), what W^(k) is multiplied with: X^(k) for the layer "mlp", P of distance k + 1 with `khop`.

    Raises ValueError for other layers than gcn and mlp, whose weights meet other things, and for `khop` on a graph that
    was prepared without `hops`.
    """
    if model.layer not in ("gcn", "mlp"):
        raise ValueError(f"layer={model.layer!r}: allowed are gcn and mlp, H = P X W and H = X W")
    if model.layer == "mlp":
        return np.asarray(features[:-1])
    P = [graph.propagation.sparse()]
    if model.khop:
        if graph.khops is None:
            raise ValueError("khop=True needs the pairs at each distance: prepare the graph with hops=K")
        stacked = graph.khops.propagation
        P = [jax.tree.map(lambda a, k=k: np.asarray(a)[k], stacked).sparse() for k in range(len(stacked.degree))]
    return np.stack([P[k % len(P)] @ np.asarray(X) for k, X in enumerate(features[:-1])])


def balance(A: Float[np.ndarray, "L n d"], B: Float[np.ndarray, "L n d"], v: Float[np.ndarray, "n"]) -> Balance:
    """The terms of A_k^T B^(k) for every layer, v a unit vector [n]; see `Balance`."""
    (A, a_twos), (B, b_twos) = _scaled(A), _scaled(B)
    a, b = v @ A, v @ B
    S, T = A - v[:, None] * a[:, None], B - v[:, None] * b[:, None]
    a, b = np.linalg.norm(a, axis=1), np.linalg.norm(b, axis=1)
    product = _frobenius(A) * _frobenius(B)
    gradient = _frobenius(A.transpose(0, 2, 1) @ B)
    off = _frobenius(S.transpose(0, 2, 1) @ T)
    chance = np.sqrt((a * b) ** 2 + (_frobenius(S) * _frobenius(T)) ** 2 / (v.size - 1))
    return Balance(
        gradient=np.ldexp(gradient, a_twos + b_twos),
        ratio=_over(gradient, product),
        output_ratio=np.ldexp(_over(gradient, _frobenius(A) * _frobenius(B)[-1]), b_twos - b_twos[-1]),
        mean_part=_over(a * b, product),
        off_part=_over(off, product),
        forward_off=_over(_frobenius(S), _frobenius(A)),
        backward_off=_over(_frobenius(T), _frobenius(B)),
        chance=_over(chance, product),
    )


def _scaled(stacked: Float[Array, "L a b"]) -> tuple[Float[np.ndarray, "L a b"], np.ndarray]:
    """Every layer's matrix with its largest entry near 1, and the powers of two: squares of 1e-170 would be 0."""
    twos = host_exponents(stacked, axis=(1, 2))
    return np.ldexp(np.asarray(stacked, np.float64), -twos), twos[:, 0, 0]


def _frobenius(stacked: Float[Array, "L a b"]) -> Float[np.ndarray, "L"]:
    return np.linalg.norm(stacked, axis=(1, 2))


def _over(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.divide(a, b, out=np.zeros_like(a), where=b != 0)  # NaN stays NaN
