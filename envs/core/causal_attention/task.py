"""Causal multi-head attention, the task that flash attention answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from triton_gym.task import Case, Entry, Span, Task, Unit

from ...answers import answers

if TYPE_CHECKING:
    import torch


def reference(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """softmax(q kᵀ / √d + causal mask) v over (B, H, S, D) tensors.

    Source: Vaswani et al., "Attention Is All You Need", arXiv 1706.03762.
    """
    import torch

    attention = torch.nn.functional.scaled_dot_product_attention
    if q.dtype != torch.float64:
        return attention(q, k, v, is_causal=True)
    # PyTorch has no fused attention in float64 and would hold every (S, S) matrix at once.
    out = torch.empty_like(q)
    for index in range(q.shape[0]):
        for head in range(q.shape[1]):
            one = [x[index : index + 1, head : head + 1] for x in (q, k, v)]
            out[index, head] = attention(*one, is_causal=True)[0, 0]
    return out


def part(ranges: Any, cast: Any, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """Some queries of some heads, which see the keys up to the last of them."""
    import torch

    batch, head, rows, _ = ranges
    seen = (batch, head, slice(0, rows.stop))
    positions = torch.arange(rows.stop, device=q.device)
    mask = positions <= positions[rows, None]
    attention = torch.nn.functional.scaled_dot_product_attention
    return attention(cast(q[batch, head, rows]), cast(k[seen]), cast(v[seen]), attn_mask=mask)


def inputs(case: Case, generator: torch.Generator) -> tuple[torch.Tensor, ...]:
    """Queries of twice the usual size: scores have a standard deviation of two.

    So softmax picks out a few dozen keys instead of averaging all to nothing, and a key too
    many or too few is visible. In bfloat16 the values are so large that their sums leave
    float16's range, in which nobody is to add.
    """
    import torch

    shape = (case["batch"], case["heads"], case["seq"], case["head_dim"])

    def normal(scale: float = 1.0) -> torch.Tensor:
        drawn = torch.randn(shape, generator=generator, device=generator.device)
        return (drawn * scale).to(case.torch_dtype)

    return normal(2.0), normal(), normal(32768.0 if case.dtype == "bfloat16" else 1.0)


def flops(case: Case) -> float:
    """Two matrix products of 2·S²·D per head, of which causality needs half.

    Source: the count of Dao, "FlashAttention-2", arXiv 2307.08691, section 4.1.
    """
    return 2.0 * case["batch"] * case["heads"] * case["seq"] ** 2 * case["head_dim"]


def min_bytes(case: Case) -> float:
    """q, k and v read and the output written once."""
    elements = case["batch"] * case["heads"] * case["seq"] * case["head_dim"]
    return 4.0 * case.torch_dtype.itemsize * elements


def sizes(batch: int, heads: int, seq: int, head_dim: int) -> dict[str, int]:
    """The named sizes of a case."""
    return {"batch": batch, "heads": heads, "seq": seq, "head_dim": head_dim}


TASK = Task(
    name="causal_attention",
    title="Causal attention",
    statement=(
        "Compute causal multi-head attention: out = softmax(q @ k^T / sqrt(head_dim)) @ v per "
        "batch and head, where query i sees keys 0..i only. q, k, v and the returned out are "
        "[batch, heads, seq, head_dim], contiguous, in bfloat16 or float16; the softmax and all "
        "sums are to be kept in float32. head_dim is 16, 32, 64 or 128; seq is any positive "
        "integer."
    ),
    entry=Entry("causal_attention", ("q", "k", "v")),
    reference=reference,
    part=part,
    inputs=inputs,
    tiny=(
        Case("float16", sizes(1, 2, 19, 16)),
        Case("bfloat16", sizes(2, 1, 33, 32)),
        Case("float16", sizes(1, 1, 48, 64)),
        # Several blocks along every axis, whatever the blocks.
        Case("bfloat16", sizes(1, 9, 131, 16)),
    ),
    bench=(Case("bfloat16", sizes(4, 16, 4096, 128)),),
    untimed=(Case("bfloat16", sizes(8, 32, 2048, 64)),),
    spans={
        "batch": Span(low=1, high=4, tiny=2),
        "heads": Span(low=1, high=16, tiny=2),
        "seq": Span(low=2, high=2100, tiny=48),
        "head_dim": Span(low=64, high=128, tiny=64, multiple=64),
    },
    flops=flops,
    min_bytes=min_bytes,
    reduction=lambda case: max(case["seq"], case["head_dim"]),
    knobs={
        "BLOCK_M": (64, 128),
        "BLOCK_N": (32, 64, 128),
        "GROUP_HEADS": (1, 4, 8, 16, 32),
        "NUM_WARPS": (4, 8),
        "NUM_STAGES": (2, 3, 4),
    },
    unit=Unit.MATRIX,
    tags=("core", "attention"),
    **answers(__file__),
)
