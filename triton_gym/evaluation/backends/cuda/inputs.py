"""Sets of inputs that an answer's kernels have not seen, and what the reference makes of them.

A set lies in memory that kernels can only read, so it is as it was for the next answer. No kernel
finds what another answer's left, so a judge may give a set again, to another answer: drawing one
takes longer than timing a call. An evaluation sees each set once at most, in an order of its own,
and some are drawn anew for every evaluation, so that none stays what it was.
"""

from __future__ import annotations

import itertools
import random
import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass, field
from typing import Any

import torch

from triton_gym.evaluation import check, trees
from triton_gym.evaluation.backends.cuda.blocks import Block, BlockPool
from triton_gym.evaluation.backends.cuda.device import POISON
from triton_gym.evaluation.backends.cuda.margins import Margins
from triton_gym.evaluation.backends.cuda.margins import fill as fill_gaps
from triton_gym.evaluation.conditioning import reconsidered
from triton_gym.evaluation.judging.case_layout import CaseLayout, lay_out_arguments
from triton_gym.evaluation.plan.window import ARGUMENTS
from triton_gym.task import Case, Task

KEPT = 27
"""Most sets of a task that are kept: what an evaluation takes, and those that are drawn anew."""
RENEWED = 2
"""Sets that are drawn anew for every evaluation."""
KEYS = 512
"""Cases whose drawing takes turns."""


@dataclass(slots=True, eq=False)
class InputSet:
    """Inputs in place, and what comes of them."""

    layout: CaseLayout
    block: Block | None
    """Where the tensors lie; None if there are none."""
    arguments: tuple[Any, ...]
    """As the reference takes them: its tensors lie in the block."""
    expected: check.Expected
    form: trees.Tree
    """Of the reference's result."""
    task: Task
    """Bound to the parameters that the expected results are of."""
    case: Case
    users: int = 0
    kept: bool = False
    nbytes: int = 0
    """Device memory of all of it."""
    blocks: BlockPool | None = field(default=None, repr=False)
    number: int = field(default_factory=itertools.count().__next__)
    """Its own. Who notes which sets were seen notes this, and not the set: that has gigabytes."""

    def reconsidered(
        self, verdict: check.Verdict, results: Sequence[torch.Tensor], where: str
    ) -> check.Verdict:
        """See `conditioning.reconsidered`."""
        return reconsidered(verdict, results, self.task, self.case, self.arguments, where)

    def release(self) -> None:
        """Give the memory back, unless others use it."""
        self.users -= 1
        self._settle()

    def drop(self) -> None:
        """Keep it no longer than it is used."""
        self.kept = False
        self._settle()

    def _settle(self) -> None:
        if not self.kept and self.users <= 0 and self.block and self.blocks:
            block, self.block = self.block, None
            self.blocks.give_back(block)


def draw_set(
    task: Task, case: Case, seed: int, device: torch.device, blocks: BlockPool,
    bounds: check.Timed | None = None,
) -> InputSet:  # fmt: skip
    """Draw inputs into memory of their own.

    Args:
        task: bound to the parameters of the evaluation.
        case: what to draw.
        seed: of the inputs.
        device: the GPU.
        blocks: where memory comes from.
        bounds: for results held against the reference's own; None to hold them against the float64
            oracle, with tolerances that follow from it.
    """
    drawn = check.draw_inputs(task, case, seed, device)
    tensors, tree = trees.flatten(drawn)
    layout = lay_out_arguments(tree)
    block = blocks.take(layout.nbytes) if tensors else None
    try:
        placed = []
        if block:  # whoever reads beyond a tensor, and uses that, computes NaN
            gaps = Margins.around(layout.buffers, ARGUMENTS.start, block.nbytes)
            fill_gaps(block.bytes(), gaps, POISON)
        for tensor, view in zip(tensors, layout.views, strict=True):
            assert block is not None
            lies = block.view(view, ARGUMENTS.start)
            trees.memory(lies).copy_(trees.memory(tensor))
            placed.append(lies)
        arguments = trees.assemble(tree, iter(placed))
        found = check.returned(task, arguments, case)
        if bounds is None:
            expected = check.expect(task, case, arguments, found)
        elif bounds.exact:
            expected = bounds.of(bounds.expected(task, arguments, case))
        else:
            expected = bounds.of(tuple(tensor.contiguous() for tensor in found.tensors))
    except BaseException:
        if block:  # most often the device has no memory left, and would never have this again
            torch.cuda.current_stream().synchronize()
            blocks.give_back(block)
        raise
    size = (block.nbytes if block else 0) + sum(o.nbytes for o in expected.outputs)
    return InputSet(
        layout, block, arguments, expected, found.tree, task, case, 1, False, size, blocks
    )


