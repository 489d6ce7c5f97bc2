"""A process with all that it started: who they are, what they use, and their end."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Usage:
    """What a process uses, with all of its descendants."""

    processes: int
    """Processes and threads."""
    host_bytes: int
    """Memory of their own that is in use: neither files nor what they share with a fork server."""


def children(pid: int) -> list[int]:
    """Process ids of the children of a process, the ended ones included."""
    found: list[int] = []
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{thread}/children", encoding="utf-8") as file:
                found += map(int, file.read().split())
    except FileNotFoundError:
        if not os.path.exists(f"/proc/self/task/{os.getpid()}/children"):
            return _children_by_search(pid)  # a kernel without CONFIG_PROC_CHILDREN
    except OSError:
        pass  # it has just ended
    return found


def descendants(pid: int) -> Iterator[int]:
    """Process ids of children, their children, and so on."""
    for child in children(pid):
        yield child
        yield from descendants(child)


def usage(pid: int, inherited_bytes: int) -> Usage:
    """What a worker and its descendants use now.

    Args:
        pid: the worker.
        inherited_bytes: memory that every fork shares with the fork server until it writes to it.
    """
    processes = used = 0
    for member in (pid, *descendants(pid)):
        fields = _status(member)
        processes += fields.get("Threads", 0)
        own = 1024 * (fields.get("RssAnon", 0) + fields.get("RssShmem", 0))
        used += max(0, own - inherited_bytes)
    return Usage(processes, used)


def memory_bytes() -> int:
    """Memory of this process that a fork shares until it writes to it."""
    return 1024 * _status(os.getpid()).get("RssAnon", 0)


def kill_group(leader: int) -> None:
    """Kill a worker with its process group, which nothing in it can leave.

    The leader must not have been reaped by then: its number could be another's.
    """
    for end in (os.killpg, os.kill):  # before its setsid a worker has no group of its own
        with contextlib.suppress(ProcessLookupError, PermissionError):
            end(leader, signal.SIGKILL)


def kill_orphans(groups: set[int], seconds: float) -> None:
    """End what a dead fork server left to this process, its nearest living ancestor that adopts.

    Args:
        groups: process groups of the fork server's workers.
        seconds: how long to wait for their end.
    """
    deadline = time.monotonic() + seconds
    while True:
        orphans = [pid for pid in children(os.getpid()) if _group(pid) in groups]
        for pid in orphans:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, os.WNOHANG)
        if not orphans or time.monotonic() > deadline:
            return
        time.sleep(0.005)


def _group(pid: int) -> int:
    try:
        return os.getpgid(pid)
    except ProcessLookupError:
        return 0


def _status(pid: int) -> dict[str, int]:
    """Numbers from /proc/<pid>/status, in its units; none if the process has ended."""
    try:
        lines = (
            Path(f"/proc/{pid}/status").read_text(encoding="utf-8", errors="replace").splitlines()
        )
    except OSError:
        return {}
    wanted = ("Threads:", "RssAnon:", "RssShmem:")
    return {line.split(":")[0]: int(line.split()[1]) for line in lines if line.startswith(wanted)}


def _children_by_search(pid: int) -> list[int]:
    found = []
    for entry in filter(str.isdigit, os.listdir("/proc")):
        try:
            fields = (
                Path(f"/proc/{entry}/stat")
                .read_text(encoding="utf-8", errors="replace")
                .rsplit(")", 1)[1]
            )
        except OSError:
            continue
        if int(fields.split()[1]) == pid:
            found.append(int(entry))
    return found
