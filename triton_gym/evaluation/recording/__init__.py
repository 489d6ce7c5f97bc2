"""Runs an answer's host code on tensors without contents, and writes down what it launches."""
