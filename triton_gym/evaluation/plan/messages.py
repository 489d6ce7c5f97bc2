"""What the judge and a recorder say to each other: one dataclass a message.

The judge asks (`Load`, `Build`, `Record`) and the recorder answers (`Loaded`, `Built`,
`Recorded`), or fails (`Failed`, `Entangled`). On the way the recorder sends `Compile`, which has no
answer, and asks for what only the judge can have done: `Await` an artifact, `Look` at values,
`Time` alternatives.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any

from triton_gym.evaluation.plan.codec import (
    Bounds,
    Index,
    Length,
    Line,
    Malformed,
    Name,
    Natural,
    decode,
    encode,
)
from triton_gym.evaluation.plan.plan import HOST_BYTES, STEPS, Buffers, Kernels, Plan, Steps
from triton_gym.evaluation.plan.step import Step
from triton_gym.evaluation.plan.value import Plain, Value
from triton_gym.evaluation.plan.view import View
from triton_gym.outcome import Status

SOURCE_LIMIT = 1 << 19
"""Longest source of an answer, in characters; the screen lets less through."""
KERNEL_LIMIT = 1 << 20
"""Longest kernel in Triton's intermediate representation, in characters."""
COMPILES = 512
"""Most kernels that a session has compiled."""
ALTERNATIVES = 512
"""Most configurations that are timed at once."""


# What the judge asks.


@dataclass(frozen=True, slots=True)
class DeviceFacts:
    """What host code can find out about its device."""

    name: Name
    """As `torch.cuda.get_device_name` tells it."""
    capability: Annotated[int, Bounds(50, 999)]
    """Ten times the major version of the compute capability, plus the minor one."""
    multiprocessors: Annotated[int, Bounds(1, 1 << 16)]
    total_bytes: Natural
    l2_bytes: Natural
    shared_bytes: Natural
    """Most shared memory of a program, in bytes."""
    shared_bytes_multiprocessor: Natural
    registers: Natural
    """Registers of a multiprocessor."""
    threads: Natural
    """Most threads of a multiprocessor."""
    clock_khz: Natural
    memory_clock_khz: Natural
    memory_bus_bits: Natural


class EntryKind(StrEnum):
    """What an answer defines."""

    FUNCTION = "function"
    MODULE = "module"


@dataclass(frozen=True, slots=True)
class Load:
    """Import the answer. Comes with the blobs' file and nothing else. Answered by `Loaded`."""

    path: Name
    """What the module calls its file."""
    source: Annotated[str, Length(SOURCE_LIMIT)]
    """The text that was screened; it is what runs."""
    entry: Name
    kind: EntryKind
    device: DeviceFacts
    seed: Natural
    """Of PyTorch's, NumPy's and Python's random numbers, and what host code's clock starts at."""
    blob_bytes: Natural
    """Size of the file that the recorder puts blobs in."""


@dataclass(frozen=True, slots=True)
class State:
    """A parameter or buffer of the reference's module, which an answer's gets the value of."""

    name: Name
    view: View
    offset: Natural
    """Of its bytes in the file that comes with `Build`; they lie there densely."""


@dataclass(frozen=True, slots=True)
class Build:
    """Make the answer's module. Comes with a file of the state's values. Answered by `Built`."""

    init: Value
    """Arguments of the constructor, a tuple."""
    seed: Natural
    dtype: Name
    """What floating-point parameters and buffers are converted to."""
    state: Annotated[tuple[State, ...], Length(1 << 14)]
    state_bytes: Natural


@dataclass(frozen=True, slots=True)
class Record:
    """Call the host function twice on arguments. Answered by `Recorded`."""

    case: Name
    arguments: Value
    """Positional arguments, a tuple. Tensors of one storage share a buffer."""
    buffers: Buffers
    """Memory of the arguments."""


# What the recorder asks on the way.


@dataclass(frozen=True, slots=True)
class Option:
    """A compile option of a kernel: a number, a text, a switch or nothing."""

    name: Name
    value: Plain


class Dialect(StrEnum):
    """In what representation a kernel is sent."""

    TRITON = "ttir"
    """After Triton's first stage, `ttir`."""
    GLUON = "gluon"
    """As Gluon's front end makes it, before any stage."""


@dataclass(frozen=True, slots=True)
class Compile:
    """Compile a kernel. The n-th such message of a session makes artifact n, counted from 0."""

    artifact: Index
    name: Name
    """Of the kernel's Python function."""
    dialect: Dialect
    text: Annotated[str, Length(KERNEL_LIMIT)]
    options: Annotated[tuple[Option, ...], Length(64)]
    line: Line


