"""Benchmarks: side by side, in alternation, medians; run them on an otherwise idle machine."""
