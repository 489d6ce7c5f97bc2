"""What attention tasks share: exact attention head by head, inputs, sizes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from triton_gym.task import Case

from .draws import Draw

if TYPE_CHECKING:
    import torch


def attention(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, *, causal: bool = False,
    mask: torch.Tensor | None = None,
) -> torch.Tensor:  # fmt: skip
    """softmax(q kᵀ / √d) v over (B, H, S, D) queries and (B, K, S, D) keys, H a multiple of K.

    Source: Vaswani et al., "Attention Is All You Need", arXiv 1706.03762; heads that share keys:
    Ainslie et al., "GQA", arXiv 2305.13245.

    Args:
        causal: query i sees keys 0..i only.
        mask: which keys are seen, (B, 1, 1, S).
    """
    import torch

    one = torch.nn.functional.scaled_dot_product_attention
    shared = q.shape[1] // k.shape[1]
    if q.dtype != torch.float64:
        return one(q, k, v, attn_mask=mask, is_causal=causal, enable_gqa=shared > 1)
    # PyTorch has no fused attention in float64 and would hold every (S, S) matrix at once.
    out = torch.empty_like(q)
    for index in range(q.shape[0]):
        some = None if mask is None else mask[index : index + 1]
        for head in range(q.shape[1]):
            at = head // shared
            out[index, head] = one(
                q[index : index + 1, head : head + 1], k[index : index + 1, at : at + 1],
                v[index : index + 1, at : at + 1], attn_mask=some, is_causal=causal,
            )[0, 0]  # fmt: skip
    return out


def heads_of(case: Case, draw: Draw, heads: int, keys: int) -> tuple[Any, ...]:
    """Queries, keys and values of a case with sizes batch, seq and head_dim.

    Queries are twice as large as usual: scores have a standard deviation of two, so that softmax
    picks out a few dozen keys, and a key too many or too few is visible. In bfloat16 the values are
    so large that their sums leave float16's range, in which nobody is to add.
    """

    def normal(count: int, scale: float = 1.0) -> torch.Tensor:
        shape = case["batch"], count, case["seq"], case["head_dim"]
        return draw.normal(*shape, scale=scale).to(case.torch_dtype)

    large = 32768.0 if case.dtype == "bfloat16" else 1.0
    return normal(heads, 2.0), normal(keys), normal(keys, large)
