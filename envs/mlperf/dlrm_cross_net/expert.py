"""The cross layer as two persistent products fed by the bulk copy engine (TMA), for Hopper.

The first launch leaves V x, which is small and stays in L2. The second multiplies it with U, and
what is left, x₀ ∘ (· + b) + x, is done on the tile that is in registers.
"""

import torch
import triton
import triton.language as tl
from triton.tools.tensor_descriptor import TensorDescriptor

BLOCK_M = 128
BLOCK_N = 256
BLOCK_K = 64
GROUP_M = 8
NUM_WARPS = 8
NUM_STAGES = 3
PROGRAMS = 132  # resident at a time: one on each multiprocessor of an H100 or H200


@triton.jit
def tile_at(index, m, n, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, GROUP_M: tl.constexpr):
    """Row and column of the index-th tile.

    Tiles are taken column by column within groups of GROUP_M tile rows, so that programs
    running at the same time share the rows of one factor and the columns of the other in L2.
    """
    tile_rows = tl.cdiv(m, BLOCK_M)
    group_size = GROUP_M * tl.cdiv(n, BLOCK_N)
    first = index // group_size * GROUP_M
    height = min(tile_rows - first, GROUP_M)  # the last group may be lower
    within = index % group_size
    return (first + within % height) * BLOCK_M, within // height * BLOCK_N


@triton.jit
def down_kernel(
    x_desc, v_desc, h_desc, m, n, k,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr, GROUP_M: tl.constexpr,
):  # fmt: skip
    """Every num_programs-th tile of h = x @ v."""
    tiles = tl.cdiv(m, BLOCK_M) * tl.cdiv(n, BLOCK_N)
    for index in tl.range(tl.program_id(0), tiles, tl.num_programs(0), flatten=True):
        row, col = tile_at(index, m, n, BLOCK_M, BLOCK_N, GROUP_M)
        acc = tl.zeros((BLOCK_M, BLOCK_N), dtype=tl.float32)
        for step in range(tl.cdiv(k, BLOCK_K)):
            x = x_desc.load([row, step * BLOCK_K])
            v = v_desc.load([step * BLOCK_K, col])
            acc = tl.dot(x, v, acc)
        h_desc.store([row, col], acc.to(h_desc.dtype))


@triton.jit
def cross_kernel(
    h_desc, u_desc, b_ptr, x0_ptr, x_ptr, y_ptr, m, n, k,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr, GROUP_M: tl.constexpr,
):  # fmt: skip
    """Every num_programs-th tile of y = x0 * (h @ u + b) + x."""
    tiles = tl.cdiv(m, BLOCK_M) * tl.cdiv(n, BLOCK_N)
    for index in tl.range(tl.program_id(0), tiles, tl.num_programs(0), flatten=True):
        row, col = tile_at(index, m, n, BLOCK_M, BLOCK_N, GROUP_M)
        acc = tl.zeros((BLOCK_M, BLOCK_N), dtype=tl.float32)
        for step in range(tl.cdiv(k, BLOCK_K)):
            h = h_desc.load([row, step * BLOCK_K])
            u = u_desc.load([step * BLOCK_K, col])
            acc = tl.dot(h, u, acc)
        rows = (row + tl.arange(0, BLOCK_M))[:, None]
        cols = (col + tl.arange(0, BLOCK_N))[None, :]
        at, mask = rows.to(tl.int64) * n + cols, (rows < m) & (cols < n)
        b = tl.load(b_ptr + cols, mask=cols < n, other=0.0).to(tl.float32)
        x0 = tl.load(x0_ptr + at, mask=mask, other=0.0).to(tl.float32)
        x = tl.load(x_ptr + at, mask=mask, other=0.0).to(tl.float32)
        tl.store(y_ptr + at, (x0 * (acc + b) + x).to(y_ptr.dtype.element_ty), mask=mask)


def dlrm_cross_net(
    x0: torch.Tensor, x: torch.Tensor, v: torch.Tensor, u: torch.Tensor, b: torch.Tensor
) -> torch.Tensor:
    """x0 * (x @ v @ u + b) + x of (M, D), (D, R) and (R, D)."""
    m, d = x.shape
    rank = v.shape[1]
    h = torch.empty((m, rank), device=x.device, dtype=x.dtype)
    y = torch.empty_like(x)
    tiles = triton.cdiv(m, BLOCK_M) * triton.cdiv(rank, BLOCK_N)
    down_kernel[(min(PROGRAMS, tiles),)](
        TensorDescriptor.from_tensor(x, [BLOCK_M, BLOCK_K]),
        TensorDescriptor.from_tensor(v, [BLOCK_K, BLOCK_N]),
        TensorDescriptor.from_tensor(h, [BLOCK_M, BLOCK_N]),
        m, rank, d, BLOCK_M, BLOCK_N, BLOCK_K, GROUP_M,
        num_warps=NUM_WARPS, num_stages=NUM_STAGES,
    )  # fmt: skip
    # Half as wide: three tiles of the matrices' shape leave no registers for a wider one.
    half = BLOCK_N // 2
    tiles = triton.cdiv(m, BLOCK_M) * triton.cdiv(d, half)
    cross_kernel[(min(2 * PROGRAMS, tiles),)](
        TensorDescriptor.from_tensor(h, [BLOCK_M, BLOCK_K]),
        TensorDescriptor.from_tensor(u, [BLOCK_K, half]),
        b, x0, x, y, m, d, rank, BLOCK_M, half, BLOCK_K, GROUP_M,
        num_warps=NUM_WARPS, num_stages=NUM_STAGES,
    )  # fmt: skip
    return y
