"""Every fault, room by room."""

from jaxgnn.experiments.bench.faults import (
    analysis,
    data,
    graphs,
    jacobian,
    layers,
    measures,
    network,
    programs,
    tasks,
    theory,
    training,
)

FAULTS = (
    *theory.FAULTS,
    *graphs.FAULTS,
    *layers.FAULTS,
    *network.FAULTS,
    *measures.FAULTS,
    *analysis.FAULTS,
    *jacobian.FAULTS,
    *programs.FAULTS,
    *tasks.FAULTS,
    *training.FAULTS,
    *data.FAULTS,
)
