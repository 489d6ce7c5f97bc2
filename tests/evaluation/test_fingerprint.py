"""A task has one name wherever it is looked at, and no other task has it."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
import threading

import gymnasium as gym

import triton_gym
from triton_gym import Case
from triton_gym.evaluation.fingerprint import remembered_fingerprint, task_fingerprint

TASK = triton_gym.load("sum_rows")

# -- the task's part of the key ---------------------------------------------------------------------

FINGERPRINT = """
import dataclasses, triton_gym
from triton_gym.evaluation.fingerprint import task_fingerprint
names = {"b", "a", "c", "zeta", "eta"}
factor = 2.0
def make():
    scale = {"deep": [factor]}
    def reference(x):
        return x.sum(dim=1) * scale["deep"][0] if "a" in {"a", "b", "q"} or names else None
    return reference
task = dataclasses.replace(triton_gym.load("sum_rows"), reference=make())
print(task_fingerprint(triton_gym.load("softmax")), task_fingerprint(task))
"""


def test_a_task_has_one_fingerprint_in_every_process(tmp_path):
    script = tmp_path / "named_otherwise.py"
    script.write_text("\n\n" + FINGERPRINT)
    found = {
        subprocess.run(
            [sys.executable, *arguments], capture_output=True, text=True, check=True,
            env={**os.environ, "PYTHONHASHSEED": seed},
        ).stdout
        for arguments, seed in ((["-c", FINGERPRINT], "1"), ([str(script)], "77"))
    }  # fmt: skip
    assert len(found) == 1


def test_fingerprints_of_tasks_that_judge_differently_differ():
    factor = 1

    def close_over(value):
        return lambda x: x.sum(dim=1) * value

    def reads_global(x):
        return x.sum(dim=1) * GLOBAL

    def with_default(x, k=1):
        return x.sum(dim=1) * k * factor

    def with_other_default(x, k=2):
        return x.sum(dim=1) * k * factor

    tasks = [
        TASK,
        dataclasses.replace(TASK, version=1),
        dataclasses.replace(TASK, reference=lambda x: x.sum(dim=1)),
        dataclasses.replace(TASK, reference=lambda x: x.sum(dim=0)),
        dataclasses.replace(TASK, reference=close_over(1.0)),
        dataclasses.replace(TASK, reference=close_over(2.0)),
        dataclasses.replace(TASK, reference=close_over([{2.0: "x"}])),
        dataclasses.replace(TASK, reference=with_default),
        dataclasses.replace(TASK, reference=with_other_default),
        dataclasses.replace(TASK, reference=reads_global),
        dataclasses.replace(TASK, reference=Callable(1)),
        dataclasses.replace(TASK, reference=Callable(2)),
        dataclasses.replace(TASK, bench=(Case("float32", {"rows": 8, "cols": 8}),)),
    ]
    found = [task_fingerprint(task) for task in tasks]
    assert len(set(found)) == len(tasks)
    global GLOBAL
    GLOBAL = 4
    assert task_fingerprint(tasks[9]) != found[9]
    GLOBAL = 3
    assert task_fingerprint(tasks[9]) == found[9]
    assert task_fingerprint(dataclasses.replace(TASK, statement="", starter="")) == found[0]


GLOBAL = 3


class Callable:
    def __init__(self, factor):
        self.factor = factor
        self.me = self  # a circle

    def __call__(self, x):
        return x.sum(dim=1) * self.factor


def composed(seed):
    env = gym.make("TritonKernel-composed-v0", device="simulated")
    env.reset(seed=seed)
    return env.unwrapped.task


def test_composed_tasks_have_fingerprints_of_their_own():
    found = [task_fingerprint(composed(seed)) for seed in range(20)]
    assert found == [task_fingerprint(composed(seed)) for seed in range(20)]
    graphs = {repr(composed(seed).reference) for seed in range(20)}
    assert len(set(found)) == len(graphs)


LOCK = threading.Lock()


def test_what_a_task_holds_need_not_be_picklable():
    def under_lock(x):
        with LOCK:
            return x.sum(dim=1)

    def opened(x, file=sys.stdout):
        return x.sum(dim=1) if file else x

    for reference in (under_lock, opened):
        task = dataclasses.replace(TASK, reference=reference)
        assert task_fingerprint(task) == task_fingerprint(task)


def test_what_is_remembered_of_a_task_is_of_that_task():
    for version in range(100):  # more than are kept, so that their ids come again
        task = dataclasses.replace(TASK, version=version)
        assert (
            remembered_fingerprint(task) == remembered_fingerprint(task) == task_fingerprint(task)
        )
