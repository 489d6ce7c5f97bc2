"""Every example runs."""

from __future__ import annotations

import importlib.util
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

import triton_gym

EXAMPLES = sorted((Path(__file__).parent.parent / "examples").glob("*.py"))
OF_THEIR_OWN = {"live_service", "quickstart"}
"""Those that run in a process of their own, as a user's do: one that searches, and one of the
others, which end alike. The rest share this process's evaluator."""


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
@pytest.mark.usefixtures("registry")
def test_example(path, opening, monkeypatch, capsys):
    if "sb3" in path.stem and importlib.util.find_spec("stable_baselines3") is None:
        pytest.skip("needs the extra sb3")
    arguments = [str(path), "--smoke", "--device", "simulated"]
    if path.stem in OF_THEIR_OWN:
        done = subprocess.run(
            [sys.executable, "-W", "error::DeprecationWarning:__main__", *arguments],
            capture_output=True, text=True, timeout=240,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        told = done.stdout
    else:
        monkeypatch.setattr(sys, "argv", arguments)
        monkeypatch.setattr(triton_gym, "Evaluator", opening)
        runpy.run_path(str(path), run_name="__main__")
        told = capsys.readouterr().out
    assert told.strip()
    assert "nan" not in told, told
