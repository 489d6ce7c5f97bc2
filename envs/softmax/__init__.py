"""Softmax over the rows of a matrix."""
