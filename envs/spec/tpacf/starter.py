"""Counts of pairs, plainly: a program counts the pairs of some directions above one edge."""

import torch
import triton
import triton.language as tl


@triton.jit
def above_kernel(x_ptr, edges_ptr, above_ptr, n, BLOCK: tl.constexpr):
    """For a block of directions the number of later ones at or above one edge."""
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    edge = tl.load(edges_ptr + tl.program_id(1))
    x = tl.load(x_ptr + i, mask=i < n, other=0.0)
    y = tl.load(x_ptr + n + i, mask=i < n, other=0.0)
    z = tl.load(x_ptr + 2 * n + i, mask=i < n, other=0.0)
    total = tl.zeros((BLOCK,), dtype=tl.int32)
    for j in range(n):
        dot = x * tl.load(x_ptr + j)
        dot += y * tl.load(x_ptr + n + j)
        dot += z * tl.load(x_ptr + 2 * n + j)
        total += ((dot >= edge) & (i < j)).to(tl.int32)
    at = above_ptr + tl.program_id(1) * tl.num_programs(0) + tl.program_id(0)
    tl.store(at, tl.sum(total, axis=0))


@triton.jit
def difference_kernel(above_ptr, counts_ptr, parts, BLOCK: tl.constexpr):
    """Pairs above a bin's lower edge, less those above its upper one."""
    bin = tl.program_id(0)
    total = tl.zeros((BLOCK,), dtype=tl.int64)
    for start in range(0, parts, BLOCK):
        lane = start + tl.arange(0, BLOCK)
        lower = tl.load(above_ptr + bin * parts + lane, mask=lane < parts, other=0)
        upper = tl.load(above_ptr + (bin + 1) * parts + lane, mask=lane < parts, other=0)
        total += (lower - upper).to(tl.int64)
    tl.store(counts_ptr + bin, tl.sum(total, axis=0))


def tpacf(x: torch.Tensor, edges: torch.Tensor) -> torch.Tensor:
    """Counts of the pairs of (3, n) directions in bins of their cosines."""
    n, bins = x.shape[1], edges.shape[0] - 1
    parts = triton.cdiv(n, 64)
    above = torch.empty((bins + 1, parts), device=x.device, dtype=torch.int32)
    counts = torch.empty((bins,), device=x.device, dtype=torch.int64)
    above_kernel[(parts, bins + 1)](x, edges, above, n, BLOCK=64)
    difference_kernel[(bins,)](above, counts, parts, BLOCK=128)
    return counts
