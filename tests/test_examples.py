"""Every example runs."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = sorted((Path(__file__).parent.parent / "examples").glob("*.py"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_example(path):
    if "sb3" in path.stem and importlib.util.find_spec("stable_baselines3") is None:
        pytest.skip("needs the extra sb3")
    done = subprocess.run(
        [sys.executable, "-W", "error::DeprecationWarning:__main__", path, "--smoke",
         "--device", "simulated"],
        capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
    assert "nan" not in done.stdout, done.stdout
