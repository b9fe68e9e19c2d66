"""Graph isomorphism network (Xu et al. 2019): H = MLP((1 + eps) X + sum of the in-neighbours)."""

from typing import ClassVar

import flax.linen as nn
import jax.numpy as jnp
from jax.nn.initializers import Initializer, glorot_uniform
from jaxtyping import Float

from jaxgnn.graphs.graph import Graph
from jaxgnn.host.arrays import Array
from jaxgnn.host.options import check_known
from jaxgnn.layers.layer import Layer


class GIN(Layer):
    """H = ReLU(((1 + eps) X + A X) W_1 (+ b_1)) W_2 (+ b_2), [n, d] -> [n, features]; A counts every in-edge once.

    Source: Xu et al. 2019, equation 4.1.

    Attributes:
      features: columns of W_2.
      hidden: columns of W_1; None: `features`.
      eps: weight of the node itself above 1, or where learning it starts.
      learn_eps: makes eps [1] a parameter.
      norm: "batch" for a batch norm before the ReLU, "none".
      use_bias: adds b_1 [hidden] and b_2 [features].
      kernel_init: initialiser of W_1 [d, hidden] and W_2 [hidden, features].

    Raises:
      ValueError: hidden below 1, a norm that is not known, when the object is made.
    """

    features: int
    hidden: int | None = None
    eps: float = 0.0
    learn_eps: bool = False
    norm: str = "none"
    use_bias: bool = False
    kernel_init: Initializer = glorot_uniform()
    hops: ClassVar[int] = 1

    def __post_init__(self) -> None:
        check_known("norm", self.norm, ("none", "batch"))
        super().__post_init__()

    @property
    def changes_in_training(self) -> bool:
        """Whether train=True computes something else than train=False."""
        return self.norm != "none"

    @nn.compact
    def __call__(self, graph: Graph, X: Float[Array, "n d"], train: bool = False) -> Float[Array, "n features"]:
        graph.warn_unused("GIN", weights=True, features=True)
        own = (1 + self.eps) * X
        if self.learn_eps:
            own = (1 + self.param("eps", nn.initializers.constant(self.eps), (1,), X.dtype)[None]) * X
        options = {"use_bias": self.use_bias, "kernel_init": self.kernel_init}
        hidden = self.features if self.hidden is None else self.hidden
        Z = nn.Dense(hidden, **options, name="first")(own + graph.aggregate(graph.at_senders(X)))
        if self.norm == "batch":
            mask = None if graph.node_mask is None else (jnp.asarray(graph.node_mask) > 0)[:, None]
            Z = nn.BatchNorm(use_running_average=not train, momentum=0.9, name="norm")(Z, mask=mask)
        return nn.Dense(self.features, **options, name="second")(nn.relu(Z))
