"""Elementwise operators, each as PyTorch text, as Triton text and in English.

In the texts `{t}` is the value that the operator is applied to, and `{u}` its second operand (a
tensor or a number). Triton texts compute in float32 and hold for every finite `t`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True, slots=True)
class Operator:
    """One elementwise operator."""

    name: str
    """As in the names of tasks."""
    torch: str
    """PyTorch text."""
    triton: str
    """Triton text. Names `{t}` several times only where `t` is a variable."""
    english: str
    """What it does, as a part of a sentence."""
    flops: int = 1
    """Floating point operations an element, transcendental functions counted as one."""
    through: float = 0.0
    """Size of what the Triton text computes on the way to a result near 0, whose rounding is then
    all that is left of a small value."""


def _table(*operators: Operator) -> Mapping[str, Operator]:
    return MappingProxyType({operator.name: operator for operator in operators})


UNARY = _table(
    Operator("relu", "torch.relu({t})", "tl.maximum({t}, 0.0)", "apply ReLU"),
    Operator(
        "leaky_relu",
        "F.leaky_relu({t}, 0.1)",
        "tl.where({t} > 0, {t}, 0.1 * {t})",
        "apply leaky ReLU with slope 0.1",
        2,
    ),
    # arXiv 1606.08415; the second form is its approximation by a tanh, with
    # (1 + tanh z) / 2 = sigmoid(2 z) and 2 sqrt(2 / pi) = 1.59577.
    Operator(
        "gelu",
        "F.gelu({t})",
        "0.5 * {t} * (1.0 + tl.erf({t} * 0.7071067811865476))",
        "apply exact GELU, t/2 * (1 + erf(t/sqrt(2)))",
        5,
    ),
    Operator(
        "gelu_tanh",
        'F.gelu({t}, approximate="tanh")',
        "{t} * tl.sigmoid(1.5957691216057308 * ({t} + 0.044715 * {t} * {t} * {t}))",
        "apply tanh-approximated GELU",
        8,
    ),
    Operator("silu", "F.silu({t})", "{t} * tl.sigmoid({t})", "apply SiLU, t * sigmoid(t)", 5),
    Operator("tanh", "torch.tanh({t})", "2.0 * tl.sigmoid(2.0 * {t}) - 1.0", "take tanh", 4, 1.0),
    Operator("sigmoid", "torch.sigmoid({t})", "tl.sigmoid({t})", "take the sigmoid", 4),
    Operator("exp", "torch.exp({t})", "tl.exp({t})", "take exp"),
    Operator("abs", "torch.abs({t})", "tl.abs({t})", "take the absolute value"),
    Operator("square", "torch.square({t})", "{t} * {t}", "square it"),
    Operator("neg", "-{t}", "-{t}", "negate it"),
    Operator("sin", "torch.sin({t})", "tl.sin({t})", "take the sine"),
    Operator("cos", "torch.cos({t})", "tl.cos({t})", "take the cosine"),
    Operator(
        "softplus",
        "F.softplus({t})",
        "tl.maximum({t}, 0.0) + tl.log(1.0 + tl.exp(-tl.abs({t})))",
        "apply softplus, log(1 + exp(t))",
        5,
    ),
    Operator(
        "elu",
        "F.elu({t})",
        "tl.where({t} > 0, {t}, tl.exp({t}) - 1.0)",
        "apply ELU, t where t > 0 and exp(t) - 1 elsewhere",
        3,
        1.0,
    ),
    Operator(
        "hardswish",
        "F.hardswish({t})",
        "{t} * tl.minimum(tl.maximum({t} + 3.0, 0.0), 6.0) / 6.0",
        "apply hardswish, t * clamp(t + 3, 0, 6) / 6",
        5,
    ),
    Operator(
        "clamp",
        "torch.clamp({t}, -1.0, 1.0)",
        "tl.minimum(tl.maximum({t}, -1.0), 1.0)",
        "clamp it to [-1, 1]",
        2,
    ),
    Operator(
        "softsign",
        "F.softsign({t})",
        "{t} / (1.0 + tl.abs({t}))",
        "apply softsign, t / (1 + |t|)",
        3,
    ),
    Operator(
        "log1p_abs",
        "torch.log1p(torch.abs({t}))",
        "tl.log(1.0 + tl.abs({t}))",
        "take log(1 + |t|)",
        3,
        1.0,
    ),
)
"""Operators of one value."""

BINARY = _table(
    Operator("add", "{t} + {u}", "{t} + {u}", "add {u}"),
    Operator("sub", "{t} - {u}", "{t} - {u}", "subtract {u}"),
    Operator("mul", "{t} * {u}", "{t} * {u}", "multiply by {u}"),
    Operator(
        "maximum",
        "torch.maximum({t}, {u})",
        "tl.maximum({t}, {u})",
        "take the elementwise maximum with {u}",
    ),
    Operator(
        "minimum",
        "torch.minimum({t}, {u})",
        "tl.minimum({t}, {u})",
        "take the elementwise minimum with {u}",
    ),
)
"""Operators of a value and a tensor, which is broadcast."""

SCALAR = _table(
    Operator("scale", "{t} * {u}", "{t} * {u}", "multiply by {u}"),
    Operator("shift", "{t} + {u}", "{t} + {u}", "add {u}"),
    Operator("rsub", "{u} - {t}", "{u} - {t}", "subtract it from {u}"),
)
"""Operators of a value and a number."""
