"""Box overlaps, plainly: one program an anchor."""

import torch
import triton
import triton.language as tl


@triton.jit
def box_iou_kernel(anchors_ptr, objects_ptr, iou_ptr, objects, BLOCK: tl.constexpr):
    """One anchor with a block of objects."""
    i = tl.program_id(0).to(tl.int64)
    j = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    mask = j < objects
    ax0, ay0 = tl.load(anchors_ptr + i * 4), tl.load(anchors_ptr + i * 4 + 1)
    ax1, ay1 = tl.load(anchors_ptr + i * 4 + 2), tl.load(anchors_ptr + i * 4 + 3)
    bx0 = tl.load(objects_ptr + j * 4, mask=mask, other=0.0)
    by0 = tl.load(objects_ptr + j * 4 + 1, mask=mask, other=0.0)
    bx1 = tl.load(objects_ptr + j * 4 + 2, mask=mask, other=1.0)
    by1 = tl.load(objects_ptr + j * 4 + 3, mask=mask, other=1.0)
    wide = tl.maximum(tl.minimum(ax1, bx1) - tl.maximum(ax0, bx0), 0.0)
    high = tl.maximum(tl.minimum(ay1, by1) - tl.maximum(ay0, by0), 0.0)
    common = wide * high
    union = (ax1 - ax0) * (ay1 - ay0) + (bx1 - bx0) * (by1 - by0) - common
    tl.store(iou_ptr + i * objects + j, common / union, mask=mask)


def retinanet_box_iou(anchors: torch.Tensor, objects: torch.Tensor) -> torch.Tensor:
    """Overlaps of (n, 4) and (m, 4) boxes."""
    n, m = anchors.shape[0], objects.shape[0]
    iou = torch.empty((n, m), device=anchors.device, dtype=anchors.dtype)
    box_iou_kernel[(n, triton.cdiv(m, 128))](anchors, objects, iou, m, BLOCK=128)
    return iou
