# mypy: ignore-errors
"""Matrix products with any strides, which stand where PyTorch's compiler would call a library."""

import torch
import triton
import triton.language as tl


@triton.jit
def product_kernel(
    a_ptr, b_ptr, bias_ptr, c_ptr, m, n, k,
    a_batch, a_row, a_col, b_batch, b_row, b_col, bias_row, bias_col, c_batch, c_row, c_col,
    alpha, beta,
    BIAS: tl.constexpr, PRECISION: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr, GROUP_M: tl.constexpr,
):  # fmt: skip
    """One (BLOCK_M, BLOCK_N) tile of c = alpha · a @ b + beta · bias."""
    # Tiles of GROUP_M tile rows are taken column by column: they share a and b in L2.
    tile_rows = tl.cdiv(m, BLOCK_M)
    group_size = GROUP_M * tl.cdiv(n, BLOCK_N)
    first = tl.program_id(0) // group_size * GROUP_M
    height = min(tile_rows - first, GROUP_M)
    within = tl.program_id(0) % group_size
    batch = tl.program_id(1).to(tl.int64)
    rows = ((first + within % height) * BLOCK_M + tl.arange(0, BLOCK_M)).to(tl.int64)[:, None]
    cols = (within // height * BLOCK_N + tl.arange(0, BLOCK_N)).to(tl.int64)[None, :]
    inner = tl.arange(0, BLOCK_K)
    a_ptrs = a_ptr + batch * a_batch + rows * a_row + inner[None, :] * a_col
    b_ptrs = b_ptr + batch * b_batch + inner[:, None] * b_row + cols * b_col
    acc = tl.zeros((BLOCK_M, BLOCK_N), dtype=tl.float32)
    for start in range(0, k, BLOCK_K):
        left = k - start
        a = tl.load(a_ptrs, mask=(rows < m) & (inner[None, :] < left), other=0.0)
        b = tl.load(b_ptrs, mask=(inner[:, None] < left) & (cols < n), other=0.0)
        acc = tl.dot(a, b, acc, input_precision=PRECISION)
        a_ptrs += BLOCK_K * a_col
        b_ptrs += BLOCK_K * b_row
    inside = (rows < m) & (cols < n)
    acc *= alpha
    if BIAS:
        bias = tl.load(bias_ptr + rows * bias_row + cols * bias_col, mask=inside, other=0.0)
        acc += beta * bias.to(tl.float32)
    c_ptrs = c_ptr + batch * c_batch + rows * c_row + cols * c_col
    tl.store(c_ptrs, acc.to(c_ptr.dtype.element_ty), mask=inside)


def product(a, b, out, bias=None, alpha=1.0, beta=1.0):
    """out = alpha · a @ b + beta · bias, of matrices (M, K), (K, N) or batches of them."""
    batches = a.shape[0] if a.dim() == 3 else 1
    m, k = a.shape[-2:]
    n = b.shape[-1]
    wide = a.dtype == torch.float32
    block_m = 16 if m <= 16 else 32 if m <= 32 else 64 if m <= 512 or wide else 128
    block_n = 32 if n <= 32 else 64 if n <= 512 or wide else 128
    block_k = 32 if wide else 64
    grid = (triton.cdiv(m, block_m) * triton.cdiv(n, block_n), batches)
    bias = out if bias is None else bias.expand(m, n)
    product_kernel[grid](
        a, b, bias, out, m, n, k,
        a.stride(0) if batches > 1 else 0, a.stride(-2), a.stride(-1),
        b.stride(0) if batches > 1 else 0, b.stride(-2), b.stride(-1),
        bias.stride(-2), bias.stride(-1),
        out.stride(0) if batches > 1 else 0, out.stride(-2), out.stride(-1),
        float(alpha), float(beta),
        BIAS=bias is not out, PRECISION="tf32x3" if wide else "ieee",
        BLOCK_M=block_m, BLOCK_N=block_n, BLOCK_K=block_k, GROUP_M=8,
        num_warps=8 if block_m * block_n >= 128 * 128 else 4, num_stages=3,
    )  # fmt: skip
    return out
