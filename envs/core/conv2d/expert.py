"""A convolution as a product that is never laid out, for Hopper.

A program takes a box of pixels (IMAGES x BLOCK_H x BLOCK_W) as the rows of a product. For each of
the nine taps the copy engine (TMA) brings the box moved by the tap, and zeros where it leaves the
image: no address is computed and no mask is taken for padding. The loop over taps and channels is
one software pipeline.
"""

import torch
import triton
import triton.language as tl
from triton.tools.tensor_descriptor import TensorDescriptor

IMAGES = 2
BLOCK_H = 8
BLOCK_W = 8
BLOCK_N = 128
BLOCK_K = 64
NUM_WARPS = 8
NUM_STAGES = 4


@triton.jit
def conv_kernel(
    x_desc, w_desc, y_desc, tiles_h, tiles_w, channels, filters,
    IMAGES: tl.constexpr, BLOCK_H: tl.constexpr, BLOCK_W: tl.constexpr,
    BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    """A box of pixels and a block of filters."""
    tile = tl.program_id(1)
    w = tile % tiles_w * BLOCK_W
    h = tile // tiles_w % tiles_h * BLOCK_H
    image = tile // tiles_w // tiles_h * IMAGES
    filter = tl.program_id(0) * BLOCK_N
    BLOCK_M: tl.constexpr = IMAGES * BLOCK_H * BLOCK_W
    steps = tl.cdiv(channels, BLOCK_K)
    acc = tl.zeros((BLOCK_M, BLOCK_N), dtype=tl.float32)
    for step in range(9 * steps):
        tap, c = step // steps, step % steps * BLOCK_K
        x = x_desc.load([image, h + tap // 3 - 1, w + tap % 3 - 1, c])
        weight = w_desc.load([filter, tap, c]).reshape(BLOCK_N, BLOCK_K)
        acc = tl.dot(x.reshape(BLOCK_M, BLOCK_K), weight.T, acc)
    y = acc.to(y_desc.dtype).reshape(IMAGES, BLOCK_H, BLOCK_W, BLOCK_N)
    y_desc.store([image, h, w, filter], y)


def conv2d(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """3 x 3 convolution of (N, H, W, C) images with (O, 3, 3, C) filters."""
    images, height, breadth, channels = x.shape
    filters = weight.shape[0]
    y = torch.empty((images, height, breadth, filters), device=x.device, dtype=x.dtype)
    tiles_h, tiles_w = triton.cdiv(height, BLOCK_H), triton.cdiv(breadth, BLOCK_W)
    grid = (triton.cdiv(filters, BLOCK_N), triton.cdiv(images, IMAGES) * tiles_h * tiles_w)
    conv_kernel[grid](
        TensorDescriptor.from_tensor(x, [IMAGES, BLOCK_H, BLOCK_W, BLOCK_K]),
        TensorDescriptor.from_tensor(weight.view(filters, 9, channels), [BLOCK_N, 1, BLOCK_K]),
        TensorDescriptor.from_tensor(y, [IMAGES, BLOCK_H, BLOCK_W, BLOCK_N]),
        tiles_h, tiles_w, channels, filters, IMAGES, BLOCK_H, BLOCK_W, BLOCK_N, BLOCK_K,
        num_warps=NUM_WARPS, num_stages=NUM_STAGES,
    )  # fmt: skip
    return y
