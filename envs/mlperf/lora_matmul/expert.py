"""A linear layer with LoRA: a persistent product fed by the bulk copy engine (TMA), for Hopper.

x @ a is computed once, in a first launch, whose programs are few rows high since reading x is what
it costs. In the second the adapter is one more step of every tile, of depth `rank`.
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
def down_kernel(
    x_desc, a_ptr, xa_ptr, m, k, rank, scale,
    ROWS: tl.constexpr, RANK: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    """ROWS rows of scale · x @ a."""
    row = tl.program_id(0) * ROWS
    low = tl.arange(0, RANK)[None, :]
    acc = tl.zeros((ROWS, RANK), dtype=tl.float32)
    for start in range(0, k, BLOCK_K):
        inner = (start + tl.arange(0, BLOCK_K))[:, None]
        x = x_desc.load([row, start])
        a = tl.load(a_ptr + inner * rank + low, mask=(inner < k) & (low < rank), other=0.0)
        acc = tl.dot(x, a, acc)
    rows = (row + tl.arange(0, ROWS))[:, None]
    tl.store(xa_ptr + rows * RANK + low, (acc * scale).to(xa_ptr.dtype.element_ty), mask=rows < m)


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
def lora_kernel(
    x_desc, w_desc, xa_ptr, b_ptr, y_desc, m, n, k, rank, RANK: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr, GROUP_M: tl.constexpr,
):  # fmt: skip
    """Every num_programs-th tile."""
    tiles = tl.cdiv(m, BLOCK_M) * tl.cdiv(n, BLOCK_N)
    low = tl.arange(0, RANK)
    for index in tl.range(tl.program_id(0), tiles, tl.num_programs(0)):
        row, col = tile_at(index, m, n, BLOCK_M, BLOCK_N, GROUP_M)
        rows, cols = row + tl.arange(0, BLOCK_M), col + tl.arange(0, BLOCK_N)
        xa = tl.load(
            xa_ptr + rows[:, None] * RANK + low[None, :], mask=rows[:, None] < m, other=0.0
        )
        b = tl.load(
            b_ptr + low[:, None] * n + cols[None, :],
            mask=(low[:, None] < rank) & (cols[None, :] < n),
            other=0.0,
        )
        acc = tl.dot(xa, b)
        for step in range(tl.cdiv(k, BLOCK_K)):
            x = x_desc.load([row, step * BLOCK_K])
            w = w_desc.load([step * BLOCK_K, col])
            acc = tl.dot(x, w, acc)
        # Stored in two halves, which take half the shared memory on their way out.
        halves = tl.reshape(acc.to(y_desc.dtype), (BLOCK_M, 2, BLOCK_N // 2))
        left, right = tl.split(tl.permute(halves, (0, 2, 1)))
        y_desc.store([row, col], left)
        y_desc.store([row, col + BLOCK_N // 2], right)


def lora_matmul(
    x: torch.Tensor, w: torch.Tensor, a: torch.Tensor, b: torch.Tensor, scale: float
) -> torch.Tensor:
    """x @ w + scale (x @ a) @ b of (M, K) and (K, N)."""
    m, k = x.shape
    n, rank = w.shape[1], a.shape[1]
    y = torch.empty((m, n), device=x.device, dtype=x.dtype)
    xa = torch.empty((m, 16), device=x.device, dtype=x.dtype)
    down_kernel[(triton.cdiv(m, 64),)](
        TensorDescriptor.from_tensor(x, [64, 128]), a, xa, m, k, rank, scale, 64, 16, 128,
        num_warps=4, num_stages=4,
    )  # fmt: skip
    tiles = triton.cdiv(m, BLOCK_M) * triton.cdiv(n, BLOCK_N)
    lora_kernel[(min(PROGRAMS, tiles),)](
        TensorDescriptor.from_tensor(x, [BLOCK_M, BLOCK_K]),
        TensorDescriptor.from_tensor(w, [BLOCK_K, BLOCK_N]),
        xa, b, TensorDescriptor.from_tensor(y, [BLOCK_M, BLOCK_N // 2]),
        m, n, k, rank, 16, BLOCK_M, BLOCK_N, BLOCK_K, GROUP_M,
        num_warps=NUM_WARPS, num_stages=NUM_STAGES,
    )  # fmt: skip
    return y
