"""A persistent grouped product fed by the bulk copy engine (TMA), for Hopper.

How many tiles a group has is known on the device alone: every program goes through the groups and
takes its share of the tiles of each, counted through all groups, so that no program waits for a
large group. Tiles that reach past a group's last row load rows of the next, which are not stored.
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
def grouped_kernel(
    a_desc, b_desc, offsets_ptr, c_ptr, groups, n, k,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr, GROUP_M: tl.constexpr,
):  # fmt: skip
    """Every num_programs-th tile of all groups."""
    tile_cols = tl.cdiv(n, BLOCK_N)
    steps = tl.cdiv(k, BLOCK_K)
    tile = tl.program_id(0)  # this program's next one, counted from the group's first
    for group in range(groups):
        first = tl.load(offsets_ptr + group)
        last = tl.load(offsets_ptr + group + 1)
        tile_rows = tl.cdiv(last - first, BLOCK_M)
        tiles = tile_rows * tile_cols
        for index in tl.range(tile, tiles, tl.num_programs(0)):
            # Column by column within GROUP_M tile rows, so that programs that run at the same
            # time share the rows of a and the columns of b in L2.
            top = index // (GROUP_M * tile_cols) * GROUP_M
            height = min(tile_rows - top, GROUP_M)
            within = index % (GROUP_M * tile_cols)
            row = first + (top + within % height) * BLOCK_M
            col = within // height * BLOCK_N
            acc = tl.zeros((BLOCK_M, BLOCK_N), dtype=tl.float32)
            for step in range(steps):
                a = a_desc.load([row, step * BLOCK_K])
                b = b_desc.load([group, step * BLOCK_K, col]).reshape(BLOCK_K, BLOCK_N)
                acc = tl.dot(a, b, acc)
            rows = row + tl.arange(0, BLOCK_M)
            cols = col + tl.arange(0, BLOCK_N)
            tl.store(
                c_ptr + rows.to(tl.int64)[:, None] * n + cols[None, :],
                acc.to(c_ptr.dtype.element_ty),
                mask=(rows[:, None] < last) & (cols[None, :] < n),
            )
        # The first tile of this program's that lies beyond the group, seen from the next one.
        left = tl.maximum(tiles - tile, 0)
        tile += tl.cdiv(left, tl.num_programs(0)) * tl.num_programs(0) - tiles


def grouped_gemm(a: torch.Tensor, b: torch.Tensor, offsets: torch.Tensor) -> torch.Tensor:
    """Groups of the rows of (M, K) with their (K, N) of (G, K, N)."""
    m, k = a.shape
    groups, _, n = b.shape
    c = torch.empty((m, n), device=a.device, dtype=a.dtype)
    grouped_kernel[(PROGRAMS,)](
        TensorDescriptor.from_tensor(a, [BLOCK_M, BLOCK_K]),
        TensorDescriptor.from_tensor(b, [1, BLOCK_K, BLOCK_N]),
        offsets, c, groups, n, k, BLOCK_M, BLOCK_N, BLOCK_K, GROUP_M,
        num_warps=NUM_WARPS, num_stages=NUM_STAGES,
    )  # fmt: skip
    return c
