"""Gradient gating (Rusch et al. 2023)."""

from typing import ClassVar

from jaxgnn.layers.gcn import GCN


class G2(GCN):
    """F(X) = H = P X W (+ b), in the block X' = (1 - tau) X + tau rho(H), tau_v = tanh(sum_u |R_u - R_v|^p).

    Source: Rusch et al. 2023, with a graph convolution as F. The layer is a GCN; the update is the
    block's residual="gradient_gating", which goes around any other layer as well.
    """

    defaults: ClassVar[dict[str, str]] = {"residual": "gradient_gating"}
