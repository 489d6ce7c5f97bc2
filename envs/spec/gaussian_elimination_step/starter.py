"""A step of Gaussian elimination, plainly: one program a block of a row."""

import torch
import triton
import triton.language as tl


@triton.jit
def eliminate_kernel(a_ptr, out_ptr, n, k, BLOCK: tl.constexpr):
    """A block of a row."""
    row = tl.program_id(1).to(tl.int64)
    col = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = col < n
    a = tl.load(a_ptr + row * n + col, mask=mask)
    if row > k:
        factor = tl.load(a_ptr + row * n + k) / tl.load(a_ptr + k * n + k)
        pivot = tl.load(a_ptr + k * n + col, mask=mask & (col >= k), other=0.0)
        a -= factor * pivot
    tl.store(out_ptr + row * n + col, a, mask=mask)


def gaussian_elimination_step(a: torch.Tensor, k: int) -> torch.Tensor:
    """Clears column k of (n, n) below its pivot."""
    n = a.shape[0]
    out = torch.empty_like(a)
    eliminate_kernel[(triton.cdiv(n, 256), n)](a, out, n, k, BLOCK=256)
    return out
