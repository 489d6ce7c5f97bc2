"""The service keeps its promises when processes die."""

from __future__ import annotations

import copy
import os
import pickle
import signal
import time
from pathlib import Path

import pytest

import triton_gym
from triton_gym import Evaluator, EvaluatorError, InvalidOptionError, InvalidTaskError

TASK = triton_gym.load("sum_rows")


def children(pid: int) -> list[int]:
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        if int(fields[1]) == pid and fields[0] != "Z":
            found.append(int(stat.parent.name))
    return found


def descendants(pid: int) -> list[int]:
    found = children(pid)
    return found + [grandchild for child in found for grandchild in descendants(child)]


def judge_beside(before: set[int], seconds: float = 15) -> int:
    """The judge that was started since; it comes from a thread of the evaluator."""
    deadline = time.monotonic() + seconds
    while not (new := set(children(os.getpid())) - before) and time.monotonic() < deadline:
        time.sleep(0.02)
    (judge,) = new
    return judge


def gone(pids: list[int], seconds: float = 15) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        alive = [p for p in pids if Path(f"/proc/{p}/stat").exists()]
        if not alive:
            return True
        time.sleep(0.1)
    return False


def leftovers() -> set[str]:
    import tempfile

    return {p.name for p in Path(tempfile.gettempdir()).glob("triton-gym-*") if p.is_dir()}


def test_a_killed_judge_is_replaced_and_nothing_is_lost():
    with Evaluator("simulated", workers=2) as evaluator:
        before = set(children(os.getpid()))
        futures = [evaluator.submit(TASK, TASK.starter + f"# {i}\n", seed=i) for i in range(3)]
        judge = judge_beside(before)
        time.sleep(1.0)
        below = descendants(judge)
        os.kill(judge, signal.SIGKILL)
        assert [f.result(120).status for f in futures] == ["correct"] * 3
        assert gone(below)


def test_a_killed_nursery_is_replaced():
    with Evaluator("simulated") as evaluator:
        before = set(children(os.getpid()))
        assert evaluator.evaluate(TASK, TASK.starter).correct
        judge = judge_beside(before)
        for nursery in children(judge):
            os.kill(nursery, signal.SIGKILL)
        time.sleep(0.2)
        assert evaluator.evaluate(TASK, TASK.expert).correct


def test_closing_leaves_no_process_and_no_file():
    before = leftovers()
    evaluator = Evaluator("simulated")
    others = set(children(os.getpid()))
    evaluator.evaluate(TASK, TASK.starter)
    judge = judge_beside(others)
    family = [judge, *descendants(judge)]
    pending = evaluator.submit(TASK, TASK.expert)
    time.sleep(0.4)  # it is under way
    evaluator.close()
    with pytest.raises(EvaluatorError, match="closed"):
        pending.result(10)
    assert gone(family)
    assert leftovers() <= before


def test_a_fault_of_the_task_is_the_callers(evaluator):
    import dataclasses

    def reference(x):
        return x.sum(dim=1) / 0.0

    broken = dataclasses.replace(TASK, reference=reference)
    with pytest.raises(InvalidTaskError, match="not finite"):
        evaluator.evaluate(broken, TASK.starter)


def test_two_tasks_of_one_name_are_not_confused(evaluator):
    import dataclasses

    twice = dataclasses.replace(TASK, reference=lambda x: 2 * x.sum(dim=1))
    assert evaluator.evaluate(TASK, TASK.starter).correct
    assert evaluator.evaluate(twice, TASK.starter).status == "incorrect"


def test_copies_share_and_pickles_are_made_anew(evaluator):
    assert copy.deepcopy(evaluator) is evaluator
    again = pickle.loads(pickle.dumps(evaluator))
    assert str(again.device) == str(evaluator.device)


@pytest.mark.parametrize(
    ("options", "told"), [({"baseline": "xla"}, "compile, eager"), ({"source": None}, "text")]
)
def test_wrong_arguments_are_refused_at_once(options, told, evaluator):
    arguments = {"source": TASK.starter, **options}
    with pytest.raises(InvalidOptionError, match=told):
        evaluator.submit(TASK, arguments.pop("source"), **arguments)
