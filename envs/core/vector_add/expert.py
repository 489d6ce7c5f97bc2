"""Vector addition at the speed of memory: wide accesses, and enough of them under way.

A block of BLOCK elements gives every thread several accesses of 16 bytes, all asked for before
the first is used.
"""

import torch
import triton
import triton.language as tl

BLOCK = 2048  # elements handled at once
NUM_WARPS = 4
PROGRAMS = 0  # each takes every PROGRAMS-th block; 0: one program a block


@triton.jit
def vector_add_kernel(x_ptr, y_ptr, z_ptr, n, BLOCK: tl.constexpr):
    """Every num_programs-th block of z = x + y."""
    lane = tl.arange(0, BLOCK)
    for block in tl.range(tl.program_id(0), tl.cdiv(n, BLOCK), tl.num_programs(0)):
        offsets = tl.cast(block, tl.int64) * BLOCK + lane
        mask = offsets < n
        x = tl.load(x_ptr + offsets, mask=mask)
        y = tl.load(y_ptr + offsets, mask=mask)
        tl.store(z_ptr + offsets, x + y, mask=mask)


def vector_add(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """x + y of two vectors."""
    z = torch.empty_like(x)
    n = x.numel()
    blocks = triton.cdiv(n, BLOCK)
    grid = (min(blocks, PROGRAMS) if PROGRAMS else blocks,)
    vector_add_kernel[grid](x, y, z, n, BLOCK, num_warps=NUM_WARPS)
    return z
