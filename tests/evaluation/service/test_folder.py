"""Folders of judges go, whoever dies first."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from triton_gym.evaluation.service import folder
from triton_gym.evaluation.workers.scratch import remove_returned


@pytest.fixture(autouse=True)
def temporary(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_what_nobody_holds_is_removed_and_nothing_else(temporary):
    held, lock = folder.make()
    inherited, passed = folder.make()
    judge = subprocess.Popen(
        [sys.executable, "-c", "input()"], stdin=subprocess.PIPE, pass_fds=(passed,)
    )
    os.close(passed)
    abandoned, left = folder.make()
    os.close(left)
    being_made = Path(tempfile.mkdtemp(prefix=folder.PREFIX))
    Path(temporary, "triton-gym-file").touch()
    folder.sweep()
    assert not os.path.exists(abandoned)
    assert all(map(os.path.exists, (held, inherited, being_made, temporary / "triton-gym-file")))
    judge.kill()
    judge.communicate()
    os.close(lock)
    folder.sweep()
    assert not any(map(os.path.exists, (held, inherited)))


def test_a_folder_that_cannot_be_made_whole_is_not_left(temporary, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "rename", full)
    with pytest.raises(OSError, match="No space"):
        folder.make()
    assert os.listdir(temporary) == []


def test_a_folder_that_came_back_after_its_judge_goes_again(temporary):
    held, lock = folder.make()
    others = temporary / "others"
    os.makedirs(others / "cache")
    back = temporary / f"{folder.PREFIX}back"
    os.makedirs(back / "cache")
    for one in (held, others, back):
        remove_returned(str(one))
    assert [os.path.exists(one) for one in (held, others, back)] == [True, True, False]
    os.close(lock)
