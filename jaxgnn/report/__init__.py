"""Figures from arrays, and one self-contained page."""
