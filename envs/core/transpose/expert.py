"""A transpose near the speed of memory: tiles are turned in shared memory.

Loads run along the rows of x and stores along the rows of y, both in whole lines; between them
Triton exchanges the tile through shared memory, since its transpose has another layout. Programs
that run together take GROUP tiles along the rows of y, so that pages of memory stay open.
"""

import torch
import triton
import triton.language as tl

BLOCK_ROWS = 64
BLOCK_COLS = 64
NUM_WARPS = 4
GROUP = 1  # tile columns whose tiles are taken in turn


@triton.jit
def transpose_kernel(
    x_ptr, y_ptr, rows, cols,
    BLOCK_ROWS: tl.constexpr, BLOCK_COLS: tl.constexpr, GROUP: tl.constexpr,
):  # fmt: skip
    """One tile."""
    tile_rows, tile_cols = tl.cdiv(rows, BLOCK_ROWS), tl.cdiv(cols, BLOCK_COLS)
    first = tl.program_id(0) // (GROUP * tile_rows) * GROUP
    width = tl.minimum(tile_cols - first, GROUP)
    within = tl.program_id(0) % (GROUP * tile_rows)
    top, left = within // width * BLOCK_ROWS, (first + within % width) * BLOCK_COLS
    row = (top + tl.arange(0, BLOCK_ROWS)).to(tl.int64)
    col = (left + tl.arange(0, BLOCK_COLS)).to(tl.int64)
    x = tl.load(
        x_ptr + row[:, None] * cols + col[None, :],
        mask=(row[:, None] < rows) & (col[None, :] < cols),
        eviction_policy="evict_first",
    )
    tl.store(
        y_ptr + col[:, None] * rows + row[None, :],
        tl.trans(x),
        mask=(col[:, None] < cols) & (row[None, :] < rows),
    )


def transpose(x: torch.Tensor) -> torch.Tensor:
    """The transpose of (rows, cols)."""
    rows, cols = x.shape
    y = torch.empty((cols, rows), device=x.device, dtype=x.dtype)
    grid = (triton.cdiv(rows, BLOCK_ROWS) * triton.cdiv(cols, BLOCK_COLS),)
    transpose_kernel[grid](
        x, y, rows, cols, BLOCK_ROWS, BLOCK_COLS, GROUP, num_warps=NUM_WARPS
    )  # fmt: skip
    return y
