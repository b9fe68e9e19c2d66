"""Graph-coupled oscillator network (Rusch et al. 2022)."""

from typing import ClassVar

from jaxgnn.layers.gcn import GCN


class GraphCON(GCN):
    """F(X) = H = P X W (+ b), in the block Y' = Y + dt (rho(H) - gamma Y - alpha X), X' = X + dt Y'.

    Source: Rusch et al. 2022, with a graph convolution as coupling. The layer is a GCN; the update is
    the block's residual="graphcon", which goes around any other layer as well.
    """

    defaults: ClassVar[dict[str, str]] = {"residual": "graphcon"}
