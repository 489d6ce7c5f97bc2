"""Operator graphs: one description, written out as PyTorch, as Triton and in English."""
