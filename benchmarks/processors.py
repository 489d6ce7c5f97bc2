"""Processor seconds of an evaluator's processes, by what they do.

An evaluation is mostly work of processors, in a dozen processes that live for less than a second:
the kernel counts what each used, and tells it of those that have ended by their parent.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path

_SERVING = b"triton_gym.evaluation.service.serving"
_FORKING = b"triton_gym.evaluation.workers.fork_server"


def processor_seconds() -> Counter[str]:
    """What this process and all that it started have used so far, in seconds.

    Returns:
        By role: `caller` is this process, `judge` those that judge, `fork <mode>` the processes
        that fork workers, and `<mode>` the workers: `record` calls answers, `lower` compiles
        (Triton and ptxas), `run` holds the GPU, `simulate` interprets kernels.
    """
    found: Counter[str] = Counter()
    _add(found, os.getpid(), "caller")
    return found


def _add(found: Counter[str], pid: int, role: str) -> None:
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        threads = [t for t in os.listdir(f"/proc/{pid}/task") if t != str(pid)]
        for thread in threads:
            children += Path(f"/proc/{pid}/task/{thread}/children").read_text().split()
    except OSError:  # it has ended: its parent counts it from now on
        return
    forks = ""
    if _SERVING in command:
        role = "judge"
    elif _FORKING in command and role == "judge":
        forks = str(json.loads(command[command.index(_FORKING) + 2])["mode"])
        role = f"fork {forks}"
    own, ended = (sum(map(int, fields[at : at + 2])) / _TICKS for at in (11, 13))
    found[role] += own
    found[forks or role] += ended
    for child in map(int, children):
        _add(found, child, forks or role)


_TICKS = os.sysconf("SC_CLK_TCK")
