# mypy: ignore-errors
"""Rows of a table gathered by index and joined, bag by bag."""

import torch
import triton
import triton.language as tl


@triton.jit
def bags_kernel(
    table_ptr, index_ptr, offset_ptr, scale_ptr, out_ptr, bags, count, width, table_row, table_col,
    padding, MODE: tl.constexpr, SCALED: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """BLOCK columns of a bag: the sum (MODE 0), mean (1) or maximum (2) of its rows.

    A row of index `padding` counts as if it were not there; a bag without rows is zero.
    """
    bag = tl.program_id(0)
    cols = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    first = tl.load(offset_ptr + bag)
    end = tl.load(offset_ptr + bag + 1, mask=bag + 1 < bags, other=count)
    acc = tl.full((BLOCK,), float("-inf") if MODE == 2 else 0.0, tl.float32)
    rows = 0
    for place in range(first, end):
        index = tl.load(index_ptr + place)
        inside = index != padding
        at = table_ptr + index * table_row + cols * table_col
        row = tl.load(at, mask=(cols < width) & inside, other=0.0).to(tl.float32)
        if SCALED:
            row *= tl.load(scale_ptr + place).to(tl.float32)
        if MODE == 2:
            acc = tl.where(inside, tl.maximum(acc, row), acc)
        else:
            acc += row
        rows += inside.to(tl.int32)
    if MODE == 1:
        acc /= tl.maximum(rows, 1).to(tl.float32)
    if MODE == 2:
        acc = tl.where(rows == 0, 0.0, acc)
    out = acc.to(out_ptr.dtype.element_ty)
    tl.store(out_ptr + bag.to(tl.int64) * width + cols, out, mask=cols < width)


BAGS_BLOCK = 256
BAGS_NUM_WARPS = 4


def joined_bags(table, indices, offsets, mode=0, scales=None, last=False, padding=-1):
    """What `embedding_bag` returns; only the first of its results is computed."""
    bags = offsets.shape[0] - (1 if last else 0)
    width = table.shape[1]
    out = torch.empty((bags, width), dtype=table.dtype, device=table.device)
    block = min(BAGS_BLOCK, max(16, 1 << (width - 1).bit_length()))
    bags_kernel[(bags, -(-width // block))](
        table, indices, offsets, table if scales is None else scales, out, offsets.shape[0],
        indices.shape[0], width, table.stride(0), table.stride(1), padding,
        MODE=mode, SCALED=scales is not None, BLOCK=block, num_warps=BAGS_NUM_WARPS,
    )  # fmt: skip
    return out, None, None, None
