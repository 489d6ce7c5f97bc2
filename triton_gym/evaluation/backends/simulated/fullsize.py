"""The timed case at full size on a simulated device: its arguments, and what it must return.

The arguments are drawn once a task and kept in sealed memory, of which workers have private views:
to draw hundreds of megabytes for every evaluation would cost more than the evaluation. They come
from a seed that is made from the task, since equal requests must have equal outcomes.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import math
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeTensorMode,
)

from triton_gym.errors import InvalidTaskError
from triton_gym.evaluation import check, trees
from triton_gym.evaluation.exchange.arena import PrivateArena, SealedBlock
from triton_gym.evaluation.exchange.block import Layout, Slot
from triton_gym.evaluation.faults import blaming
from triton_gym.evaluation.fingerprint import remembered_fingerprint
from triton_gym.evaluation.judging.case_layout import CaseLayout, lay_out_arguments
from triton_gym.evaluation.modules import bind
from triton_gym.evaluation.oracle import Exact
from triton_gym.evaluation.plan.window import ARGUMENTS
from triton_gym.task import Case, Kind, Task

_CPU = torch.device("cpu")
LARGEST_BYTES = 1 << 30
"""Arguments of a case that are drawn; those of a larger one stay zero, and nothing is compared."""
KEPT_BYTES = 3 << 29
"""What is kept of all tasks; of the one that is being worked on, whatever it takes."""
WHOLE_FLOPS = 5e9
"""Largest reference that is computed as a whole, for tasks that do not say how to take a part."""

WHOLE_VALUES = 1 << 24
"""The same for its results' values, which are kept."""


@dataclass(frozen=True, slots=True)
class FullSize:
    """The arguments of a timed case."""

    case: Case
    arguments: tuple[Any, ...]
    """The judge's own view of them; empty if the case is too large."""
    layout: CaseLayout
    """Where they lie in the window."""
    tree: trees.Tree
    """Of the reference's result."""
    outputs: tuple[Slot, ...]
    """Shapes and dtypes of the results; they lie nowhere."""
    seed: int
    """Of the arguments, and of a module's parameters."""
    block: SealedBlock | None
    reference: Callable[..., Any]
    """The task's; for a task of modules one that is built, where it can be afforded."""
    handed: frozenset[int] = frozenset()
    """Results that no kernel has to write: Python numbers, views of arguments, no elements."""
    whole: dict[int, tuple[torch.Tensor, torch.Tensor]] = field(default_factory=dict)
    """Oracle and plain reference of whole results, where they were computed."""
    own: dict[int, float] = field(default_factory=dict)
    """Tolerances of those, where they were asked for."""
    constant: list[frozenset[int]] = field(default_factory=list)
    """Which results do not depend on the arguments, once that was asked for."""

    @property
    def size(self) -> int:
        """Bytes of the block."""
        return self.block.size if self.block else 0

    @property
    def kept_bytes(self) -> int:
        """Bytes of the block and of results."""
        return self.size + sum(t.nbytes for pair in list(self.whole.values()) for t in pair)


class FullSizes:
    """The timed cases of the tasks seen last. Safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: dict[str, _Kept] = {}

    @contextmanager
    def of(self, task: Task) -> Iterator[FullSize]:
        """The timed case of a task, which stays until the block is left."""
        key = remembered_fingerprint(task)
        with self._lock:
            kept = self._kept.pop(key, None) or _Kept()
            self._kept[key] = kept  # the one used last is dropped last
            kept.users += 1
        try:
            with kept.drawing:
                if kept.full is None:
                    kept.full = _draw(task, key)
            yield kept.full
        finally:
            with self._lock:
                kept.users -= 1
                self._shrink()

    def _shrink(self) -> None:
        """Give up what was not used for longest; results count too, as they come."""
        size = sum(kept.full.kept_bytes for kept in self._kept.values() if kept.full)
        for key, kept in list(self._kept.items())[:-1]:
            if size <= KEPT_BYTES:
                return
            if not kept.users:
                size -= kept.full.kept_bytes if kept.full else 0
                self._drop(key)

    def _drop(self, key: str) -> None:
        full = self._kept.pop(key).full
        if full and full.block:
            full.block.close()

    def close(self) -> None:
        """Give all memory back."""
        with self._lock:
            for key in list(self._kept):
                self._drop(key)


@dataclass(slots=True)
class _Kept:
    drawing: threading.Lock = field(default_factory=threading.Lock)
    users: int = 0
    full: FullSize | None = None


def _draw(task: Task, key: str) -> FullSize:
    case, seed = task.bench[0], int(key[:8], 16)
    mode, fakes = check.fake_arguments(task, case)
    found = _form(task, case, seed, mode, fakes)
    outputs = tuple(Layout().like(result) for result in found.tensors)
    tensors, tree = trees.flatten(fakes)
    handed = _handed(found, tensors)
    layout = lay_out_arguments(tree)
    if layout.nbytes > LARGEST_BYTES:
        return FullSize(case, (), layout, found.tree, outputs, seed, None, task.reference, handed)
    drawn, tree = trees.flatten(check.draw_inputs(task, case, seed, _CPU))
    layout = lay_out_arguments(tree)
    bound = task
    if task.entry.kind == Kind.MODULE and _affordable(task, case, outputs):
        bound = bind(task, case, seed)
    slots = [
        Slot(view.address - ARGUMENTS.start, view.shape, view.dtype, view.strides)
        for view in layout.views
    ]
    block = SealedBlock(layout.nbytes)
    for slot, value in zip(slots, drawn, strict=True):
        block.write(slot, value)
    block.seal()
    view = PrivateArena(block.size, block.fd)
    return FullSize(
        case,
        trees.assemble(tree, iter([view.view(slot) for slot in slots])),
        layout,
        found.tree,
        outputs,
        seed,
        block,
        bound.reference,
        handed,
    )


def _form(
    task: Task, case: Case, seed: int, mode: FakeTensorMode, fakes: tuple[Any, ...]
) -> check.Returned:
    """The reference's result at full size, computed only if its shape depends on values."""
    try:
        with mode:
            shaped = bind(task, case, seed)
        with torch.no_grad(), mode:
            return check.returned(shaped, fakes, case)
    except InvalidTaskError as error:
        depends = isinstance(
            error.__cause__, (DataDependentOutputException, DynamicOutputShapeException)
        )
        if not depends or lay_out_arguments(trees.flatten(fakes)[1]).nbytes > LARGEST_BYTES:
            raise
    drawn = check.draw_inputs(task, case, seed, _CPU)
    return check.returned(bind(task, case, seed), drawn, case)


