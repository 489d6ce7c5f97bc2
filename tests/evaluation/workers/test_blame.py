"""What is the machine's fault is not the answer's, and the other way round."""

from __future__ import annotations

import os
import threading
import time

import pytest

import triton_gym
from triton_gym.evaluation.workers.worker_pool import WorkerLost


class Flaky:
    """A judge whose fork servers die a number of times."""

    def __new__(cls, *errors):
        from triton_gym.evaluation.judging.judge import Judge
        from triton_gym.outcome import Outcome, Status

        class Fake(Judge):
            def __init__(self):
                super().__init__()
                self.alone = []

            def _judge(self, request, phases):
                self.alone.append(bool(self._turns._lonely))
                if errors[len(self.alone) - 1 :]:
                    raise errors[len(self.alone) - 1]
                return Outcome(status=Status.CORRECT, message="ok")

            def _finish(self, outcome, seconds, phases):
                return outcome

            def close(self): ...

        return Fake()


def request_of(name="softmax"):
    from triton_gym.evaluation.judging.judge import Request

    task = triton_gym.load(name)
    return Request(task=task, source=task.starter)


def test_a_fork_server_that_dies_once_is_nobodys_fault():
    judge = Flaky(WorkerLost("x"))
    assert judge.evaluate(request_of()).correct
    assert judge.alone == [False, False]


def test_a_fork_server_that_dies_alone_with_an_answer_is_its_fault(monkeypatch):
    from triton_gym.errors import MachineError
    from triton_gym.evaluation.judging import judge as judging
    from triton_gym.evaluation.judging.judge import TRIES

    with pytest.raises(MachineError, match="cannot have done"):
        Flaky(*[WorkerLost("x")] * TRIES).evaluate(request_of())
    monkeypatch.setattr(judging, "available", frozenset)  # it was free to do it
    judge = Flaky(*[WorkerLost("x")] * TRIES)
    outcome = judge.evaluate(request_of())
    assert outcome.status == "runtime_error"
    assert judge.alone == [False] * (TRIES - 1) + [True]


def test_a_machine_without_room_is_not_the_answers_fault():
    from triton_gym.evaluation.workers.fork_server_client import ForkServerExhausted

    judge = Flaky(ForkServerExhausted("no memory"))
    with pytest.raises(ForkServerExhausted):
        judge.evaluate(request_of())
    assert len(judge.alone) == 1


def test_a_fork_that_fails_is_reported_and_survived(monkeypatch):
    from triton_gym.evaluation.workers.fork_server import ForkServer

    def full():
        raise OSError(11, "Resource temporarily unavailable")

    server = ForkServer(None, None, None)
    monkeypatch.setattr(os, "fork", full)
    fd = os.open(os.devnull, os.O_RDONLY)
    assert "unavailable" in server.do_fork(8, 1 << 30, (fd,))["error"]
    with pytest.raises(OSError, match="Bad file"):
        os.fstat(fd)  # it is not leaked


def test_alone_means_alone():
    from triton_gym.evaluation.judging.judge import Turns

    turns, inside, most = Turns(), [], []
    lock = threading.Lock()

    def run(alone):
        with turns(alone=alone):
            with lock:
                inside.append(alone)
                most.append(list(inside))
            time.sleep(0.01)
            with lock:
                inside.remove(alone)

    threads = [threading.Thread(target=run, args=(i % 3 == 0,)) for i in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert len(most) == 12
    assert all(len(together) == 1 for together in most if True in together)
