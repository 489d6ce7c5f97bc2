"""An LSTM cell, plainly: one program a block of a row."""

import torch
import triton
import triton.language as tl


@triton.jit
def lstm_cell_kernel(gates_ptr, c_ptr, h_ptr, new_c_ptr, cols, BLOCK: tl.constexpr):
    """One block of a row of both states."""
    row = tl.program_id(0).to(tl.int64)
    col = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    mask = col < cols
    at = gates_ptr + row * 4 * cols + col
    i = tl.load(at, mask=mask, other=0.0).to(tl.float32)
    f = tl.load(at + cols, mask=mask, other=0.0).to(tl.float32)
    g = tl.load(at + 2 * cols, mask=mask, other=0.0).to(tl.float32)
    o = tl.load(at + 3 * cols, mask=mask, other=0.0).to(tl.float32)
    c = tl.load(c_ptr + row * cols + col, mask=mask, other=0.0).to(tl.float32)
    # tanh(z) = 2 sigmoid(2 z) - 1
    c = tl.sigmoid(f) * c + tl.sigmoid(i) * (2 * tl.sigmoid(2 * g) - 1)
    h = tl.sigmoid(o) * (2 * tl.sigmoid(2 * c) - 1)
    tl.store(h_ptr + row * cols + col, h.to(h_ptr.dtype.element_ty), mask=mask)
    tl.store(new_c_ptr + row * cols + col, c.to(h_ptr.dtype.element_ty), mask=mask)


def lstm_cell(gates: torch.Tensor, c: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """New hidden and cell states of (rows, 4 cols) gates and (rows, cols) cells."""
    rows, cols = c.shape
    h, new_c = torch.empty_like(c), torch.empty_like(c)
    lstm_cell_kernel[(rows, triton.cdiv(cols, 128))](gates, c, h, new_c, cols, BLOCK=128)
    return h, new_c
