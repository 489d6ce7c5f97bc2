"""Counts of pairs, with the scalar products computed once for all bins.

A program takes a tile of pairs on or above the diagonal and compares its products with every edge;
how many reach an edge is what is kept, so that a bin is a difference of two numbers. A second one
adds the tiles up. Nothing is counted by atomics.
"""

import torch
import triton
import triton.language as tl

BLOCK_I = 32
BLOCK_J = 128
NUM_WARPS = 4


@triton.jit
def above_kernel(
    x_ptr, edges_ptr, above_ptr, n, bins, BLOCK_I: tl.constexpr, BLOCK_J: tl.constexpr
):
    """For a block of directions and a block of later ones the pairs at or above every edge."""
    first = tl.program_id(1) * BLOCK_I
    start = tl.program_id(0) * BLOCK_J
    at = above_ptr + tl.program_id(1) * tl.num_programs(0) + tl.program_id(0)
    parts = tl.num_programs(0) * tl.num_programs(1)
    if start + BLOCK_J <= first + 1:  # below the diagonal
        for edge in range(bins + 1):
            tl.store(at + edge * parts, 0)
    else:
        i, j = first + tl.arange(0, BLOCK_I)[:, None], start + tl.arange(0, BLOCK_J)[None, :]
        dot = tl.load(x_ptr + i, mask=i < n, other=0.0) * tl.load(x_ptr + j, mask=j < n, other=0.0)
        dot += tl.load(x_ptr + n + i, mask=i < n, other=0.0) * tl.load(
            x_ptr + n + j, mask=j < n, other=0.0
        )
        dot += tl.load(x_ptr + 2 * n + i, mask=i < n, other=0.0) * tl.load(
            x_ptr + 2 * n + j, mask=j < n, other=0.0
        )
        # What is no pair lies below every edge.
        dot = tl.where((i < j) & (j < n), dot, -3.0e38)
        for edge in range(bins + 1):
            reached = (dot >= tl.load(edges_ptr + edge)).to(tl.int32)
            tl.store(at + edge * parts, tl.sum(tl.sum(reached, axis=1), axis=0))


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
    grid = (triton.cdiv(n, BLOCK_J), triton.cdiv(n, BLOCK_I))
    parts = grid[0] * grid[1]
    above = torch.empty((bins + 1, parts), device=x.device, dtype=torch.int32)
    counts = torch.empty((bins,), device=x.device, dtype=torch.int64)
    above_kernel[grid](x, edges, above, n, bins, BLOCK_I, BLOCK_J, num_warps=NUM_WARPS)
    difference_kernel[(bins,)](above, counts, parts, BLOCK=2048, num_warps=8)
    return counts
