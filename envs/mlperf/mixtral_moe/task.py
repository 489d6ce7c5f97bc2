"""A layer of Mixtral's experts: each token goes to two of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from triton_gym.task import Case, Entry, Span, Task, Unit

from ...answers import answers
from ...draws import Draw
from ...products import KNOBS, factor, grouped

if TYPE_CHECKING:
    import torch


def reference(x: torch.Tensor, logits: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
    """Σ over the two best experts e of p_e x W_e, p the softmax of their logits.

    Source: Jiang et al., "Mixtral of Experts", arXiv 2401.04088, section 2.1: its gate with the
    first product of an expert.
    """
    import torch

    tokens, experts = logits.shape
    best, chosen = logits.topk(2, dim=-1)
    share = torch.softmax(best, dim=-1)
    # Rows in the order of their experts, so that every expert has neighbouring ones.
    expert, order = chosen.flatten().sort(stable=True)
    ends = torch.searchsorted(expert, torch.arange(1, experts + 1, device=x.device))
    offsets = torch.nn.functional.pad(ends, (1, 0)).int()
    rows = grouped(x[order // 2], w, offsets)
    out = torch.empty_like(rows).index_copy_(0, order, rows).view(tokens, 2, -1)
    return (out.to(share.dtype) * share[:, :, None]).sum(dim=1).to(x.dtype)


def part(
    ranges: Any, cast: Any, x: torch.Tensor, logits: torch.Tensor, w: torch.Tensor
) -> torch.Tensor:
    """Some outputs of some tokens, from the experts that they go to."""
    import torch

    rows, cols = ranges
    best, chosen = cast(logits[rows]).topk(2, dim=-1)
    share = torch.softmax(best, dim=-1)
    some = cast(x[rows])
    total = share.new_zeros((some.shape[0], cols.stop - cols.start))
    for expert in chosen.unique().tolist():
        own = torch.where(chosen == expert, share, 0.0).sum(dim=-1)
        used = own > 0
        product = some[used] @ cast(w[expert, :, cols])
        total[used] += own[used, None] * product.to(share.dtype)
    return total.to(some.dtype)


def inputs(case: Case, generator: torch.Generator) -> tuple[torch.Tensor, ...]:
    """Logits of a trained gate: experts are not equally popular, the best is not far ahead."""
    draw = Draw(generator)
    tokens, dim, hidden, experts = (case[n] for n in ("tokens", "dim", "hidden", "experts"))
    logits = draw.normal(tokens, experts) + draw.normal(experts, scale=0.5)
    return factor(case, draw, tokens, dim), logits, factor(case, draw, experts, dim, hidden)


def sizes(tokens: int, dim: int, hidden: int, experts: int) -> dict[str, int]:
    """The named sizes of a case."""
    return {"tokens": tokens, "dim": dim, "hidden": hidden, "experts": experts}


def min_bytes(case: Case) -> float:
    """Tokens, logits and experts read and the result written once; with few tokens only two
    experts need be asked."""
    tokens, dim, hidden, experts = (case[n] for n in ("tokens", "dim", "hidden", "experts"))
    asked = experts if tokens >= 512 else 2
    elements = tokens * dim + asked * dim * hidden + tokens * hidden
    return float(case.torch_dtype.itemsize * elements + 4 * tokens * experts)


TASK = Task(
    name="mixtral_moe",
    title="Mixture of experts of Mixtral",
    statement=(
        "Send every token to its two best experts: with e1 and e2 the experts of the two largest "
        "logits of token t (they differ) and p the softmax of these two logits, out[t] = p1 * "
        "(x[t] @ w[e1]) + p2 * (x[t] @ w[e2]). x is [tokens, dim] and w is [experts, dim, hidden], "
        "contiguous, of one dtype, bfloat16 or float16; logits is [tokens, experts] in float32. "
        "Return out of shape [tokens, hidden] in x's dtype, contiguous; accumulate in float32 "
        "(each expert's product may be rounded to the dtype). dim and hidden are multiples of 8, "
        "experts is from 2 to 8. The shape is that of Mixtral 8x7B."
    ),
    entry=Entry("mixtral_moe", ("x", "logits", "w")),
    reference=reference,
    part=part,
    inputs=inputs,
    tiny=(
        Case("bfloat16", sizes(30, 24, 40, 4)),
        Case("float16", sizes(9, 32, 48, 8)),
        Case("float16", sizes(17, 8, 16, 2)),
        # Several tiles along every axis, whatever the tiles.
        Case("bfloat16", sizes(280, 72, 264, 2)),
    ),
    bench=(Case("bfloat16", sizes(8192, 4096, 14336, 8)),),
    untimed=(Case("bfloat16", sizes(2048, 4096, 14336, 8)),),
    spans={
        "tokens": Span(low=2, high=1000, tiny=40),
        "dim": Span(low=8, high=700, tiny=40, multiple=8),
        "hidden": Span(low=8, high=1000, tiny=64, multiple=8),
        "experts": Span(low=2, high=8, tiny=8),
    },
    flops=lambda case: 4.0 * case["tokens"] * case["dim"] * case["hidden"],
    min_bytes=min_bytes,
    reduction=lambda case: case["dim"],
    knobs={
        **KNOBS,
        "SPAN": (512, 1024, 2048, 4096),
    },
    unit=Unit.MATRIX,
    tags=("mlperf", "matrix"),
    **answers(__file__),
)
