"""One evaluation's use of a GPU: memory, a runner for a moment, and how long it may take."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch

from triton_gym.evaluation.backends.cuda import orders
from triton_gym.evaluation.backends.cuda.blocks import Block, BlockPool
from triton_gym.evaluation.backends.cuda.client import Runner, RunnerFailure, RunnerPool
from triton_gym.evaluation.backends.cuda.inputs import InputSet
from triton_gym.evaluation.backends.cuda.margins import STILL, Margins, untouched, words
from triton_gym.evaluation.backends.cuda.orders import Part, Program, Run, Times
from triton_gym.evaluation.backends.cuda.programs import Prepared, host_tensor
from triton_gym.evaluation.judging.returned import Part as ResultPart
from triton_gym.evaluation.plan.step import Kernel, Step
from triton_gym.evaluation.plan.value import HostTensor
from triton_gym.evaluation.plan.window import ARGUMENTS, PARAMETERS, SCRATCH
from triton_gym.evaluation.workers.session import Ended
from triton_gym.outcome import Status

HANG_FLOOR_S = 1.0
"""How long the least work may take before it is a hang."""
HANG_MULTIPLE = 1000
"""How many times longer than the reference an answer's call may take."""
BESIDE_S = 0.02
"""What a run may take beside its steps."""


class NoMemory(Ended):
    """The device had too little memory for an answer, which others may have had.

    Attributes:
        allowed: whether the answer allocates no more than it may.
    """

    def __init__(self, message: str, *, allowed: bool) -> None:
        super().__init__(Status.RUNTIME_ERROR, message)
        self.allowed = allowed


class Stage:
    """What an evaluation runs its plans on.

    Args:
        runners: of the GPU.
        blocks: its memory.
        limit_bytes: most memory of the answer's own.
        limit_s: how long anything may take.
        seed: of what the answer's memory is filled with.
    """

    def __init__(
        self, runners: RunnerPool, blocks: BlockPool, limit_bytes: int, limit_s: float, seed: int
    ) -> None:
        self._words = words(seed)
        self._same = next(self._words)
        self._runners, self._blocks = runners, blocks
        self._limit_bytes, self._limit_s = limit_bytes, limit_s
        self.reference_us = 0.0
        """What the reference takes, if that is known."""

    @contextmanager
    def scratch(self, nbytes: int, count: int = 1, *, same: bool = False) -> Iterator[list[Block]]:
        """Memory of the answer's own, for so many runs, to be filled with the same word.

        Args:
            nbytes: how much.
            count: of runs.
            same: whether that word is the evaluation's own, where host code looks at values: what
                it saw of memory that nobody wrote must be there again.

        Raises:
            NoMemory: there is too little.
        """
        taken: list[Block] = []
        try:
            if nbytes > self._limit_bytes:
                raise NoMemory(
                    f"CUDA out of memory: the answer allocates {nbytes >> 20} MiB on the device; "
                    f"{self._limit_bytes >> 20} MiB are allowed.",
                    allowed=False,
                )
            try:
                for _ in range(count):
                    taken.append(self._blocks.take(max(nbytes, 1)))
            except torch.OutOfMemoryError as error:
                raise NoMemory(f"{error} for the answer's tensors.", allowed=True) from None
            word = self._same if same else next(self._words)
            for block in taken:
                block.poison = word
            yield taken
        finally:
            # What compares the results may still be under way.
            torch.cuda.current_stream().synchronize()
            for block in taken:
                self._blocks.give_back(block)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Have the runner over several leases. Who also holds the GPU's lock takes this first."""
        with self._runners():
            yield

    @contextmanager
    def lease(self, program: Program, parameters: Block | None, case: str) -> Iterator[Lease]:
        """Have a runner that has loaded a program.

        Raises:
            Ended: the program cannot be loaded, or its steps failed.
        """
        try:
            with self._runners() as runner:
                lease = Lease(runner, parameters, self)
                lease.begin(program)
                try:
                    yield lease
                finally:
                    if runner.alive:
                        lease.end()
        except RunnerFailure as failure:
            raise Ended(failure.status, f"On {case}: {failure}", again=failure.killed) from None

    def seconds(self, calls: int) -> float:
        """How long so many calls may take before they hang."""
        each = HANG_MULTIPLE * self.reference_us / 1e6 + BESIDE_S
        return min(self._limit_s, HANG_FLOOR_S + calls * each)


