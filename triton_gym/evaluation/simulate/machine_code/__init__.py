"""Kernels compiled for a GPU that is not here, and their machine code taken apart."""
