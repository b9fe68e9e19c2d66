"""Every fault, room by room."""

from jaxgnn.experiments.bench.faults import (
    analysis,
    data,
    graphs,
    jacobian,
    layers,
    network,
    tasks,
    theory,
    training,
)

FAULTS = (
    *theory.FAULTS,
    *graphs.FAULTS,
    *layers.FAULTS,
    *network.FAULTS,
    *analysis.FAULTS,
    *jacobian.FAULTS,
    *tasks.FAULTS,
    *training.FAULTS,
    *data.FAULTS,
)