@dataclass(frozen=True, slots=True)
class Await:
    """What came of a kernel's compilation? Answered by `Compiled` or `Uncompiled`."""

    artifact: Index
    texts: bool = False
    """Whether host code wants to see `asm`."""


@dataclass(frozen=True, slots=True)
class Partial:
    """What was recorded so far.

    A later one of the same call begins with the steps of an earlier one.
    """

    buffers: Buffers
    kernels: Kernels
    before: Annotated[tuple[Step, ...], Length(2 * STEPS)]
    """The setup, if anything of it was used, and in a second call the first."""
    steps: Steps
    """Of the import, the constructor or the call that is going on."""
    blob_bytes: Natural


@dataclass(frozen=True, slots=True)
class Look:
    """Execute what was recorded so far, and tell bytes. Answered by `Seen`."""

    so_far: Partial
    address: Natural
    nbytes: Annotated[int, Bounds(0, HOST_BYTES)]
    line: Line


@dataclass(frozen=True, slots=True)
class Time:
    """Time alternatives, each after what was recorded so far. Answered by `Timed`."""

    so_far: Partial
    alternatives: Annotated[tuple[Steps, ...], Length(ALTERNATIVES)]
    line: Line


# What the judge replies.


@dataclass(frozen=True, slots=True)
class Compiled:
    """What host code can learn about a kernel that compiled."""

    name: Name
    """Of the entry in the machine code."""
    registers: Natural
    """A thread's."""
    spills: Natural
    """As Triton's `n_spills`."""
    shared_bytes: Natural
    num_warps: Annotated[int, Bounds(1, 64)]
    """After warp specialisation."""
    max_threads: Natural
    global_scratch_bytes: Natural
    """A program's."""
    global_scratch_align: Natural
    texts: Annotated[tuple[tuple[Name, Annotated[str, Length(4 << 20)]], ...], Length(8)] = ()
    """`ttgir`, `llir`, `ptx`, if asked for."""


class Refusal(StrEnum):
    """Why a kernel did not compile."""

    RESOURCES = "resources"
    """It needs more of something than the device has."""
    ASSEMBLER = "assembler"
    """ptxas refused it."""
    COMPILER = "compiler"
    """Triton's passes refused it."""


@dataclass(frozen=True, slots=True)
class Uncompiled:
    """A kernel that did not compile."""

    reason: Refusal
    message: Annotated[str, Length(8192)]
    required: Natural = 0
    limit: Natural = 0
    resource: Name = ""
    """`shared memory`, `threads` or `tensor memory`, with what is required and allowed."""


@dataclass(frozen=True, slots=True)
class Seen:
    """The bytes that were looked at."""

    data: Annotated[bytes, Length(HOST_BYTES)]


@dataclass(frozen=True, slots=True)
class Timed:
    """Seconds of each alternative; infinite where it failed."""

    seconds: Annotated[tuple[float, ...], Length(ALTERNATIVES)]

    def __post_init__(self) -> None:
        if any(not value > 0 or math.isnan(value) for value in self.seconds):
            raise Malformed("a time is not positive")


# What the recorder answers.


@dataclass(frozen=True, slots=True)
class Loaded:
    """The answer was imported."""

    defined: Annotated[tuple[Name, ...], Length(4096)] = ()
    """Public names of the module that can be called."""


@dataclass(frozen=True, slots=True)
class Built:
    """The module was made."""

    missing: Annotated[tuple[Name, ...], Length(1 << 14)] = ()
    """State that the answer's module has no counterpart of."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """The host function was called; the plan holds all that was recorded in the session for it."""

    plan: Plan


@dataclass(frozen=True, slots=True)
class Entangled:
    """The case goes on with memory of an earlier one: record it in a session of its own."""


@dataclass(frozen=True, slots=True)
class Failed:
    """The answer failed, in words for its outcome."""

    status: Status
    message: Annotated[str, Length(4096)]
    again: bool = False
    """Whether the machine may be to blame."""


FromRecorder = Compile | Await | Look | Time | Loaded | Built | Recorded | Entangled | Failed
FromJudge = Load | Build | Record | Compiled | Uncompiled | Seen | Timed


def pack(message: Any) -> dict[str, Any]:
    """A message as the channel takes it."""
    return {"message": encode(message)}


def unpack(kind: Any, packed: dict[str, Any]) -> Any:
    """The message of a channel, of the kinds of a union.

    Raises:
        Malformed: it is none of them.
    """
    return decode(kind, packed.get("message"))
