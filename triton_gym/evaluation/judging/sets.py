"""Sets of inputs and results in memory that the judge's GPU shares with a worker's.

Inputs lie where only the judge sees them (`input_pool.py`), and are revealed when the worker may
see them. Results are taken away and compared, every one of them; so are the inputs, which must be
as they were.
"""

from __future__ import annotations

import random
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from triton_gym.errors import DeviceError
from triton_gym.evaluation import check, trees
from triton_gym.evaluation.exchange.arena import CudaArena, Slot
from triton_gym.evaluation.judging.calibration import Calibration
from triton_gym.evaluation.judging.input_pool import RENEWED, InputBlock, InputPool, Places
from triton_gym.evaluation.judging.judge import POISON, call_message, state_message
from triton_gym.evaluation.judging.sharing import Share
from triton_gym.evaluation.modules import bind, construction, state_of
from triton_gym.evaluation.workers.session import Ended, Session
from triton_gym.outcome import Status
from triton_gym.task import Task

FEW = 2
"""So few calls, as those of a rehearsal, are not worth a block."""


@dataclass(frozen=True, slots=True)
class Given:
    """What a round is played with."""

    block: InputBlock
    span: range
    """Which of the block's sets, and of the places."""
    calls: list[dict[str, Any]]
    """What the worker is asked to call, in an order that it cannot know."""

    @property
    def inputs(self) -> list[tuple[Any, ...]]:
        """Arguments of each call."""
        return [self.block.sets[index] for index in self.span]


