"""Instance normalisation and leaky ReLU near the speed of memory.

Groups are few and large, so several programs share one: a first launch sums parts of each group,
a second adds these up and normalises. The second goes through the groups from the last to the
first, so that it finds in L2 what the first read last. Mean and variance come from distances to the
group's first value, which take the far-off mean out of the sums.
"""

import torch
import triton
import triton.language as tl

BLOCK = 4096  # elements handled at once
SPAN = 4  # blocks that a program handles one after the other
NUM_WARPS = 8


@triton.jit
def sums_kernel(x_ptr, sums_ptr, size, parts, BLOCK: tl.constexpr, SPAN: tl.constexpr):
    """Sum and squares of the distances of one part of a group."""
    group, part = tl.program_id(1), tl.program_id(0)
    x_ptr += group.to(tl.int64) * size
    first = tl.load(x_ptr).to(tl.float32)
    total = tl.zeros((BLOCK,), dtype=tl.float32)
    squares = tl.zeros((BLOCK,), dtype=tl.float32)
    for step in range(SPAN):
        lane = (part * SPAN + step) * BLOCK + tl.arange(0, BLOCK)
        x = tl.load(x_ptr + lane, mask=lane < size, other=0.0).to(tl.float32)
        distance = tl.where(lane < size, x - first, 0.0)
        total += distance
        squares += distance * distance
    at = sums_ptr + (group * parts + part) * 2
    tl.store(at, tl.sum(total, axis=0))
    tl.store(at + 1, tl.sum(squares, axis=0))


@triton.jit
def apply_kernel(
    x_ptr, weight_ptr, bias_ptr, y_ptr, sums_ptr, channels, size, parts, eps,
    PARTS: tl.constexpr, BLOCK: tl.constexpr, SPAN: tl.constexpr,
):  # fmt: skip
    """The result of one part of a group; the last comes first."""
    group = tl.num_programs(1) - 1 - tl.program_id(1)
    part = parts - 1 - tl.program_id(0)
    x_ptr += group.to(tl.int64) * size
    y_ptr += group.to(tl.int64) * size
    first = tl.load(x_ptr).to(tl.float32)
    each = tl.arange(0, PARTS)
    at = sums_ptr + (group * parts + each) * 2
    mean = tl.sum(tl.load(at, mask=each < parts, other=0.0), axis=0) / size
    squares = tl.sum(tl.load(at + 1, mask=each < parts, other=0.0), axis=0) / size
    scale = tl.rsqrt(tl.maximum(squares - mean * mean, 0.0) + eps)
    mean += first
    # A group is one channel: its weight and bias are two numbers of the whole program.
    channel = group % channels
    slope = scale * tl.load(weight_ptr + channel).to(tl.float32)
    bias = tl.load(bias_ptr + channel).to(tl.float32)
    for step in range(SPAN):
        lane = (part * SPAN + step) * BLOCK + tl.arange(0, BLOCK)
        mask = lane < size
        x = tl.load(x_ptr + lane, mask=mask, other=0.0, eviction_policy="evict_first")
        y = (x.to(tl.float32) - mean) * slope + bias
        y = tl.where(y > 0, y, 0.01 * y)
        # The result is not read again here: let it leave L2 before the input does.
        tl.store(
            y_ptr + lane, y.to(y_ptr.dtype.element_ty), mask=mask, eviction_policy="evict_first"
        )


def unet3d_instance_norm(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """Leaky ReLU of the normalised channels of (B, C, D, H, W)."""
    y = torch.empty_like(x)
    channels, size = x.shape[1], x[0, 0].numel()
    count = x.shape[0] * channels
    parts = triton.cdiv(size, BLOCK * SPAN)
    sums = torch.empty((count, parts, 2), device=x.device, dtype=torch.float32)
    grid = (parts, count)
    sums_kernel[grid](x, sums, size, parts, BLOCK, SPAN, num_warps=NUM_WARPS)
    apply_kernel[grid](
        x, weight, bias, y, sums, channels, size, parts, 1e-5,
        triton.next_power_of_2(parts), BLOCK, SPAN, num_warps=NUM_WARPS,
    )  # fmt: skip
    return y
