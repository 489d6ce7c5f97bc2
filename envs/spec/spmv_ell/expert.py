"""A sparse product near the speed of memory.

A program takes DEPTH values of each of its rows at once: the loads of columns are under way
together, and so are the gathers that wait for them. What streams by is marked so, and leaves L2 to
the vector.
"""

import torch
import triton
import triton.language as tl

BLOCK = 128  # rows handled at once
DEPTH = 16  # values of a row handled at once
NUM_WARPS = 4


@triton.jit
def spmv_kernel(
    values_ptr, cols_ptr, x_ptr, y_ptr, rows, width, BLOCK: tl.constexpr, DEPTH: tl.constexpr
):
    """A block of rows."""
    row = (tl.program_id(0) * BLOCK + tl.arange(0, BLOCK))[None, :]
    depth = tl.arange(0, DEPTH)[:, None]
    total = tl.zeros((DEPTH, BLOCK), dtype=tl.float32)
    for step in tl.range(0, width, DEPTH):
        mask = (row < rows) & (step + depth < width)
        at = (step + depth).to(tl.int64) * rows + row
        col = tl.load(cols_ptr + at, mask=mask, other=0, eviction_policy="evict_first")
        value = tl.load(values_ptr + at, mask=mask, other=0.0, eviction_policy="evict_first")
        total += value * tl.load(x_ptr + col, mask=mask, other=0.0, eviction_policy="evict_last")
    y = tl.sum(total, axis=0)[None, :]
    tl.store(y_ptr + row, y, mask=row < rows)


def spmv_ell(values: torch.Tensor, cols: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """A x for (width, rows) values and columns."""
    width, rows = values.shape
    y = torch.empty_like(x)
    depth = min(DEPTH, triton.next_power_of_2(width))
    spmv_kernel[(triton.cdiv(rows, BLOCK),)](
        values, cols, x, y, rows, width, BLOCK, depth, num_warps=NUM_WARPS
    )
    return y
