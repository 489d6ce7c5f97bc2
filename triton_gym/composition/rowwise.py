"""Row operators: reductions along the last axis, and normalisations by them.

Each is written for Triton in two ways. `whole` transforms a value `t` that holds whole rows;
`{sum}` and `{max}` and `{min}` are reductions that keep the shape where the operator does. `passes`
goes over a row in blocks: each pass starts from its `start`, takes `each` block and is closed by
`end`; then `apply` is the result, of every block or of the row. In both, lanes outside the
row (`mask` false) may hold anything beforehand.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True, slots=True)
class Pass:
    """One way over a row, block by block."""

    start: tuple[str, ...]
    """Statements before the first block."""
    each: tuple[str, ...]
    """Statements for each block `t` under its `mask`."""
    end: tuple[str, ...] = ()
    """Statements after the last block."""


@dataclass(frozen=True, slots=True)
class RowOperator:
    """One reduction or normalisation of rows."""

    name: str
    """As in the names of tasks."""
    torch: str
    """PyTorch text; `{t}` is the value."""
    english: str
    """What it does, as a part of a sentence."""
    keeps: bool
    """Whether the result has the shape of its input, instead of one value a row."""
    whole: tuple[str, ...]
    """Triton statements on whole rows."""
    passes: tuple[Pass, ...]
    """Triton statements on blocks of rows."""
    apply: str
    """Triton text of the result from `t` (if `keeps`) and what the passes found."""
    flops: int
    """Floating point operations an element."""


_ZERO = "t = tl.where({mask}, t, 0.0)"
_LOW = 't = tl.where({mask}, t, float("-inf"))'
_MEAN = Pass(
    ("mean = 0.0",),
    ("mean += tl.sum(tl.where({mask}, t, 0.0), axis=0)",),
    ("mean = mean / {cols}",),
)
_SQUARES = Pass(("total = 0.0",), (_ZERO, "total += tl.sum(t * t, axis=0)"))
_VARIANCE = Pass(
    ("var = 0.0",),
    ("t = tl.where({mask}, t - mean, 0.0)", "var += tl.sum(t * t, axis=0)"),
    ("var = var / {cols}",),
)
# The online softmax of Milakov and Gimelshein, arXiv 1805.02867.
_ONLINE = Pass(
    ('largest = float("-inf")', "total = 0.0"),
    (
        _LOW,
        "larger = tl.maximum(largest, tl.max(t, axis=0))",
        "total = total * tl.exp(largest - larger) + tl.sum(tl.exp(t - larger), axis=0)",
        "largest = larger",
    ),
)
_DEVIATION = ("mean = {sum:t} / {cols}", "t = tl.where({mask}, t - mean, 0.0)")

ROWS: Mapping[str, RowOperator] = MappingProxyType(
    {
        operator.name: operator
        for operator in (
            RowOperator(
                "softmax",
                "torch.softmax({t}, dim=-1)",
                "take the softmax of every row",
                True,
                (_LOW, "t = tl.exp(t - {max:t})", "t = t / {sum:t}"),
                (_ONLINE,),
                "tl.exp(t - largest) / total",
                5,
            ),
            RowOperator(
                "log_softmax",
                "torch.log_softmax({t}, dim=-1)",
                "take the log-softmax of every row",
                True,
                (_LOW, "t = t - {max:t}", "t = t - tl.log({sum:tl.exp(t)})"),
                (_ONLINE,),
                "t - largest - tl.log(total)",
                5,
            ),
            RowOperator(
                "layer_norm",
                "F.layer_norm({t}, {t}.shape[-1:])",
                "normalise every row to mean 0 and variance 1 (layer norm, eps 1e-5)",
                True,
                (_ZERO, *_DEVIATION, "t = t * tl.rsqrt({sum:t * t} / {cols} + 1e-5)"),
                (_MEAN, _VARIANCE),
                "(t - mean) * tl.rsqrt(var + 1e-5)",
                7,
            ),
            RowOperator(
                "rms_norm",
                "F.rms_norm({t}, {t}.shape[-1:], eps=1e-6)",
                "divide every row by its root mean square (RMS norm, eps 1e-6)",
                True,
                (_ZERO, "t = t * tl.rsqrt({sum:t * t} / {cols} + 1e-6)"),
                (_SQUARES,),
                "t * tl.rsqrt(total / {cols} + 1e-6)",
                4,
            ),
            RowOperator(
                "normalize",
                "F.normalize({t}, dim=-1)",
                "divide every row by its Euclidean norm",
                True,
                (_ZERO, "t = t / tl.maximum(tl.sqrt({sum:t * t}), 1e-12)"),
                (_SQUARES,),
                "t / tl.maximum(tl.sqrt(total), 1e-12)",
                4,
            ),
            RowOperator(
                "center",
                "{t} - {t}.mean(dim=-1, keepdim=True)",
                "subtract the mean of every row",
                True,
                (_ZERO, "t = t - {sum:t} / {cols}"),
                (_MEAN,),
                "t - mean",
                2,
            ),
            RowOperator(
                "sum",
                "{t}.sum(dim=-1)",
                "sum every row",
                False,
                (_ZERO, "t = {sum:t}"),
                (Pass(("total = 0.0",), (_ZERO, "total += tl.sum(t, axis=0)")),),
                "total",
                1,
            ),
            RowOperator(
                "mean",
                "{t}.mean(dim=-1)",
                "average every row",
                False,
                (_ZERO, "t = {sum:t} / {cols}"),
                (_MEAN,),
                "mean",
                1,
            ),
            RowOperator(
                "max",
                "{t}.amax(dim=-1)",
                "take the maximum of every row",
                False,
                (_LOW, "t = {max:t}"),
                (
                    Pass(
                        ('largest = float("-inf")',),
                        (_LOW, "largest = tl.maximum(largest, tl.max(t, axis=0))"),
                    ),
                ),
                "largest",
                1,
            ),
            RowOperator(
                "min",
                "{t}.amin(dim=-1)",
                "take the minimum of every row",
                False,
                ('t = tl.where({mask}, t, float("inf"))', "t = {min:t}"),
                (
                    Pass(
                        ('least = float("inf")',),
                        (
                            't = tl.where({mask}, t, float("inf"))',
                            "least = tl.minimum(least, tl.min(t, axis=0))",
                        ),
                    ),
                ),
                "least",
                1,
            ),
            RowOperator(
                "logsumexp",
                "torch.logsumexp({t}, dim=-1)",
                "take log(sum(exp(t))) of every row",
                False,
                (_LOW, "largest = {max:t}",
                 "t = largest + tl.log({sum:tl.exp(t - {whole:largest})})"),
                (_ONLINE,),
                "largest + tl.log(total)",
                4,
            ),
            RowOperator(
                "var",
                "{t}.var(dim=-1, unbiased=False)",
                "take the (biased) variance of every row",
                False,
                (_ZERO, "mean = {sum:t} / {cols}",
                 "t = tl.where({mask}, t - {whole:mean}, 0.0)", "t = {sum:t * t} / {cols}"),
                (_MEAN, _VARIANCE),
                "var",
                4,
            ),
            RowOperator(
                "norm",
                "torch.linalg.vector_norm({t}, dim=-1)",
                "take the Euclidean norm of every row",
                False,
                (_ZERO, "t = tl.sqrt({sum:t * t})"),
                (_SQUARES,),
                "tl.sqrt(total)",
                3,
            ),
        )
    }
)  # fmt: skip
"""All row operators by name."""
