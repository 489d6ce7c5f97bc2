"""Small cases of a simulated device: recorded, interpreted as a whole, and compared."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import torch

from triton_gym.evaluation import check, trees
from triton_gym.evaluation.backends.simulated.recording import Recording, Setting, Zone
from triton_gym.evaluation.conditioning import reconsidered
from triton_gym.evaluation.exchange.arena import HostArena, put
from triton_gym.evaluation.exchange.block import Layout, Slot
from triton_gym.evaluation.judging.case_layout import CaseLayout, lay_out_arguments
from triton_gym.evaluation.judging.judge import test_cases
from triton_gym.evaluation.judging.returned import Form, parts_of
from triton_gym.evaluation.modules import bind
from triton_gym.evaluation.plan.plan import Call, Plan
from triton_gym.evaluation.plan.step import BufferKind, Copy, Fill, Gather, Launch, Read
from triton_gym.evaluation.plan.value import HostTensor
from triton_gym.evaluation.plan.view import View
from triton_gym.evaluation.plan.window import ARGUMENTS
from triton_gym.evaluation.recording.session import CaseEntangled
from triton_gym.evaluation.workers.session import Ended
from triton_gym.outcome import Status
from triton_gym.task import Case, Kind, Task

OTHER_SEEDS = 1 << 20
"""Between the seeds of a case's inputs and of those of a second call."""
UNTESTED = check.Verdict(True, 0.0, 0.0)
"""Of an answer that passed its tests before."""
_CPU = torch.device("cpu")


@dataclass(frozen=True, slots=True)
class Inputs:
    """One set of inputs of a case, with what must come of it."""

    task: Task
    """Bound to the parameters of the evaluation."""
    arguments: tuple[Any, ...]
    """As the reference takes them."""
    tensors: tuple[torch.Tensor, ...]
    """Those of the arguments."""
    layout: CaseLayout
    expected: check.Expected
    tree: trees.Tree
    """Of the reference's result."""
    shapes: tuple[Slot, ...]
    """Of the results, placed after the arguments."""
    end: int


def draw(setting: Setting, case: Case, seed: int) -> Inputs:
    """Inputs of a case, and what the reference makes of them."""
    task = bind(setting.request.task, case, setting.seed, _CPU)
    arguments = check.draw_inputs(task, case, seed, _CPU)
    plain = check.returned(task, arguments, case)
    expected = check.expect(task, case, arguments, plain)
    tensors, tree = trees.flatten(arguments)
    laid = lay_out_arguments(tree)
    layout = Layout()
    layout.place((laid.nbytes,), "uint8")
    slots = tuple(layout.like(tensor) for tensor in plain.tensors)
    return Inputs(task, arguments, tensors, laid, expected, plain.tree, slots, layout.end)


