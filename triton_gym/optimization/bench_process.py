"""The process of `trial`, as a search holds it: started when needed, and again if it dies."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from triton_gym.errors import TritonGymError

SECONDS = 300.0
"""Longest that a candidate may take: importing PyTorch and compiling included."""
PREPARE_S = 60.0
"""Longest that a candidate waits for `torch.compile`, which it is held against."""


class TrialEndedError(TritonGymError):
    """The search ended while a candidate was tried: nothing is known of it."""


class TrialProcess:
    """Tries candidates in a process of its own.

    Args:
        folder: the search's, which holds `trial.pkl`; see `trial.main`.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process: subprocess.Popen[str] | None = None
        self._unread = b""
        """What it said and nobody has read."""
        self._ready = self._ended = self._preparing = self._prepared = False
        self._compiles = True
        """Whether `torch.compile` is asked for a program to hold candidates against."""

    def start(self) -> None:
        """Have the process import what it needs; returns at once."""
        if self._ended or (self._process is not None and self._process.poll() is None):
            return
        self._end()
        with (self._folder / "trial.log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "triton_gym.optimization.trial", str(self._folder),
                 str(os.getpid())],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True,
            )  # fmt: skip

    def prepare(self) -> None:
        """Have the process do what its first candidate would wait for; returns at once.

        The function was traced by now.
        """
        self.start()
        if self._process is not None and not self._preparing:
            self._preparing = True
            with contextlib.suppress(OSError):  # the first candidate will say so
                request = {"compiles": self._compiles}
                print(json.dumps(request), file=self._process.stdin, flush=True)

    def try_candidate(self, request: dict[str, Any], seconds: float = SECONDS) -> dict[str, Any]:
        """What `trial.Bench.try_candidate` says; `died` is set if the process did not survive it.

        Raises:
            TrialEndedError: `close` was called meanwhile.
        """
        handed = False
        try:
            process = self._started(seconds)
            handed = True
            print(json.dumps(request), file=process.stdin, flush=True)
            reply = self._reply(process, seconds)
        except (OSError, ValueError) as error:
            reply = None
            why = f"{type(error).__name__}: {error}"
        else:
            why = "the process that tried it died or hung: the kernel faults, or is too slow"
        if self._ended:
            raise TrialEndedError("The search has ended.")
        if reply is None:
            self._end()
            return {"ok": False, "faster": False, "died": handed, "why": why}
        return reply

    def _started(self, seconds: float) -> subprocess.Popen[str]:
        self.start()
        process = self._process
        if process is None:
            raise OSError("it did not start")
        if not self._ready:
            if self._reply(process, seconds) is None:
                self._end()
                raise OSError(f"it did not start; see {self._folder / 'trial.log'}")
            self._ready = True
        if not self._prepared:
            self.prepare()
            limit = PREPARE_S if self._compiles else seconds
            if self._reply(process, limit) is None:  # no candidate is to blame
                self._end()
                if not self._compiles or self._ended:
                    raise OSError(f"it ended by itself; see {self._folder / 'trial.log'}")
                self._compiles = False
                return self._started(seconds)
            self._prepared = True
        return process

    def _reply(self, process: subprocess.Popen[str], seconds: float) -> dict[str, Any] | None:
        if process.stdout is None:
            return None
        until = time.monotonic() + seconds
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            while b"\n" not in self._unread:  # several may have come at once
                if not selector.select(max(0.0, until - time.monotonic())):
                    return None
                read = os.read(process.stdout.fileno(), 1 << 16)
                if not read:
                    return None
                self._unread += read
        line, _, self._unread = self._unread.partition(b"\n")
        found: dict[str, Any] | None = json.loads(line) if line.strip() else None
        return found

    def close(self) -> None:
        """End the process, for good."""
        self._ended = True
        self._end()

    def _end(self) -> None:
        process, self._process, self._unread = self._process, None, b""
        self._ready = self._preparing = self._prepared = False
        if process is None:
            return
        process.kill()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        process.wait()
