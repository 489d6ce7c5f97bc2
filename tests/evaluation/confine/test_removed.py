"""With any one mechanism missing, all the others still hold: none leans on another."""

from __future__ import annotations

import os
import platform
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from probing import HEAD, HERE
from test_confinement import FORBIDDEN, ROOT
from test_layers import alone

from triton_gym.evaluation.confine.layers import ALL, Layer
from triton_gym.evaluation.confine.syscalls import ARCHITECTURES, NUMBERS
from triton_gym.evaluation.workers.scratch import Scratch

REMOVED = {
    "capabilities": {Layer.CAPABILITIES},
    "files": {Layer.FILES},
    "network": {Layer.TCP, Layer.PEERS, Layer.SOCKETS},
    "signals": {Layer.SIGNALS},
    "system calls": {Layer.PROCESSES, Layer.KERNEL, Layer.METADATA, Layer.SOCKETS},
    "Landlock": {Layer.FILES, Layer.TCP, Layer.PEERS, Layer.SIGNALS},
}
"""What `doctor` tells apart, and one of the two mechanisms that it rests on."""


@pytest.mark.parametrize("removed", REMOVED)
def test_what_is_left_holds(removed, tmp_path):
    held = (ALL & HERE) - REMOVED[removed]
    attempts = {
        f"{layer}: {name}": attempt for layer in held for name, attempt in
        FORBIDDEN.get(layer, {}).items()
    }  # fmt: skip
    column = ARCHITECTURES[platform.machine()][0]
    kept = tmp_path.parent / f"kept by the user, {removed}"
    kept.write_text("kept")
    folder = tmp_path / "answer"
    folder.mkdir()
    with Scratch("other") as other:
        files = {
            "judge": str(os.getpid()), "cwd": os.getcwd(), "other": other.path, "kept": str(kept),
            "expert": str(ROOT / "envs/core/softmax/expert.py"),
            "audit": str(ROOT / "triton_gym/audit"),
        }  # fmt: skip
        for name, text in files.items():
            (folder / name).write_text(text)
        lines = [
            f"os.chdir({str(folder)!r})", HEAD,
            f"SYS = { {name: both[column] for name, both in NUMBERS.items()} }",
            *(f"found[{key!r}] = told(lambda: {attempt})" for key, attempt in attempts.items()),
        ]  # fmt: skip
        found = alone(held, folder, "\n".join(lines))
    went_through = {key: number for key, number in found.items() if number not in (1, 13, 18)}
    assert went_through == {}
    assert len(found) == len(attempts) > 20
    assert kept.read_text() == "kept"
