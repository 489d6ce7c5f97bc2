"""One answer on several timed cases: one recorder for all of them, then each is timed by itself.

What an answer costs is its recording and compiling, mostly. A recorder that goes on to another case
keeps what Triton's front end made for the last one, and asks for a kernel again only if the new
case has another specialisation: other constants, or arguments that are divisible otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from triton_gym.evaluation.backends.cuda.bench import Bench
from triton_gym.evaluation.backends.cuda.calibration import Calibration
from triton_gym.evaluation.backends.cuda.programs import Prepared
from triton_gym.evaluation.backends.cuda.recordings import Recording, Setting
from triton_gym.evaluation.judging.judge import Phases, Request
from triton_gym.evaluation.plan.plan import Plan
from triton_gym.evaluation.recording.session import CaseEntangled
from triton_gym.evaluation.workers.session import Ended


@dataclass(slots=True)
class SharedCase:
    """A case on its way."""

    request: Request
    """Of this case alone."""
    phases: Phases
    ends: ExitStack
    """Gives back what the case takes."""
    bench: Bench | None = None
    plan: Plan | None = None
    prepared: Prepared | None = None
    ended: Ended | None = None
    """Why it is over, if it is."""


def record_together(
    cases: Sequence[SharedCase],
    setting: Setting,
    calibration_of: Callable[[Request], Calibration],
    bench_of: Callable[[Request, int, Calibration, ExitStack], Bench],
) -> None:
    """Record cases with one recorder, which is gone afterwards.

    Where a case comes to nothing by the answer's doing, it says so (`ended`). One that has neither
    that nor a plan ready is to be evaluated by itself: the recorder ended before it, say.

    Args:
        cases: of one answer, not tested.
        setting: of the evaluation.
        calibration_of: finds out what is to be known of a case.
        bench_of: makes what times a case.
    """
    for case in cases:
        request = case.request
        with case.phases("learn"):
            calibration = calibration_of(request)
        with case.phases("start"):
            case.bench = bench_of(request, setting.seed, calibration, case.ends)
    first = cases[0]
    with first.phases("start"):
        try:
            recording = Recording(setting, first.request.task.bench[0])
        except Ended as end:
            first.ended = end  # the others may find out by themselves
            return
    with recording:
        recorded = []
        for case in cases:
            if not _recorded(recording, case):
                break
            recorded.append(case)
        for case in recorded:
            _prepare(recording, case)


def _recorded(recording: Recording, case: SharedCase) -> bool:
    """Record a case; whether the recorder may go on."""
    if case.bench is None:
        return False
    try:
        with case.phases("compile"):
            case.plan = recording.record(case.bench.case, case.bench.first, timed=True)
    except CaseEntangled:
        return False
    except Ended as end:
        case.ended = end
        return False
    return True


def _prepare(recording: Recording, case: SharedCase) -> None:
    """Wait for a case's machine code."""
    if case.plan is None or case.bench is None:
        return
    try:
        with case.phases("compile"):
            case.prepared = recording.prepared(case.plan, case.bench.case, case.bench.first)
    except Ended as end:
        case.ended = end
