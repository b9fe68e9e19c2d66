"""Arroyo et al. 2025, arXiv 2502.10818: vanishing gradients and GNN-SSM, a figure or table a file."""
