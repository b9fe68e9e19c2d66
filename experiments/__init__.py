"""Experiments and benchmarks, one file each: `python -m jaxgnn.experiments.bench.compile_time`."""