class Sets:
    """Places for the calls of one evaluation.

    Args:
        task: what is evaluated, at its first bench case.
        seed: of a module's parameters.
        calibration: what the judge keeps of the task.
        worker: who shares the memory.
        share: of the GPU.
        device: the GPU.
        room: most calls of a round.
        input_pool: blocks of the judge; None to draw all inputs from the seeds that are given.
    """

    def __init__(
        self, task: Task, seed: int, calibration: Calibration, worker: Session, share: Share,
        device: torch.device, room: int, input_pool: InputPool | None,
    ) -> None:  # fmt: skip
        self._case = task.bench[0]
        self.task = bind(task, self._case, seed, device)
        """The task, bound to the judge's parameters."""
        self._construction = construction(task, self._case, seed)
        self._calibration, self._worker, self._share, self._device = (
            calibration,
            worker,
            share,
            device,
        )
        self._room = room
        # A module's results depend on its parameters, which are this evaluation's own.
        self._input_pool = None if state_of(self.task) else input_pool
        self._rng = random.Random(secrets.randbits(64))
        self._seen: set[InputBlock] = set()
        self._own: list[InputBlock] = []
        self._places: Places | None = None
        self._arena: CudaArena | None = None
        self._state: list[Any] = []
        self._stated = False

    def close(self) -> None:
        """Give the memory back."""
        if self._arena:
            with self._share(alone=False):
                self._arena.close()
            self._arena = None

    @contextmanager
    def given(self, count: int, seed: int) -> Iterator[Given]:
        """Inputs that this worker has not seen, and the calls that will find them revealed.

        Args:
            count: calls.
            seed: of the inputs, if none are kept.
        """
        places = self._opened()
        if self._input_pool is None or count <= FEW:
            yield self._from_own(count, seed)
            return
        key, size = (self._calibration.name, self._room), places.set_bytes * self._room
        with self._input_pool.lend(key, size, self._filled, self._renew, self._seen) as block:
            if block is None:
                yield self._from_own(count, seed)
                return
            start = self._rng.randrange(self._room - count + 1)
            yield self._given(block, range(start, start + count))

    def poison(self, given: Given) -> None:
        """Queue the filling of the results with what nobody computes."""
        self.results(given).fill_(POISON)

    def reveal(self, given: Given) -> None:
        """Queue the copy of inputs to where the worker's calls look for them."""
        inputs = given.block.arguments(given.span)
        if inputs.numel():
            self._bytes(self._opened().arguments_of(given.span)).copy_(inputs)

    def results(self, given: Given) -> torch.Tensor:
        """The bytes of the calls' results."""
        return self._bytes(self._opened().results_of(given.span))

    def moved_bytes(self, given: Given) -> int:
        """What is copied to reveal the inputs and to take the results away."""
        return given.block.arguments(given.span).numel() + self.results(given).numel()

    def verify(self, given: Given, block: torch.Tensor) -> None:
        """Compare all results; `block` holds them as the worker left them.

        Raises:
            Ended: one is wrong, or an argument was changed.
        """
        places, bounds = self._opened(), self._calibration.bounds
        first = places.results_of(given.span).start

        def both(calls: range) -> tuple[list[torch.Tensor], check.Expected]:
            expected = tuple(given.block.expected(calls))
            return places.together(block, calls, first), bounds.of(expected)

        changed, plain = [], []
        for part in self._parts(given.span):
            changed.append(self._changed(given.block, part))
            plain.append(check.plainly_right(*both(part)))
        arguments_changed, right = torch.stack(
            [torch.stack(changed).any(), torch.stack(plain).all()]
        ).tolist()
        if arguments_changed:
            raise Ended(
                Status.INCORRECT,
                f"The answer changed one of its arguments on {self._case} (timed).",
            )
        if right:
            return
        for index in [i for part in self._parts(given.span) for i in part]:
            results, expected = both(range(index, index + 1))
            alone = bounds.of(tuple(o[0] for o in expected.outputs))
            verdict = check.compare([r[0] for r in results], alone, f"{self._case} (timed)")
            if not verdict.ok:
                raise Ended(
                    Status.INCORRECT, verdict.message,
                    max_error=verdict.max_error, tolerance=verdict.tolerance,
                )  # fmt: skip

    def _changed(self, block: InputBlock, calls: range) -> torch.Tensor:
        """Whether arguments are not as they were given, as a tensor."""
        now, before = self._bytes(self._opened().arguments_of(calls)), block.arguments(calls)
        return (now.view(torch.int64) != before.view(torch.int64)).any()

    # -- parts --------------------------------------------------------------------------------

    def _parts(self, span: range) -> Iterator[range]:
        for part in self._share.parts(len(span), self._calibration.call_bytes):
            yield range(span.start + part.start, span.start + part.stop)

    def _from_own(self, count: int, seed: int) -> Given:
        """Sets that are drawn for this round alone."""
        if not self._own or len(self._own[0].sets) < count:
            self._own = []
            self._own = [InputBlock(self._opened(), count, self._device)]
        for index in self._share.each(count, self._calibration.call_bytes):
            self._draw(self._own[0], index, seed + index)
        return self._given(self._own[0], range(count))

    def _filled(self) -> InputBlock:
        """A block whose sets nobody has seen."""
        block = InputBlock(self._opened(), self._room, self._device)
        for index in self._share.each(self._room, self._calibration.call_bytes):
            self._draw(block, index, secrets.randbits(62))
        return block

    def _renew(self, block: InputBlock) -> None:
        """Draw some of a block's sets anew."""
        for _ in self._share.each(
            max(1, round(RENEWED * self._room)), self._calibration.call_bytes
        ):
            self._draw(block, block.oldest, secrets.randbits(62))

    def _draw(self, block: InputBlock, index: int, seed: int) -> None:
        inputs = check.draw_inputs(self.task, self._case, seed, self._device)
        expected = self._calibration.bounds.expected(self.task, inputs, self._case)
        block.put(index, inputs, expected)

    def _given(self, block: InputBlock, span: range) -> Given:
        places, calls = self._opened(), []
        for index in self._rng.sample(span, len(span)):
            call = call_message(
                self.task, self._case, self._calibration.arguments, places.arguments[index],
                self._calibration.results, places.results[index],
            )  # fmt: skip
            if self._construction is not None:  # one module serves all calls: see `Worker`
                state = [] if self._stated else self._state
                call["module"] = {**self._construction, "state": state}
                self._stated = True
            calls.append(call)
        return Given(block, span, calls)

    def _opened(self) -> Places:
        """Places that the worker has mapped; a module's state follows them."""
        if self._places is not None:
            return self._places
        with self._share(alone=False):
            arguments, results = self._calibration.arguments, self._calibration.results
            self._places = Places(trees.leaves(arguments), trees.leaves(results), self._room)
            # A module's state lies in order, whatever its strides.
            held = [value.contiguous() for _, value in state_of(self.task)]
            state = Places([trees.Leaf.of(value) for value in held], (), 1)
            slots = [s.moved(self._places.end) for s in state.arguments[0]]
            self._state = state_message([name for name, _ in state_of(self.task)], slots)
            self._arena = CudaArena(self._places.end + state.end, self._device)
            for slot, (_, value) in zip(slots, state_of(self.task), strict=True):
                self._arena.view(slot).copy_(value)
            self._arena.settle()
        self._worker.ask("open", size=self._arena.size, handle=self._arena.handle())
        return self._places

    def _bytes(self, there: slice) -> torch.Tensor:
        if self._arena is None:
            raise DeviceError("no shared memory on the device")
        return self._arena.view(Slot(there.start, (there.stop - there.start,), "uint8"))
