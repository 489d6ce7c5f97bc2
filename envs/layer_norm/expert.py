"""Layer normalisation at the speed of memory.

Rows of up to BLOCK columns are held in registers: read once, written once. Longer rows are read
twice: once for mean and variance together (Welford's update in every lane, the lanes merged at
the end as by Chan, Golub and LeVeque), then, from the end that is still in L2 towards the
beginning, for the result.
"""

import torch
import triton
import triton.language as tl

BLOCK = 4096  # columns handled at once
ROWS = 1  # rows handled at once
NUM_WARPS = 8
PROGRAMS = 528  # each takes every PROGRAMS-th group of rows; 0: one program a group
STAGES = 1  # blocks on their way through shared memory, in whichever loop has several


@triton.jit
def row_offsets(group, rows, cols, ROWS: tl.constexpr):
    """Offsets of a group's rows, (ROWS, 1).

    The last group repeats the last row instead of leaving the matrix, and writes the same values
    to it again: so no mask depends on the row.
    """
    row = tl.minimum(group * ROWS + tl.arange(0, ROWS), rows - 1)
    return (row.to(tl.int64) * cols)[:, None]


@triton.jit
def short_rows_kernel(
    x_ptr, weight_ptr, bias_ptr, y_ptr, rows, cols, eps,
    ROWS: tl.constexpr, BLOCK: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    """Rows that fit into a block."""
    col = tl.arange(0, BLOCK)[None, :]
    mask = col < cols
    weight = tl.load(weight_ptr + col, mask=mask, other=0.0)
    bias = tl.load(bias_ptr + col, mask=mask, other=0.0)
    groups = tl.cdiv(rows, ROWS)
    for group in tl.range(tl.program_id(0), groups, tl.num_programs(0), num_stages=STAGES):
        row = row_offsets(group, rows, cols, ROWS)
        x = tl.load(x_ptr + row + col, mask=mask, other=0.0).to(tl.float32)
        # Summing distances from the first element keeps the digits that a far-off mean takes.
        first = tl.load(x_ptr + row).to(tl.float32)
        x = tl.where(mask, x - first, 0.0)
        x = tl.where(mask, x - tl.sum(x, axis=1, keep_dims=True) / cols, 0.0)
        scale = tl.rsqrt(tl.sum(x * x, axis=1, keep_dims=True) / cols + eps)
        y = x * scale * weight.to(tl.float32) + bias.to(tl.float32)
        tl.store(y_ptr + row + col, y.to(y_ptr.dtype.element_ty), mask=mask)


@triton.jit
def long_rows_kernel(
    x_ptr, weight_ptr, bias_ptr, y_ptr, rows, cols, eps,
    ROWS: tl.constexpr, BLOCK: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    """Rows of several blocks."""
    lane = tl.arange(0, BLOCK)[None, :]
    steps = tl.cdiv(cols, BLOCK)
    # What each lane has seen by the end: one element less where the last block is not full.
    seen = tl.where((steps - 1) * BLOCK + lane < cols, steps, steps - 1).to(tl.float32)
    for group in tl.range(tl.program_id(0), tl.cdiv(rows, ROWS), tl.num_programs(0)):
        row = row_offsets(group, rows, cols, ROWS)
        means = tl.zeros((ROWS, BLOCK), dtype=tl.float32)
        squares = tl.zeros((ROWS, BLOCK), dtype=tl.float32)
        for step in tl.range(0, steps, num_stages=STAGES):
            col = step * BLOCK + lane
            mask = col < cols
            x = tl.load(x_ptr + row + col, mask=mask, other=0.0).to(tl.float32)
            distance = tl.where(mask, x - means, 0.0)
            means += distance * (1.0 / (step + 1))
            squares += distance * (x - means)
        # Merged around the first lane's mean, for the same reason as above.
        first = tl.sum(tl.where(lane == 0, means, 0.0), axis=1, keep_dims=True)
        mean = first + tl.sum(seen * (means - first), axis=1, keep_dims=True) / cols
        squares += seen * (means - mean) * (means - mean)
        scale = tl.rsqrt(tl.sum(squares, axis=1, keep_dims=True) / cols + eps)
        for step in tl.range(0, steps, num_stages=STAGES):
            col = (steps - 1 - step) * BLOCK + lane
            mask = col < cols
            x = tl.load(x_ptr + row + col, mask=mask, other=0.0).to(tl.float32)
            weight = tl.load(weight_ptr + col, mask=mask, other=0.0).to(tl.float32)
            bias = tl.load(bias_ptr + col, mask=mask, other=0.0).to(tl.float32)
            y = (x - mean) * scale * weight + bias
            # The result is not read again here: let it leave L2 before the input does.
            tl.store(
                y_ptr + row + col,
                y.to(y_ptr.dtype.element_ty),
                mask=mask,
                eviction_policy="evict_first",
            )


def layer_norm(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """Normalise every row of (rows, cols); weight and bias are (cols,)."""
    rows, cols = x.shape
    y = torch.empty_like(x)
    groups = triton.cdiv(rows, ROWS)
    grid = (min(groups, PROGRAMS) if PROGRAMS else groups,)
    if cols <= BLOCK:
        block = triton.next_power_of_2(cols)
        stages = STAGES if PROGRAMS else 1  # a single group leaves nothing to overlap
        short_rows_kernel[grid](
            x, weight, bias, y, rows, cols, 1e-5, ROWS, block, stages, num_warps=NUM_WARPS
        )
    else:
        long_rows_kernel[grid](
            x, weight, bias, y, rows, cols, 1e-5, ROWS, BLOCK, STAGES, num_warps=NUM_WARPS
        )
    return y
