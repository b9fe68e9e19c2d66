"""Space-weight antisymmetric network (Gravina et al. 2025): a layer whose Jacobian's eigenvalues are imaginary."""

import math
from typing import ClassVar

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
import scipy.sparse as sp
from jax.nn.initializers import Initializer, glorot_uniform
from jaxtyping import Float

from jaxgnn.graphs.graph import Graph
from jaxgnn.graphs.propagation import operator_norm
from jaxgnn.host.arrays import Array, unshared
from jaxgnn.layers.layer import Layer, Matrix


class SWAN(Layer):
    """H = X (W - W^T - gamma I)^T + P X V - P^T X V^T + beta (N - N^T) X (U + U^T) (+ b), [n, d] -> [n, d].

    N = D^-1/2 P D^1/2 with D the degrees, D^-1 A where P is D^-1/2 A D^-1/2. The first term is antisymmetric in the
    features, the second in features (P X (V - V^T) where P is symmetric), the third in space: dH/dX = S - gamma I with
    S antisymmetric, on any graph. So with gamma = 0 the eigenvalues of rho'(H) dH/dX are imaginary, whatever H is. A
    node receives from those that it sends to as well. N - N^T is 0 where all degrees are equal and P is symmetric.
    The block around it makes X + epsilon tanh(H) of it, unless told otherwise.
    Source: Gravina et al. 2025 (arXiv 2405.01009), in the form of their code's AntiSymNaiveAggr.

    Attributes:
      features: d, columns of X as well.
      gamma: damping, which keeps the forward Euler steps stable.
      beta: weight of the term that is antisymmetric in space.
      use_bias: adds b [features] to every row.
      kernel_init: initialiser of W, V and U [d, d].

    Raises:
      ValueError: X with another number of columns.
    """

    features: int
    gamma: float = 0.1
    beta: float = 0.5
    use_bias: bool = False
    kernel_init: Initializer = glorot_uniform()
    hops: ClassVar[int] = 1
    square: ClassVar[bool] = True  # maps d features to d
    defaults: ClassVar[dict[str, str]] = {"activation": "tanh", "residual": "scaled"}

    @nn.compact
    def __call__(self, graph: Graph, X: Float[Array, "n d"]) -> Float[Array, "n features"]:
        d = self.features
        if X.shape[-1] != d:
            raise ValueError(f"features={d}: SWAN needs as many as X has columns, {X.shape[-1]}")
        graph.warn_unused("SWAN", features=True)
        W, V, U = (
            Matrix((d, d), self.kernel_init, name=name)(X.dtype) for name in ("own", "neighbours", "antisymmetric")
        )
        degree = jnp.asarray(unshared(graph.propagation.degree), X.dtype)[:, None]
        root = jnp.sqrt(jnp.where(degree > 0, degree, 1))
        Y = X @ (U + U.T)
        out = graph.propagation @ jnp.concatenate([X @ V, root * Y], axis=1)
        back = graph.propagation.T @ jnp.concatenate([X @ V.T, Y / root], axis=1)
        H = X @ (W.T - W) - self.gamma * X + out[:, :d] - back[:, :d]
        H = H + self.beta * (out[:, d:] / root - root * back[:, d:])
        return H + self.param("bias", nn.initializers.zeros, (d,), H.dtype)[None] if self.use_bias else H

    @nn.nowrap
    def lipschitz(self, graph: Graph, c: float, index: int = 0) -> float:
        """Upper bound of ||dH/dX||_2 where ||W||_2, ||V||_2 and ||U||_2 are at most c."""
        degree = np.asarray(graph.propagation.degree, np.float64)
        root = np.sqrt(np.where(degree > 0, degree, 1))
        N = sp.diags_array(1 / root) @ graph.propagation.sparse() @ sp.diags_array(root)
        space = operator_norm(sp.csr_matrix(N - N.T))
        # S is normal with imaginary eigenvalues, orthogonal to the real shift by gamma.
        return math.hypot(2 * c * (1 + graph.propagation.norm() + abs(self.beta) * space), self.gamma)
