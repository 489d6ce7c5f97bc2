"""A mixture of experts, plainly: every tile of every expert with all tokens, two of which count."""

import torch
import triton
import triton.language as tl


@triton.jit
def moe_kernel(
    x_ptr, logits_ptr, w_ptr, out_ptr, tokens, dim, hidden, experts,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    """A tile of the result: what each expert adds to it."""
    rows = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    cols = tl.program_id(1) * BLOCK_N + tl.arange(0, BLOCK_N)
    e = tl.arange(0, 8)
    logits = tl.load(
        logits_ptr + rows[:, None] * experts + e[None, :],
        mask=(rows[:, None] < tokens) & (e[None, :] < experts),
        other=float("-inf"),
    )
    first = tl.argmax(logits, axis=1)
    best = tl.max(logits, axis=1)
    rest = tl.where(e[None, :] == first[:, None], float("-inf"), logits)
    second = tl.argmax(rest, axis=1)
    share = 1.0 / (1.0 + tl.exp(tl.max(rest, axis=1) - best))
    total = tl.zeros((BLOCK_M, BLOCK_N), dtype=tl.float32)
    for expert in range(experts):
        acc = tl.zeros((BLOCK_M, BLOCK_N), dtype=tl.float32)
        for start in range(0, dim, BLOCK_K):
            inner = start + tl.arange(0, BLOCK_K)
            x = tl.load(
                x_ptr + rows[:, None] * dim + inner[None, :],
                mask=(rows[:, None] < tokens) & (inner[None, :] < dim),
                other=0.0,
            )
            at = (expert * dim + inner[:, None]).to(tl.int64) * hidden + cols[None, :]
            w = tl.load(
                w_ptr + at, mask=(inner[:, None] < dim) & (cols[None, :] < hidden), other=0.0
            )
            acc += tl.dot(x, w)
        own = tl.where(first == expert, share, tl.where(second == expert, 1.0 - share, 0.0))
        total += own[:, None] * acc
    tl.store(
        out_ptr + rows.to(tl.int64)[:, None] * hidden + cols[None, :],
        total.to(out_ptr.dtype.element_ty),
        mask=(rows[:, None] < tokens) & (cols[None, :] < hidden),
    )


def mixtral_moe(x: torch.Tensor, logits: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
    """Two of the experts (E, D, H) for each token of (T, D)."""
    tokens, dim = x.shape
    experts, _, hidden = w.shape
    out = torch.empty((tokens, hidden), device=x.device, dtype=x.dtype)
    grid = (triton.cdiv(tokens, 64), triton.cdiv(hidden, 64))
    moe_kernel[grid](
        x, logits, w, out, tokens, dim, hidden, experts, BLOCK_M=64, BLOCK_N=64, BLOCK_K=32
    )
    return out
