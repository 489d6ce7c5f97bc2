"""Random operator graphs as tasks: `TritonKernel-composed-v0`, a new one at each reset."""
