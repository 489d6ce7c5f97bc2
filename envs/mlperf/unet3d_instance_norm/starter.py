"""Instance normalisation and leaky ReLU, plainly: one program a channel, in three passes."""

import torch
import triton
import triton.language as tl


@triton.jit
def group_kernel(
    x_ptr, weight_ptr, bias_ptr, y_ptr, groups, width, pixels, eps, BLOCK: tl.constexpr
):
    """One group: its mean, its variance, then the result."""
    group = tl.program_id(0)
    size = width * pixels
    x_ptr += group.to(tl.int64) * size
    y_ptr += group.to(tl.int64) * size
    channel = group % groups * width
    lane = tl.arange(0, BLOCK)

    total = tl.zeros((BLOCK,), dtype=tl.float32)
    for start in range(0, size, BLOCK):
        total += tl.load(x_ptr + start + lane, mask=start + lane < size, other=0.0).to(tl.float32)
    mean = tl.sum(total, axis=0) / size

    squares = tl.zeros((BLOCK,), dtype=tl.float32)
    for start in range(0, size, BLOCK):
        mask = start + lane < size
        x = tl.load(x_ptr + start + lane, mask=mask, other=0.0).to(tl.float32)
        distance = tl.where(mask, x - mean, 0.0)
        squares += distance * distance
    scale = 1.0 / tl.sqrt(tl.sum(squares, axis=0) / size + eps)

    for start in range(0, size, BLOCK):
        mask = start + lane < size
        x = tl.load(x_ptr + start + lane, mask=mask, other=0.0).to(tl.float32)
        at = channel + (start + lane) // pixels
        weight = tl.load(weight_ptr + at, mask=mask, other=0.0).to(tl.float32)
        bias = tl.load(bias_ptr + at, mask=mask, other=0.0).to(tl.float32)
        y = (x - mean) * scale * weight + bias
        y = tl.where(y > 0, y, 0.01 * y)
        tl.store(y_ptr + start + lane, y.to(y_ptr.dtype.element_ty), mask=mask)


def unet3d_instance_norm(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """Leaky ReLU of the normalised channels of (B, C, D, H, W)."""
    y = torch.empty_like(x)
    groups = x.shape[1]
    width, pixels = x.shape[1] // groups, x[0, 0].numel()
    group_kernel[(x.shape[0] * groups,)](
        x, weight, bias, y, groups, width, pixels, 1e-5, BLOCK=1024
    )  # fmt: skip
    return y