def _handed(found: check.Returned, arguments: Sequence[torch.Tensor]) -> frozenset[int]:
    given = {argument.untyped_storage()._cdata for argument in arguments}
    numbers = trees.numbers(found.tree)
    return frozenset(
        index
        for index, tensor in enumerate(found.tensors)
        if index in numbers or not tensor.numel() or tensor.untyped_storage()._cdata in given
    )


def _affordable(task: Task, case: Case, outputs: Sequence[Slot]) -> bool:
    """Whether the whole reference may be computed and kept."""
    values = sum(math.prod(slot.shape) for slot in outputs)
    return task.flops(case) <= WHOLE_FLOPS and values <= WHOLE_VALUES


def secret(source: str, seed: int | None) -> int:
    """Decides which programs are replayed: the same for equal requests, and not to be foreseen
    by an answer, which would have to hold a digest of itself."""
    text = f"{seed}\0{source}".encode()
    return int.from_bytes(hashlib.sha256(text).digest()[:6], "big")


def part_of(
    task: Task, full: FullSize, output: int, ranges: Sequence[slice]
) -> tuple[torch.Tensor, Callable[[], torch.Tensor]] | None:
    """The oracle of a part of a result, and what computes the plain reference of it.

    Few parts need the plain one, and in a narrow dtype it takes longer than the oracle. None if
    the task does not say how to take a part and the whole is too much. Rows are whole ones: the
    scale of an error is the row's.
    """
    if task.part is not None:
        part = functools.partial(_taken, task, full, output, tuple(ranges))
        return part(check.upcast), functools.partial(part, _as_it_is)
    if not full.whole:
        if not _affordable(task, full.case, full.outputs):
            return None
        task = dataclasses.replace(task, reference=full.reference)
        both = (
            check.oracle(task, full.arguments, full.case),
            check.reference(task, full.arguments, full.case),
        )
        full.whole.update(enumerate(zip(*both, strict=True)))
    rows = (*ranges[:-1], slice(None)) if ranges else ()
    exact, plain = full.whole[output]
    return exact[rows], lambda: plain[rows]


def _taken(
    task: Task, full: FullSize, output: int, ranges: tuple[slice, ...],
    cast: Callable[[torch.Tensor], torch.Tensor],
) -> torch.Tensor:  # fmt: skip
    if task.part is None:
        raise InvalidTaskError(f"Task {task.name!r} does not say how to take a part.")
    with blaming(task, "part()", full.case):
        with Exact().running() if cast is check.upcast else nullcontext():
            found = task.part(ranges, cast, *full.arguments)
        if isinstance(found, tuple):  # None stands for a result that was not asked for
            found = tuple(torch.empty(0) if one is None else one for one in found)
        return trees.flatten(found, numbers=True)[0][output]


def whole_tolerance(task: Task, full: FullSize, output: int) -> float:
    """The tolerance of a whole result, where its reference was computed; 0 elsewhere.

    The reference errs less in most parts than in its worst.
    """
    if output not in full.whole:
        return 0.0
    if output not in full.own:
        exact, plain = full.whole[output]
        ((full.own[output], _),) = check.limits(task, full.case, (plain,), (exact,))
    return full.own[output]


def _as_it_is(tensor: torch.Tensor) -> torch.Tensor:
    return tensor
