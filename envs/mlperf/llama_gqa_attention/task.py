"""Causal attention of Llama, whose query heads share keys and values in groups."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from triton_gym.task import Case, Entry, Span, Task, Unit

from ...answers import answers
from ...attention import attention, heads_of
from ...draws import Draw

if TYPE_CHECKING:
    import torch


def reference(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """softmax(q kᵀ / √d + causal mask) v, with `group` heads of q to each of k and v."""
    return attention(q, k, v, causal=True)


def part(ranges: Any, cast: Any, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """Some queries of some heads, which see the keys up to the last of them."""
    import torch

    batch, heads, rows, _ = ranges
    group = q.shape[1] // k.shape[1]
    shared = [head // group for head in range(heads.start, heads.stop)]
    positions = torch.arange(rows.stop, device=q.device)
    mask = positions <= positions[rows, None]
    keys, values = (cast(x[batch, shared, : rows.stop]) for x in (k, v))
    one = torch.nn.functional.scaled_dot_product_attention
    return one(cast(q[batch, heads, rows]), keys, values, attn_mask=mask)


def inputs(case: Case, generator: torch.Generator) -> tuple[Any, ...]:
    """Keys and values that differ from group to group."""
    return heads_of(case, Draw(generator), case["kv_heads"] * case["group"], case["kv_heads"])


def heads(case: Case) -> int:
    """Heads of the queries, of all batches."""
    return case["batch"] * case["kv_heads"] * case["group"]


def flops(case: Case) -> float:
    """Two matrix products of 2·S²·D per head, of which causality needs half.

    Source: the count of Dao, "FlashAttention-2", arXiv 2307.08691, section 4.1.
    """
    return 2.0 * heads(case) * case["seq"] ** 2 * case["head_dim"]


def min_bytes(case: Case) -> float:
    """q, k and v read and the output written once."""
    rows = 2 * heads(case) + 2 * case["batch"] * case["kv_heads"]
    return float(case.torch_dtype.itemsize * rows * case["seq"] * case["head_dim"])


def sizes(batch: int, kv_heads: int, group: int, seq: int, head_dim: int) -> dict[str, int]:
    """The named sizes of a case; q has kv_heads · group heads."""
    return {
        "batch": batch, "kv_heads": kv_heads, "group": group, "seq": seq, "head_dim": head_dim,
    }  # fmt: skip


TASK = Task(
    name="llama_gqa_attention",
    title="Grouped-query attention of Llama",
    statement=(
        "Compute causal attention with grouped queries: out = softmax(q @ k^T / sqrt(head_dim)) @ "
        "v, where head h of q uses head h // group of k and v, group = heads / kv_heads, and query "
        "i sees keys 0..i only. q and the returned out are [batch, heads, seq, head_dim], k and v "
        "are [batch, kv_heads, seq, head_dim], all contiguous, in bfloat16 or float16; the softmax "
        "and all sums are to be kept in float32. head_dim is 16, 32, 64 or 128; seq is any "
        "positive integer. The shape is that of Llama 3 8B."
    ),
    entry=Entry("llama_gqa_attention", ("q", "k", "v")),
    reference=reference,
    part=part,
    inputs=inputs,
    tiny=(
        Case("float16", sizes(1, 1, 2, 19, 16)),
        Case("bfloat16", sizes(2, 2, 1, 33, 32)),
        Case("float16", sizes(1, 2, 3, 48, 64)),
        # Several blocks along every axis, whatever the blocks.
        Case("bfloat16", sizes(1, 3, 3, 131, 16)),
    ),
    bench=(Case("bfloat16", sizes(1, 8, 4, 8192, 128)),),
    untimed=(Case("bfloat16", sizes(4, 8, 4, 4096, 128)),),
    spans={
        "batch": Span(low=1, high=3, tiny=1),
        "kv_heads": Span(low=1, high=4, tiny=2),
        "group": Span(low=1, high=5, tiny=2),
        "seq": Span(low=2, high=2000, tiny=48),
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
    tags=("mlperf", "attention"),
    **answers(__file__),
)
