"""Runs a whole launch, so that what later ones decide by is there.

Programs of full size are followed without their values, but some kernels decide by what others have
computed: where an expert's tokens begin, which rows are left. Such a kernel is most often a small
one, and all of it runs.
"""

from __future__ import annotations

from triton_gym.evaluation.simulate.interpreter.effort import Effort, Exhausted
from triton_gym.evaluation.simulate.interpreter.memory import Undo
from triton_gym.evaluation.simulate.tracing.earnest import InEarnest
from triton_gym.evaluation.simulate.tracing.launched import Launched, observed

TRIED = 2
"""Programs that tell how much effort the others will take."""


def run_whole(launched: Launched, effort: Effort) -> bool:
    """Run all programs of a launch, one after the other; whether there was effort left for it.

    If not, memory is as it was, but for what programs beyond the first few have stored.

    Raises:
        OutOfBoundsError: a program accessed memory that is not the launch's.
    """
    if launched.program.waits:
        return False
    undo, before = Undo(), effort.us
    try:
        with observed(launched.machine, InEarnest(effort, undo), effort):
            for number in range(min(TRIED, launched.programs)):
                launched.run(number)
        each = (effort.us - before) / TRIED
        if effort.us + each * (launched.programs - TRIED) > effort.limit_us:
            undo.restore()
            return False
        with observed(launched.machine, InEarnest(effort, None), effort):
            for number in range(TRIED, launched.programs):
                launched.run(number)
    except Exhausted:
        undo.restore()
        return False
    return True
