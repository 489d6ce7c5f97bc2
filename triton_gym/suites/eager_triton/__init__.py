"""Published Triton kernels as PyTorch operators, one program of the grid after the other.

A problem whose reference is itself written in Triton has no float64 oracle, and nothing to judge by
where there is no GPU. Here its file runs with `triton` and `triton.language` exchanged: blocks are
tensors on the CPU, pointers are memory with offsets. What casts to float32 in a kernel is a cast of
PyTorch's, so that the oracle's mode (`evaluation/oracle.py`) widens it as any other. No Triton
takes part, so that files of other versions run too.
"""

from triton_gym.suites.eager_triton.running import emulated, ends_only, hosted, idle

__all__ = ["emulated", "ends_only", "hosted", "idle"]
