"""A matrix product in float32 on the matrix units, which round to tf32.

Each factor is split into what tf32 holds and what is left: three products on the matrix units give
nearly the accuracy of float32 at a third of tf32's rate, above that of the vector units (Ootomo and
Yokota, arXiv 2203.03341). Both are split once, before the product: split in its loop (`tf32x3`),
every program splits the same tile again, through registers, and the matrix units wait. The second
factor is turned on the way, since Hopper's units read tf32 from shared memory along k only.
"""

import torch
import triton
import triton.language as tl

BLOCK_M = 128
BLOCK_N = 256
BLOCK_K = 16
GROUP_M = 8
NUM_WARPS = 8
NUM_STAGES = 4


@triton.jit
def split_kernel(x_ptr, high_ptr, low_ptr, m, n, TURNED: tl.constexpr, BLOCK: tl.constexpr):
    """A (BLOCK, BLOCK) tile of x of shape (m, n), in two parts of shape (m, n), or (n, m)."""
    rows = (tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)).to(tl.int64)
    cols = (tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)).to(tl.int64)
    inside = (rows[:, None] < m) & (cols[None, :] < n)
    x = tl.load(x_ptr + rows[:, None] * n + cols[None, :], mask=inside, other=0.0)
    # To the nearest number with the ten bits of mantissa that tf32 has.
    bits = x.to(tl.int32, bitcast=True)
    high = ((bits + 0x1000) & -0x2000).to(tl.float32, bitcast=True)
    low = tl.where(high == x, 0.0, x - high)  # infinity has nothing left
    if TURNED:
        places = cols[:, None] * m + rows[None, :]
        inside = (cols[:, None] < n) & (rows[None, :] < m)
        tl.store(high_ptr + places, tl.trans(high), mask=inside)
        tl.store(low_ptr + places, tl.trans(low), mask=inside)
    else:
        places = rows[:, None] * n + cols[None, :]
        tl.store(high_ptr + places, high, mask=inside)
        tl.store(low_ptr + places, low, mask=inside)


@triton.jit
def matmul_kernel(
    a_high_ptr, a_low_ptr, b_high_ptr, b_low_ptr, c_ptr, m, n, k,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr, GROUP_M: tl.constexpr,
):  # fmt: skip
    """One (BLOCK_M, BLOCK_N) tile of c = a @ b, the parts of b of shape (n, k)."""
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
    a_places = rows * k + inner[None, :]
    b_places = cols * k + inner[:, None]
    acc = tl.zeros((BLOCK_M, BLOCK_N), dtype=tl.float32)
    for start in range(0, k, BLOCK_K):
        left = k - start
        in_a = (rows < m) & (inner[None, :] < left)
        in_b = (inner[:, None] < left) & (cols < n)
        a_high = tl.load(a_high_ptr + a_places, mask=in_a, other=0.0)
        a_low = tl.load(a_low_ptr + a_places, mask=in_a, other=0.0)
        b_high = tl.load(b_high_ptr + b_places, mask=in_b, other=0.0)
        b_low = tl.load(b_low_ptr + b_places, mask=in_b, other=0.0)
        # The small products first; that of both rests is below the rounding.
        acc = tl.dot(a_low, b_high, acc, input_precision="tf32")
        acc = tl.dot(a_high, b_low, acc, input_precision="tf32")
        acc = tl.dot(a_high, b_high, acc, input_precision="tf32")
        a_places += BLOCK_K
        b_places += BLOCK_K
    tl.store(c_ptr + rows * n + cols, acc, mask=(rows < m) & (cols < n))


def matmul_fp32(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """`a @ b` of row-major (M, K) and (K, N) matrices."""
    m, k = a.shape
    n = b.shape[1]
    a_parts = torch.empty((2, m, k), device=a.device, dtype=a.dtype)
    b_parts = torch.empty((2, n, k), device=a.device, dtype=a.dtype)
    c = torch.empty((m, n), device=a.device, dtype=a.dtype)
    block = 64
    split_kernel[(triton.cdiv(m, block), triton.cdiv(k, block))](
        a, a_parts[0], a_parts[1], m, k, TURNED=False, BLOCK=block, num_warps=8
    )
    split_kernel[(triton.cdiv(k, block), triton.cdiv(n, block))](
        b, b_parts[0], b_parts[1], k, n, TURNED=True, BLOCK=block, num_warps=8
    )
    grid = (triton.cdiv(m, BLOCK_M) * triton.cdiv(n, BLOCK_N),)
    matmul_kernel[grid](
        a_parts[0], a_parts[1], b_parts[0], b_parts[1], c, m, n, k,
        BLOCK_M, BLOCK_N, BLOCK_K, GROUP_M, num_warps=NUM_WARPS, num_stages=NUM_STAGES,
    )  # fmt: skip
    return c
