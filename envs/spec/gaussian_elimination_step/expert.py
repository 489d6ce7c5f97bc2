"""A step of Gaussian elimination at the speed of memory.

A program takes a tile of BLOCK_ROWS rows; the pivot's row is loaded once for all of them, and rows
above it take a factor of nothing, so that nothing branches.
"""

import torch
import triton
import triton.language as tl

BLOCK_ROWS = 4
BLOCK_COLS = 512
NUM_WARPS = 4


@triton.jit
def eliminate_kernel(
    a_ptr, out_ptr, n, k, BLOCK_ROWS: tl.constexpr, BLOCK_COLS: tl.constexpr
):  # fmt: skip
    """A tile."""
    row = (tl.program_id(1) * BLOCK_ROWS + tl.arange(0, BLOCK_ROWS))[:, None]
    col = (tl.program_id(0) * BLOCK_COLS + tl.arange(0, BLOCK_COLS))[None, :]
    at = row.to(tl.int64) * n
    mask = (row < n) & (col < n)
    a = tl.load(a_ptr + at + col, mask=mask)
    inverse = 1.0 / tl.load(a_ptr + tl.cast(k, tl.int64) * n + k)
    factor = tl.load(a_ptr + at + k, mask=(row > k) & (row < n), other=0.0) * inverse
    pivot = tl.load(
        a_ptr + tl.cast(k, tl.int64) * n + col, mask=(col >= k) & (col < n), other=0.0,
        eviction_policy="evict_last",
    )  # fmt: skip
    tl.store(out_ptr + at + col, a - factor * pivot, mask=mask)


def gaussian_elimination_step(a: torch.Tensor, k: int) -> torch.Tensor:
    """Clears column k of (n, n) below its pivot."""
    n = a.shape[0]
    out = torch.empty_like(a)
    grid = (triton.cdiv(n, BLOCK_COLS), triton.cdiv(n, BLOCK_ROWS))
    eliminate_kernel[grid](a, out, n, k, BLOCK_ROWS, BLOCK_COLS, num_warps=NUM_WARPS)
    return out
