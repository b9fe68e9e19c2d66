"""Planted faults: small mistakes put into a copy of the library one at a time, and the test that notices each.

Command: python -m jaxgnn.experiments.bench.faults
"""
