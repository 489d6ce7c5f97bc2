"""Sets of inputs and results in memory that the judge's GPU shares with a worker's.

Inputs are drawn where only the judge sees them, and revealed when the worker may see them.
Results are taken away and compared, every one of them; so are the inputs, which must be as they
were.
"""

from __future__ import annotations

from typing import Any

import torch

from triton_gym.errors import DeviceError
from triton_gym.evaluation import check
from triton_gym.evaluation.exchange.arena import ALIGN, CudaArena, Layout, Slot, rows_of, view
from triton_gym.evaluation.judging.judge import POISON, call_message, state_message
from triton_gym.evaluation.judging.known import Known
from triton_gym.evaluation.judging.sharing import Share
from triton_gym.evaluation.modules import bind, construction, state_of
from triton_gym.evaluation.workers.session import Ended, Session
from triton_gym.outcome import Status
from triton_gym.task import Task


class Sets:
    """Places for the calls of one evaluation, grown as they are needed.

    Args:
        task: what is evaluated, at its first bench case.
        seed: of a module's parameters.
        known: what the judge keeps of the task.
        worker: who shares the memory.
        share: of the GPU.
        device: the GPU.
    """

    def __init__(
        self, task: Task, seed: int, known: Known, worker: Session, share: Share,
        device: torch.device,
    ) -> None:  # fmt: skip
        self._case = task.bench[0]
        self.task = bind(task, self._case, seed, device)
        """The task, bound to the judge's parameters."""
        self._construction = construction(task, self._case, seed)
        self._known, self._worker, self._share, self._device = known, worker, share, device
        self._arena: CudaArena | None = None
        self._staging = torch.empty(0)
        self._inputs: list[tuple[Slot | None, ...]] = []
        self._outputs: list[tuple[Slot, ...]] = []
        self._state: list[Any] = []

    def close(self) -> None:
        """Give the memory back."""
        if self._arena:
            with self._share(alone=False):
                self._arena.close()
            self._arena = None

    def draw(
        self, count: int, seed: int
    ) -> tuple[list[dict[str, Any]], list[tuple[torch.Tensor, ...]]]:
        """Fresh inputs where only the judge sees them; the calls that will find them revealed."""
        calls: list[dict[str, Any]] = []
        sets: list[tuple[Any, ...]] = []
        for index in self._share.each(count, self._known.call_bytes):
            inputs = check.draw_inputs(self.task, self._case, seed + index, self._device)
            if not index:
                self._reserve(count, inputs)
                self.results(count).fill_(POISON)
            slots = self._inputs[index]
            kept = tuple(
                view(self._staging, slot).copy_(value) if slot else value
                for slot, value in zip(slots, inputs, strict=True)
            )
            sets.append(kept)
            call = call_message(self._case, kept, slots, self._outputs[index])
            if self._construction is not None:  # one module serves all calls: see `Worker`
                call["module"] = {**self._construction, "state": [] if index else self._state}
            calls.append(call)
        return calls, sets

    def references(self, sets: list[tuple[Any, ...]]) -> list[tuple[torch.Tensor, ...]]:
        """What the reference returns for each set of inputs."""
        numbers = self._share.each(len(sets), self._known.call_bytes)
        return [check.reference(self.task, sets[number]) for number in numbers]

    def reveal(self, count: int) -> None:
        """Queue the copy of so many sets of inputs to where the worker's calls look for them."""
        end = self._inputs_end(count)
        if end:
            self._bytes(0, end).copy_(self._staging[:end])

    def _inputs_end(self, count: int) -> int:
        """Where the inputs of `count` calls end, with what fills up the last one's place."""
        return -(-_end(self._inputs[count - 1]) // ALIGN) * ALIGN

    def results(self, count: int) -> torch.Tensor:
        """The bytes of the first `count` calls' results."""
        return self._bytes(self._outputs[0][0].offset, _end(self._outputs[count - 1]))

    def moved_bytes(self, count: int) -> int:
        """What is copied to reveal the inputs of so many calls and to take their results away."""
        return self._inputs_end(count) + self.results(count).numel()

    def verify(self, expected: list[tuple[torch.Tensor, ...]], block: torch.Tensor) -> None:
        """Compare all results; `block` holds them as the worker left them.

        Raises:
            Ended: one is wrong, or an argument was changed.
        """
        self._verify_inputs(len(expected))
        tolerances = self._known.tolerances
        plain = [
            check.plainly_right(
                self._together(part, block),
                check.Expected(_stacked(expected[part.start : part.stop]), tolerances),
            )
            for part in self._share.parts(len(expected), self._known.call_bytes)
        ]
        if bool(torch.stack(plain).all()):
            return
        for index in self._share.each(len(expected), self._known.call_bytes):
            results = [one[0] for one in self._together(range(index, index + 1), block)]
            want = check.Expected(expected[index], tolerances)
            verdict = check.compare(results, want, f"{self._case} (timed)")
            if not verdict.ok:
                raise Ended(
                    Status.INCORRECT, verdict.message,
                    max_error=verdict.max_error, tolerance=verdict.tolerance,
                )  # fmt: skip

    def _verify_inputs(self, count: int) -> None:
        for part in self._share.parts(count, self._known.call_bytes):
            start = self._inputs_end(part.start) if part.start else 0
            end = self._inputs_end(part.stop)
            now, before = self._bytes(start, end), self._staging[start:end]
            if not torch.equal(now.view(torch.int64), before.view(torch.int64)):
                raise Ended(
                    Status.INCORRECT,
                    f"The answer changed one of its arguments on {self._case} (timed).",
                )

    def _together(self, part: range, block: torch.Tensor) -> list[torch.Tensor]:
        """Each result of some calls as one tensor, calls first."""
        first = self._outputs[0][0].offset
        pitch = self._outputs[1][0].offset - first if len(self._outputs) > 1 else 0
        return [
            rows_of(block, slot.moved(-first), pitch, len(part))
            for slot in self._outputs[part.start]
        ]

    def _reserve(self, count: int, inputs: tuple[Any, ...]) -> None:
        """Places for `count` sets: all inputs, then all results, then a module's state."""
        if len(self._inputs) >= count:
            return
        layout = Layout()
        self._inputs = [
            tuple(layout.like(x) if isinstance(x, torch.Tensor) else None for x in inputs)
            for _ in range(count)
        ]
        self._staging = torch.empty(layout.end, dtype=torch.uint8, device=self._device)
        self._outputs = [
            tuple(layout.place(shape, dtype) for shape, dtype in self._known.outputs)
            for _ in range(count)
        ]
        names = [name for name, _ in state_of(self.task)]
        slots = [layout.like(value) for _, value in state_of(self.task)]
        self._state = state_message(names, slots)
        if self._arena:
            self._arena.close()
        self._arena = CudaArena(layout.end, self._device)
        for slot, (_, value) in zip(slots, state_of(self.task), strict=True):
            self._arena.view(slot).copy_(value)
        self._worker.ask("open", size=self._arena.size, handle=self._arena.handle())

    def _bytes(self, start: int, end: int) -> torch.Tensor:
        if self._arena is None:
            raise DeviceError("no shared memory on the device")
        return self._arena.view(Slot(start, (end - start,), "uint8"))


def _stacked(outputs: list[tuple[torch.Tensor, ...]]) -> tuple[torch.Tensor, ...]:
    """Each result of some calls as one tensor, calls first; a number stands as a row of one."""
    return tuple(
        torch.stack([one if one.dim() else one[None] for one in each])
        for each in zip(*outputs, strict=True)
    )


def _end(slots: tuple[Slot | None, ...]) -> int:
    """Where the last of a set's slots ends."""
    return max((slot.offset + slot.bytes for slot in slots if slot), default=0)
