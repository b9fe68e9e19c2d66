"""Graphs as the layers see them: `prepare.prepare`, the propagation matrix P as an operator, rewiring, partitions."""