class Tests:
    """The small cases of one evaluation."""

    def __init__(self, setting: Setting) -> None:
        self._setting = setting
        task, seed = setting.request.task, setting.seed
        cases = [] if setting.request.tested else [*task.tiny, *test_cases(task, seed, tiny=True)]
        self._cases = [(case, seed + number) for number, case in enumerate(dict.fromkeys(cases))]
        self._module = task.entry.kind == Kind.MODULE
        self._zone = Zone()
        self._opened: list[Recording] = []
        self._arenas: list[HostArena] = []
        self._verdicts: list[check.Verdict] = []
        self.tolerances: dict[str, float] = {}
        """The largest of each dtype."""

    def run(self) -> check.Verdict:
        """Run all of them, and compare.

        Raises:
            Ended: a call failed, or a result is wrong.
        """
        if not self._cases:
            return UNTESTED
        with ThreadPoolExecutor(1) as ahead:
            try:
                return self._run(ahead)
            finally:
                self._zone.close()
                for recording in self._opened:
                    recording.kill()
                ahead.shutdown()
                for recording in self._opened:
                    recording.close()
                for arena in self._arenas:
                    arena.close()

    def _run(self, ahead: Executor) -> check.Verdict:
        """Each case is recorded while the one before it is interpreted."""
        opening = ahead.submit(self._open, self._cases[0][0])
        drawn = [draw(self._setting, case, seed) for case, seed in self._cases]
        arena = HostArena(max(inputs.end for inputs in drawn))
        self._arenas.append(arena)
        self._zone.place((arena.fd, arena.size))
        opening.result()
        coming = ahead.submit(self._record, 0, drawn[0])
        moved = False
        for number, ((case, seed), inputs) in enumerate(zip(self._cases, drawn, strict=True)):
            _load(arena, inputs)
            self._zone.advance()
            recording, plan = coming.result()
            if number + 1 < len(drawn):
                coming = ahead.submit(self._record, number + 1, drawn[number + 1])
            self._judge(recording, plan, case, seed, inputs, arena)
            if not moved and _moves(plan):
                moved = True
                self._hold_movement(recording, plan, case, inputs, arena)
        return max(self._verdicts, key=lambda verdict: verdict.share)

    def _record(self, number: int, inputs: Inputs) -> tuple[Recording, Plan]:
        """A case's plan, and what recorded it."""
        case, turn = self._cases[number][0], number + 1
        if self._module and number:
            self._open(case)
        try:
            return self._opened[-1], self._opened[-1].record(case, inputs.layout, turn)
        except CaseEntangled:
            self._open(case)
            return self._opened[-1], self._opened[-1].record(case, inputs.layout, turn)

    def _open(self, case: Case) -> None:
        seed = self._setting.seed
        self._opened.append(Recording(self._setting, case, self._zone, full=False, seed=seed))

    def _judge(
        self, recording: Recording, plan: Plan, case: Case, seed: int, inputs: Inputs,
        arena: HostArena,
    ) -> None:  # fmt: skip
        """Hold the first call's results against the reference, and those of a second call on other
        inputs, if that does something else."""
        self._compare(recording, plan, "first", case, inputs, arena)
        largest = max(inputs.expected.tolerances, default=0.0)
        self.tolerances[case.dtype] = max(largest, self.tolerances.get(case.dtype, 0.0))
        if plan.first.steps == plan.call.steps and plan.first.result == plan.call.result:
            return
        others = inputs
        if not plan.call.reads:
            others = draw(self._setting, case, seed + OTHER_SEEDS)
            _load(arena, others)
        self._compare(recording, plan, "call", case, others, arena)

    def _compare(
        self, recording: Recording, plan: Plan, call: str, case: Case, inputs: Inputs,
        arena: HostArena,
    ) -> None:  # fmt: skip
        results = self._results(recording, plan, call, case, inputs, arena)
        changed = [
            (trees.memory(arena.view(slot)) != trees.memory(value)).any()
            if value.dtype not in _BITS
            else (_bytes(arena.view(slot)) != _bytes(value)).any()
            for slot, value in zip(_slots(inputs), inputs.tensors, strict=True)
        ]
        flag = torch.stack(changed).any() if changed else torch.zeros(())
        (verdict,), flags = check.compare_all([(results, inputs.expected, str(case))], [flag])
        verdict = reconsidered(verdict, results, inputs.task, case, inputs.arguments, str(case))
        if not verdict.ok:
            raise Ended(
                Status.INCORRECT, verdict.message,
                max_error=verdict.max_error, tolerance=verdict.tolerance,
            )  # fmt: skip
        if flags[0]:
            raise Ended(Status.INCORRECT, f"The answer changed one of its arguments on {case}.")
        self._verdicts.append(verdict)

    def _results(
        self, recording: Recording, plan: Plan, call: str, case: Case, inputs: Inputs,
        arena: HostArena,
    ) -> list[torch.Tensor]:  # fmt: skip
        task = self._setting.request.task
        done: Call = plan.first if call == "first" else plan.call
        form = Form(inputs.tree, task.same_strides, task.entry.name, str(case))
        parts = parts_of(done.result, form)
        views = [(p, s) for p, s in zip(parts, inputs.shapes, strict=True) if isinstance(p, View)]
        try:
            recording.interpreter.execute(
                plan, call, [view for view, _ in views], [slot for _, slot in views], arena
            )
        except Ended as end:
            told = f"On {case}: {end.message}"
            raise Ended(end.status, told, again=end.again, **end.numbers) from None
        found = []
        for part, slot in zip(parts, inputs.shapes, strict=True):
            if isinstance(part, View):
                found.append(arena.view(slot).clone())
            elif isinstance(part, HostTensor):
                raw = bytearray(recording.blob(part.offset, part.nbytes))
                dtype = getattr(torch, part.dtype)
                found.append(torch.frombuffer(raw, dtype=dtype).reshape(part.shape))
            else:
                found.append(part)
        return found

    def _hold_movement(
        self, recording: Recording, plan: Plan, case: Case, inputs: Inputs, arena: HostArena
    ) -> None:
        """Raise if a result is right without a single launch."""
        call = Call(
            tuple(s for s in plan.first.steps if not isinstance(s, Launch)), plan.first.result
        )
        setup = tuple(s for s in plan.setup if not isinstance(s, Launch))
        # Memory that is there from the first step on holds nothing yet.
        buffers = tuple(
            dataclasses.replace(b, born=0 if b.kind is BufferKind.SCRATCH else -1, freed=-1)
            for b in plan.buffers
        )
        bare = Plan(buffers, plan.kernels, setup, call, call, plan.blob_bytes)
        _load(arena, inputs)
        if any(isinstance(step, Read) for step in (*setup, *call.steps)):
            return
        results = self._results(recording, bare, "first", case, inputs, arena)
        (verdict,), _ = check.compare_all([(results, inputs.expected, str(case))], [])
        if verdict.ok:
            raise Ended(
                Status.CHEATING,
                f"On {case} the result is right without a single launch: PyTorch moves all of it. "
                "The answer's own kernels must do the work.",
            )


_BITS: frozenset[torch.dtype] = frozenset(
    dtype for dtype in vars(torch).values()
    if isinstance(dtype, torch.dtype) and (dtype.is_floating_point or dtype.is_complex)
)  # fmt: skip


def _slots(inputs: Inputs) -> list[Slot]:
    return [
        Slot(view.address - ARGUMENTS.start, view.shape, view.dtype, view.strides)
        for view in inputs.layout.views
    ]


def _load(arena: HostArena, inputs: Inputs) -> None:
    for slot, value in zip(_slots(inputs), inputs.tensors, strict=True):
        put(arena.view(slot), value)


def _moves(plan: Plan) -> bool:
    steps: Sequence[object] = (*plan.setup, *plan.first.steps)
    return any(isinstance(step, (Copy, Gather, Fill)) for step in steps)


def _bytes(tensor: torch.Tensor) -> torch.Tensor:
    return trees.memory(tensor).view(torch.uint8)
