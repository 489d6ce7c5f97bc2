"""Inclusive prefix sum along the rows of a matrix."""
