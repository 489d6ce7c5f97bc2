"""The process that has a GPU's context and executes what others recorded.

It lives for thousands of answers, and is killed when a kernel of one faults or does not end. It
keeps nothing that a judge could not tell another runner at once.
"""

from __future__ import annotations

import functools
import itertools
import os
import pickle
import time
import traceback
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict
from typing import Any

from triton_gym.evaluation.backends.cuda import orders
from triton_gym.evaluation.backends.cuda.driver import CudaError, check
from triton_gym.evaluation.backends.cuda.operations import (
    Loaded,
    Movement,
    Operation,
    ValuesDiffer,
    is_movement,
    queue_all,
)
from triton_gym.evaluation.backends.cuda.orders import Memory, Part, Program, Run, Times
from triton_gym.evaluation.backends.cuda.packing import (
    Unlaunchable,
    check_local_memory,
    pack_launch,
)
from triton_gym.evaluation.compiling.artifact import Artifact
from triton_gym.evaluation.exchange.channel import Channel, ChannelClosed
from triton_gym.evaluation.plan.step import (
    BufferKind,
    Kernel,
    Launch,
    Read,
    Step,
    Synchronize,
)
from triton_gym.evaluation.plan.window import ARGUMENTS, PARAMETERS, SCRATCH
from triton_gym.evaluation.timing import Budget
from triton_gym.evaluation.workers.sandbox import Sandbox

QUEUED = 800
"""Most launches that wait behind the gate: a stream that waits takes about a thousand."""
LEAST_REPEATS = 5
"""Fewest times of an alternative."""


def prepare() -> None:
    """Import what runners need; CUDA does not start, so that the process can still be forked."""
    import torch  # noqa: F401
    from cuda.bindings import driver  # noqa: F401

    from triton_gym.evaluation.backends.cuda import device, tensor_maps, window  # noqa: F401


def main(channel: Channel, sandbox: Sandbox) -> None:
    """Serve a judge until it hangs up."""
    del sandbox  # a runner is ours, and needs the device
    request = channel.receive()
    try:
        runner = Runner(**request)
    except Exception as error:
        channel.send({"error": "start", "message": f"{type(error).__name__}: {error}"})
        return
    channel.send({})
    while True:
        try:
            request = channel.receive()
        except ChannelClosed:
            return
        if "blocks" in request:
            runner.open_blocks(request["blocks"], request["fds"])
            continue
        with open(request["fds"][0], "rb") as file:
            asked = pickle.load(file)
        channel.send(_answer(runner, asked))


def _answer(runner: Runner, asked: orders.Order) -> dict[str, Any]:
    try:
        return runner.obey(asked)
    except Unlaunchable as error:
        return {"error": "launch", "message": str(error)}
    except ValuesDiffer:
        return {"error": "values", "message": ""}
    except CudaError as error:
        return {
            "error": "cuda", "name": error.name, "fatal": error.fatal, "message": str(error),
        }  # fmt: skip
    except Exception as error:
        name = _cuda_name(error)
        if name:
            return {"error": "cuda", "name": name, "fatal": True, "message": str(error)[:500]}
        return {"error": "internal", "message": traceback.format_exc()[-2000:]}


def _cuda_name(error: Exception) -> str:
    """Of an error that PyTorch raises where the context is lost."""
    kind = type(error).__name__
    return kind if kind == "AcceleratorError" else ""


