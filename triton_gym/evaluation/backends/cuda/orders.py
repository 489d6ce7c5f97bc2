"""What a judge asks of its runner, and what that replies. Both are ours: they trust each other.

Orders travel pickled, since only the judge sends them; replies travel as JSON.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from triton_gym.evaluation.compiling.artifact import Artifact
from triton_gym.evaluation.plan.step import Buffer, Kernel, Step


class Part(StrEnum):
    """Which steps of a program run."""

    FIRST = "first"
    """Those of the setup and of the first call."""
    CALL = "call"
    """Those of a further call, with what the first one left prepared."""
    MOVEMENT = "movement"
    """Setup and first call without its launches: only what PyTorch moves for the answer."""


@dataclass(frozen=True, slots=True)
class Program:
    """What a runner executes: a plan, or what was recorded of one so far."""

    buffers: tuple[Buffer, ...]
    kernels: tuple[Kernel, ...]
    artifacts: dict[int, Artifact]
    """Machine code by the number that kernels name it with."""
    setup: tuple[Step, ...]
    first: tuple[Step, ...]
    call: tuple[Step, ...]
    blobs: bytes
    """What uploads and reads refer to."""


@dataclass(frozen=True, slots=True)
class Memory:
    """A piece of physical memory, by the judge's number for it."""

    block: int
    nbytes: int


@dataclass(frozen=True, slots=True)
class Begin:
    """Load a program's machine code."""

    program: Program
    parameters: Memory | None
    """What lies in the window's zone of parameters, for as long as the program is loaded."""


@dataclass(frozen=True, slots=True)
class Run:
    """One execution, on inputs of its own and in memory of its own."""

    part: Part
    arguments: Memory | None
    scratch: Memory | None
    poison: int
    """Word of 32 bits that the scratch memory is filled with before."""


@dataclass(frozen=True, slots=True)
class Execute:
    """Carry out runs one after the other, untimed."""

    runs: tuple[Run, ...]


@dataclass(frozen=True, slots=True)
class TimeRuns:
    """Carry out calls one after the other, timed, each with a cold cache."""

    runs: tuple[Run, ...]
    control_every: int
    """After every so many runs one of ours that lasts as long is timed, to know what lies beside
    them: also the turns of other processes, where these use the GPU as well."""
    steps_apart: bool = False
    """Whether the last run is timed step by step, to know what each of them takes."""


@dataclass(frozen=True, slots=True)
class TimeAlternatives:
    """Time sequences of steps that follow the program's first call, each on its own."""

    run: Run
    alternatives: tuple[tuple[Step, ...], ...]
    artifacts: dict[int, Artifact]
    kernels: tuple[Kernel, ...]
    quick: bool
    """Whether the first alternative that works is all that is asked for."""
    budget_ms: float
    """Device time to spend on each."""


@dataclass(frozen=True, slots=True)
class Look:
    """Execute the program's first call and tell bytes of device memory."""

    run: Run
    address: int
    nbytes: int


@dataclass(frozen=True, slots=True)
class End:
    """Unload the program, and leave nothing of it for the next one."""


@dataclass(frozen=True, slots=True)
class Forget:
    """Let go of memory that the judge gives back."""

    blocks: tuple[int, ...]


Order = Begin | Execute | TimeRuns | TimeAlternatives | Look | End | Forget


@dataclass(frozen=True, slots=True)
class Times:
    """What a runner measured."""

    device_us: list[float]
    """Between the two events around the steps of each run."""
    wall_us: list[float]
    """Of each run by the host's clock, from the start of its flush to its end."""
    beside_us: list[float]
    """By how much the host's clock says more than the events, for runs of ours."""
    step_us: list[float] = field(default_factory=list)
    """Device time of each step of the last run, where that was asked for."""
