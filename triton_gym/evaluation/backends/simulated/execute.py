"""Carries out the steps of a plan on host memory, each at once."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from triton_gym.evaluation.backends.simulated import memory
from triton_gym.evaluation.plan.step import (
    Buffer,
    BufferKind,
    Copy,
    Descriptor,
    Fill,
    Gather,
    Kernel,
    Launch,
    Null,
    Pointer,
    Read,
    Scalar,
    Step,
    Upload,
)
from triton_gym.evaluation.plan.view import View
from triton_gym.evaluation.simulate.interpreter.bounds import Bounds, Range
from triton_gym.evaluation.simulate.interpreter.conversion import converted
from triton_gym.evaluation.simulate.interpreter.emit import Program, program_of
from triton_gym.evaluation.simulate.interpreter.machine import Descriptor as BulkDescriptor
from triton_gym.evaluation.simulate.interpreter.scalars import scalar_bits
from triton_gym.evaluation.simulate.interpreter.types import Type
from triton_gym.evaluation.simulate.tracing.launched import Launched, place

ELEMENTS = {
    "fp16": "f16", "bf16": "bf16", "fp32": "f32", "fp64": "f64", "fp8e5": "f8E5M2",
    "fp8e4nv": "f8E4M3FN", "i8": "i8", "u8": "i8", "i16": "i16", "u16": "i16", "i32": "i32",
    "u32": "i32", "i64": "i64", "u64": "i64", "i1": "i1",
}  # fmt: skip
"""MLIR's names of Triton's types."""
RESIDENT_THREADS = 2048
"""Threads that a multiprocessor of every GPU since Volta holds at most."""
SPINS = 20_000
"""Rounds in which all programs only wait, after which they wait for ever."""


class Deadlock(RuntimeError):
    """Programs of a launch wait for one another and never go on."""


class LaunchError(RuntimeError):
    """A GPU would refuse a launch."""


def launched(
    index: int, config: str, launch: Launch, kernel: Kernel, text: str, ranges: Sequence[Range]
) -> Launched:
    """A launch of a plan, ready to run.

    Args:
        index: which launch of the call it is.
        config: name of its configuration, where it was tuned.
        launch: the step.
        kernel: what it launches.
        text: the kernel's TTIR.
        ranges: buffers that live then.

    Raises:
        UnknownText: the kernel has something that cannot be interpreted.
    """
    program = program_of(text)
    arguments, touched = arguments_of(program, launch, ranges)
    bounds = Bounds(touched, ranges)
    return Launched(
        index, config, kernel.name, launch.grid, program, arguments, bounds, kernel.num_warps
    )


def arguments_of(
    program: Program, launch: Launch, ranges: Sequence[Range]
) -> tuple[list[Any], list[Range]]:
    """Arguments as the kernel's function takes them, and the memory that they point to."""
    taken = program.module.kernel.arguments
    plain = sum(
        1 + 2 * len(a.block_shape) if isinstance(a, Descriptor) else 1 for a in launch.arguments
    )
    bulk = sum(isinstance(a, Descriptor) for a in launch.arguments)
    extra = (len(taken) - plain) // bulk if bulk else 0
    values: list[Any] = []
    touched: list[Range] = []
    for argument in launch.arguments:
        if isinstance(argument, (Pointer, Descriptor)):
            touched += [r for r in ranges if r[0] <= argument.address < r[1]]
        if isinstance(argument, Pointer):
            values.append(argument.address)
        elif isinstance(argument, Null):
            values.append(0)
        elif isinstance(argument, Scalar):
            values.append(_number(argument, taken[len(values)][1]))
        else:
            element = ELEMENTS.get(argument.dtype, "f32")
            block = tuple(argument.block_shape)
            values.append(
                BulkDescriptor(
                    argument.address,
                    tuple(argument.shape),
                    tuple(argument.strides),
                    block,
                    element,
                    argument.nan_padding,
                )
            )
            values += [*argument.shape, *argument.strides]
            values += [argument.nan_padding, argument.tf32][:extra]
    return values, touched


def _number(argument: Scalar, kind: Type) -> Any:
    return scalar_bits(argument.bits.to_bytes(8, "little"), kind.element)


