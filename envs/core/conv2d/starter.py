"""A convolution, plainly: a block of pixels and of filters a program."""

import torch
import triton
import triton.language as tl


@triton.jit
def conv_kernel(
    x_ptr, w_ptr, y_ptr, pixels, height, breadth, channels, filters,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    """A tile of pixels and filters."""
    pixel = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    filter = tl.program_id(1) * BLOCK_N + tl.arange(0, BLOCK_N)
    w, h = pixel % breadth, pixel // breadth % height
    inner = tl.arange(0, BLOCK_K)
    acc = tl.zeros((BLOCK_M, BLOCK_N), dtype=tl.float32)
    for tap in range(9):
        dh, dw = tap // 3 - 1, tap % 3 - 1
        inside = (pixel < pixels) & (h + dh >= 0) & (h + dh < height)
        inside = inside & (w + dw >= 0) & (w + dw < breadth)
        at = (pixel + dh * breadth + dw).to(tl.int64) * channels
        for start in range(0, channels, BLOCK_K):
            c = start + inner
            x = tl.load(
                x_ptr + at[:, None] + c[None, :],
                mask=inside[:, None] & (c[None, :] < channels),
                other=0.0,
            )
            weight = tl.load(
                w_ptr + (filter[None, :] * 9 + tap) * channels + c[:, None],
                mask=(filter[None, :] < filters) & (c[:, None] < channels),
                other=0.0,
            )
            acc += tl.dot(x, weight)
    tl.store(
        y_ptr + pixel.to(tl.int64)[:, None] * filters + filter[None, :],
        acc.to(y_ptr.dtype.element_ty),
        mask=(pixel[:, None] < pixels) & (filter[None, :] < filters),
    )


def conv2d(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """3 x 3 convolution of (N, H, W, C) images with (O, 3, 3, C) filters."""
    images, height, breadth, channels = x.shape
    filters = weight.shape[0]
    y = torch.empty((images, height, breadth, filters), device=x.device, dtype=x.dtype)
    pixels = images * height * breadth
    conv_kernel[(triton.cdiv(pixels, 64), triton.cdiv(filters, 64))](
        x, weight, y, pixels, height, breadth, channels, filters,
        BLOCK_M=64, BLOCK_N=64, BLOCK_K=32,
    )  # fmt: skip
    return y