class Lease:
    """A runner with a program, for as long as nobody else has it."""

    def __init__(self, runner: Runner, parameters: Block | None, stage: Stage) -> None:
        self._runner, self._parameters, self._stage = runner, parameters, stage

    def begin(self, program: Program) -> None:
        """Load the program."""
        parameters = self._parameters
        self._runner.ask(
            orders.Begin(program, parameters.memory if parameters else None),
            (parameters,) if parameters else (),
            self._stage.seconds(1),
        )

    def end(self) -> None:
        """Unload it."""
        self._runner.ask(orders.End(), (), self._stage.seconds(1))

    def execute(self, part: Part, inputs: InputSet, scratch: Block) -> None:
        """Carry out a part once, untimed."""
        order = orders.Execute((_run(part, inputs, scratch),))
        self._runner.ask(order, _blocks([inputs], [scratch]), self._stage.seconds(1))

    def time(
        self, inputs: Sequence[InputSet], scratch: Sequence[Block], control_every: int, apart: bool
    ) -> Times:
        """Time a call on each of the inputs, or on so many of them as are needed."""
        runs = tuple(
            _run(Part.CALL, one, block) for one, block in zip(inputs, scratch, strict=True)
        )
        order = orders.TimeRuns(runs, control_every, apart)
        limit = self._stage.seconds(2 * len(runs) + 1)
        return Times(**self._runner.ask(order, _blocks(inputs, scratch), limit))

    def look(self, inputs: InputSet, scratch: Block, address: int, nbytes: int) -> bytes:
        """Carry out setup and first call, and tell bytes."""
        order = orders.Look(_run(Part.FIRST, inputs, scratch), address, nbytes)
        reply = self._runner.ask(order, _blocks([inputs], [scratch]), self._stage.seconds(1))
        return bytes.fromhex(reply["data"])

    def alternatives(
        self, inputs: InputSet, scratch: Block, steps: tuple[tuple[Step, ...], ...],
        kernels: tuple[Kernel, ...], program: Program, *, quick: bool, budget_ms: float,
    ) -> tuple[float, ...]:  # fmt: skip
        """Seconds of each alternative that follows setup and first call."""
        order = orders.TimeAlternatives(
            _run(Part.FIRST, inputs, scratch), steps, program.artifacts, kernels, quick, budget_ms
        )
        limit = self._stage.seconds(1 if quick else 20 * len(steps))
        reply = self._runner.ask(order, _blocks([inputs], [scratch]), limit)
        return tuple(reply["seconds"])


def results(
    parts: Sequence[ResultPart], prepared: Prepared, inputs: InputSet, scratch: Block,
    parameters: Block | None, device: torch.device,
) -> list[torch.Tensor]:  # fmt: skip
    """What a run has returned, on the device."""
    zones = [(ARGUMENTS, inputs.block), (PARAMETERS, parameters), (SCRATCH, scratch)]
    found = []
    for part in parts:
        if isinstance(part, torch.Tensor):
            found.append(part.to(device))
        elif isinstance(part, HostTensor):
            found.append(host_tensor(part, prepared).to(device))
        elif not part.numel:
            dtype = getattr(torch, part.dtype)
            found.append(torch.empty(part.shape, dtype=dtype, device=device))
        else:
            zone, block = next((z, b) for z, b in zones if part.address in z and b is not None)
            found.append(block.view(part, zone.start))
    return found


class Watch:
    """What lies around the tensors of an answer's calls, looked at before the memory is given back.

    Args:
        prepared: the answer.
        parameters: memory of the module's, if there is any.
        edge: bytes at either end of a gap to look at.
    """

    def __init__(self, prepared: Prepared, parameters: Block | None, edge: int) -> None:
        self._prepared, self._parameters, self._edge = prepared, parameters, edge
        self._found: dict[tuple[Part, int], Margins] = {}  # timed calls have the same ones

    def untouched(self, runs: Sequence[tuple[Part, Block]]) -> torch.Tensor:
        """Whether no call has written there: a bool on the device.

        Args:
            runs: which steps were executed in which memory, all lent at once.
        """
        with_gaps = [(block.bytes(), self._margins(part, block)) for part, block in runs]
        found = untouched(with_gaps, runs[0][1].poison, self._edge)
        state = self._parameters
        if state and state.margins:
            found = found & untouched([(state.bytes(), state.margins)], STILL, self._edge)
        return found

    def complaint(self, runs: Sequence[tuple[Part, Block]]) -> str:
        """What to tell the author of calls that have."""
        for part, block in runs:
            margins, memory = self._margins(part, block), block.bytes()
            if not untouched([(memory, margins)], block.poison, self._edge):
                return margins.complaint(memory, block.poison)
        state = self._parameters
        if not state or not state.margins:
            raise RuntimeError("nothing was written outside of a tensor")
        return state.margins.complaint(state.bytes(), STILL)

    def _margins(self, part: Part, block: Block) -> Margins:
        key = part, block.nbytes
        if key not in self._found:
            self._found[key] = self._prepared.margins(*key)
        return self._found[key]


def _run(part: Part, inputs: InputSet, scratch: Block) -> Run:
    arguments = inputs.block.memory if inputs.block else None
    return Run(part, arguments, scratch.memory, scratch.poison)


def _blocks(inputs: Sequence[InputSet], scratch: Sequence[Block]) -> tuple[Block, ...]:
    return (*(one.block for one in inputs if one.block), *scratch)
