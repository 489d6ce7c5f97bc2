"""A persistent linear layer with exact GELU, fed by the bulk copy engine (TMA), for Hopper.

Each program computes several tiles of the output, one after the other, so that the loads of the
next tile are under way while the last one is stored. The copy engine wants rows that start at
16-byte boundaries; matrices with other row lengths take a plain pointer kernel.
"""

import torch
import triton
import triton.language as tl
from triton.tools.tensor_descriptor import TensorDescriptor

BLOCK_M = 128
BLOCK_N = 128
BLOCK_K = 64
GROUP_M = 8
NUM_WARPS = 8
NUM_STAGES = 3
PROGRAMS = 264  # resident at a time: two on each multiprocessor of an H100 or H200


@triton.jit
def tile_at(index, m, n, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, GROUP_M: tl.constexpr):
    """Row and column of the index-th tile.

    Tiles are taken column by column within groups of GROUP_M tile rows, so that programs
    running at the same time share the rows of x and the columns of w in L2.
    """
    tile_rows = tl.cdiv(m, BLOCK_M)
    group_size = GROUP_M * tl.cdiv(n, BLOCK_N)
    first = index // group_size * GROUP_M
    height = min(tile_rows - first, GROUP_M)  # the last group may be lower
    within = index % group_size
    return (first + within % height) * BLOCK_M, within // height * BLOCK_N


@triton.jit
def gelu(t):
    """t/2 (1 + erf(t/sqrt 2)), in float32."""
    return 0.5 * t * (1.0 + tl.erf(t * 0.7071067811865476))


@triton.jit
def add_bias_gelu(acc, bias_ptr, cols, n):
    """The epilogue of a tile whose columns are `cols`."""
    bias = tl.load(bias_ptr + cols, mask=cols < n, other=0.0).to(tl.float32)
    return gelu(acc + bias[None, :])


@triton.jit
def matmul_bias_gelu_tma_kernel(
    x_desc, w_desc, y_desc, bias_ptr, m, n, k,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr, GROUP_M: tl.constexpr,
):  # fmt: skip
    """Every num_programs-th tile of the output; the copy engine pads and clips at the edges."""
    tiles = tl.cdiv(m, BLOCK_M) * tl.cdiv(n, BLOCK_N)
    # flatten: one software pipeline over all tiles, which does not drain between two of them
    for index in tl.range(tl.program_id(0), tiles, tl.num_programs(0), flatten=True):
        row, col = tile_at(index, m, n, BLOCK_M, BLOCK_N, GROUP_M)
        acc = tl.zeros((BLOCK_M, BLOCK_N), dtype=tl.float32)
        for step in range(tl.cdiv(k, BLOCK_K)):
            x = x_desc.load([row, step * BLOCK_K])
            w = w_desc.load([step * BLOCK_K, col])
            acc = tl.dot(x, w, acc)
        # Stored in two halves, which take half the shared memory on their way out and leave
        # the rest to the pipeline.
        halves = tl.reshape(acc, (BLOCK_M, 2, BLOCK_N // 2))
        left, right = tl.split(tl.permute(halves, (0, 2, 1)))
        cols = col + tl.arange(0, BLOCK_N // 2)
        left = add_bias_gelu(left, bias_ptr, cols, n)
        y_desc.store([row, col], left.to(y_desc.dtype))
        right = add_bias_gelu(right, bias_ptr, cols + BLOCK_N // 2, n)
        y_desc.store([row, col + BLOCK_N // 2], right.to(y_desc.dtype))


@triton.jit
def matmul_bias_gelu_pointer_kernel(
    x_ptr, w_ptr, bias_ptr, y_ptr, m, n, k,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr, GROUP_M: tl.constexpr,
):  # fmt: skip
    """One tile of y = gelu(x @ w + bias), for rows that the copy engine cannot address."""
    row, col = tile_at(tl.program_id(0), m, n, BLOCK_M, BLOCK_N, GROUP_M)
    rows = (row + tl.arange(0, BLOCK_M)).to(tl.int64)[:, None]
    cols = (col + tl.arange(0, BLOCK_N)).to(tl.int64)[None, :]
    inner = tl.arange(0, BLOCK_K).to(tl.int64)
    x_ptrs = x_ptr + rows * k + inner[None, :]
    w_ptrs = w_ptr + inner[:, None] * n + cols
    acc = tl.zeros((BLOCK_M, BLOCK_N), dtype=tl.float32)
    for start in range(0, k, BLOCK_K):
        left = k - start
        x = tl.load(x_ptrs, mask=(rows < m) & (inner[None, :] < left), other=0.0)
        w = tl.load(w_ptrs, mask=(inner[:, None] < left) & (cols < n), other=0.0)
        acc = tl.dot(x, w, acc)
        x_ptrs += BLOCK_K
        w_ptrs += BLOCK_K * n
    y = add_bias_gelu(acc, bias_ptr, col + tl.arange(0, BLOCK_N), n)
    y = y.to(y_ptr.dtype.element_ty)
    tl.store(y_ptr + rows * n + cols, y, mask=(rows < m) & (cols < n))


def aligned(x: torch.Tensor) -> bool:
    """Whether the copy engine can address a row-major matrix: 16-byte aligned rows."""
    return x.data_ptr() % 16 == 0 and x.shape[1] * x.element_size() % 16 == 0


def matmul_bias_gelu(x: torch.Tensor, w: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """`gelu(x @ w + bias)` of row-major (M, K) and (K, N) matrices and an (N) vector."""
    m, k = x.shape
    n = w.shape[1]
    y = torch.empty((m, n), device=x.device, dtype=x.dtype)
    if aligned(x) and aligned(w):
        tiles = triton.cdiv(m, BLOCK_M) * triton.cdiv(n, BLOCK_N)
        matmul_bias_gelu_tma_kernel[(min(PROGRAMS, tiles),)](
            TensorDescriptor.from_tensor(x, [BLOCK_M, BLOCK_K]),
            TensorDescriptor.from_tensor(w, [BLOCK_K, BLOCK_N]),
            TensorDescriptor.from_tensor(y, [BLOCK_M, BLOCK_N // 2]),
            bias, m, n, k, BLOCK_M, BLOCK_N, BLOCK_K, GROUP_M,
            num_warps=NUM_WARPS, num_stages=NUM_STAGES,
        )  # fmt: skip
    else:
        # Element-wise loads cannot be pipelined: smaller tiles keep them in registers.
        grid = (triton.cdiv(m, 64) * triton.cdiv(n, 64),)
        matmul_bias_gelu_pointer_kernel[grid](
            x, w, bias, y, m, n, k, 64, 64, 32, GROUP_M, num_warps=4
        )
    return y
