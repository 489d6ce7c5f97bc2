"""The judge's process, where memory of the device is short."""

from __future__ import annotations

import pytest
import torch

from triton_gym.evaluation.backends.cuda import backend
from triton_gym.evaluation.service import serving
from triton_gym.evaluation.service.transport import Work
from triton_gym.evaluation.workers.sandbox import Limits


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(serving, "PAUSE_S", 0.01)
    monkeypatch.setattr(backend, "PAUSE_S", 0.01)


def failing(times):
    """Finds no memory so many times."""
    left = iter([torch.OutOfMemoryError("CUDA out of memory")] * times)

    def make(*_):
        if error := next(left, None):
            raise error
        return "judge"

    return make


def test_a_judge_waits_for_memory_that_others_give_back():
    assert backend.patiently(failing(3)) == "judge"


def test_but_not_for_ever(monkeypatch):
    monkeypatch.setattr(backend, "MEMORY_S", 0.1)
    with pytest.raises(torch.OutOfMemoryError):
        backend.patiently(failing(1000))


def test_an_evaluation_that_found_no_memory_is_done_again():
    class Judge:
        evaluate = staticmethod(failing(1))

    sent = []

    class Connection:
        send = staticmethod(sent.append)

    import cloudpickle

    server = serving.Server(Connection(), backend.CudaBackend(), Judge(), 1)
    work = Work(cloudpickle.dumps("task"), "", None, "eager", Limits())
    server._work(7, work)
    server._work(7, work)
    (kind, number, why), answered = sent
    assert (kind, number) == ("again", 7)
    assert "out of memory" in why
    assert answered == ("answered", 7, "judge")
