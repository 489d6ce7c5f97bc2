"""The suites of `triton-gym audit`: no exploit gains, no honest answer is refused.

All honest ones pass the screen here; of both kinds the simulated judge sees a sample. The command
runs everything.
"""

from __future__ import annotations

import pytest

from triton_gym import Outcome, Status
from triton_gym.audit.exploits import KINDS, WITHOUT_EFFECT, all_exploits
from triton_gym.audit.honest import all_honest
from triton_gym.audit.modules import task_of
from triton_gym.audit.report import audit, held
from triton_gym.evaluation.screening.screen import screen
from triton_gym.outcome import TimeSource

EXPLOITS = list(all_exploits())
HONEST = list(all_honest())


def passes(answer):
    return screen(answer.source, task_of(answer.task).entry) is None


def test_there_are_enough_of_them():
    assert len({(e.kind, e.name) for e in EXPLOITS}) >= 90
    assert len({e.task for e in EXPLOITS}) >= 3
    assert {e.kind for e in EXPLOITS} == set(KINDS)
    assert len({e.name for e in EXPLOITS if e.kind == "modules"}) >= 30
    assert len({h.name for h in HONEST}) >= 120
    assert len({h.name for h in HONEST if h.name.startswith("module: ")}) >= 20
    assert len({e.key for e in EXPLOITS}) == len(EXPLOITS)
    assert len({h.key for h in HONEST}) == len(HONEST)


def test_no_honest_answer_is_refused_by_the_screen():
    refused = [h.key for h in HONEST if not passes(h)]
    assert refused == []


def test_what_is_without_effect_is_an_attack():
    assert {e.name for e in EXPLOITS} >= WITHOUT_EFFECT


@pytest.fixture(scope="module")
def report(evaluator):
    """Some exploits that do not wait for a limit, some honest answers."""
    exploits = [e for e in EXPLOITS if e.kind != "breaking"]
    return audit(evaluator, exploits[::89], HONEST[::97])


def test_no_exploit_gains(report):
    assert [r for r in report.failures if r.kind != "honest"] == []


def test_no_honest_answer_is_refused(report):
    assert [r for r in report.failures if r.kind == "honest"] == []


def test_work_that_cannot_be_counted_makes_a_time_uncertain(evaluator):
    names = ("a while loop as long as memory says", "a chain of pointers that data may end")
    doubtful = [e for e in EXPLOITS if e.name in names and e.task == "softmax"]
    assert len(doubtful) == 2
    assert all(e.doubtful for e in doubtful)
    assert audit(evaluator, doubtful, []).failures == ()


def test_a_narrow_interval_of_work_that_is_free_is_a_gain():
    exploit = next(e for e in EXPLOITS if e.doubtful)
    free = Outcome(status=Status.CORRECT, runtime_us=10.0, runtime_low_us=9.0,
                   runtime_high_us=11.0, time_source=TimeSource.SIMULATED)  # fmt: skip
    assert not held(exploit, free, 10.0)
    assert held(exploit, free.replace(runtime_high_us=40.0), 10.0)
    assert held(exploit, free.replace(runtime_us=25.0), 10.0)
    assert held(exploit, free.replace(time_source=TimeSource.MEASURED), 10.0)


def test_the_report_is_plain(report):
    record = report.record()
    assert record["counts"]["honest"]["tried"] == len(HONEST[::97])
    assert {r["status"] for r in record["results"]} <= {str(s) for s in Status}
