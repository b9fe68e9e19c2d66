from jaxgnn.experiments.bench.faults.fault import Fault

FAULTS: tuple[Fault, ...] = ()
