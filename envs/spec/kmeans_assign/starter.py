"""Assignment, plainly: a block of points a program, one centre after the other."""

import torch
import triton
import triton.language as tl


@triton.jit
def assign_kernel(x_ptr, centres_ptr, out_ptr, n, features, clusters, BLOCK: tl.constexpr):
    """A block of points."""
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = i < n
    best = tl.full((BLOCK,), float("inf"), dtype=tl.float32)
    where = tl.zeros((BLOCK,), dtype=tl.int64)
    for c in range(clusters):
        distance = tl.zeros((BLOCK,), dtype=tl.float32)
        for f in range(features):
            x = tl.load(x_ptr + f * n + i, mask=mask, other=0.0)
            d = x - tl.load(centres_ptr + c * features + f)
            distance += d * d
        where = tl.where(distance < best, c, where)
        best = tl.minimum(distance, best)
    tl.store(out_ptr + i, where, mask=mask)


def kmeans_assign(x: torch.Tensor, centres: torch.Tensor) -> torch.Tensor:
    """The nearest of (k, f) centres to every point of (f, n)."""
    features, n = x.shape
    out = torch.empty((n,), device=x.device, dtype=torch.int64)
    assign_kernel[(triton.cdiv(n, 128),)](
        x, centres, out, n, features, centres.shape[0], BLOCK=128
    )  # fmt: skip
    return out
