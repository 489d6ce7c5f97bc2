"""Makes a plan of what a session recorded."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from triton_gym.evaluation.plan.plan import Call, Plan
from triton_gym.evaluation.plan.step import Buffer, BufferKind, Launch, Step
from triton_gym.evaluation.recording.remote import Remote


def assemble(
    remote: Remote, setup: Sequence[Step], first: Call, call: Call, start: int, blob_bytes: int
) -> Plan:
    """The plan of a case.

    Args:
        remote: what was recorded in the session.
        setup: steps before the first case, or none if nothing of them is used.
        first, call: the two calls.
        start: moment at which the first call began; moments before are those of the setup and of
            other cases.
        blob_bytes: bytes among the blobs.
    """
    length = len(setup)
    end = start + len(first.steps) + len(call.steps) + 2
    buffers: list[Buffer] = []
    for buffer in remote.buffers.values():
        placed = _placed(buffer, length, start, end)
        if placed is not None:
            buffers.append(dataclasses.replace(placed, id=len(buffers)))
    numbers: dict[int, int] = {}
    for step in (*setup, *first.steps, *call.steps):
        if isinstance(step, Launch):
            numbers.setdefault(step.kernel, len(numbers))
    kernels = tuple(remote.kernels[number] for number in numbers)

    def numbered(steps: Sequence[Step]) -> tuple[Step, ...]:
        return tuple(
            dataclasses.replace(step, kernel=numbers[step.kernel])
            if isinstance(step, Launch) else step
            for step in steps
        )  # fmt: skip

    return Plan(
        tuple(buffers), kernels, numbered(setup), Call(numbered(first.steps), first.result),
        Call(numbered(call.steps), call.result), blob_bytes,
    )  # fmt: skip


def _placed(buffer: Buffer, length: int, start: int, end: int) -> Buffer | None:
    """A buffer with its moments as the plan counts them; None if the plan has no use for it."""
    if buffer.kind is not BufferKind.SCRATCH:
        return None if 0 <= buffer.freed <= start else dataclasses.replace(buffer, freed=-1)
    if buffer.born >= start:
        born = buffer.born - start + length
    elif length and buffer.born <= length:
        born = buffer.born
    else:
        return None
    if buffer.freed < 0 or buffer.freed > end:
        freed = -1
    elif buffer.freed >= start:
        freed = buffer.freed - start + length
    else:
        freed = min(buffer.freed, length)
    return dataclasses.replace(buffer, born=born, freed=freed)
