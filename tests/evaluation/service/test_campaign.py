"""Programs that share a store while all about them fails: a short run of the fault campaign."""

from __future__ import annotations

import os
import shutil
import signal
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


@pytest.mark.timeout(290)
def test_no_fault_of_the_machine_is_an_answers():
    disk = ["--disk", "128m"] if may_mount() else []
    command = [
        sys.executable, SCRIPT, "--device", "simulated", "--count", "8", "--workers", "1",
        "--pace", "6", "--seconds", "2", *disk,
    ]  # fmt: skip
    running = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )
    try:
        told, _ = running.communicate(timeout=270)
    finally:
        if running.poll() is None:
            os.killpg(running.pid, signal.SIGKILL)  # its programs too
    assert running.returncode == 0, told[-4000:]