class Runner:
    """What a runner holds.

    Args:
        index: of the GPU.
        flush_bytes: what is read to evict its L2 cache.
    """

    def __init__(self, index: int, flush_bytes: int) -> None:
        from triton_gym.evaluation.backends.cuda.device import Device
        from triton_gym.evaluation.backends.cuda.window import Window

        self._device = Device(index, flush_bytes)
        self._window = Window(index)
        self._blocks: dict[int, Any] = {}
        self._program: _Program | None = None

    def obey(self, order: orders.Order) -> dict[str, Any]:
        """Carry out an order.

        Raises:
            Unlaunchable: a launch is not possible.
            CudaError: a kernel failed, or the driver refused something.
            ValuesDiffer: a plan that depends on values read others.
        """
        match order:
            case orders.Begin():
                self._program = _Program(self._device, order.program)
                if order.parameters:
                    self._map(PARAMETERS.start, order.parameters, writes=True)
            case orders.Execute():
                for run in order.runs:
                    self._execute(run)
            case orders.TimeRuns():
                return asdict(self._time(order))
            case orders.TimeAlternatives():
                return {"seconds": self._time_alternatives(order)}
            case orders.Look():
                self._enter(order.run)
                queue_all(self._loaded.operations(order.run.part))
                data = self._device.read(order.address, order.nbytes)
                self._leave()
                return {"data": data.hex()}
            case orders.End():
                self._end()
            case orders.Forget():
                for block in order.blocks:
                    if block in self._blocks:
                        check(_cu().cuMemRelease(self._blocks.pop(block)))
        return {}

    def open_blocks(self, numbers: list[int], files: list[int]) -> None:
        """Open physical memory of the judge's."""
        kind = _cu().CUmemAllocationHandleType.CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR
        for number, file in zip(numbers, files, strict=True):
            handle = check(_cu().cuMemImportFromShareableHandle(file, kind))
            self._blocks[number] = handle
            os.close(file)

    @property
    def _loaded(self) -> _Program:
        if self._program is None:
            raise RuntimeError("no program is loaded")
        return self._program

    def _map(self, address: int, memory: Memory, *, writes: bool) -> None:
        self._window.map(address, self._blocks[memory.block], memory.nbytes, writes=writes)

    def _enter(self, run: Run) -> None:
        """Map a run's memory, poisoned but for what the program has prepared."""
        if run.arguments:
            self._map(ARGUMENTS.start, run.arguments, writes=False)
        if run.scratch:
            self._map(SCRATCH.start, run.scratch, writes=True)
            self._device.poison(SCRATCH.start, run.scratch.nbytes, run.poison)
        if run.part is Part.CALL:
            self._loaded.restore()

    def _leave(self) -> None:
        """Unmap a run's memory, once the device is done with it."""
        self._device.synchronize()
        self._window.unmap(ARGUMENTS.start)
        self._window.unmap(SCRATCH.start)

    def _execute(self, run: Run) -> None:
        self._enter(run)
        queue_all(self._loaded.operations(run.part))
        if run.part is Part.FIRST:
            self._loaded.keep()
        self._leave()

    def _time(self, order: orders.TimeRuns) -> Times:
        times = Times([], [], [])
        budget = Budget()
        begun = time.perf_counter()
        for index, run in enumerate(order.runs):
            self._enter(run)
            operations = self._loaded.operations(run.part)
            gated = self._loaded.gated(run.part)
            device_us, wall_us = self._timed(operations, gated=gated)
            if not index % order.control_every:
                control = functools.partial(self._device.spin, device_us)
                spun_us, spun_wall_us = self._timed([control], gated=gated)
                times.beside_us.append(spun_wall_us - spun_us)
            self._leave()
            times.device_us.append(device_us)
            times.wall_us.append(wall_us)
            if budget.done(times.device_us, time.perf_counter() - begun):
                break
        if order.steps_apart:
            times.step_us.extend(self._steps_apart(order.runs[-1]))
        return times

    def _timed(self, operations: Sequence[Operation], *, gated: bool) -> tuple[float, float]:
        """Device time of operations with a cold cache, and the host's from their beginning on, with
        all that lies beside. The turns that other processes have on the GPU before are nobody's
        time; where the host has to queue while the device works, it cannot look when it begins,
        and its time is that from the gate on."""
        device = self._device
        start, end = device.event(), device.event()
        device.synchronize()
        with device.gate.closed():
            device.flush()
            device.gate.mark()
            device.record(start)
            if gated:
                queue_all(operations)
                device.record(end)
                begun = device.gate.passed()
        if not gated:
            begun = time.perf_counter()  # what the host queued before is nobody's time
            queue_all(operations)
            device.record(end)
        device.synchronize()
        wall_us = (time.perf_counter() - begun) * 1e6
        device_us = device.elapsed_us(start, end)
        for event in (start, end):
            check(_cu().cuEventDestroy(event))
        return device_us, wall_us

    def _steps_apart(self, run: Run) -> list[float]:
        """Device time of each step on its own, in a run that is not timed as a whole."""
        device = self._device
        self._enter(run)
        operations = self._loaded.operations(run.part)
        events = [device.event() for _ in range(len(operations) + 1)]
        gated = self._loaded.gated(run.part, beside=len(events))
        with device.gate.closed() if gated else nullcontext():
            device.record(events[0])
            for operation, event in zip(operations, events[1:], strict=True):
                operation()
                device.record(event)
        self._leave()
        return [device.elapsed_us(a, b) for a, b in itertools.pairwise(events)]

    def _time_alternatives(self, order: orders.TimeAlternatives) -> list[float]:
        """Seconds of each alternative; infinite where it cannot be launched.

        Raises:
            CudaError: one has lost the context.
        """
        found: list[float] = []
        for steps in order.alternatives:
            if order.quick and any(seconds < float("inf") for seconds in found):
                found.append(1.0)
                continue
            self._enter(order.run)
            try:
                queue_all(self._loaded.operations(order.run.part))
                operations = self._loaded.more(steps, order.kernels, order.artifacts)
                queue_all(operations)
                self._device.synchronize()
                found.append(1e-6 if order.quick else self._repeated(operations, order.budget_ms))
            except Unlaunchable:
                found.append(float("inf"))
            except CudaError as error:
                if error.fatal:
                    raise
                found.append(float("inf"))
            finally:
                self._leave()
        return found

    def _repeated(self, operations: Sequence[Operation], budget_ms: float) -> float:
        times: list[float] = []
        while len(times) < LEAST_REPEATS or sum(times) < budget_ms * 1e3:
            times.append(max(0.1, self._timed(operations, gated=len(operations) < QUEUED)[0]))
        return sorted(times)[len(times) // 2] / 1e6

    def _end(self) -> None:
        """Leave nothing of a program: code, memory, and what multiprocessors still hold."""
        self._device.synchronize()
        if self._program:
            self._program.unload()
            self._program = None
        self._window.clear()
        self._device.scrub()


class _Program:
    """A program's machine code in the context, and its steps ready to be queued."""

    def __init__(self, device: Any, program: Program) -> None:
        self._device, self._program = device, program
        self._loaded = Loaded(device.stream, device.shared_limit)
        self._movement = Movement(device.torch, device.stream, program.blobs)
        self._ready: dict[Part, list[Operation]] = {}
        self._kept: list[tuple[int, int, Any]] = []
        try:
            for step in (*program.setup, *program.first, *program.call):
                if isinstance(step, Launch):
                    self._launcher(step, program.kernels, program.artifacts)
        except Unlaunchable:
            self._loaded.unload()
            raise

    def unload(self) -> None:
        """Take the machine code out of the context."""
        self._ready.clear()
        for _, nbytes, copy in self._kept:
            self._device.poison(copy.data_ptr(), nbytes)
        self._device.synchronize()
        self._kept.clear()
        self._loaded.unload()

    def steps(self, part: Part) -> tuple[Step, ...]:
        """The steps of a part."""
        if part is Part.CALL:
            return self._program.call
        steps = (*self._program.setup, *self._program.first)
        if part is Part.MOVEMENT:
            return tuple(step for step in steps if is_movement(step))
        return steps

    def gated(self, part: Part, beside: int = 0) -> bool:
        """Whether a part can be queued as a whole before its first step runs."""
        steps = self.steps(part)
        waits = any(isinstance(step, (Read, Synchronize)) for step in steps)
        return not waits and len(steps) + beside <= QUEUED

    def operations(self, part: Part) -> list[Operation]:
        """What queues the steps of a part. Code that a kernel could have written to is loaded
        anew for every run."""
        if self._loaded.texts:
            self._device.synchronize()
            self._ready.clear()
            self._loaded.unload()
        if part not in self._ready:
            program = self._program
            self._ready[part] = self.more(self.steps(part), program.kernels, program.artifacts)
        return self._ready[part]

    def more(
        self, steps: Sequence[Step], kernels: Sequence[Kernel], artifacts: dict[int, Artifact]
    ) -> list[Operation]:
        """What queues further steps."""
        return [
            self._launcher(step, kernels, artifacts)
            if isinstance(step, Launch)
            else self._movement.operation(step)
            for step in steps
        ]

    def keep(self) -> None:
        """Note what the first call left for further ones, as its steps leave it."""
        import torch

        program = self._program
        begin = len(program.setup) + len(program.first) + 1  # a call's result outlives its steps
        self._kept.clear()
        for buffer in program.buffers:
            lives = buffer.born < begin and (buffer.freed < 0 or buffer.freed > begin)
            if buffer.kind is BufferKind.SCRATCH and lives:
                copy = torch.empty(buffer.nbytes, dtype=torch.uint8, device=self._device.torch)
                self._device.copy(copy.data_ptr(), buffer.address, buffer.nbytes)
                self._kept.append((buffer.address, buffer.nbytes, copy))

    def restore(self) -> None:
        """Queue that all of it is there again."""
        for address, nbytes, copy in self._kept:
            self._device.copy(address, copy.data_ptr(), nbytes)

    def _launcher(
        self, step: Launch, kernels: Sequence[Kernel], artifacts: dict[int, Artifact]
    ) -> Operation:
        artifact = artifacts[kernels[step.kernel].artifact]
        check_local_memory(artifact, self._device.multiprocessors, self._device.threads)
        return self._loaded.launcher(pack_launch(step, artifact))


def _cu() -> Any:
    from cuda.bindings import driver

    return driver
