"""Dynamically rewired message passing with delay (Gutteridge et al. 2023): block l reaches distances up to l + 1."""

from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.nn.initializers import Initializer, glorot_uniform
from jaxtyping import Float, Int

from jaxgnn.graphs.graph import Graph
from jaxgnn.host.arrays import Array
from jaxgnn.host.options import check_whole
from jaxgnn.layers.layer import Layer, Matrix


class DRew(Layer):
    """H = sum_{k <= min(l + 1, K)} P_k X^(l - max(k - nu, 0)) W_k (+ b), [n, d] -> [n, d], in block l = 0, 1, ..

    P_k is of the pairs at distance exactly k, which `prepare(..., hops=K)` finds; with K = 1 it is P, and nothing has
    to be found. A delay needs the rule residual=jaxgnn.network.residuals.Delayed(K - nu), which carries the earlier
    X^(l-1), X^(l-2), .. through the stack; every block keeps that many. W_k of k above l + 1 is not used in block l.
    Source: Gutteridge et al. 2023, equation 4 (DRew) and 5 (nu-DRew), with the residual of their code (drew_gnn).

    Attributes:
      features: d, columns of X as well.
      K: the largest distance, at least 1.
      nu: distances above it come k - nu layers late; 1 lets a message travel one hop a layer; None: no delay.
      use_bias: adds b [features] to every row.
      kernel_init: initialiser of W_k [d, d].

    Raises:
      ValueError: K or nu below 1, when the object is made; X with another number of columns, a graph without the pairs
        at distances up to K, a delay without the rule that carries the features.
    """

    features: int
    K: int = 1
    nu: int | None = None
    use_bias: bool = False
    kernel_init: Initializer = glorot_uniform()
    square: ClassVar[bool] = True  # maps d features to d
    defaults: ClassVar[dict[str, str]] = {"residual": "identity"}

    def __post_init__(self) -> None:
        if self.nu is not None:
            check_whole("nu", self.nu, least=1)
        super().__post_init__()

    @property
    def hops(self) -> int:
        return self.K

    @property
    def distances(self) -> int | None:
        """The `hops` of `jaxgnn.prepare` that it needs."""
        return self.K if self.K > 1 else None

    @property
    def delays(self) -> int:
        """How many earlier X it reads."""
        return 0 if self.nu is None else max(self.K - self.nu, 0)

    @nn.compact
    def __call__(
        self,
        graph: Graph,
        X: Float[Array, "n d"],
        index: int | np.integer | Int[Array, ""],
        earlier: Float[Array, "m n d"] | None = None,
    ) -> Float[Array, "n features"]:
        if X.shape[-1] != self.features:
            raise ValueError(f"features={self.features}: DRew needs as many as X has columns, {X.shape[-1]}")
        graph.warn_unused("DRew", features=True)
        shape = (self.features, self.features)
        W = [Matrix(shape, self.kernel_init, name=f"distance_{k}")(X.dtype) for k in range(1, self.K + 1)]
        H = graph.propagation @ (X @ W[0]) if self.K == 1 else self._of_distances(graph, X, index, earlier, W)
        return H + self.param("bias", nn.initializers.zeros, (self.features,), H.dtype)[None] if self.use_bias else H

    def _of_distances(self, graph, X, index, earlier, W):
        _ = self._pairs(graph)
        kept = 0 if earlier is None else earlier.shape[0]
        if kept < self.delays:
            needed = f"residual=Delayed({self.delays}) carries {self.delays} earlier X, which it reads"
            raise ValueError(f"nu={self.nu}: {needed}, and there are {kept}")
        times = [X] if earlier is None else [X, *earlier]
        late = [0 if self.nu is None else max(k - self.nu, 0) for k in range(1, self.K + 1)]

        def add(H, one):
            k, W, X = one
            return H + jnp.where(k <= index, 1, 0).astype(H.dtype) * (graph.hop(k).propagation @ (X @ W)), None

        inputs = (jnp.arange(self.K), jnp.stack(W), jnp.stack([times[j] for j in late]))
        return jax.lax.scan(add, jnp.zeros_like(X), inputs)[0]  # distance k + 1

    @nn.nowrap
    def lipschitz(self, graph: Graph, c: float, index: int = 0) -> float:
        """Upper bound of ||dH/dX||_2 in block `index`, earlier X constant, where every ||W_k||_2 is at most c."""
        if self.K == 1:
            return graph.propagation.norm() * c
        now = min(self.K, index + 1) if self.nu is None else min(self.K, index + 1, self.nu)
        by_distance = self._pairs(graph).propagation
        return c * sum(jax.tree.map(lambda a, k=k: np.asarray(a)[k], by_distance).norm() for k in range(now))

    def _pairs(self, graph: Graph) -> Graph:
        """The graphs of the pairs at each distance. Raises ValueError where they are not there."""
        found = 0 if graph.khops is None else graph.khops.senders.shape[0]
        if graph.khops is None or found < self.K:
            needed = "prepare(..., hops=K) finds them"
            raise ValueError(f"K={self.K}: the graph has pairs at distances up to {found}, {needed}")
        return graph.khops
