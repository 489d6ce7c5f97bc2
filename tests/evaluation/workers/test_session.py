"""One worker from the judge's side."""

from __future__ import annotations

import os
import signal
import time
import types
from pathlib import Path

import pytest

from triton_gym.errors import MachineError
from triton_gym.evaluation.exchange.channel import ChannelTimeout
from triton_gym.evaluation.workers import session
from triton_gym.evaluation.workers.sandbox import Limits
from triton_gym.evaluation.workers.scratch import Scratch
from triton_gym.evaluation.workers.session import Ended, Session
from triton_gym.evaluation.workers.worker_pool import WorkerPool


@pytest.fixture(scope="module")
def pool():
    opened = WorkerPool("lower")
    yield opened
    opened.close()


@pytest.mark.parametrize("yields", [False, True])
def test_who_only_compiles_lets_others_have_the_processors(pool, yields):
    with Scratch("") as scratch, Session(pool, Limits(), scratch, yields=yields) as worker:
        proc = Path("/proc", str(worker._pid))
        its, group = niceness(proc), proc / "autogroup"
        assert (its > niceness(Path("/proc/self"))) == yields
        if group.exists():  # where each session is scheduled as a group
            assert group.read_text().strip().endswith("nice 0") != yields


def test_a_worker_that_was_killed_before_it_saw_the_answer_is_replaced(pool, monkeypatch):
    killed = []
    fork = pool.fork

    def and_kill(limits):
        forked = fork(limits)
        if len(killed) < session.ENTRIES - 1:
            os.kill(forked[1], signal.SIGKILL)
            killed.append(forked[1])
        return forked

    monkeypatch.setattr(pool, "fork", and_kill)
    with Scratch("") as scratch, Session(pool, Limits(), scratch) as worker:
        assert worker.layers
        assert len(killed) == session.ENTRIES - 1
    killed.clear()
    monkeypatch.setattr(session, "ENTRIES", 1)
    killed_all = Session(pool, Limits(), Scratch(""))
    os.kill(killed_all._pid, signal.SIGKILL)
    with pytest.raises(MachineError, match="before they saw"):
        killed_all.__enter__()
    killed_all._scratch.__exit__()


def test_an_answer_is_not_charged_for_a_stop_of_its_judge(monkeypatch):
    class Stopped:
        """A channel to which nothing comes while the judge is stopped, three times."""

        stops = 3

        def receive(self, seconds):
            self.stops -= 1
            if self.stops < 0:
                return {"done": True}
            time.sleep(0.3)
            raise ChannelTimeout

    monkeypatch.setattr(session, "SPAN_S", 0.02)
    monkeypatch.setattr(session, "STALL_S", 0.05)
    one = Session.__new__(Session)
    one._left, one._channel, one._limits = 0.2, Stopped(), Limits(seconds=0.2)
    assert one.wait() == {"done": True}
    assert one._left == pytest.approx(0.2 - 3 * 0.02, abs=0.01)
    one._channel = types.SimpleNamespace(receive=silent)
    with pytest.raises(Ended, match=r"within 0\.2 s"):
        one.wait()


def silent(seconds):
    time.sleep(seconds)
    raise ChannelTimeout


def niceness(proc):
    return int((proc / "stat").read_text().rsplit(")", 1)[1].split()[16])


def test_an_answer_whose_interpreter_is_killed_has_another_try(monkeypatch):
    import triton_gym
    from triton_gym.evaluation.backends import backend_of, resolve
    from triton_gym.evaluation.backends.simulated.client import Interpreter
    from triton_gym.evaluation.judging.judge import Request

    execute, killed = Interpreter.execute, []

    def spoiled(self, *args):
        if not killed:
            killed.append(self._session._pid)
            os.kill(killed[0], signal.SIGKILL)
        return execute(self, *args)

    monkeypatch.setattr(Interpreter, "execute", spoiled)
    device, task = resolve("simulated"), triton_gym.load("softmax")
    judge = backend_of(device).open(device, 1)
    try:
        request = Request(task=task, source=task.starter, seed=1, limits=Limits(seconds=60))
        assert judge.evaluate(request).correct
    finally:
        judge.close()
    assert killed
