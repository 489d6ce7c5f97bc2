"""Grouped products, plainly: a program takes a tile of a group, if the group has so many rows."""

import torch
import triton
import triton.language as tl


@triton.jit
def grouped_kernel(
    a_ptr, b_ptr, offsets_ptr, c_ptr, n, k,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    """One (BLOCK_M, BLOCK_N) tile of one group."""
    group = tl.program_id(2)
    first = tl.load(offsets_ptr + group) + tl.program_id(0) * BLOCK_M
    last = tl.load(offsets_ptr + group + 1)
    if first < last:
        rows = (first + tl.arange(0, BLOCK_M)).to(tl.int64)
        cols = tl.program_id(1) * BLOCK_N + tl.arange(0, BLOCK_N)
        b_ptr += group.to(tl.int64) * k * n
        acc = tl.zeros((BLOCK_M, BLOCK_N), dtype=tl.float32)
        for start in range(0, k, BLOCK_K):
            inner = start + tl.arange(0, BLOCK_K)
            a = tl.load(
                a_ptr + rows[:, None] * k + inner[None, :],
                mask=(rows[:, None] < last) & (inner[None, :] < k),
                other=0.0,
            )
            b = tl.load(
                b_ptr + inner[:, None] * n + cols[None, :],
                mask=(inner[:, None] < k) & (cols[None, :] < n),
                other=0.0,
            )
            acc += tl.dot(a, b)
        tl.store(
            c_ptr + rows[:, None] * n + cols[None, :],
            acc.to(c_ptr.dtype.element_ty),
            mask=(rows[:, None] < last) & (cols[None, :] < n),
        )


def grouped_gemm(a: torch.Tensor, b: torch.Tensor, offsets: torch.Tensor) -> torch.Tensor:
    """Groups of the rows of (M, K) with their (K, N) of (G, K, N)."""
    m, k = a.shape
    groups, _, n = b.shape
    c = torch.empty((m, n), device=a.device, dtype=a.dtype)
    # A group may have all rows.
    grid = (triton.cdiv(m, 64), triton.cdiv(n, 64), groups)
    grouped_kernel[grid](a, b, offsets, c, n, k, BLOCK_M=64, BLOCK_N=64, BLOCK_K=32)
    return c