def run(launch: Launched, *, cooperative: bool, multiprocessors: int) -> None:
    """Run all programs of a launch, those that wait for one another side by side.

    Raises:
        Deadlock: they wait for ever.
        LaunchError: a cooperative grid is larger than what is resident at a time.
    """
    machine, program = launch.machine, launch.program
    most = multiprocessors * min(RESIDENT_THREADS // (32 * launch.warps), 32)
    if cooperative and launch.programs > most:
        raise LaunchError(
            f"too many blocks in cooperative launch: {launch.programs} programs, of which at most "
            f"{most} can be resident"
        )
    with np.errstate(all="ignore"):
        if not program.waits:
            for number in range(launch.programs):
                machine.start(place(number, launch.grid))
                program.run(machine, *launch.arguments)
            return
        coming = iter(range(launch.programs))
        living: list[tuple[Any, Any]] = []
        spins = 0
        while True:
            fresh = itertools.islice(coming, most - len(living))
            living += [(place(number, launch.grid), None) for number in fresh]
            if not living:
                return
            waiting = []
            for where, running in living:
                machine.start(where)
                running = running or program.run(machine, *launch.arguments)
                if next(running, True) is None:
                    waiting.append((where, running))
            spins = 0 if len(waiting) < len(living) else spins + 1
            if spins > SPINS:
                raise Deadlock(
                    "The answer did not finish: programs of a launch wait, and none goes on. Look "
                    "for a loop that never ends."
                )
            living = waiting


def move(step: Copy | Gather | Fill) -> None:
    """Carry out a movement."""
    if isinstance(step, Fill):
        target = memory.array(step.dst)
        raw = step.bits.to_bytes(step.dst.itemsize, "little")
        target[...] = np.frombuffer(raw, target.dtype)[0]
    elif isinstance(step, Gather):
        index = memory.array(step.index).view(f"i{step.index.itemsize}")
        source = memory.array(step.src)
        if index.size and (index.min() < 0 or index.max() >= step.src.shape[step.axis]):
            raise IndexError("An index of a gather lies outside of what it indexes.")
        memory.array(step.dst)[...] = source.take(index, axis=step.axis)
    elif step.src.dtype == step.dst.dtype:
        memory.array(step.dst)[...] = memory.array(step.src)
    else:
        found = converted(memory.dense(step.src), step.src.dtype, step.dst.dtype)
        memory.array(step.dst)[...] = found.reshape(step.dst.shape)


class Execution:
    """Steps of one plan, executed in order.

    Args:
        buffers: of the plan.
        kernels: of the plan.
        texts: TTIR by artifact.
        blobs: file of the blobs.
        multiprocessors: of the device.
    """

    def __init__(
        self, buffers: Sequence[Buffer], kernels: Sequence[Kernel], texts: Mapping[int, str],
        blobs: int, multiprocessors: int,
    ) -> None:  # fmt: skip
        self._buffers = buffers
        self._kernels = kernels
        self._texts = texts
        self._blobs = blobs
        self._multiprocessors = multiprocessors

    def living(self, number: int | None) -> list[Range]:
        """Buffers at a moment; all that there ever were, if it is not known."""
        return [
            (b.address, b.end, b.told)
            for b in self._buffers
            if number is None or (b.born <= number and (b.freed < 0 or b.freed > number))
        ]

    def steps(self, steps: Iterable[Step], number: int) -> int:
        """Execute steps of which the first has a number; returns the number after the last."""
        for step in steps:
            self.begin(number)
            self.step(step, number)
            number += 1
        self.begin(number)
        return number

    def begin(self, number: int) -> None:
        """Memory that is born at a moment holds nothing."""
        for buffer in self._buffers:
            if buffer.born == number and buffer.kind is BufferKind.SCRATCH:
                memory.poison(buffer.address, buffer.nbytes)

    def step(self, step: Step, number: int | None) -> None:
        """Execute one step."""
        if isinstance(step, Launch):
            kernel = self._kernels[step.kernel]
            ready = launched(
                number or 0, "", step, kernel, self._texts[kernel.artifact], self.living(number)
            )
            run(ready, cooperative=kernel.cooperative, multiprocessors=self._multiprocessors)
        elif isinstance(step, (Copy, Gather, Fill)):
            move(step)
        elif isinstance(step, Upload):
            upload(step, self._blobs)
        elif isinstance(step, Read):
            self._read(step)

    def _read(self, step: Read) -> None:
        found = peek(step.address, step.nbytes)
        if found != os.pread(self._blobs, step.nbytes, step.offset):
            raise RuntimeError(
                "Host code read other values when it ran than its kernels leave when they run "
                "again: results must not depend on chance."
            )


def upload(step: Upload, blobs: int) -> None:
    """Bring bytes of the host to the device."""
    data = os.pread(blobs, step.nbytes, step.offset)
    raw = np.frombuffer(data, np.uint8)
    memory.array(View("uint8", step.address, (step.nbytes,), (1,)))[...] = raw


def peek(address: int, nbytes: int) -> bytes:
    """Bytes in memory."""
    return memory.array(View("uint8", address, (nbytes,), (1,))).tobytes()
