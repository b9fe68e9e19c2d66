"""Deep networks from any layer: `model.DeepGNN`, and what goes with each block: residuals, bounds, norms, dropout.

A residual rule, a weight bound or a norm is one entry of `residuals.RESIDUALS`, `bounds.BOUNDS` or `norms.NORMS`.
"""

from jaxgnn.network import edits as edits
