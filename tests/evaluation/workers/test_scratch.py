from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import threading
import time
from pathlib import Path

import pytest

from triton_gym.evaluation.workers import warm
from triton_gym.evaluation.workers.scratch import Scratch, remove


def test_a_folder_goes_though_somebody_writes_into_it(tmp_path):
    folder, until = tmp_path / "folder", time.monotonic() + 0.3
    folder.mkdir()

    def write():
        while time.monotonic() < until:
            with contextlib.suppress(OSError):
                (folder / "cache").mkdir(parents=True, exist_ok=True)

    writer = threading.Thread(target=write)
    writer.start()
    remove(str(folder))
    writer.join()
    remove(str(folder))
    assert not folder.exists()


def test_a_scratch_holds_the_answer_while_it_is_needed():
    with Scratch("x = 'é'\n") as scratch:
        assert Path(scratch.path).read_text(encoding="utf-8") == "x = 'é'\n"
    assert not os.path.exists(scratch.folder)


def test_a_fork_server_makes_nothing_anew_of_a_folder_that_went_with_its_judge(
    tmp_path, monkeypatch
):
    folder = tmp_path / "judge"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    monkeypatch.setenv("TRITON_DEFAULT_FP_FUSION", "1")
    monkeypatch.setenv("TRITON_CACHE_DIR", "the user's")
    compile_it = warm.precompile

    def judge_dies(*arguments):
        shutil.rmtree(folder)
        compile_it(*arguments)

    monkeypatch.setattr(warm, "precompile", judge_dies)
    with pytest.raises(FileNotFoundError):
        warm.warm_compiler()
    assert not folder.exists()
    assert os.environ["TRITON_CACHE_DIR"] == "the user's"
