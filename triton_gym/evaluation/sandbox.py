"""What a worker gives up before it sees an answer.

Applied in the worker itself, right after the fork: nothing here can be undone by the code that
runs later without rights that the worker no longer has.
"""

from __future__ import annotations

import ctypes
import gc
import os
import resource
import signal
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_PR_SET_NO_NEW_PRIVS = 38


@dataclass(frozen=True, slots=True)
class Limits:
    """What one evaluation may use."""

    seconds: float = 60.0
    """Wall time of the whole evaluation."""
    host_bytes: int = 8 << 30
    """Memory that a worker may allocate on the host."""
    device_bytes: int = 0
    """Memory that a worker may allocate on the GPU; 0 for what the judge leaves free."""
    file_bytes: int = 256 << 20
    """Largest file that a worker may write."""
    processes: int = 256
    """Threads and processes of the worker's user."""


def detach(keep: int) -> None:
    """Leave the parent's session, files and output; die when the parent dies.

    Args:
        keep: the one descriptor that stays open.
    """
    os.setsid()
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() == 1:  # the parent died before the line above
        os._exit(1)
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    null = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(null, standard)
    os.closerange(3, keep)
    os.closerange(keep + 1, 4096)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115
    sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115


def restrict(folder: str, limits: Limits) -> None:
    """Bound what the process can use, and make `folder` its only place to write.

    Raises:
        OSError: a limit could not be set.
    """
    os.chdir(folder)
    os.environ["HOME"] = os.environ["TMPDIR"] = folder
    tempfile.tempdir = folder
    os.environ["TRITON_CACHE_DIR"] = str(Path(folder, "cache"))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (limits.file_bytes, limits.file_bytes))
    # RLIMIT_AS would count the address space that CUDA merely reserves.
    used = _data_bytes()
    bound = used + limits.host_bytes
    resource.setrlimit(resource.RLIMIT_DATA, (bound, bound))
    seconds = int(limits.seconds) + 5
    resource.setrlimit(resource.RLIMIT_CPU, (seconds * 4, seconds * 4))
    gc.collect()
    gc.disable()


def _data_bytes() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmData:"):
            return int(line.split()[1]) * 1024
    return 0
