"""A histogram whose bins saturate: counting without losing a count, up to a limit."""

from __future__ import annotations

from typing import TYPE_CHECKING

from triton_gym.task import Case, Entry, Span, Task

from ...answers import answers
from ...draws import Draw

if TYPE_CHECKING:
    import torch

LIMIT = 255
"""Where a bin saturates, as in Parboil's code."""


def reference(values: torch.Tensor, bins: int) -> torch.Tensor:
    """min(255, number of values equal to b) for every bin b.

    Source: Parboil's `histo` (Stratton et al., 2012), with the histogram in one dimension.
    """
    import torch

    counts = torch.zeros(bins, dtype=torch.int32, device=values.device)
    ones = torch.ones((), dtype=torch.int32, device=values.device).expand(values.shape)
    return counts.scatter_add_(0, values.long(), ones).clamp_(max=LIMIT)


def inputs(case: Case, generator: torch.Generator) -> tuple[torch.Tensor, int]:
    """Values whose frequencies fall off so that some bins saturate, some count and some are empty.

    Frequency halves every few bins, and which bin has which is drawn: a random order of all bins.
    """
    import torch

    draw = Draw(generator)
    n, bins = case["n"], case["bins"]
    # Over a fifth of the bins from n down to LIMIT, over as many from there to nothing, and so on.
    decay = max(1.0, torch.log(torch.tensor(float(n))).item()) * 1.6 / bins if bins > 1 else 1.0
    rank = (draw.uniform(1e-7, 1.0, n).log_() / -decay).long().clamp_(max=bins - 1)
    order = draw.uniform(0.0, 1.0, bins).argsort()
    return order[rank].int(), bins


TASK = Task(
    name="histogram",
    title="Saturating histogram",
    statement=(
        "Count how often every value occurs, up to 255: out[b] = min(255, number of i with "
        "values[i] = b) for b from 0 to bins-1. values is [n], contiguous, in int32, all from 0 to "
        "bins-1; bins is a Python int of at most 1024. Return out of shape [bins] in int32. Some "
        "values are very frequent and some do not occur."
    ),
    entry=Entry("histogram", ("values", "bins")),
    reference=reference,
    inputs=inputs,
    tiny=(
        Case("int32", {"n": 1000, "bins": 256}),
        Case("int32", {"n": 40, "bins": 2}),
        Case("int32", {"n": 9000, "bins": 37}),
        Case("int32", {"n": 33001, "bins": 600}),
    ),
    bench=(Case("int32", {"n": 1 << 24, "bins": 256}),),
    untimed=(Case("int32", {"n": 1 << 26, "bins": 1024}),),
    spans={
        "n": Span(low=16, high=1 << 21, tiny=6000),
        "bins": Span(low=2, high=1024, tiny=300),
    },
    flops=lambda case: float(case["n"]),  # a sum a value
    min_bytes=lambda case: 4.0 * (case["n"] + case["bins"]),
    reduction=lambda case: 1,
    knobs={
        "BLOCK": (1024, 2048, 4096, 8192),
        "PROGRAMS": (132, 264, 528, 1056),
        "NUM_WARPS": (4, 8, 16),
    },
    tags=("spec", "counting"),
    **answers(__file__),
)
