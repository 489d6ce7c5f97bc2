"""A machine that lacks something is not taken for a bad answer."""

from __future__ import annotations

import errno
import os
import tempfile
from pathlib import Path

import pytest

from triton_gym.errors import MachineError
from triton_gym.evaluation.judging import judge as judging
from triton_gym.evaluation.judging.judge import Judge, Request
from triton_gym.evaluation.workers import room
from triton_gym.evaluation.workers.scratch import Scratch
from triton_gym.evaluation.workers.session import Ended
from triton_gym.outcome import Outcome, Status
from triton_gym.registration import load


def full(*_, **__):
    raise OSError(errno.ENOSPC, "No space left on device")


class Once(Judge):
    """A judge whose evaluations end as they are told to."""

    def __init__(self, *ends):
        super().__init__()
        self.ends = list(ends)

    def _judge(self, request, phases):
        end = self.ends.pop(0)
        if isinstance(end, BaseException):
            raise end
        return end

    def _finish(self, outcome, seconds, phases):
        return outcome

    def close(self): ...


@pytest.fixture
def request_():
    task = load("sum_rows")
    return Request(task=task, source=task.starter)


def test_a_full_disk_is_told_before_anything_runs(monkeypatch, request_):
    monkeypatch.setattr(os, "posix_fallocate", full)
    judge = Once(Outcome(status=Status.CORRECT))
    with pytest.raises(MachineError, match="TMPDIR"):
        judge.evaluate(request_)
    assert judge.ends, "nothing ran"


def test_a_disk_that_fills_meanwhile_blames_nobody(monkeypatch, request_):
    def fails(self, request, phases):
        monkeypatch.setattr(os, "posix_fallocate", full)
        raise Ended(Status.COMPILE_ERROR, "ptxas fatal")

    monkeypatch.setattr(Once, "_judge", fails)
    with pytest.raises(MachineError, match="No space left"):
        Once().evaluate(request_)


def test_a_folder_that_cannot_be_made_is_the_machines_doing(monkeypatch, request_):
    with pytest.raises(MachineError, match="No space left"):
        Once(OSError(errno.ENOSPC, "No space left on device")).evaluate(request_)


def test_a_folder_that_there_is_no_room_for_is_not_left(monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(OSError, match="No space left"):
        Scratch("x = 1")
    assert not list(tmp_path.iterdir())


def test_what_the_machine_may_have_done_is_tried_again(request_):
    killed = Ended(Status.RUNTIME_ERROR, "SIGKILL", again=True)
    judge = Once(killed, Outcome(status=Status.CORRECT))
    assert judge.evaluate(request_).correct
    stubborn = Once(*[killed] * (judging.KILLS + 1))
    assert stubborn.evaluate(request_).status is Status.RUNTIME_ERROR
    assert not stubborn.ends
    own = Once(Ended(Status.RUNTIME_ERROR, "SIGSEGV"), Outcome(status=Status.CORRECT))
    assert own.evaluate(request_).status is Status.RUNTIME_ERROR


def test_a_lack_is_found_among_causes():
    error = ValueError("compiling failed")
    error.__cause__ = RuntimeError("ptxas")
    error.__cause__.__context__ = OSError(errno.ENOSPC, "No space left on device")
    assert room.lacks_room(error)
    assert not room.lacks_room(FileNotFoundError(errno.ENOENT, "no such file"))
    room.check_room()
