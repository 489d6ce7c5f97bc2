"""The cross layer, plainly: a product, then another with what follows it."""

import torch
import triton
import triton.language as tl


@triton.jit
def product(
    a_ptr, b_ptr, rows, cols, m, n, k,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    """A tile of a @ b."""
    acc = tl.zeros((BLOCK_M, BLOCK_N), dtype=tl.float32)
    for start in range(0, k, BLOCK_K):
        inner = start + tl.arange(0, BLOCK_K)
        a = tl.load(
            a_ptr + rows * k + inner[None, :], mask=(rows < m) & (inner[None, :] < k), other=0.0
        )
        b = tl.load(
            b_ptr + inner[:, None] * n + cols, mask=(inner[:, None] < k) & (cols < n), other=0.0
        )
        acc += tl.dot(a, b)
    return acc


@triton.jit
def down_kernel(x_ptr, v_ptr, h_ptr, m, n, k, BLOCK: tl.constexpr):
    """A tile of h = x @ v."""
    rows = (tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)).to(tl.int64)[:, None]
    cols = (tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)).to(tl.int64)[None, :]
    h = product(x_ptr, v_ptr, rows, cols, m, n, k, BLOCK, BLOCK, 32)
    tl.store(h_ptr + rows * n + cols, h.to(h_ptr.dtype.element_ty), mask=(rows < m) & (cols < n))


@triton.jit
def cross_kernel(h_ptr, u_ptr, b_ptr, x0_ptr, x_ptr, y_ptr, m, n, k, BLOCK: tl.constexpr):
    """A tile of y = x0 * (h @ u + b) + x."""
    rows = (tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)).to(tl.int64)[:, None]
    cols = (tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)).to(tl.int64)[None, :]
    gate = product(h_ptr, u_ptr, rows, cols, m, n, k, BLOCK, BLOCK, 32)
    mask = (rows < m) & (cols < n)
    gate += tl.load(b_ptr + cols, mask=cols < n, other=0.0).to(tl.float32)
    x0 = tl.load(x0_ptr + rows * n + cols, mask=mask, other=0.0).to(tl.float32)
    x = tl.load(x_ptr + rows * n + cols, mask=mask, other=0.0).to(tl.float32)
    tl.store(y_ptr + rows * n + cols, (x0 * gate + x).to(y_ptr.dtype.element_ty), mask=mask)


def dlrm_cross_net(
    x0: torch.Tensor, x: torch.Tensor, v: torch.Tensor, u: torch.Tensor, b: torch.Tensor
) -> torch.Tensor:
    """x0 * (x @ v @ u + b) + x of (M, D), (D, R) and (R, D)."""
    m, d = x.shape
    rank = v.shape[1]
    h = torch.empty((m, rank), device=x.device, dtype=x.dtype)
    y = torch.empty_like(x)
    down_kernel[(triton.cdiv(m, 64), triton.cdiv(rank, 64))](x, v, h, m, rank, d, BLOCK=64)
    cross_kernel[(triton.cdiv(m, 64), triton.cdiv(d, 64))](
        h, u, b, x0, x, y, m, d, rank, BLOCK=64
    )  # fmt: skip
    return y
