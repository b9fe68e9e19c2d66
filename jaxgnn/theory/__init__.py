"""The papers' theorems as programs: each measures both sides of its inequality on a network and says how tight it is.

`check` of a module, or of a Statement in STATEMENTS, takes what `observe` returns; `examine` runs one on random
cases.
"""

from jaxgnn.theory import (
    backward_smoothing,
    bounded_expansion,
    degree_collapse,
    dirichlet_decay,
    expected_expansion,
    fixed_point,
    forward_smoothing,
    gradient_smoothing,
    linear_spectrum,
    mean_error,
    mlp_counterexample,
    near_linearity,
    norm_decomposition,
    over_squashing,
    plateau,
    relu_linearity,
    representation_smoothing,
    residual_expansion,
    row_collapse,
    spectral_law,
    state_space_smoothing,
    state_space_spectrum,
    stationarity,
)
from jaxgnn.theory.examine import Finding as Finding
from jaxgnn.theory.examine import examine as examine
from jaxgnn.theory.network import Matrix as Matrix
from jaxgnn.theory.network import Network as Network
from jaxgnn.theory.network import observe as observe
from jaxgnn.theory.statement import AssumptionError as AssumptionError
from jaxgnn.theory.statement import Check as Check
from jaxgnn.theory.statement import Shape as Shape
from jaxgnn.theory.statement import Statement as Statement

STATEMENTS = {
    module.__name__.rpartition(".")[2]: module.STATEMENT
    for module in (
        representation_smoothing,
        gradient_smoothing,
        residual_expansion,
        expected_expansion,
        bounded_expansion,
        norm_decomposition,
        linear_spectrum,
        spectral_law,
        state_space_spectrum,
        state_space_smoothing,
        fixed_point,
        dirichlet_decay,
        over_squashing,
        forward_smoothing,
        backward_smoothing,
        mean_error,
        near_linearity,
        relu_linearity,
        stationarity,
        plateau,
        mlp_counterexample,
        degree_collapse,
        row_collapse,
    )
}
