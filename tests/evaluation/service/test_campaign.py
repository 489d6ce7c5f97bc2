"""Programs that share a store while all about them fails: a short run of the fault campaign."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[3] / "benchmarks" / "campaign.py"


def may_mount() -> bool:
    """Whether this machine lets us have a small disk of our own, to fill it."""
    if shutil.which("unshare") is None:
        return False
    command = ["unshare", "-rm", "sh", "-c", "mount -t tmpfs none /mnt"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


@pytest.mark.timeout(280)
def test_no_fault_of_the_machine_is_an_answers():
    disk = ["--disk", "128m"] if may_mount() else []
    done = subprocess.run(
        [sys.executable, SCRIPT, "--device", "simulated", "--count", "6", "--workers", "1",
         "--pace", "0.7", "--seconds", "2", *disk],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
