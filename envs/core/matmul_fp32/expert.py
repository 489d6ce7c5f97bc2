"""A matrix product in float32 on the matrix units, which round to tf32.

Each factor is split into what tf32 holds and what is left (`tf32x3`): three products on the matrix
units give nearly the accuracy of float32 at a third of tf32's rate, above that of the vector units
(Ootomo and Yokota, arXiv 2203.03341). SPLIT = 0 multiplies on the vector units instead.
"""

import torch
import triton
import triton.language as tl

BLOCK_M = 128
BLOCK_N = 128
BLOCK_K = 32
GROUP_M = 8
NUM_WARPS = 8
NUM_STAGES = 3
SPLIT = 1


@triton.jit
def matmul_kernel(
    a_ptr, b_ptr, c_ptr, m, n, k,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr,
    GROUP_M: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """One (BLOCK_M, BLOCK_N) tile of c = a @ b."""
    # Tiles are taken column by column within groups of GROUP_M tile rows, so that programs
    # running at the same time share the rows of a and the columns of b in L2.
    tile_rows = tl.cdiv(m, BLOCK_M)
    group_size = GROUP_M * tl.cdiv(n, BLOCK_N)
    first = tl.program_id(0) // group_size * GROUP_M
    height = min(tile_rows - first, GROUP_M)  # the last group may be lower
    within = tl.program_id(0) % group_size
    row = (first + within % height) * BLOCK_M
    col = within // height * BLOCK_N

    rows = (row + tl.arange(0, BLOCK_M)).to(tl.int64)[:, None]
    cols = (col + tl.arange(0, BLOCK_N)).to(tl.int64)[None, :]
    inner = tl.arange(0, BLOCK_K)
    a_ptrs = a_ptr + rows * k + inner[None, :]
    b_ptrs = b_ptr + inner[:, None] * n + cols
    acc = tl.zeros((BLOCK_M, BLOCK_N), dtype=tl.float32)
    for start in range(0, k, BLOCK_K):
        left = k - start
        a = tl.load(a_ptrs, mask=(rows < m) & (inner[None, :] < left), other=0.0)
        b = tl.load(b_ptrs, mask=(inner[:, None] < left) & (cols < n), other=0.0)
        acc = tl.dot(a, b, acc, input_precision=PRECISION)
        a_ptrs += BLOCK_K
        b_ptrs += BLOCK_K * n
    tl.store(c_ptr + rows * n + cols, acc, mask=(rows < m) & (cols < n))


def matmul_fp32(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """`a @ b` of row-major (M, K) and (K, N) matrices."""
    m, k = a.shape
    n = b.shape[1]
    c = torch.empty((m, n), device=a.device, dtype=a.dtype)
    grid = (triton.cdiv(m, BLOCK_M) * triton.cdiv(n, BLOCK_N),)
    matmul_kernel[grid](
        a, b, c, m, n, k, BLOCK_M, BLOCK_N, BLOCK_K, GROUP_M, "tf32x3" if SPLIT else "ieee",
        num_warps=NUM_WARPS, num_stages=NUM_STAGES,
    )  # fmt: skip
    return c
