"""Layer normalisation at the speed of memory.

What limits it is how many bytes are on their way at a time, so a program holds few registers: a
row of up to BLOCK columns is summed, forgotten, and read again out of L1 for the result. Mean and
variance come from one reduction over distances from the row's first element, which take the
far-off mean out of the sums. Longer rows are read twice: a block at a time for the sums, then,
from the end that is still in L2 towards the beginning, for the result.
"""

import torch
import triton
import triton.language as tl

BLOCK = 4096  # columns handled at once
ROWS = 1  # rows handled at once
NUM_WARPS = 4
REREAD = 1  # read short rows again for the result; 0: keep them in registers
EARLY = 0  # 1: ask for weight and bias before the sums are known


@triton.jit
def row_offsets(rows, cols, ROWS: tl.constexpr):
    """Offsets of this program's rows, (ROWS, 1).

    The last program repeats the last row instead of leaving the matrix, and writes the same values
    to it again: so no mask depends on the row.
    """
    row = tl.minimum(tl.program_id(0) * ROWS + tl.arange(0, ROWS), rows - 1)
    return (row.to(tl.int64) * cols)[:, None]


@triton.jit
def load(pointers, mask, FULL: tl.constexpr, POLICY: tl.constexpr):
    """Without a mask where every lane has a column."""
    if FULL:
        return tl.load(pointers, eviction_policy=POLICY)
    else:
        return tl.load(pointers, mask=mask, other=0.0, eviction_policy=POLICY)


@triton.jit
def add_pairs(a, b, c, d):
    """Sums two quantities in one reduction."""
    return a + c, b + d


@triton.jit
def moments(total, squares, cols, eps):
    """Mean and 1 / deviation of the rows whose values and squares are given, both (ROWS, 1)."""
    total, squares = tl.reduce((total, squares), 1, add_pairs, keep_dims=True)
    mean = total / cols
    variance = tl.maximum(squares / cols - mean * mean, 0.0)
    return mean, tl.rsqrt(variance + eps)


@triton.jit
def short_rows_kernel(
    x_ptr, weight_ptr, bias_ptr, y_ptr, rows, cols, eps,
    ROWS: tl.constexpr, BLOCK: tl.constexpr, FULL: tl.constexpr,
    REREAD: tl.constexpr, EARLY: tl.constexpr,
):  # fmt: skip
    """Rows that fit into a block; FULL says that they fill it."""
    col = tl.arange(0, BLOCK)[None, :]
    mask = col < cols
    row = row_offsets(rows, cols, ROWS)
    x = load(x_ptr + row + col, mask, FULL, "")
    first = tl.load(x_ptr + row).to(tl.float32)
    if EARLY:
        weight = load(weight_ptr + col, mask, FULL, "evict_last")
        bias = load(bias_ptr + col, mask, FULL, "evict_last")
    distance = x.to(tl.float32) - first
    if not FULL:
        distance = tl.where(mask, distance, 0.0)
    mean, scale = moments(distance, distance * distance, cols, eps)
    if REREAD:
        # Under another policy, or the compiler would take the values that it has.
        x = load(x_ptr + row + col, mask, FULL, "evict_first")
        distance = x.to(tl.float32) - first
    if not EARLY:
        weight = load(weight_ptr + col, mask, FULL, "evict_last")
        bias = load(bias_ptr + col, mask, FULL, "evict_last")
    y = (distance * scale - mean * scale) * weight.to(tl.float32) + bias.to(tl.float32)
    y = y.to(y_ptr.dtype.element_ty)
    if FULL:
        tl.store(y_ptr + row + col, y)
    else:
        tl.store(y_ptr + row + col, y, mask=mask)


@triton.jit
def long_rows_kernel(
    x_ptr, weight_ptr, bias_ptr, y_ptr, rows, cols, eps, ROWS: tl.constexpr, BLOCK: tl.constexpr
):
    """Rows of several blocks."""
    lane = tl.arange(0, BLOCK)[None, :]
    row = row_offsets(rows, cols, ROWS)
    first = tl.load(x_ptr + row).to(tl.float32)
    total = tl.zeros((ROWS, BLOCK), dtype=tl.float32)
    squares = tl.zeros((ROWS, BLOCK), dtype=tl.float32)
    for start in tl.range(0, cols, BLOCK):
        mask = start + lane < cols
        x = tl.load(x_ptr + row + start + lane, mask=mask, other=0.0).to(tl.float32)
        distance = tl.where(mask, x - first, 0.0)
        total += distance
        squares += distance * distance
    mean, scale = moments(total, squares, cols, eps)
    last = (cols - 1) // BLOCK * BLOCK
    for back in tl.range(0, cols, BLOCK):
        col = last - back + lane
        mask = col < cols
        x = tl.load(x_ptr + row + col, mask=mask, other=0.0).to(tl.float32)
        weight = tl.load(weight_ptr + col, mask=mask, other=0.0).to(tl.float32)
        bias = tl.load(bias_ptr + col, mask=mask, other=0.0).to(tl.float32)
        y = ((x - first) * scale - mean * scale) * weight + bias
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
    grid = (triton.cdiv(rows, ROWS),)
    if cols <= BLOCK:
        block = triton.next_power_of_2(cols)
        short_rows_kernel[grid](
            x, weight, bias, y, rows, cols, 1e-5, ROWS, block, block == cols, REREAD, EARLY,
            num_warps=NUM_WARPS,
        )  # fmt: skip
    else:
        long_rows_kernel[grid](
            x, weight, bias, y, rows, cols, 1e-5, ROWS, BLOCK, num_warps=NUM_WARPS
        )
    return y
