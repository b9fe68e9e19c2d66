"""Graphs as the layers see them: `graph.prepare`, the propagation matrix P as an operator, rewiring, partitions."""
