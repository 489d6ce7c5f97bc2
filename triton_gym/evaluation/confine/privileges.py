"""What a process can do for being who it is, and who it dies with."""

from __future__ import annotations

import ctypes
import os
import signal
from pathlib import Path

from triton_gym.evaluation.confine.kernel import capset, prctl

_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_PR_SET_CHILD_SUBREAPER = 36
_PR_SET_NO_NEW_PRIVS = 38
_PR_GET_NO_NEW_PRIVS = 39
_CAPABILITY_VERSION_3 = 0x20080522
OOM_FIRST = 1000
"""The largest `oom_score_adj`: chosen before every process of the system."""


def hide() -> None:
    """Let no process of this user read, trace or debug this one: its memory holds the answers."""
    prctl(_PR_SET_DUMPABLE, 0)


def adopt_orphans() -> None:
    """Become the parent of descendants whose own parent ends, so that none is out of reach."""
    prctl(_PR_SET_CHILD_SUBREAPER, 1)


def die_with(parent: int) -> None:
    """End when the parent does. Ends at once if that has happened.

    Linux means the parent's thread, not its process: only fork where that thread stays.
    """
    prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def die_first() -> None:
    """Be what the system ends when its memory runs out, before the processes that judge.

    The file belongs to root while the process is hidden, so it shows itself for a moment.
    """
    prctl(_PR_SET_DUMPABLE, 1)
    try:
        Path("/proc/self/oom_score_adj").write_text(str(OOM_FIRST), encoding="utf-8")
    except OSError:  # no /proc: there is no order to take part in
        pass
    finally:
        prctl(_PR_SET_DUMPABLE, 0)


def no_new_privileges() -> None:
    """Set-uid programs and file capabilities give nothing any more. Landlock asks for it."""
    prctl(_PR_SET_NO_NEW_PRIVS, 1)


def knows_no_new_privileges() -> bool:
    """Whether the kernel has that switch."""
    try:
        return prctl(_PR_GET_NO_NEW_PRIVS) >= 0
    except OSError:
        return False


def drop_capabilities() -> None:
    """What root may do beyond its files; without new privileges no program brings it back.

    Raises:
        OSError: the kernel refused.
    """
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    capset(header, (ctypes.c_uint32 * 6)())
