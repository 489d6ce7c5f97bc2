"""The service keeps its promises when processes die."""

from __future__ import annotations

import concurrent.futures
import copy
import gc
import itertools
import os
import pickle
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

import triton_gym
from triton_gym import Evaluator, EvaluatorError, InvalidOptionError, InvalidTaskError, Limits
from triton_gym.evaluation.service import transport

TASK = triton_gym.load("sum_rows")
ENDLESS = TASK.starter.replace(
    "    total = 0.0\n", "    total = 0.0\n    while tl.load(x_ptr) < 1e30:\n        total += 1.0\n"
)


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


@pytest.fixture
def leftovers(tmp_path, monkeypatch):
    """What lies in a folder of its own for temporary files: other programs use the usual one."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return lambda: sorted(p.name for p in tmp_path.iterdir())


def test_killed_fork_servers_are_replaced_and_closing_leaves_no_process_and_no_file(leftovers):
    evaluator = Evaluator("simulated")
    others = set(children(os.getpid()))
    assert evaluator.evaluate(TASK, TASK.starter).correct
    judge = judge_beside(others)
    for server in children(judge):
        os.kill(server, signal.SIGKILL)
    time.sleep(0.2)
    assert evaluator.evaluate(TASK, TASK.expert).correct
    family = [judge, *descendants(judge)]
    assert TASK.starter != ENDLESS
    pending = evaluator.submit(TASK, ENDLESS)
    time.sleep(0.4)  # it is under way
    evaluator.close()
    with pytest.raises(EvaluatorError, match="closed"):
        pending.result(10)
    assert gone(family)
    assert not leftovers()


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


def test_a_fork_server_killed_at_its_start_leaves_no_file(monkeypatch, tmp_path):
    from triton_gym.evaluation.workers.fork_server_client import ForkServerClient

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))  # as in a judge
    server = ForkServerClient("compile")
    environment = Path(f"/proc/{server._process.pid}/environ")
    while b"TMPDIR=" not in environment.read_bytes():
        time.sleep(0.01)  # it has not been started yet
    assert f"TMPDIR={tmp_path}\0".encode() in environment.read_bytes()
    server._process.kill()
    server.close()


def test_a_judge_killed_among_several_loses_and_doubles_nothing():
    with Evaluator(devices=["simulated", "simulated"], workers=1) as evaluator:
        before = set(children(os.getpid()))
        told = []
        futures = [evaluator.submit(TASK, TASK.starter + f"# {i}\n", seed=i) for i in range(8)]
        for future in futures:
            future.add_done_callback(lambda f: told.append(f.id))
        while sum(f.done() for f in futures) < 2:
            time.sleep(0.05)
        judges = sorted(set(children(os.getpid())) - before)
        assert len(judges) == 2
        below = descendants(judges[0])
        os.kill(judges[0], signal.SIGKILL)
        assert [f.result(120).status for f in futures] == ["correct"] * 8
        assert gone(below)
        assert sorted(told) == [f.id for f in futures]
        progress = evaluator.progress()
        assert progress.done == 8
        assert sum(judge.deaths for judge in progress.judges) == 1
        assert progress.redone >= 1


def test_outcomes_come_in_order_or_as_they_finish(evaluator):
    sources = [TASK.starter, "not python (", TASK.starter + "\n# again\n", "import os"]
    seen = []
    outcomes = list(evaluator.map(TASK, sources, seeds=[1, 2], progress=seen.append))
    assert [str(o.status) for o in outcomes] == ["correct", "invalid_action", "correct", "rejected"]
    assert len(seen) == 4
    futures = {evaluator.submit(TASK, source): index for index, source in enumerate(sources)}
    finished = {futures[f]: f.result().status for f in concurrent.futures.as_completed(futures)}
    assert [str(finished[i]) for i in range(4)] == [str(o.status) for o in outcomes]


def test_an_interpreter_that_just_ends_leaves_nothing_behind(leftovers):
    script = (
        "import sys, triton_gym\n"
        "from triton_gym import Evaluator\n"
        "task = triton_gym.load('sum_rows')\n"
        "evaluator = Evaluator('simulated', workers=1)\n"
        "futures = [evaluator.submit(task, task.starter, seed=i) for i in range(20)]\n"
        "futures[0].result()\n"
        "print('up', flush=True)\n"
        "sys.stdin.readline()\n"
    )
    program = subprocess.Popen(
        [sys.executable, "-W", "error", "-c", script],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        assert program.stdout.readline() == b"up\n"
        family = descendants(program.pid)
        assert len(family) >= 3
        _, told = program.communicate(b"\n", timeout=60)
    finally:
        program.kill()
    assert (program.returncode, told) == (0, b"")
    assert gone(family)
    assert not leftovers()


def test_a_killed_program_leaves_nothing_behind(leftovers):
    script = (
        "import triton_gym\n"
        "from triton_gym import Evaluator\n"
        "task = triton_gym.load('sum_rows')\n"
        "evaluator = Evaluator('simulated', workers=1)\n"
        "evaluator.evaluate(task, task.starter)\n"
        "print('up', flush=True)\n"
        "for f in [evaluator.submit(task, task.starter) for i in range(20)]: f.result()\n"
    )
    program = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
    try:
        assert program.stdout.readline() == b"up\n"
        family = descendants(program.pid)
        assert len(family) >= 3
    finally:
        program.kill()
        program.wait()
        program.stdout.close()
    assert gone(family)
    assert not leftovers()


def test_map_keeps_to_its_bound_and_an_evaluator_that_is_forgotten_ends_its_processes():
    taken = []

    def endless():
        for index in itertools.count():
            taken.append(index)
            yield "import os"

    evaluator = Evaluator("simulated", workers=1, pending=3)
    others = set(children(os.getpid()))
    outcomes = evaluator.map(TASK, endless())
    assert [next(outcomes).status for _ in range(5)] == ["rejected"] * 5
    outcomes.close()
    assert len(taken) <= 5 + 3
    assert evaluator.progress().waiting == 0
    judge = judge_beside(others)
    family = [judge, *descendants(judge)]
    del evaluator, outcomes
    gc.collect()
    assert gone(family)


def test_a_closed_evaluator_says_so():
    evaluator = Evaluator("simulated")
    evaluator.close()
    with pytest.raises(EvaluatorError, match="closed"):
        evaluator.submit(TASK, TASK.starter)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"devices": ["simulated:h100", "simulated:h200"]}, "one kind"),
        ({"workers": 0}, "workers"),
        ({"pending": 0}, "pending"),
        ({"device": "cuda:every"}, "cuda:every"),
    ],
)
def test_an_evaluator_that_cannot_be_is_refused(options, told):
    with pytest.raises(InvalidOptionError, match=told):
        Evaluator(**{"device": "simulated", **options})


def test_a_judge_that_hangs_is_replaced_whether_it_is_silent_or_stopped(monkeypatch):
    monkeypatch.setattr(transport, "_LOOK_S", 0.1)
    with Evaluator("simulated", workers=1) as evaluator:
        others = set(children(os.getpid()))
        assert evaluator.evaluate(TASK, TASK.starter).correct
        for deaths, (looks, patience_s) in enumerate([(10**9, 0.5), (4, 600.0)], start=1):
            judge = judge_beside(others)
            os.kill(judge, signal.SIGSTOP)
            monkeypatch.setattr(transport, "STOPPED_LOOKS", looks)
            # Only this judge's patience ends soon: the next one has time to start.
            monkeypatch.setattr(evaluator._scheduler._slots[0].transport, "_patience_s", patience_s)
            future = evaluator.submit(TASK, TASK.expert, limits=Limits(seconds=0.04), seed=deaths)
            # Whatever it had no time for: to compile, or to run.
            assert future.result(120).status in {"correct", "timeout", "compile_error"}
            assert gone([judge])
            assert evaluator.progress().judges[0].deaths == deaths


def test_many_workers_of_a_simulated_device_are_spread_over_judges():
    with Evaluator("simulated", workers=13) as evaluator:
        assert len(evaluator.progress().judges) == 3
    with Evaluator("simulated", workers=6) as evaluator:
        assert len(evaluator.progress().judges) == 1


@pytest.mark.gpu
def test_every_gpu_is_used_and_a_seen_answer_is_not_evaluated_again(tmp_path):
    import torch

    count = torch.cuda.device_count()
    with Evaluator("cuda:all", workers=2, store=tmp_path / "outcomes.db") as evaluator:
        sources = [TASK.starter + f"# {index}\n" for index in range(8 * count)]
        assert {o.status for o in evaluator.map(TASK, sources)} == {"correct"}
        judges = evaluator.progress().judges
        assert len(judges) == count
        # The first judges that are up may have done it all by then.
        for turn in range(20):
            if all(judge.done for judge in judges):
                break
            list(evaluator.map(TASK, [f"{source}# {turn}\n" for source in sources]))
            judges = evaluator.progress().judges
        assert all(judge.done for judge in judges)
        assert torch.cuda.get_device_name(0) in evaluator.hardware()
        again = evaluator.evaluate(TASK, sources[0])
        assert (again.time_source, again.status) == ("recorded", "correct")


@pytest.mark.gpu
def test_a_gpus_judge_that_is_killed_is_replaced():
    with Evaluator("cuda", workers=2) as evaluator:
        others = set(children(os.getpid()))
        futures = [evaluator.submit(TASK, TASK.starter + f"# {i}\n") for i in range(6)]
        judge = judge_beside(others)
        concurrent.futures.wait(futures, 120, concurrent.futures.FIRST_COMPLETED)
        below = descendants(judge)
        os.kill(judge, signal.SIGKILL)
        assert [f.result(200).status for f in futures] == ["correct"] * 6
        assert gone(below)
