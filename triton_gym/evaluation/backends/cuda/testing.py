"""Hidden cases of an evaluation: recorded, executed on inputs that nobody knows, and compared."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from triton_gym.evaluation import check
from triton_gym.evaluation.backends.cuda.blocks import Block
from triton_gym.evaluation.backends.cuda.inputs import InputSet
from triton_gym.evaluation.backends.cuda.margins import EDGE
from triton_gym.evaluation.backends.cuda.operations import is_movement
from triton_gym.evaluation.backends.cuda.orders import Part
from triton_gym.evaluation.backends.cuda.programs import Prepared
from triton_gym.evaluation.backends.cuda.stage import Stage, Watch, results
from triton_gym.evaluation.judging.sharing import GpuLock
from triton_gym.evaluation.workers.session import Ended
from triton_gym.outcome import Status
from triton_gym.task import Case


@dataclass(slots=True)
class Test:
    """A hidden case."""

    case: Case
    first: InputSet
    """What the answer is recorded on, and called on first."""
    another: Callable[[], InputSet]
    """Draws what it is called on next, if that call does something else."""
    prepared: Prepared | None = None
    parameters: Block | None = None

    @property
    def plan(self) -> Prepared:
        """The plan, which was recorded."""
        if self.prepared is None:
            raise RuntimeError("the case was not recorded")
        return self.prepared


def run_tests(
    tests: list[Test], stage: Stage, lock: GpuLock, device: torch.device
) -> check.Verdict:
    """Execute and compare all hidden cases.

    Raises:
        Ended: a call failed, or a result is wrong.
    """
    calls: list[tuple[list[torch.Tensor], InputSet, str]] = []
    with stage.held(), lock(alone=False):
        for test in tests:
            calls += _run(test, stage, device)
        moved = _moved(tests, stage, device)
        verdicts, _ = check.compare_all([(f, one.expected, at) for f, one, at in calls], [])
        worst = verdicts[0]
        for first_look, (found, one, at) in zip(verdicts, calls, strict=True):
            verdict = one.reconsidered(first_look, found, at)
            if not verdict.ok:
                raise Ended(
                    Status.INCORRECT, verdict.message,
                    max_error=verdict.max_error, tolerance=verdict.tolerance,
                )  # fmt: skip
            worst = max(worst, verdict, key=lambda one: one.share)
        if moved is not None and check.compare_all([moved], [])[0][0].ok:
            raise Ended(
                Status.CHEATING,
                f"On {moved[2]} the result is right without a single launch: PyTorch moves all of "
                "it. The answer's own kernels must do the work.",
            )
    return worst


def _run(
    test: Test, stage: Stage, device: torch.device
) -> list[tuple[list[torch.Tensor], InputSet, str]]:
    """Results of the first call, and of a second one on other inputs if it does something else.

    Raises:
        Ended: a call failed, or wrote outside of every tensor: that is wrong whatever it returns.
    """
    prepared, case = test.plan, str(test.case)
    again = not prepared.steady and not prepared.reads
    with stage.scratch(prepared.scratch_bytes, 2, same=prepared.reads) as scratch:
        with stage.lease(prepared.program, test.parameters, case) as lease:
            lease.execute(Part.FIRST, test.first, scratch[0])
            found = [(prepared.first, test.first, scratch[0])]
            if again:
                others = test.another()
                lease.execute(Part.CALL, others, scratch[1])
                found.append((prepared.call, others, scratch[1]))
        runs = list(zip((Part.FIRST, Part.CALL)[: len(found)], scratch, strict=False))
        watch = Watch(prepared, test.parameters, EDGE)
        if not watch.untouched(runs):
            raise Ended(Status.RUNTIME_ERROR, f"On {case}: {watch.complaint(runs)}")
        return [
            (
                [
                    tensor.clone()
                    for tensor in results(parts, prepared, one, block, test.parameters, device)
                ],
                one,
                case,
            )
            for parts, one, block in found
        ]


def _moved(
    tests: list[Test], stage: Stage, device: torch.device
) -> tuple[list[torch.Tensor], check.Expected, str] | None:
    """Results of a case's movement alone; None if no case has any."""
    for test in tests:
        prepared = test.plan
        steps = (*prepared.program.setup, *prepared.program.first)
        if not any(is_movement(step) for step in steps):
            continue
        with stage.scratch(prepared.scratch_bytes) as (block,):
            leased = stage.lease(prepared.program, test.parameters, str(test.case))
            with leased as lease:
                lease.execute(Part.MOVEMENT, test.first, block)
            found = results(prepared.first, prepared, test.first, block, test.parameters, device)
            return [tensor.clone() for tensor in found], test.first.expected, str(test.case)
    return None
