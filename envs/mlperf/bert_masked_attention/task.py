"""Attention of BERT over sentences that are padded to one length."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from triton_gym.task import Case, Entry, Span, Task, Unit

from ...answers import answers
from ...attention import attention, heads_of
from ...draws import Draw

if TYPE_CHECKING:
    import torch


def seen(lengths: torch.Tensor, seq: int) -> torch.Tensor:
    """Which keys are no padding: (B, 1, 1, S)."""
    import torch

    return torch.arange(seq, device=lengths.device) < lengths[:, None, None, None]


def reference(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, lengths: torch.Tensor
) -> torch.Tensor:
    """softmax(q kᵀ / √d) v over the first lengths[b] keys."""
    return attention(q, k, v, mask=seen(lengths, k.shape[2]))


def part(
    ranges: Any, cast: Any, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor,
    lengths: torch.Tensor,
) -> torch.Tensor:  # fmt: skip
    """Some queries of some heads."""
    import torch

    batch, head, rows, _ = ranges
    one = torch.nn.functional.scaled_dot_product_attention
    mask = seen(lengths[batch], k.shape[2])
    return one(cast(q[batch, head, rows]), cast(k[batch, head]), cast(v[batch, head]), mask)


def inputs(case: Case, generator: torch.Generator) -> tuple[Any, ...]:
    """Sentences of half the greatest length to all of it."""
    draw = Draw(generator)
    lengths = draw.integers(-(-case["seq"] // 2), case["seq"] + 1, case["batch"]).int()
    return *heads_of(case, draw, case["heads"], case["heads"]), lengths


def flops(case: Case) -> float:
    """Two products of 2·S²·D per head, of which three quarters of the keys are no padding."""
    return 3.0 * case["batch"] * case["heads"] * case["seq"] ** 2 * case["head_dim"]


def min_bytes(case: Case) -> float:
    """q read and the output written; of keys and values half, which no sentence is shorter than."""
    elements = case["batch"] * case["heads"] * case["seq"] * case["head_dim"]
    return 3.0 * case.torch_dtype.itemsize * elements


def sizes(batch: int, heads: int, seq: int, head_dim: int) -> dict[str, int]:
    """The named sizes of a case."""
    return {"batch": batch, "heads": heads, "seq": seq, "head_dim": head_dim}


TASK = Task(
    name="bert_masked_attention",
    title="Masked attention of BERT",
    statement=(
        "Compute multi-head attention over padded sentences: out = softmax(q @ k^T / "
        "sqrt(head_dim)) @ v per batch and head, where all queries of sentence b see its first "
        "lengths[b] keys only; queries of the padding are computed too. q, k, v and the returned "
        "out are [batch, heads, seq, head_dim], contiguous, in float16 or bfloat16; lengths is "
        "[batch] in int32 on the device, from 1 to seq. The softmax and all sums are to be kept in "
        "float32. head_dim is 16, 32, 64 or 128; seq is any positive integer. The shape is that of "
        "BERT-large."
    ),
    entry=Entry("bert_masked_attention", ("q", "k", "v", "lengths")),
    reference=reference,
    part=part,
    inputs=inputs,
    tiny=(
        Case("float16", sizes(1, 2, 19, 16)),
        Case("bfloat16", sizes(2, 1, 33, 32)),
        Case("float16", sizes(3, 1, 48, 64)),
        # Several blocks along every axis, whatever the blocks.
        Case("bfloat16", sizes(2, 3, 131, 16)),
    ),
    bench=(Case("float16", sizes(32, 16, 512, 64)),),
    untimed=(Case("bfloat16", sizes(32, 16, 512, 64)),),
    spans={
        "batch": Span(low=1, high=6, tiny=2),
        "heads": Span(low=1, high=16, tiny=2),
        "seq": Span(low=2, high=1000, tiny=48),
        "head_dim": Span(low=64, high=128, tiny=64, multiple=64),
    },
    flops=flops,
    min_bytes=min_bytes,
    reduction=lambda case: max(case["seq"], case["head_dim"]),
    knobs={
        "BLOCK_M": (64, 128),
        "BLOCK_N": (32, 64, 128),
        "NUM_WARPS": (4, 8),
        "NUM_STAGES": (2, 3, 4),
    },
    unit=Unit.MATRIX,
    tags=("mlperf", "attention"),
    **answers(__file__),
)
