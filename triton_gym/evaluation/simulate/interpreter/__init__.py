"""Runs kernels from the intermediate representation that Triton compiles."""
