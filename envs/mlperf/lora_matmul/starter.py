"""A linear layer with LoRA, plainly: one program a tile, which computes its rows of x @ a too."""

import torch
import triton
import triton.language as tl


@triton.jit
def lora_kernel(
    x_ptr, w_ptr, a_ptr, b_ptr, y_ptr, m, n, k, rank, scale,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    """One (BLOCK_M, BLOCK_N) tile."""
    rows = (tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)).to(tl.int64)[:, None]
    cols = (tl.program_id(1) * BLOCK_N + tl.arange(0, BLOCK_N)).to(tl.int64)[None, :]
    low = tl.arange(0, 16)
    acc = tl.zeros((BLOCK_M, BLOCK_N), dtype=tl.float32)
    xa = tl.zeros((BLOCK_M, 16), dtype=tl.float32)
    for start in range(0, k, BLOCK_K):
        inner = start + tl.arange(0, BLOCK_K)
        x = tl.load(
            x_ptr + rows * k + inner[None, :], mask=(rows < m) & (inner[None, :] < k), other=0.0
        )
        w = tl.load(
            w_ptr + inner[:, None] * n + cols, mask=(inner[:, None] < k) & (cols < n), other=0.0
        )
        a = tl.load(
            a_ptr + inner[:, None] * rank + low[None, :],
            mask=(inner[:, None] < k) & (low[None, :] < rank),
            other=0.0,
        )
        acc += tl.dot(x, w)
        xa += tl.dot(x, a)
    b = tl.load(b_ptr + low[:, None] * n + cols, mask=(low[:, None] < rank) & (cols < n), other=0.0)
    acc += scale * tl.dot(xa.to(b.dtype), b)
    tl.store(y_ptr + rows * n + cols, acc.to(y_ptr.dtype.element_ty), mask=(rows < m) & (cols < n))


def lora_matmul(
    x: torch.Tensor, w: torch.Tensor, a: torch.Tensor, b: torch.Tensor, scale: float
) -> torch.Tensor:
    """x @ w + scale (x @ a) @ b of (M, K) and (K, N)."""
    m, k = x.shape
    n = w.shape[1]
    y = torch.empty((m, n), device=x.device, dtype=x.dtype)
    grid = (triton.cdiv(m, 64), triton.cdiv(n, 64))
    lora_kernel[grid](x, w, a, b, y, m, n, k, a.shape[1], scale, BLOCK_M=64, BLOCK_N=64, BLOCK_K=32)
    return y
