"""A persistent batched product fed by the bulk copy engine (TMA), for Hopper.

Each program computes several tiles, of whichever product, one after the other, so that the loads of
the next tile are under way while the last one is stored. Descriptors have three axes: the copy
engine pads and clips at the edges of every product. It wants rows that start at 16-byte boundaries;
other row lengths take a plain pointer kernel.
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
    """Row and column of the index-th tile of a product.

    Tiles are taken column by column within groups of GROUP_M tile rows, so that programs
    running at the same time share the rows of a and the columns of b in L2.
    """
    tile_rows = tl.cdiv(m, BLOCK_M)
    group_size = GROUP_M * tl.cdiv(n, BLOCK_N)
    first = index // group_size * GROUP_M
    height = min(tile_rows - first, GROUP_M)  # the last group may be lower
    within = index % group_size
    return (first + within % height) * BLOCK_M, within // height * BLOCK_N


@triton.jit
def tma_kernel(
    a_desc, b_desc, c_desc, batch, m, n, k,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr, GROUP_M: tl.constexpr,
):  # fmt: skip
    """Every num_programs-th tile of all products."""
    tiles = tl.cdiv(m, BLOCK_M) * tl.cdiv(n, BLOCK_N)
    # flatten: one software pipeline over all tiles, which does not drain between two of them
    for index in tl.range(tl.program_id(0), batch * tiles, tl.num_programs(0), flatten=True):
        which = index // tiles
        row, col = tile_at(index % tiles, m, n, BLOCK_M, BLOCK_N, GROUP_M)
        acc = tl.zeros((BLOCK_M, BLOCK_N), dtype=tl.float32)
        for step in range(tl.cdiv(k, BLOCK_K)):
            a = a_desc.load([which, row, step * BLOCK_K]).reshape(BLOCK_M, BLOCK_K)
            b = b_desc.load([which, step * BLOCK_K, col]).reshape(BLOCK_K, BLOCK_N)
            acc = tl.dot(a, b, acc)
        # Stored in two halves, which take half the shared memory on their way out and leave
        # the rest to the pipeline.
        halves = tl.reshape(acc.to(c_desc.dtype), (BLOCK_M, 2, BLOCK_N // 2))
        left, right = tl.split(tl.permute(halves, (0, 2, 1)))
        c_desc.store([which, row, col], left.reshape(1, BLOCK_M, BLOCK_N // 2))
        c_desc.store([which, row, col + BLOCK_N // 2], right.reshape(1, BLOCK_M, BLOCK_N // 2))


@triton.jit
def pointer_kernel(
    a_ptr, b_ptr, c_ptr, m, n, k,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr, GROUP_M: tl.constexpr,
):  # fmt: skip
    """One tile of one product, for rows that the copy engine cannot address."""
    batch = tl.program_id(1).to(tl.int64)
    row, col = tile_at(tl.program_id(0), m, n, BLOCK_M, BLOCK_N, GROUP_M)
    rows = (row + tl.arange(0, BLOCK_M))[:, None]
    cols = (col + tl.arange(0, BLOCK_N))[None, :]
    inner = tl.arange(0, BLOCK_K)
    a_ptrs = a_ptr + batch * m * k + rows * k + inner[None, :]
    b_ptrs = b_ptr + batch * k * n + inner[:, None] * n + cols
    acc = tl.zeros((BLOCK_M, BLOCK_N), dtype=tl.float32)
    for start in range(0, k, BLOCK_K):
        left = k - start
        a = tl.load(a_ptrs, mask=(rows < m) & (inner[None, :] < left), other=0.0)
        b = tl.load(b_ptrs, mask=(inner[:, None] < left) & (cols < n), other=0.0)
        acc = tl.dot(a, b, acc)
        a_ptrs += BLOCK_K
        b_ptrs += BLOCK_K * n
    c = acc.to(c_ptr.dtype.element_ty)
    tl.store(c_ptr + batch * m * n + rows * n + cols, c, mask=(rows < m) & (cols < n))


def aligned(x: torch.Tensor) -> bool:
    """Whether the copy engine can address the rows of a contiguous tensor."""
    return x.data_ptr() % 16 == 0 and x.shape[-1] * x.element_size() % 16 == 0


def batched_matmul(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Products of (B, M, K) and (B, K, N) matrices."""
    batch, m, k = a.shape
    n = b.shape[2]
    c = torch.empty((batch, m, n), device=a.device, dtype=a.dtype)
    if aligned(a) and aligned(b):
        tiles = batch * triton.cdiv(m, BLOCK_M) * triton.cdiv(n, BLOCK_N)
        tma_kernel[(min(PROGRAMS, tiles),)](
            TensorDescriptor.from_tensor(a, [1, BLOCK_M, BLOCK_K]),
            TensorDescriptor.from_tensor(b, [1, BLOCK_K, BLOCK_N]),
            TensorDescriptor.from_tensor(c, [1, BLOCK_M, BLOCK_N // 2]),
            batch, m, n, k, BLOCK_M, BLOCK_N, BLOCK_K, GROUP_M,
            num_warps=NUM_WARPS, num_stages=NUM_STAGES,
        )  # fmt: skip
    else:
        # Element-wise loads cannot be pipelined: smaller tiles keep them in registers.
        grid = (triton.cdiv(m, 64) * triton.cdiv(n, 64), batch)
        pointer_kernel[grid](a, b, c, m, n, k, 64, 64, 32, GROUP_M, num_warps=4)
    return c
