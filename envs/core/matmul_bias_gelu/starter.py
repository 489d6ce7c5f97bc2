"""A plain linear layer with exact GELU: one program per tile of the output."""

import torch
import triton
import triton.language as tl


@triton.jit
def matmul_bias_gelu_kernel(
    x_ptr, w_ptr, bias_ptr, y_ptr, m, n, k,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    """One (BLOCK_M, BLOCK_N) tile of y = gelu(x @ w + bias)."""
    rows = (tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)).to(tl.int64)
    cols = (tl.program_id(1) * BLOCK_N + tl.arange(0, BLOCK_N)).to(tl.int64)
    acc = tl.zeros((BLOCK_M, BLOCK_N), dtype=tl.float32)
    for start in range(0, k, BLOCK_K):
        inner = start + tl.arange(0, BLOCK_K)
        x = tl.load(
            x_ptr + rows[:, None] * k + inner[None, :],
            mask=(rows[:, None] < m) & (inner[None, :] < k),
            other=0.0,
        )
        w = tl.load(
            w_ptr + inner[:, None].to(tl.int64) * n + cols[None, :],
            mask=(inner[:, None] < k) & (cols[None, :] < n),
            other=0.0,
        )
        acc += tl.dot(x, w)
    bias = tl.load(bias_ptr + cols, mask=cols < n, other=0.0).to(tl.float32)
    y = acc + bias[None, :]
    y = 0.5 * y * (1.0 + tl.erf(y * 0.7071067811865476))  # 1/sqrt(2)
    tl.store(
        y_ptr + rows[:, None] * n + cols[None, :],
        y.to(y_ptr.dtype.element_ty),
        mask=(rows[:, None] < m) & (cols[None, :] < n),
    )


def matmul_bias_gelu(x: torch.Tensor, w: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """`gelu(x @ w + bias)` of row-major (M, K) and (K, N) matrices and an (N) vector."""
    m, k = x.shape
    n = w.shape[1]
    y = torch.empty((m, n), device=x.device, dtype=x.dtype)
    grid = (triton.cdiv(m, 64), triton.cdiv(n, 64))
    matmul_bias_gelu_kernel[grid](x, w, bias, y, m, n, k, BLOCK_M=64, BLOCK_N=64, BLOCK_K=32)
    return y
