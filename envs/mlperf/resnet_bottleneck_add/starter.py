"""A bottleneck's end, plainly: one program a tile, the shortcut at the end."""

import torch
import triton
import triton.language as tl


@triton.jit
def bottleneck_kernel(
    x_ptr, weight_ptr, bias_ptr, shortcut_ptr, y_ptr, m, n, k,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    """One tile of the result."""
    # Programs along a row of tiles run together and share their rows of x in L2.
    rows = (tl.program_id(1) * BLOCK_M + tl.arange(0, BLOCK_M)).to(tl.int64)[:, None]
    cols = (tl.program_id(0) * BLOCK_N + tl.arange(0, BLOCK_N))[None, :]
    inside = (rows < m) & (cols < n)
    inner = tl.arange(0, BLOCK_K)
    acc = tl.zeros((BLOCK_M, BLOCK_N), dtype=tl.float32)
    for start in range(0, k, BLOCK_K):
        at = start + inner
        x = tl.load(
            x_ptr + rows * k + at[None, :], mask=(rows < m) & (at[None, :] < k), other=0.0
        )  # fmt: skip
        weight = tl.load(
            weight_ptr + at[:, None] * n + cols, mask=(at[:, None] < k) & (cols < n), other=0.0
        )  # fmt: skip
        acc = tl.dot(x, weight, acc)
    bias = tl.load(bias_ptr + cols, mask=cols < n, other=0.0)
    shortcut = tl.load(shortcut_ptr + rows * n + cols, mask=inside, other=0.0)
    y = tl.maximum(acc + bias.to(tl.float32) + shortcut.to(tl.float32), 0.0)
    tl.store(y_ptr + rows * n + cols, y.to(y_ptr.dtype.element_ty), mask=inside)


def resnet_bottleneck_add(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, shortcut: torch.Tensor
) -> torch.Tensor:
    """relu(x @ weight + bias + shortcut) of (M, K) and (K, N)."""
    m, k = x.shape
    n = weight.shape[1]
    y = torch.empty((m, n), device=x.device, dtype=x.dtype)
    grid = (triton.cdiv(n, 64), triton.cdiv(m, 64))
    bottleneck_kernel[grid](x, weight, bias, shortcut, y, m, n, k, 64, 64, 32)
    return y
