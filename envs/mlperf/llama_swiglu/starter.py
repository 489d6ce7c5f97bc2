"""SwiGLU of a packed matrix, plainly: one program a block of a row."""

import torch
import triton
import triton.language as tl


@triton.jit
def llama_swiglu_kernel(x_ptr, y_ptr, cols, BLOCK: tl.constexpr):
    """One block of a row of y = silu(gate) * up."""
    row = tl.program_id(0).to(tl.int64)
    col = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    mask = col < cols
    gate = tl.load(x_ptr + row * 2 * cols + col, mask=mask, other=0.0).to(tl.float32)
    up = tl.load(x_ptr + row * 2 * cols + cols + col, mask=mask, other=0.0).to(tl.float32)
    y = gate / (1.0 + tl.exp(-gate)) * up
    tl.store(y_ptr + row * cols + col, y.to(y_ptr.dtype.element_ty), mask=mask)


def llama_swiglu(x: torch.Tensor) -> torch.Tensor:
    """silu(gate) * up of a packed (rows, 2 cols) matrix."""
    rows, cols = x.shape[0], x.shape[1] // 2
    y = torch.empty((rows, cols), device=x.device, dtype=x.dtype)
    llama_swiglu_kernel[(rows, triton.cdiv(cols, 256))](x, y, cols, BLOCK=256)
    return y
