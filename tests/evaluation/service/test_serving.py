"""The judge's process, where the machine lacks something."""

from __future__ import annotations

import errno
import time

import pytest
import torch

from triton_gym.device import Device
from triton_gym.errors import MachineError
from triton_gym.evaluation.backends.cuda import backend
from triton_gym.evaluation.service import serving, transport
from triton_gym.evaluation.service.transport import Work
from triton_gym.evaluation.workers import worker_pool
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


def test_a_judge_whose_folder_was_cleared_away_gives_up_and_blames_nobody(monkeypatch, tmp_path):
    """Systems clear folders for temporary files; no evaluation of that judge would end well."""
    import cloudpickle

    class Judge:
        def evaluate(self, request):
            raise FileNotFoundError(f"{tmp_path / 'gone'}/answer.py")

    sent = []

    class Connection:
        send = staticmethod(sent.append)

    def leave(code):
        raise SystemExit(code)

    monkeypatch.setattr(serving.tempfile, "tempdir", str(tmp_path / "gone"))
    monkeypatch.setattr(serving.os, "_exit", leave)
    server = serving.Server(Connection(), backend.CudaBackend(), Judge(), 1)
    with pytest.raises(SystemExit):
        server._work(7, Work(cloudpickle.dumps("task"), "", None, "eager", Limits()))
    assert sent == [("unusable", "its folder for temporary files is gone")]


@pytest.mark.parametrize("times", [1, 4, 5])
def test_a_judge_is_launched_when_the_machine_has_what_it_lacked(monkeypatch, times):
    """Without a descriptor to spare, folders for temporary files are said not to exist."""
    lacks = OSError(errno.EMFILE, "Too many open files")
    lacking = iter([FileNotFoundError("No usable temporary directory"), *[lacks] * times][-times:])

    def launch(self):
        if error := next(lacking, None):
            raise error
        return "connection"

    monkeypatch.setattr(transport, "PAUSES_S", (0.0,) * 4)
    monkeypatch.setattr(transport.ProcessTransport, "_launch", launch)
    made = transport.ProcessTransport(Device("simulated", "h100"), 1)
    if times <= len(transport.PAUSES_S):
        assert made._launched() == "connection"
    else:
        with pytest.raises(MachineError, match="Too many open files: a process may have"):
            made._launched()


def test_workers_are_forked_ahead_again_when_there_are_descriptors(monkeypatch):
    lacking = iter([OSError(errno.EMFILE, "Too many open files")] * 2)

    class Server:
        alive = True

    def fork(limits):
        if error := next(lacking, None):
            raise error
        return Server(), 7, None

    monkeypatch.setattr(worker_pool, "PAUSES_S", (0.01,))
    spares = worker_pool.Spares(fork)
    spares.keep(1)
    deadline = time.monotonic() + 20
    while (found := spares.take(Limits())) is None and time.monotonic() < deadline:
        time.sleep(0.01)
    assert found is not None
    spares._there.clear()
    spares.close()
