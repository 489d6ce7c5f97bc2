"""The gradients of the SwiGLU gate, plainly: one program a block."""

import torch
import triton
import triton.language as tl


@triton.jit
def silu_mul_backward_kernel(
    gate_ptr, up_ptr, dy_ptr, dgate_ptr, dup_ptr, size, BLOCK: tl.constexpr
):
    """One block."""
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    mask = at < size
    gate = tl.load(gate_ptr + at, mask=mask, other=0.0).to(tl.float32)
    up = tl.load(up_ptr + at, mask=mask, other=0.0).to(tl.float32)
    dy = tl.load(dy_ptr + at, mask=mask, other=0.0).to(tl.float32)
    sigma = 1.0 / (1.0 + tl.exp(-gate))
    dgate = dy * up * sigma * (1.0 + gate * (1.0 - sigma))
    dtype = dgate_ptr.dtype.element_ty
    tl.store(dgate_ptr + at, dgate.to(dtype), mask=mask)
    tl.store(dup_ptr + at, (dy * gate * sigma).to(dtype), mask=mask)


def silu_mul_backward(
    gate: torch.Tensor, up: torch.Tensor, dy: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Gradients of silu(gate) * up."""
    dgate, dup = torch.empty_like(gate), torch.empty_like(gate)
    size = gate.numel()
    silu_mul_backward_kernel[(triton.cdiv(size, 256),)](
        gate, up, dy, dgate, dup, size, BLOCK=256
    )  # fmt: skip
    return dgate, dup
