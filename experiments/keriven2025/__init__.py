"""Keriven 2025, arXiv 2505.16736: backward oversmoothing and spurious stationary points."""
