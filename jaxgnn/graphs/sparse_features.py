"""Input features that are mostly zero, as a matrix x [n, f] that only ever multiplies weights: x @ W.

Bags of words have few words a node (Cora's x is 1.3% dense), and in a shallow network the dense product with the
encoder's weights is most of a step. x is a constant, so x W and its gradient x^T G are gathers packed once, like P X.
"""

from dataclasses import dataclass, field
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse as sp
from jaxtyping import Float

from jaxgnn.graphs.propagation import Packed, multiply, pack
from jaxgnn.host.arrays import Array


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class SparseFeatures:
    """x as a linear operator: `x @ W` is x W, [f, d] -> [n, d]. A pytree, a constant: x has no gradient.

    Attributes:
      forward: x, packed by rows.
      backward: x^T, packed by rows.
      shape: (n, f).
    """

    forward: Packed
    backward: Packed
    shape: tuple[int, int] = field(metadata={"static": True})

    @classmethod
    def of(cls, x: Float[np.ndarray, "n f"]) -> "SparseFeatures":
        """Packs a dense array or a scipy matrix."""
        matrix = sp.csr_matrix(x, dtype=np.float64)
        transposed = sp.csr_matrix(matrix.T)
        return cls(pack(matrix, "padded"), pack(transposed, "padded"), matrix.shape)

    @property
    def ndim(self) -> int:
        return 2

    @property
    def dtype(self) -> Any:
        """The type that sums are made in: float32, or float64 in float64 mode."""
        return jnp.result_type(float)

    def __matmul__(self, W: Float[Array, "f d"]) -> Float[Array, "n d"]:
        """x W in W's dtype. Raises ValueError when W has not f rows."""
        W = jnp.asarray(W)
        if W.ndim != 2 or W.shape[0] != self.shape[1]:
            raise ValueError(f"x @ W: W has shape {W.shape}, but x has {self.shape[1]} features: rows must agree")
        return multiply(W, self.forward, self.backward, self.shape)

    def dense(self) -> Float[Array, "n f"]:
        """x as an array."""
        return self @ jnp.eye(self.shape[1], dtype=self.dtype)


Features = Float[Array, "n f"] | SparseFeatures


class Linear(nn.Dense):
    """x W + b, of dense or sparse x."""

    @nn.compact
    def __call__(self, inputs: Features) -> Float[Array, "n d"]:
        if not isinstance(inputs, SparseFeatures):
            return super().__call__(inputs)
        kernel = self.param("kernel", self.kernel_init, (inputs.shape[1], self.features), self.param_dtype)
        return inputs @ kernel + self.param("bias", self.bias_init, (self.features,), self.param_dtype)[None]
