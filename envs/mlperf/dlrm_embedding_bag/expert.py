"""An embedding bag with many rows on their way.

What bounds gathers is how many are under way. A program loads the indices of DEPTH rows of BAGS
bags at once, then all of these rows at once, each in accesses of 16 bytes.
"""

import torch
import triton
import triton.language as tl

BAGS = 1  # bags handled at once
DEPTH = 8  # rows of a bag that are under way together
NUM_WARPS = 2


@triton.jit
def embedding_bag_kernel(
    table_ptr, index_ptr, out_ptr, batch, bag, dim,
    BAGS: tl.constexpr, DEPTH: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """BAGS bags."""
    sample = (tl.program_id(0) * BAGS + tl.arange(0, BAGS)).to(tl.int64)
    lane = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    depth = tl.arange(0, DEPTH)
    total = tl.zeros((BAGS, DEPTH, BLOCK), dtype=tl.float32)
    for start in tl.range(0, bag, DEPTH):
        t = start + depth
        used = (sample < batch)[:, None] & (t < bag)[None, :]
        row = tl.load(
            index_ptr + sample[:, None] * bag + t[None, :], mask=used, other=0,
            eviction_policy="evict_first",
        )  # fmt: skip
        total += tl.load(
            table_ptr + row[:, :, None] * dim + lane[None, None, :],
            mask=used[:, :, None] & (lane < dim)[None, None, :],
            other=0.0,
        ).to(tl.float32)
    tl.store(
        out_ptr + sample[:, None] * dim + lane[None, :],
        tl.sum(total, axis=1).to(out_ptr.dtype.element_ty),
        mask=(sample < batch)[:, None] & (lane < dim)[None, :],
    )


def dlrm_embedding_bag(table: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    """Sums of the rows of (V, D) that (B, T) indices ask for."""
    batch, bag = index.shape
    dim = table.shape[1]
    out = torch.empty((batch, dim), device=table.device, dtype=table.dtype)
    block = min(256, triton.next_power_of_2(dim))
    depth = min(DEPTH, triton.next_power_of_2(bag))
    grid = (triton.cdiv(batch, BAGS), triton.cdiv(dim, block))
    embedding_bag_kernel[grid](
        table, index, out, batch, bag, dim, BAGS, depth, block, num_warps=NUM_WARPS
    )  # fmt: skip
    return out
