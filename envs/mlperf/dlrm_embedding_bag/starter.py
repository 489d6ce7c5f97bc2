"""An embedding bag, plainly: one program a bag, one row after the other."""

import torch
import triton
import triton.language as tl


@triton.jit
def embedding_bag_kernel(table_ptr, index_ptr, out_ptr, bag, dim, BLOCK: tl.constexpr):
    """One bag."""
    sample = tl.program_id(0).to(tl.int64)
    lane = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    total = tl.zeros((BLOCK,), dtype=tl.float32)
    for t in range(bag):
        row = tl.load(index_ptr + sample * bag + t)
        total += tl.load(table_ptr + row * dim + lane, mask=lane < dim, other=0.0).to(tl.float32)
    tl.store(out_ptr + sample * dim + lane, total.to(out_ptr.dtype.element_ty), mask=lane < dim)


def dlrm_embedding_bag(table: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    """Sums of the rows of (V, D) that (B, T) indices ask for."""
    batch, bag = index.shape
    dim = table.shape[1]
    out = torch.empty((batch, dim), device=table.device, dtype=table.dtype)
    grid = (batch, triton.cdiv(dim, 128))
    embedding_bag_kernel[grid](table, index, out, bag, dim, BLOCK=128)
    return out
