"""Which launches of a call others decide by: what they compute must be there at full size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from triton_gym.evaluation.backends.simulated import execute
from triton_gym.evaluation.plan.step import (
    Buffer,
    BufferKind,
    Copy,
    Gather,
    Kernel,
    Launch,
    Step,
)
from triton_gym.evaluation.simulate.interpreter.emit import program_of
from triton_gym.evaluation.simulate.interpreter.machine import Descriptor
from triton_gym.evaluation.simulate.interpreter.origins import origins_of

Span = tuple[int, int]


@dataclass(slots=True)
class Need:
    """What a launch has to do with values that decide."""

    awaited: bool = False
    """Whether a later one decides by what it writes."""
    reads: set[Span] = field(default_factory=set)
    """Buffers of the call's own making that it reads."""
    decides_by: set[Span] = field(default_factory=set)
    """Those of them whose contents decide what it does."""


def needs_of(
    buffers: Sequence[Buffer], kernels: Sequence[Kernel], steps: Sequence[Step],
    texts: Mapping[int, str], wanted: Sequence[Span] = (),
) -> dict[int, Need]:  # fmt: skip
    """For the launches among some steps, by place, what they need and who needs them.

    Args:
        buffers, kernels: of the plan.
        steps: of it.
        texts: TTIR by artifact.
        wanted: memory that somebody looks at in the end.
    """
    made = [(b.address, b.end) for b in buffers if b.kind is BufferKind.SCRATCH]
    asked = {(s, e) for s, e in made for low, high in wanted if low < e and s < high}
    found: dict[int, Need] = {}
    for place in reversed(range(len(steps))):
        step = steps[place]
        if isinstance(step, Launch):
            program = program_of(texts[kernels[step.kernel].artifact])
            values, _ = execute.arguments_of(program, step, ())
            origins = origins_of(program.module)
            spans = [
                _around(value, kind.element, made)
                for value, (_, kind) in zip(values, program.module.kernel.arguments, strict=True)
            ]
            read, written, decided = (
                {span for at in ways for span in spans[at]}
                for ways in (origins.read, origins.written, origins.deciding)
            )
            need = found[place] = Need(bool(written & asked), read, decided)
            asked |= decided
            if need.awaited:
                asked |= read
        elif isinstance(step, (Copy, Gather)) and _among(step.dst.address, made) & asked:
            asked |= _among(step.src.address, made)
            if isinstance(step, Gather):
                asked |= _among(step.index.address, made)
    return found


def _around(value: object, element: str, made: Sequence[Span]) -> set[Span]:
    if isinstance(value, Descriptor):
        return _among(value.base, made)
    return _among(value, made) if element == "ptr" and isinstance(value, int) else set()


def _among(address: int, spans: Sequence[Span]) -> set[Span]:
    return {span for span in spans if span[0] <= address < span[1]}
