"""A call at full size: followed in part, then replayed in part."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from time import process_time
from typing import Any

from triton_gym.evaluation.backends.simulated import execute
from triton_gym.evaluation.backends.simulated.needs import needs_of
from triton_gym.evaluation.exchange.block import Block
from triton_gym.evaluation.plan.codec import encode
from triton_gym.evaluation.plan.plan import Plan
from triton_gym.evaluation.plan.step import (
    Buffer,
    BufferKind,
    Copy,
    Fill,
    Gather,
    Kernel,
    Launch,
    Step,
    Upload,
)
from triton_gym.evaluation.plan.view import View
from triton_gym.evaluation.simulate.interpreter.effort import Effort, Exhausted
from triton_gym.evaluation.simulate.tracing.evidence import Call, Evidence
from triton_gym.evaluation.simulate.tracing.replay import Replay, Undecided
from triton_gym.evaluation.simulate.tracing.trace import BLIND, SECONDS, Traced, trace
from triton_gym.evaluation.simulate.tracing.whole import run_whole

LARGEST_COPY = 1 << 30
"""Bytes of a copy that is carried out, if something needs what it copies."""
WHOLE_US = 6e6
"""Effort for launches that run as a whole, since others decide by what they compute."""
_Spans = list[tuple[int, int]]


class Unknown(RuntimeError):
    """Host code looks at values that cannot be told here."""


class Trial:
    """Follows the launches of one case, in the order of the host code.

    Args:
        texts: TTIR by artifact.
        blobs: file of the blobs.
        multiprocessors: of the device.
        seed: decides which programs are looked at.
    """

    def __init__(
        self, texts: Mapping[int, str], blobs: int, multiprocessors: int, seed: int
    ) -> None:
        self._texts = texts
        self._blobs = blobs
        self._multiprocessors = multiprocessors
        self._seed = seed
        self._known: dict[str, Traced] = {}
        self._seconds = SECONDS
        self._evidence: Evidence | None = None

    def follow(
        self, buffers: Sequence[Buffer], kernels: Sequence[Kernel], steps: Sequence[Step],
        numbers: Sequence[int] | None = None, skip: int = 0, config: str = "",
        wanted: _Spans | None = None,
    ) -> list[Traced]:  # fmt: skip
        """Prepare memory for the launches among some steps, and trace them.

        Args:
            buffers, kernels: of the plan.
            steps: of it.
            numbers: of the steps in the plan, if they are known.
            skip: steps at the beginning whose launches are not traced.
            config: name of the configuration that they belong to.
            wanted: memory that is looked at afterwards.
        """
        found = []
        opaque: _Spans = []  # what only launches know
        needed = _needed(steps)
        given = [(b.address, b.end) for b in buffers if b.kind is not BufferKind.SCRATCH]
        execution = execute.Execution(
            buffers, kernels, self._texts, self._blobs, self._multiprocessors
        )
        needs = needs_of(buffers, kernels, steps, self._texts, wanted or ())
        made: _Spans = []  # what launches have computed that others decide by
        effort = Effort(WHOLE_US)
        for place, step in enumerate(steps):
            number = place if numbers is None else numbers[place]
            if isinstance(step, Launch):
                ranges = execution.living(None if numbers is None else number)
                if place >= skip:
                    traced = self._traced(number, config, step, kernels, ranges, [*given, *made])
                    written = [
                        (s, e) for s, e, _ in traced.launched.bounds.ranges if s in traced.writes
                    ]
                    made = [span for span in made if not _overlap(span, written)]
                    if _blind(needs[place].decides_by, opaque):
                        traced = dataclasses.replace(
                            traced, trace=dataclasses.replace(traced.trace, note=BLIND)
                        )
                    elif (
                        needs[place].awaited
                        and not _blind(needs[place].reads, opaque)
                        and run_whole(traced.launched, effort)
                    ):
                        traced = dataclasses.replace(traced, whole=True)
                        opaque = [span for span in opaque if span not in written]
                        made += written
                        written = []
                    opaque += written
                    found.append(traced)
            elif isinstance(step, Upload):
                execute.upload(step, self._blobs)
            elif isinstance(step, (Copy, Gather, Fill)) and _touches(step.dst, needed[place]):
                self._move(step, opaque)
        return found

    def _move(self, step: Copy | Gather | Fill, opaque: _Spans) -> None:
        if not isinstance(step, Fill) and _touches(step.src, opaque):
            opaque.append(step.dst.extent)
        elif step.dst.nbytes <= LARGEST_COPY:
            execute.move(step)

    def _traced(
        self, index: int, config: str, step: Launch, kernels: Sequence[Kernel], ranges: Any,
        given: _Spans,
    ) -> Traced:  # fmt: skip
        kernel = kernels[step.kernel]
        key = repr([kernel.artifact, step.grid, encode(step.arguments)])
        known = self._known.get(key)
        if known is None:
            ready = execute.launched(
                index, config, step, kernel, self._texts[kernel.artifact], ranges
            )
            began = process_time()
            known = trace(ready, self._seed, self._seconds, given)
            self._seconds = max(self._seconds - (process_time() - began), 0.0)
            self._known[key] = known
        known.launched.index, known.launched.config = index, config
        changed = dataclasses.replace(known.trace, index=index, config=config)
        return dataclasses.replace(known, trace=changed)

    def trace(self, plan: Plan, results: Sequence[View], *, first: bool) -> list[Traced]:
        """Trace what a call launches, and return its launches.

        Args:
            plan: of the case.
            results: where its results lie.
            first: whether it is the first call, instead of a further one.
        """
        before = plan.setup if first else (*plan.setup, *plan.first.steps)
        steps = plan.first.steps if first else plan.call.steps
        start = len(before) + (not first)
        if not _inherited(plan, steps, start):
            before = ()
        # In one go: what is made before the call is carried out because the call needs it.
        numbers = [*range(len(before)), *range(start, start + len(steps))]
        launches = self.follow(plan.buffers, plan.kernels, (*before, *steps), numbers)
        found = [traced for traced in launches if traced.trace.index >= start]
        copies = [(s.src, s.dst) for s in steps if isinstance(s, Copy)]
        gathered = [s.dst for s in steps if isinstance(s, Gather)]
        given = {
            b.address for b in plan.buffers if b.kind is not BufferKind.SCRATCH
        }  # fmt: skip
        self._evidence = Evidence(Call(launches, results, copies, gathered, given), self._seed)
        return found

    def verify(self, block: Block) -> dict[str, Any]:
        """Run some programs of the traced launches in earnest; see `Evidence.reply`."""
        if self._evidence is None:
            raise RuntimeError("A call is verified that was not traced.")
        return self._evidence.reply(block)

    def look(
        self, buffers: Sequence[Buffer], kernels: Sequence[Kernel], steps: Sequence[Step],
        address: int, nbytes: int,
    ) -> bytes:  # fmt: skip
        """Bytes in memory once some steps are done, of which only what they need is.

        Raises:
            Unknown: they depend on more than can be run here.
        """
        whole = View("uint8", address, (nbytes,), (1,))
        moves = [s for s in steps if isinstance(s, (Copy, Gather, Fill))]
        needed = [whole.extent]
        for step in reversed(moves):
            if _touches(step.dst, needed) and not isinstance(step, Fill):
                needed.append(step.src.extent)
        launches = [s for s in steps if isinstance(s, Launch)]
        found = self.follow(buffers, kernels, steps, wanted=needed) if launches else []
        given = {b.address for b in buffers if b.kind is not BufferKind.SCRATCH}
        replay = Replay(found, given)
        try:
            for position, traced in enumerate(found):
                for start, end, _ in traced.launched.bounds.ranges:
                    for low, high in needed:
                        if start in traced.writes and low < end and start < high:
                            replay.supply_range(position, start, max(low, start), min(high, end))
        except (Undecided, Exhausted) as error:
            raise Unknown(
                "Host code reads values that depend on more than the simulated device can run at "
                f"full size: {error}."
            ) from None
        for step in moves:
            if _touches(step.dst, needed):
                execute.move(step)
        return execute.peek(address, nbytes)


def _overlap(span: tuple[int, int], others: _Spans) -> bool:
    return any(span[0] < end and start < span[1] for start, end in others)


def _blind(spans: set[tuple[int, int]], opaque: _Spans) -> bool:
    """Whether any of some memory is not computed here."""
    return any(_overlap(span, opaque) for span in spans)


def _needed(steps: Sequence[Step]) -> list[_Spans]:
    """For each step, memory that what comes later reads: by launches, at whatever they point to."""
    spans: _Spans = []
    found: list[_Spans] = []
    for step in reversed(steps):
        found.append(list(spans))
        if isinstance(step, Launch):
            for argument in step.arguments:
                at = getattr(argument, "address", None)
                if at is not None:
                    spans.append((at, at + (1 << 62)))
        elif isinstance(step, (Copy, Gather)) and _touches(step.dst, spans):
            spans.append(step.src.extent)
            if isinstance(step, Gather):
                spans.append(step.index.extent)
    return found[::-1]


def _touches(view: View, spans: _Spans) -> bool:
    low, high = view.extent
    return any(low < end and start < high for start, end in spans)


def _inherited(plan: Plan, steps: Sequence[Step], start: int) -> bool:
    """Whether a call uses memory that was made before it."""
    made = [
        (b.address, b.end) for b in plan.buffers
        if b.kind is BufferKind.SCRATCH and b.born < start and not 0 <= b.freed <= start
    ]  # fmt: skip
    for step in steps:
        addresses = []
        if isinstance(step, Launch):
            addresses = [a.address for a in step.arguments if hasattr(a, "address")]
        elif isinstance(step, Copy):
            addresses = [step.src.address]
        elif isinstance(step, Gather):
            addresses = [step.src.address, step.index.address]
        elif isinstance(step, Upload) and made:
            return True  # a table of pointers, perhaps
        if any(low <= at < high for at in addresses for low, high in made):
            return True
    return False
