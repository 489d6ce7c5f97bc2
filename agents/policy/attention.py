"""Attention of a decoding step over keys and values of fixed size.

transformers' attention reads every row's keys to the end of their memory and masks what is not
there: most of it, for short replies in a batch that waits for its longest. This kernel reads what a
row has, and nothing for a row that is done; a recorded step finds both in tensors.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import torch
import triton
import triton.language as tl

NAME = "triton_gym_decoding"
"""Among transformers' attention functions."""
MOST_KEYS = 128
"""That are read at once."""
KEY_BYTES = 16384
"""Of them, at most: several such blocks of keys and values have to fit shared memory."""
LEAST_QUERIES = 16
"""Rows of a matrix product on tensor cores; heads that share keys are filled up to it."""
DIMENSIONS = (16, 32, 64, 128, 256)
"""Of a head."""
_OTHERWISE = ("softcap", "s_aux", "position_bias", "sliding_window")
"""Arguments of other kinds of attention, which are left to transformers."""


@dataclass(frozen=True, slots=True)
class Spans:
    """What each row's tokens attend to: columns from `starts` to before `ends`, int32 `(rows,)`."""

    starts: torch.Tensor
    ends: torch.Tensor


_reading: ContextVar[Spans | None] = ContextVar("reading", default=None)


@triton.jit  # type: ignore[untyped-decorator]
def _attend_kernel(  # type: ignore[no-untyped-def]
    q_ptr, k_ptr, v_ptr, out_ptr, starts_ptr, ends_ptr, scale,
    q_row, q_head, k_row, k_head, k_place, v_row, v_head, v_place, out_row,
    GROUP: tl.constexpr, QUERIES: tl.constexpr, DIM: tl.constexpr, BLOCK: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    head = tl.program_id(1)
    start = tl.load(starts_ptr + row)
    end = tl.load(ends_ptr + row)
    query = tl.arange(0, QUERIES)
    inner = tl.arange(0, DIM)
    mine = (query < GROUP)[:, None]
    at = (head * GROUP + query)[:, None]
    q = tl.load(q_ptr + row * q_row + at * q_head + inner[None, :], mask=mine, other=0.0)
    k_ptr += row * k_row + head * k_head
    v_ptr += row * v_row + head * v_head
    largest = tl.full((QUERIES,), float("-inf"), tl.float32)
    total = tl.zeros((QUERIES,), tl.float32)
    found = tl.zeros((QUERIES, DIM), tl.float32)
    for first in range(start, end, BLOCK):
        place = first + tl.arange(0, BLOCK)
        there = place < end
        k = tl.load(
            k_ptr + place[None, :] * k_place + inner[:, None], mask=there[None, :], other=0.0
        )
        v = tl.load(
            v_ptr + place[:, None] * v_place + inner[None, :], mask=there[:, None], other=0.0
        )
        score = tl.dot(q, k, input_precision=PRECISION) * scale
        score = tl.where(there[None, :], score, float("-inf"))
        larger = tl.maximum(largest, tl.max(score, 1))
        shrink = tl.exp(largest - larger)
        weight = tl.exp(score - larger[:, None])
        total = total * shrink + tl.sum(weight, 1)
        found = found * shrink[:, None]
        found += tl.dot(weight.to(v.dtype), v, input_precision=PRECISION)
        largest = larger
    found = found / tl.maximum(total, 1e-30)[:, None]  # zeros for a row that reads nothing
    tl.store(out_ptr + row * out_row + at * DIM + inner[None, :], found, mask=mine)


def attend(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, spans: Spans, scale: float
) -> torch.Tensor:
    """Softmax attention of one query a row and head.

    Args:
        query: `(rows, heads, 1, dimension)`.
        key: `(rows, groups, columns, dimension)`; consecutive heads share a group's.
        value: likewise.
        spans: the columns of each row that count; the others may hold anything.
        scale: of the scores.

    Returns:
        `(rows, 1, heads, dimension)`, zeros where a row's span is empty.
    """
    query, key, value = (t if t.stride(-1) == 1 else t.contiguous() for t in (query, key, value))
    rows, heads, _, dimension = query.shape
    groups = key.shape[1]
    shared = heads // groups
    block = min(MOST_KEYS, KEY_BYTES // (dimension * query.element_size()))
    out = query.new_empty(rows, 1, heads, dimension)
    _attend_kernel[(rows, groups)](
        query, key, value, out, spans.starts, spans.ends, scale,
        query.stride(0), query.stride(1), key.stride(0), key.stride(1), key.stride(2),
        value.stride(0), value.stride(1), value.stride(2), out.stride(0),
        GROUP=shared, QUERIES=max(LEAST_QUERIES, triton.next_power_of_2(shared)), DIM=dimension,
        BLOCK=block, PRECISION="ieee" if query.dtype == torch.float32 else "tf32",
        num_warps=4, num_stages=3,
    )  # fmt: skip
    return out


def fits(model: Any) -> bool:
    """Whether the model's attention can be replaced by this."""
    config = model.config.get_text_config(decoder=True)
    heads = getattr(config, "num_attention_heads", 0)
    dimension = getattr(config, "head_dim", None) or (heads and config.hidden_size // heads)
    return config._attn_implementation == "sdpa" and dimension in DIMENSIONS


@contextmanager
def reading(model: Any, spans: Spans | None) -> Iterator[None]:
    """Have the model's single tokens attend to these columns; its masks do not count for them."""
    if spans is None:
        yield
        return
    from transformers import AttentionInterface

    AttentionInterface.register(NAME, _attention)
    config = model.config.get_text_config(decoder=True)
    before, token = config._attn_implementation, _reading.set(spans)
    config._attn_implementation = NAME
    try:
        yield
    finally:
        config._attn_implementation = before
        _reading.reset(token)


def _attention(
    module: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor,
    attention_mask: torch.Tensor | None, scaling: float | None = None, **options: Any,
) -> tuple[torch.Tensor, None]:  # fmt: skip
    """As transformers calls it."""
    spans = _reading.get()
    other = any(options.get(name) is not None for name in _OTHERWISE)
    if spans is None or query.shape[2] != 1 or other or key.shape != value.shape:
        from transformers.integrations.sdpa_attention import sdpa_attention_forward

        return sdpa_attention_forward(  # type: ignore[no-any-return]
            module, query, key, value, attention_mask, scaling=scaling, **options
        )
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    return attend(query, key, value, spans, scale), None
