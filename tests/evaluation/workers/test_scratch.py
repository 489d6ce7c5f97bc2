from __future__ import annotations

import contextlib
import os
import threading
import time
from pathlib import Path

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
