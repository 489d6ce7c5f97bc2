"""Which random graphs make good tasks: tame numbers, and no step, argument or answer that is idle.

Decided in float64 on inputs from a fixed seed, so that the same graphs pass everywhere.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator
from typing import TYPE_CHECKING

from triton_gym.composition.graph import Graph, Kind, Layout, Operand, Step
from triton_gym.composition.operators import UNARY
from triton_gym.composition.reference import Reference
from triton_gym.task import Case

from .problem import Problem

if TYPE_CHECKING:
    import torch

LARGEST = 600.0
"""Largest intermediate value. Keeps float16 (65504) safe with room for longer rows."""
NOISE = 1e-6
"""Relative error that every intermediate value is given, to see how it grows."""
GROWTH = 15.0
"""Largest error of a result in units of `NOISE`. The noise itself reaches 4 of its deviations."""
MARGIN = 10.0
"""A wrong answer must be off by so many times the smallest tolerance…"""
SHARE = 0.05
"""…in so large a share of a matrix…"""
ROW_SHARE = 0.5
"""…or of the rows, where the result is one value a row and a test may have few of them."""
SIZES = ({"rows": 8, "cols": 2048, "k": 512}, {"rows": 12, "cols": 24, "k": 24})
"""Sizes that a graph is tried at: statistics of long and of short rows differ."""


def admissible(problem: Problem) -> bool:
    """Whether a problem is worth being a task."""
    return all(_admissible_at(problem, sizes) for sizes in SIZES)


def _admissible_at(problem: Problem, sizes: dict[str, int]) -> bool:
    import torch

    from triton_gym.evaluation import check  # here: it imports torch, which listing tasks need not

    graph = problem.graph
    tame = dataclasses.replace(problem, dtype="float16")  # levels are for float32 alone
    generator = torch.Generator("cpu").manual_seed(7)
    wanted = dict(list(sizes.items())[: 3 if graph.kind is Kind.MATMUL else 2])
    inputs = tame.inputs(Case("float64", wanted), generator)
    values = list(_steps(graph, inputs, None))
    if not all(bool(v.isfinite().all()) and float(v.abs().max()) < LARGEST for v in values):
        return False
    result = values[-1]
    fine = problem.dtype == "float32"  # others round results more than that
    noisy = list(_steps(graph, inputs, generator, fine=fine))[-1]
    if float(_errors(noisy, result).max()) > GROWTH * NOISE:
        return False
    answer = torch.empty(1, dtype=getattr(torch, problem.dtype))
    limit = MARGIN * check.floor(answer, problem.reduction(Case("float64", wanted)))
    share = ROW_SHARE if graph.reduced else SHARE
    others = tame.inputs(Case("float64", wanted), torch.Generator("cpu").manual_seed(8))
    wrong = itertools.chain(  # one after the other: most graphs fail early
        _trivial(result, inputs), _incomplete(graph, inputs), _redrawn(graph, inputs, others)
    )
    return all(
        float((_errors(w, result) > limit).double().mean()) > share
        for w in wrong
        if w.shape == result.shape
    )


def _steps(
    graph: Graph, inputs: tuple[torch.Tensor, ...], noise: torch.Generator | None,
    *, fine: bool = False,
) -> Iterator[torch.Tensor]:  # fmt: skip
    """The value before the first and after every step, with errors if there is `noise`.

    If they are `fine`, those count that an operator makes on its way to a small value.
    """
    import torch

    named = dict(zip(graph.parameters, inputs, strict=True))

    def blurred(value: torch.Tensor, through: float = 0.0) -> torch.Tensor:
        if noise is None:
            return value
        drawn = torch.randn(value.shape, generator=noise, dtype=value.dtype, device=value.device)
        return value * (1.0 + NOISE * drawn) + NOISE * drawn * (through - value.abs()).clamp(min=0)

    t = blurred(named["x"] @ named["w"] if graph.kind is Kind.MATMUL else named["x"])
    yield t
    for step, reduced in graph.positions():
        layout = Layout.FULL if reduced or not step.operand else graph.layout(step.operand)
        alone = Graph(
            Kind.ROWS if step.row else Kind.ELEMENTWISE,
            (dataclasses.replace(step, operand="u" if step.operand else ""),),
            (Operand("u", layout),),
        )
        through = UNARY[step.operator].through if fine and step.operator in UNARY else 0.0
        t = blurred(Reference(alone, "step")(t, named.get(step.operand)), through)
        yield t


def _trivial(result: torch.Tensor, inputs: tuple[torch.Tensor, ...]) -> Iterator[torch.Tensor]:
    """Answers that need no work."""
    import torch

    yield torch.zeros_like(result)
    yield torch.ones_like(result)
    yield torch.full_like(result, float(result.mean()))
    yield result.mean(-1, keepdim=True).expand_as(result)
    yield result.flatten().roll(1).view_as(result)
    yield -result
    yield from inputs


def _incomplete(graph: Graph, inputs: tuple[torch.Tensor, ...]) -> Iterator[torch.Tensor]:
    """The result without one of the steps: each has to matter."""
    for index in range(len(graph.steps)):
        step: Step = graph.steps[index]
        if not (step.row and not step.row.keeps):
            yield Reference(graph.without(index), "less")(*inputs)


def _redrawn(
    graph: Graph, inputs: tuple[torch.Tensor, ...], others: tuple[torch.Tensor, ...]
) -> Iterator[torch.Tensor]:
    """The result with one argument of another draw: each has to matter.

    Where one hardly does, as `x` in `minimum(amax(x), c)`, an answer need not read it, and is
    faster than the speed of light of a task that counts it.
    """
    for index, other in enumerate(others):
        changed = (*inputs[:index], other, *inputs[index + 1 :])
        yield Reference(graph, "redrawn")(*changed)


def _errors(result: torch.Tensor, exact: torch.Tensor) -> torch.Tensor:
    """Errors as `triton_gym.evaluation.check` counts them."""
    scale = exact.square().mean(dim=-1, keepdim=True).sqrt()
    return (result - exact).abs() / (exact.abs() + scale + 1e-300)
