"""The recorder: which stand-ins there are, and what was done with their memory."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator, Sequence
from types import FrameType
from typing import Any

import torch
from torch.utils._python_dispatch import _disable_current_modes

from triton_gym.evaluation.plan.messages import DeviceFacts
from triton_gym.evaluation.plan.plan import HOST_BYTES
from triton_gym.evaluation.plan.step import (
    Copy,
    Fill,
    Gather,
    Step,
    Synchronize,
    Upload,
)
from triton_gym.evaluation.plan.view import View
from triton_gym.evaluation.recording.executor import Executor
from triton_gym.evaluation.recording.memory import (
    ImportEnded,
    LooksAtMuch,
    Memory,
    Refused,
    Taint,
    bytes_for,
)
from triton_gym.evaluation.recording.memory_map import MemoryMap

KNOWN_FILL = 1 << 16
"""Largest memory, in bytes, of which a fill is mirrored on the host."""


def is_standin(value: Any) -> bool:
    """Whether a value is a tensor of the device that is not there."""
    return isinstance(value, torch.Tensor) and value.is_cuda


def dtype_name(dtype: torch.dtype) -> str:
    """PyTorch's name of a dtype, as plans write it."""
    return str(dtype)[6:]


class Recorder(MemoryMap):
    """Holds what host code does to the device, and passes its steps on.

    Args:
        executor: takes the steps.
        facts: what host code finds out about the device.
        path: where the answer's source lies; lines of other files are not told.
    """

    def __init__(self, executor: Executor, facts: DeviceFacts, path: str) -> None:
        super().__init__(executor, facts)
        self.path = path
        self.importing = False
        self.used_sections: set[int] = set()
        """Parts of the session whose memory a step of this one used."""
        self._apart = 0

    @contextlib.contextmanager
    def alternative(self) -> Iterator[Sequence[Step]]:
        """Steps inside are noted apart from the plan; nothing waits for them to be done."""
        with self.executor.alternative() as steps:
            self._apart += 1
            try:
                yield steps
            finally:
                self._apart -= 1

    @contextlib.contextmanager
    def capture(self) -> Iterator[tuple[Sequence[Step], list[Memory]]]:
        """The same, for steps that are to be done later: memory from inside stays until it is let
        go of with `release`."""
        held: list[Memory] = []
        self._captured = held
        try:
            with self.alternative() as steps:
                yield steps, held
        finally:
            self._captured = None

    @property
    def capturing(self) -> bool:
        """Whether steps are noted to be done later."""
        return self._captured is not None

    def replay(self, steps: Sequence[Step]) -> None:
        """Do steps that were captured."""
        self.executor.again(steps)
        if not self._apart:
            self.moment += len(steps)

    def release(self, held: list[Memory]) -> None:
        """Let go of memory from a capture."""
        for memory in held:
            self._released(memory)
        held.clear()

    def passed(self) -> None:
        """A step was passed on."""
        if not self._apart:
            self.moment += 1

    # What is done with it.

    def expose(self, tensor: torch.Tensor, file: str) -> None:
        """The code of a file takes a stand-in's address. If it is the answer, kernels may come to
        know it as a number, as from a table of pointers."""
        if file == self.path:
            memory = self.memory_of(tensor)
            self._exposed[memory.buffer.address] = memory

    def use_exposed(self) -> None:
        """A kernel is about to look at, and to change, memory whose address it may know."""
        for memory in list(self._exposed.values()):
            if memory.taint is None:
                self.use(memory, "a kernel")
                memory.forget()

    def use(self, memory: Memory, what: str) -> None:
        """The device is about to look at memory: make sure that there is something to look at.

        Raises:
            Refused: what lies there is what PyTorch was to compute.
            ImportEnded: the same, while the answer is imported.
        """
        if memory.taint is not None:
            self.refuse(memory.taint, what)
        self.used_sections.add(memory.section)
        if memory.dirty:
            memory.dirty = False
            data = memory.mirror.numpy().tobytes()[: memory.buffer.nbytes]
            buffer = memory.buffer
            self.executor.upload(Upload(buffer.address, buffer.nbytes, 0, self.line()), data)
            self.moment += 1  # also beside the plan: memory gets its contents once

    def refuse(self, taint: Taint, what: str) -> None:
        """PyTorch's arithmetic would be part of the work.

        Raises:
            Refused: always, but
            ImportEnded: while the answer is imported.
        """
        if self.importing:
            raise ImportEnded(self.line())
        raise Refused(taint, what)

    def overwrite(self, memory: Memory) -> None:
        """The device is about to write to a part of memory, whose rest must be there."""
        if memory.taint is None:
            self.use(memory, "a copy")
            memory.forget()
        self.used_sections.add(memory.section)

    def copy(self, src: torch.Tensor, dst: torch.Tensor, origin: View | None = None) -> None:
        """Copy elements between stand-ins of the same shape, as a step.

        Args:
            src, dst: source and target.
            origin: how the source is read, if no tensor can lie like that (backwards).
        """
        source, target = self.memory_of(src), self.memory_of(dst)
        if source.taint is not None:
            target.spoil(source.taint)
            return
        if not dst.numel():
            return
        self.use(source, "a copy")
        whole = fills(dst, target)
        recipe = self._recipe(src, dst) if whole and source.known and not origin else None
        self._arrive(target, whole)
        if target.taint is not None:
            return
        self.executor.move(Copy(origin or view_of(src), view_of(dst), self.line()))
        self.passed()
        if recipe is not None:
            target.know_later(recipe)

    def _recipe(self, src: torch.Tensor, dst: torch.Tensor) -> Callable[[], torch.Tensor]:
        """What makes the mirror of a copy that fills its memory, should anybody ask."""
        source = self.memory_of(src)
        source.borrowed = True
        values = source.as_known(src)
        dtype, nbytes = dst.dtype, dst.nbytes
        size, stride, offset = dst.size(), dst.stride(), dst.storage_offset()

        def make() -> torch.Tensor:
            with _disable_current_modes():
                mirror = bytes_for(nbytes)
                mirror.view(dtype).as_strided(size, stride, offset).copy_(values)
                return mirror

        return make

    def gather(self, src: torch.Tensor, axis: int, index: torch.Tensor, dst: torch.Tensor) -> None:
        """Copy slices of a stand-in along an axis, in the order of an index, as a step."""
        source, order, target = (self.memory_of(t) for t in (src, index, dst))
        for memory in (source, order):
            if memory.taint is not None:
                target.spoil(memory.taint)
                return
        if not dst.numel():
            return
        self.use(source, "a copy")
        self.use(order, "a copy")
        self._arrive(target, fills(dst, target))
        if target.taint is None:
            step = Gather(view_of(src), view_of(index), axis, view_of(dst), self.line())
            self.executor.move(step)
            self.passed()

    def fill(self, dst: torch.Tensor, value: torch.Tensor) -> None:
        """Give every element of a stand-in a value, a tensor of one element on the host."""
        if not dst.numel():
            return
        target = self.memory_of(dst)
        whole = fills(dst, target)
        self._arrive(target, whole)
        if target.taint is not None:
            return
        element = value.to(dst.dtype).reshape(1)
        bits = int.from_bytes(element.view(torch.uint8).numpy().tobytes(), "little")
        self.executor.move(Fill(view_of(dst), bits, self.line()))
        self.passed()
        if whole and target.buffer.nbytes <= KNOWN_FILL:
            mirror = bytes_for(target.buffer.nbytes)
            mirror.view(dst.dtype).fill_(element[0])
            target.know(mirror, dirty=False)

    def _arrive(self, target: Memory, whole: bool) -> None:
        """Something is about to be written to memory by a step: all of it, or a part."""
        if whole:
            target.forget()
            self.used_sections.add(target.section)
        else:
            self.overwrite(target)

    def read(self, tensor: torch.Tensor) -> torch.Tensor:
        """The values of a stand-in, as a tensor on the host.

        Raises:
            Refused, ImportEnded: they would be PyTorch's work.
            LooksAtMuch: there are too many.
        """
        memory = self.memory_of(tensor)
        if memory.known:
            return memory.as_known(tensor).clone()
        if memory.taint is not None:
            self.refuse(memory.taint, "host code that looks at its values")
        if not tensor.numel():
            return torch.empty(tensor.size(), dtype=tensor.dtype)
        if self.importing:
            raise ImportEnded(self.line())
        self.use(memory, "")
        low, high = view_of(tensor).extent
        if high - low > HOST_BYTES:
            raise LooksAtMuch(
                f"Host code looks at {high - low} bytes of a tensor on the device; a call may look "
                f"at {HOST_BYTES}."
            )
        data = self.executor.read(low, high - low, self.line())
        self.moment += 1
        whole = bytes_for(high - low + 16)
        whole[: high - low] = torch.frombuffer(bytearray(data), dtype=torch.uint8)
        flat = whole.view(tensor.dtype)
        return flat.as_strided(tensor.size(), tensor.stride(), 0).clone()

    def synchronize(self) -> None:
        """Host code waits for the device."""
        if not self._apart:
            self.executor.synchronize(Synchronize(self.line()))
            self.moment += 1

    def line(self) -> int:
        """The line of the answer's source that runs, 0 if none does."""
        frame: FrameType | None = sys._getframe(1)
        while frame is not None:
            if frame.f_code.co_filename == self.path:
                return frame.f_lineno or 0
            frame = frame.f_back
        return 0


def view_of(tensor: torch.Tensor) -> View:
    """A stand-in as plans write it."""
    address = tensor.untyped_storage().data_ptr() + int(tensor.storage_offset()) * tensor.itemsize
    return View(dtype_name(tensor.dtype), address, tuple(tensor.size()), tensor.stride())


def fills(tensor: torch.Tensor, memory: Memory) -> bool:
    """Whether a stand-in covers all bytes of its memory."""
    return tensor.nbytes == memory.buffer.nbytes and (tensor.is_contiguous() or _dense(tensor))


def _dense(tensor: torch.Tensor) -> bool:
    """Whether the elements lie side by side, in whatever order."""
    expected = 1
    for step, size in sorted(zip(tensor.stride(), tensor.size(), strict=True)):
        if size != 1 and step != expected:
            return False
        expected *= size
    return True
