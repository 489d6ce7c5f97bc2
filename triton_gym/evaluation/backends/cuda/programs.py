"""From a plan to what a runner executes, and where its results are found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch

from triton_gym.evaluation import trees
from triton_gym.evaluation.backends.cuda.margins import Margins
from triton_gym.evaluation.backends.cuda.orders import Part as Steps
from triton_gym.evaluation.backends.cuda.orders import Program
from triton_gym.evaluation.compiling.artifact import Artifact
from triton_gym.evaluation.judging.case_layout import place
from triton_gym.evaluation.judging.returned import Form, Part, lies_well, parts_of
from triton_gym.evaluation.plan.plan import Call, Plan
from triton_gym.evaluation.plan.step import (
    Buffer,
    BufferKind,
    Copy,
    Launch,
    Read,
    Step,
    Synchronize,
)
from triton_gym.evaluation.plan.value import HostTensor
from triton_gym.evaluation.plan.view import View
from triton_gym.evaluation.plan.window import SCRATCH, room


@dataclass(frozen=True, slots=True)
class Prepared:
    """A plan that is ready for a runner."""

    plan: Plan
    program: Program
    first: tuple[Part, ...]
    """Where the first call's results lie, in the order of the reference's."""
    call: tuple[Part, ...]
    """The same of further calls."""
    scratch_bytes: int

    @property
    def launches(self) -> int:
        """Kernels that a call launches."""
        return self.plan.launches

    @property
    def steady(self) -> bool:
        """Whether further calls do what the first one does, and nothing was prepared before."""
        plan = self.plan
        return not plan.setup and plan.first == plan.call

    @property
    def reads(self) -> bool:
        """Whether host code looks at values, so that the plan is good for one set of inputs."""
        return self.plan.first.reads or self.plan.call.reads

    @property
    def waits(self) -> bool:
        """Whether host code waits for the device in a call."""
        return any(isinstance(step, (Read, Synchronize)) for step in self.plan.call.steps)

    @property
    def used(self) -> list[Artifact]:
        """Machine code that a call launches."""
        kernels = {s.kernel for s in self.plan.call.steps if isinstance(s, Launch)}
        return [self.program.artifacts[self.plan.kernels[k].artifact] for k in kernels]

    def margins(self, steps: Steps, nbytes: int) -> Margins:
        """What of the answer's own memory no tensor has at any moment of some steps.

        Args:
            steps: those of the first call, or of a further one.
            nbytes: of the memory.
        """
        returned = len(self.plan.setup) + len(self.plan.first.steps)
        lives = [
            buffer
            for buffer in self.plan.buffers
            if buffer.kind is BufferKind.SCRATCH
            and (
                buffer.freed < 0 or buffer.freed > returned
                if steps is Steps.CALL
                else buffer.born <= returned
            )
        ]
        # Results that are written once more lie behind all that the answer allocated.
        lives += [
            Buffer(0, low, high - low, BufferKind.SCRATCH)
            for part in (self.call if steps is Steps.CALL else self.first)
            if isinstance(part, View)
            for low, high in [part.extent]
            if low in SCRATCH and high > low
        ]
        return Margins.around(lives, SCRATCH.start, nbytes)


def prepare(plan: Plan, artifacts: Mapping[int, Artifact], blobs: bytes, form: Form) -> Prepared:
    """Make a plan ready. A result that lies in memory as nobody expects is written once more.

    Raises:
        Ended: it returns something else than the reference.
    """
    end = SCRATCH.start + room(plan.scratch_end - SCRATCH.start)
    first, first_steps, end = _landed(plan.first, form, end)
    call, call_steps, end = _landed(plan.call, form, end)
    # A runner has no use for IR and assembly, which are longer than all the rest.
    bare = {number: replace(one, texts={}) for number, one in artifacts.items()}
    program = Program(plan.buffers, plan.kernels, bare, plan.setup, first_steps, call_steps, blobs)
    return Prepared(plan, program, first, call, end - SCRATCH.start)


def _landed(call: Call, form: Form, end: int) -> tuple[tuple[Part, ...], tuple[Step, ...], int]:
    parts, steps = list(parts_of(call.result, form)), list(call.steps)
    for index, (part, leaf) in enumerate(zip(parts, trees.leaves(form.tree), strict=True)):
        if not isinstance(part, View) or form.same_strides or lies_well(part, leaf):
            continue
        dense = torch.empty(leaf.shape, device="meta").stride()
        (target,) = place([trees.Leaf(leaf.shape, leaf.dtype, tuple(dense))], end)
        steps.append(Copy(part, target, 0))
        parts[index] = target
        end = SCRATCH.start + room(target.extent[1] - SCRATCH.start)
    return tuple(parts), tuple(steps), end


def host_tensor(part: HostTensor, prepared: Prepared) -> torch.Tensor:
    """A result that the answer's host holds."""
    data = bytearray(prepared.program.blobs[part.offset : part.offset + part.nbytes])
    dtype = getattr(torch, part.dtype)
    if not data:
        return torch.empty(part.shape, dtype=dtype)
    return torch.frombuffer(data, dtype=dtype).reshape(part.shape)
