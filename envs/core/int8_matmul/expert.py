"""A persistent product in int8 fed by the bulk copy engine (TMA), for Hopper.

Both factors lie along k, which is how the matrix units want bytes. Scales are applied once, to the
finished sums. The copy engine wants rows that start at 16-byte boundaries; other row lengths take
a plain pointer kernel.
"""

import torch
import triton
import triton.language as tl
from triton.tools.tensor_descriptor import TensorDescriptor

BLOCK_M = 128
BLOCK_N = 256
BLOCK_K = 128
GROUP_M = 8
NUM_WARPS = 8
NUM_STAGES = 3
PROGRAMS = 132  # resident at a time: one on each multiprocessor of an H100 or H200


@triton.jit
def tile_at(index, m, n, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, GROUP_M: tl.constexpr):
    """Row and column of the index-th tile.

    Tiles are taken column by column within groups of GROUP_M tile rows, so that programs
    running at the same time share rows of both factors in L2.
    """
    tile_rows = tl.cdiv(m, BLOCK_M)
    group_size = GROUP_M * tl.cdiv(n, BLOCK_N)
    first = index // group_size * GROUP_M
    height = min(tile_rows - first, GROUP_M)  # the last group may be lower
    within = index % group_size
    return (first + within % height) * BLOCK_M, within // height * BLOCK_N


@triton.jit
def store(acc, a_scale_ptr, b_scale_ptr, c_ptr, row, col, m, n):
    """Scales a tile of sums and stores it."""
    rows = row + tl.arange(0, acc.shape[0])
    cols = col + tl.arange(0, acc.shape[1])
    a_scale = tl.load(a_scale_ptr + rows, mask=rows < m, other=0.0)
    b_scale = tl.load(b_scale_ptr + cols, mask=cols < n, other=0.0)
    c = acc.to(tl.float32) * a_scale[:, None] * b_scale[None, :]
    tl.store(
        c_ptr + rows.to(tl.int64)[:, None] * n + cols[None, :],
        c.to(c_ptr.dtype.element_ty),
        mask=(rows[:, None] < m) & (cols[None, :] < n),
    )


@triton.jit
def tma_kernel(
    a_desc, b_desc, a_scale_ptr, b_scale_ptr, c_ptr, m, n, k,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr, GROUP_M: tl.constexpr,
):  # fmt: skip
    """Every num_programs-th tile; the copy engine pads at the edges."""
    tiles = tl.cdiv(m, BLOCK_M) * tl.cdiv(n, BLOCK_N)
    # flatten: one software pipeline over all tiles, which does not drain between two of them
    for index in tl.range(tl.program_id(0), tiles, tl.num_programs(0), flatten=True):
        row, col = tile_at(index, m, n, BLOCK_M, BLOCK_N, GROUP_M)
        acc = tl.zeros((BLOCK_M, BLOCK_N), dtype=tl.int32)
        for step in range(tl.cdiv(k, BLOCK_K)):
            a = a_desc.load([row, step * BLOCK_K])
            b = b_desc.load([col, step * BLOCK_K])
            acc = tl.dot(a, b.T, acc, out_dtype=tl.int32)
        store(acc, a_scale_ptr, b_scale_ptr, c_ptr, row, col, m, n)


@triton.jit
def pointer_kernel(
    a_ptr, b_ptr, a_scale_ptr, b_scale_ptr, c_ptr, m, n, k,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr, GROUP_M: tl.constexpr,
):  # fmt: skip
    """One tile, for rows that the copy engine cannot address."""
    row, col = tile_at(tl.program_id(0), m, n, BLOCK_M, BLOCK_N, GROUP_M)
    rows = (row + tl.arange(0, BLOCK_M)).to(tl.int64)[:, None]
    cols = (col + tl.arange(0, BLOCK_N)).to(tl.int64)[:, None]
    inner = tl.arange(0, BLOCK_K)[None, :]
    acc = tl.zeros((BLOCK_M, BLOCK_N), dtype=tl.int32)
    for start in range(0, k, BLOCK_K):
        a = tl.load(
            a_ptr + rows * k + start + inner, mask=(rows < m) & (start + inner < k), other=0
        )
        b = tl.load(
            b_ptr + cols * k + start + inner, mask=(cols < n) & (start + inner < k), other=0
        )
        acc = tl.dot(a, b.T, acc, out_dtype=tl.int32)
    store(acc, a_scale_ptr, b_scale_ptr, c_ptr, row, col, m, n)


def int8_matmul(
    a: torch.Tensor, b: torch.Tensor, a_scale: torch.Tensor, b_scale: torch.Tensor
) -> torch.Tensor:
    """Scaled a @ b.T of (M, K) and (N, K) matrices in int8."""
    m, k = a.shape
    n = b.shape[0]
    c = torch.empty((m, n), device=a.device, dtype=torch.bfloat16)
    if k % 16 == 0 and a.data_ptr() % 16 == 0 and b.data_ptr() % 16 == 0:
        tiles = triton.cdiv(m, BLOCK_M) * triton.cdiv(n, BLOCK_N)
        tma_kernel[(min(PROGRAMS, tiles),)](
            TensorDescriptor.from_tensor(a, [BLOCK_M, BLOCK_K]),
            TensorDescriptor.from_tensor(b, [BLOCK_N, BLOCK_K]),
            a_scale, b_scale, c, m, n, k, BLOCK_M, BLOCK_N, BLOCK_K, GROUP_M,
            num_warps=NUM_WARPS, num_stages=NUM_STAGES,
        )  # fmt: skip
    else:
        # Element-wise loads cannot be pipelined: smaller tiles keep them in registers.
        grid = (triton.cdiv(m, 64) * triton.cdiv(n, 64),)
        pointer_kernel[grid](
            a, b, a_scale, b_scale, c, m, n, k, 64, 64, 64, GROUP_M, num_warps=4
        )  # fmt: skip
    return c
