# mypy: ignore-errors
"""The largest values of rows, in order, with their places."""

import torch
import triton
import triton.language as tl


@triton.jit
def largest_kernel(
    x_ptr, values_ptr, places_ptr, rows, cols, row_step, col_step, k,
    LARGEST: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """The k largest of each of ROWS rows, one after another; of equal ones the first."""
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS).to(tl.int64)
    col = tl.arange(0, BLOCK)
    inside = (row < rows)[:, None] & (col < cols)[None, :]
    x = tl.load(
        x_ptr + row[:, None] * row_step + col[None, :] * col_step, mask=inside, other=0.0
    ).to(tl.float32)
    x = tl.where(inside, x if LARGEST else -x, float("-inf"))
    left = inside
    for i in range(k):
        best = tl.max(tl.where(left, x, float("-inf")), axis=1)
        hit = left & (x == best[:, None])
        place = tl.min(tl.where(hit, col[None, :], BLOCK), axis=1)
        value = best if LARGEST else -best
        tl.store(values_ptr + row * k + i, value.to(values_ptr.dtype.element_ty), mask=row < rows)
        tl.store(places_ptr + row * k + i, place.to(tl.int64), mask=row < rows)
        left = left & (col[None, :] != place[:, None])


LARGEST_ELEMENTS = 2048
LARGEST_NUM_WARPS = 4


def largest_values(x, k, dim=-1, largest=True, ordered=True):
    """What `torch.topk` returns for the last axis of a tensor."""
    rows, cols = x.numel() // x.shape[-1], x.shape[-1]
    flat = x.reshape(rows, cols)
    values = torch.empty((*x.shape[:-1], k), dtype=x.dtype, device=x.device)
    places = torch.empty((*x.shape[:-1], k), dtype=torch.int64, device=x.device)
    block = 1 << (cols - 1).bit_length()
    per_program = max(1, min(LARGEST_ELEMENTS // 64, LARGEST_ELEMENTS // block))
    largest_kernel[(-(-rows // per_program),)](
        flat, values, places, rows, cols, flat.stride(0), flat.stride(1), k,
        LARGEST=largest, ROWS=per_program, BLOCK=block,
        num_warps=LARGEST_NUM_WARPS if block <= 4096 else 2 * LARGEST_NUM_WARPS,
    )  # fmt: skip
    return values, places
