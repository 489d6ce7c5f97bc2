"""Box overlaps near the speed of writing.

A program takes a tile of anchors and objects: every box is read once for a whole row or column of
overlaps, and no pair has to find its boxes by a division.
"""

import torch
import triton
import triton.language as tl

ROWS = 16  # anchors handled at once
BLOCK = 128  # objects handled at once
NUM_WARPS = 4


@triton.jit
def box_iou_kernel(
    anchors_ptr, objects_ptr, iou_ptr, anchors, objects, ROWS: tl.constexpr, BLOCK: tl.constexpr
):
    """A (ROWS, BLOCK) tile of overlaps."""
    i = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    j = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    in_rows, in_block = i < anchors, j < objects
    ax0 = tl.load(anchors_ptr + i * 4, mask=in_rows, other=0.0)
    ay0 = tl.load(anchors_ptr + i * 4 + 1, mask=in_rows, other=0.0)
    ax1 = tl.load(anchors_ptr + i * 4 + 2, mask=in_rows, other=1.0)
    ay1 = tl.load(anchors_ptr + i * 4 + 3, mask=in_rows, other=1.0)
    bx0 = tl.load(objects_ptr + j * 4, mask=in_block, other=0.0)
    by0 = tl.load(objects_ptr + j * 4 + 1, mask=in_block, other=0.0)
    bx1 = tl.load(objects_ptr + j * 4 + 2, mask=in_block, other=1.0)
    by1 = tl.load(objects_ptr + j * 4 + 3, mask=in_block, other=1.0)
    wide = tl.minimum(ax1[:, None], bx1[None, :]) - tl.maximum(ax0[:, None], bx0[None, :])
    high = tl.minimum(ay1[:, None], by1[None, :]) - tl.maximum(ay0[:, None], by0[None, :])
    common = tl.maximum(wide, 0.0) * tl.maximum(high, 0.0)
    areas = ((ax1 - ax0) * (ay1 - ay0))[:, None] + ((bx1 - bx0) * (by1 - by0))[None, :]
    at = i.to(tl.int64)[:, None] * objects + j[None, :]
    tl.store(iou_ptr + at, common / (areas - common), mask=in_rows[:, None] & in_block[None, :])


def retinanet_box_iou(anchors: torch.Tensor, objects: torch.Tensor) -> torch.Tensor:
    """Overlaps of (n, 4) and (m, 4) boxes."""
    n, m = anchors.shape[0], objects.shape[0]
    iou = torch.empty((n, m), device=anchors.device, dtype=anchors.dtype)
    box_iou_kernel[(triton.cdiv(n, ROWS), triton.cdiv(m, BLOCK))](
        anchors, objects, iou, n, m, ROWS, BLOCK, num_warps=NUM_WARPS
    )  # fmt: skip
    return iou
