"""Box overlaps at the speed of writing.

Pairs are taken in the order of memory, so that no lane is padding whatever the number of objects
and every store is a whole line; boxes come out of the L1 cache.
"""

import torch
import triton
import triton.language as tl

BLOCK = 1024  # pairs handled at once
NUM_WARPS = 4


@triton.jit
def box_iou_kernel(anchors_ptr, objects_ptr, iou_ptr, pairs, objects, BLOCK: tl.constexpr):
    """BLOCK pairs in the order of memory."""
    pair = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    mask = pair < pairs
    i, j = pair // objects * 4, pair % objects * 4
    ax0 = tl.load(anchors_ptr + i, mask=mask, other=0.0)
    ay0 = tl.load(anchors_ptr + i + 1, mask=mask, other=0.0)
    ax1 = tl.load(anchors_ptr + i + 2, mask=mask, other=1.0)
    ay1 = tl.load(anchors_ptr + i + 3, mask=mask, other=1.0)
    bx0 = tl.load(objects_ptr + j, mask=mask, other=0.0, eviction_policy="evict_last")
    by0 = tl.load(objects_ptr + j + 1, mask=mask, other=0.0, eviction_policy="evict_last")
    bx1 = tl.load(objects_ptr + j + 2, mask=mask, other=1.0, eviction_policy="evict_last")
    by1 = tl.load(objects_ptr + j + 3, mask=mask, other=1.0, eviction_policy="evict_last")
    wide = tl.maximum(tl.minimum(ax1, bx1) - tl.maximum(ax0, bx0), 0.0)
    high = tl.maximum(tl.minimum(ay1, by1) - tl.maximum(ay0, by0), 0.0)
    common = wide * high
    union = (ax1 - ax0) * (ay1 - ay0) + (bx1 - bx0) * (by1 - by0) - common
    tl.store(iou_ptr + pair, common / union, mask=mask, eviction_policy="evict_first")


def retinanet_box_iou(anchors: torch.Tensor, objects: torch.Tensor) -> torch.Tensor:
    """Overlaps of (n, 4) and (m, 4) boxes."""
    n, m = anchors.shape[0], objects.shape[0]
    iou = torch.empty((n, m), device=anchors.device, dtype=anchors.dtype)
    box_iou_kernel[(triton.cdiv(n * m, BLOCK),)](
        anchors, objects, iou, n * m, m, BLOCK, num_warps=NUM_WARPS
    )  # fmt: skip
    return iou