def fill(sets: list[InputSet], count: int, draw: Callable[[], InputSet]) -> None:
    """Draw what is missing of so many; where that fails, none of them is in use any more."""
    try:
        while len(sets) < count:
            sets.append(draw())
    except BaseException:
        for one in sets:
            one.release()
        raise


class InputPool:
    """Sets of the timed cases of tasks. For use from several threads.

    Args:
        capacity: bytes of device memory that all may take.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._kept: OrderedDict[object, list[InputSet]] = OrderedDict()
        self._drawing: OrderedDict[object, threading.Lock] = OrderedDict()
        self._lock = threading.Lock()
        self._rng = random.Random(secrets.randbits(64))

    def take(
        self, key: object, count: int, seen: set[int], draw: Callable[[], InputSet]
    ) -> list[InputSet]:
        """Sets that an evaluation has not seen. Each is to be released.

        Args:
            key: of the task and its case.
            count: how many.
            seen: numbers of those that the evaluation has had; the new ones' are added.
            draw: makes one more.
        """
        with self._lock:
            there = self._kept.setdefault(key, [])
            self._kept.move_to_end(key)
            if not seen:
                for old in there[: min(RENEWED, len(there) - 1)]:
                    there.remove(old)
                    old.drop()
        chosen = self._there(key, count, seen)
        fill(chosen, count, lambda: self._keep(key, draw()))
        seen.update(one.number for one in chosen)
        self._rng.shuffle(chosen)
        return chosen

    def share(
        self, key: object, count: int, seen: set[int], draw: Callable[[], InputSet]
    ) -> list[InputSet]:
        """The same, but none is renewed, and evaluations that begin together do not draw each its
        own. Who calls it does not hold the GPU."""
        with self._lock:
            drawing = self._drawing.setdefault(key, threading.Lock())
            while len(self._drawing) > KEYS:
                self._drawing.popitem(last=False)
        chosen = self._there(key, count, seen)
        if len(chosen) < count:
            with drawing:
                have = {*seen, *(one.number for one in chosen)}
                chosen += self._there(key, count - len(chosen), have)
                fill(chosen, count, lambda: self._keep(key, draw()))
        seen.update(one.number for one in chosen)
        return chosen

    def _there(self, key: object, count: int, seen: Set[int]) -> list[InputSet]:
        """Sets that are kept, at most so many, in a random order."""
        with self._lock:
            fresh = [one for one in self._kept.setdefault(key, []) if one.number not in seen]
            chosen = self._rng.sample(fresh, min(count, len(fresh)))
            self._kept.move_to_end(key)
            for one in chosen:
                one.users += 1
        return chosen

    def clear(self) -> None:
        """Keep nothing any longer."""
        with self._lock:
            for sets in self._kept.values():
                for one in sets:
                    one.drop()
            self._kept.clear()

    def _keep(self, key: object, one: InputSet) -> InputSet:
        with self._lock:
            there = self._kept.setdefault(key, [])
            if one.nbytes * 2 > self._capacity:
                return one
            one.kept = True
            there.append(one)
            if len(there) > KEPT:
                there.pop(0).drop()
            held = sum(kept.nbytes for sets in self._kept.values() for kept in sets)
            for old in [kept for sets in self._kept.values() for kept in sets]:
                if held <= self._capacity or old is one:
                    break
                held -= old.nbytes
                next(sets for sets in self._kept.values() if old in sets).remove(old)
                old.drop()
        return one
