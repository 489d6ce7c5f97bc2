"""A sparse product, plainly: a block of rows a program, one value of each at a time."""

import torch
import triton
import triton.language as tl


@triton.jit
def spmv_kernel(values_ptr, cols_ptr, x_ptr, y_ptr, rows, width, BLOCK: tl.constexpr):
    """A block of rows."""
    row = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = row < rows
    total = tl.zeros((BLOCK,), dtype=tl.float32)
    for step in range(width):
        at = step * rows + row
        value = tl.load(values_ptr + at, mask=mask, other=0.0)
        col = tl.load(cols_ptr + at, mask=mask, other=0)
        total += value * tl.load(x_ptr + col, mask=mask, other=0.0)
    tl.store(y_ptr + row, total, mask=mask)


def spmv_ell(values: torch.Tensor, cols: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """A x for (width, rows) values and columns."""
    width, rows = values.shape
    y = torch.empty_like(x)
    spmv_kernel[(triton.cdiv(rows, 128),)](values, cols, x, y, rows, width, BLOCK=128)
    return y
