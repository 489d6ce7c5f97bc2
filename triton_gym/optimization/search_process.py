"""The process of a search, as the program that is served holds it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from triton_gym.optimization.spec import search_path

SWITCH = "TRITON_GYM_OPTIMIZE"
"""Environment variable: `off` leaves every function as it is, in this process and those below."""
OFF = ("0", "off", "false", "no")
ALONE = {"TORCHINDUCTOR_COMPILE_THREADS": "1"}
"""Environment of a search, unless the user says otherwise: where a kernel is held against
`torch.compile`, that compiles by itself. Its pool has a process for each processor, which import
PyTorch for as long as a few kernels take, and compete with the program."""


class SearchProcess:
    """Starts a search and listens to it.

    The thread that listens sleeps until the search says something. The search ends when this
    process does, and nothing happens here when it dies, except that its end is told.

    Args:
        folder: the run folder, with a spec.
        device: of the user's tensors, e.g. `cuda:0`.
        on: a GPU for the search, e.g. `cuda:1`; it takes the place of `device` there.
        heard: called with each event, in a thread that is not the caller's.
    """

    def __init__(
        self, folder: Path, device: str, on: str, heard: Callable[[Mapping[str, Any]], None]
    ) -> None:
        self.folder, self._heard = folder, heard
        environment = {**ALONE, **os.environ, SWITCH: "off", **exchanged(device, on, os.environ)}
        environment["PYTHONPATH"] = os.pathsep.join(search_path())
        with (folder / "search.log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "triton_gym.optimization.begin", str(folder)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, env=environment,
                start_new_session=True,
            )  # fmt: skip
        self._listener = threading.Thread(
            target=self._listen, name="triton-gym-search", daemon=True
        )
        self._listener.start()

    @property
    def pid(self) -> int:
        """Of the search."""
        return self._process.pid

    def ask_to_end(self) -> None:
        """Have the search end soon; returns at once."""
        if self._process.stdin is not None:
            with contextlib.suppress(OSError):
                self._process.stdin.close()

    def stop(self, seconds: float = 3.0) -> None:
        """End the search and all that it started; what it has found stays in its folder.

        Args:
            seconds: after which it is killed, if it has not ended by itself.
        """
        self.ask_to_end()
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)  # it leads a group of its own
            self._process.wait()

    def wait(self, seconds: float | None = None) -> bool:
        """Wait until the search has ended and all it said was heard; whether it was in time."""
        self._listener.join(seconds)
        return not self._listener.is_alive()

    def _listen(self) -> None:
        ended = False
        for line in self._process.stdout or ():
            try:
                event = json.loads(line)
            except ValueError:
                continue
            ended = ended or event.get("event") in ("finished", "refused", "failed")
            self._heard(event)
        code = self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        if not ended:
            self._heard({"event": "died", "reason": f"the process ended with {code}; see "
                         f"{self.folder / 'search.log'}"})  # fmt: skip


def exchanged(device: str, on: str, environment: Mapping[str, str]) -> dict[str, str]:
    """`CUDA_VISIBLE_DEVICES` under which the GPU `on` is called `device`; nothing if it is so.

    A search works on tensors as the user's, so its GPU has to have the name of theirs.
    """
    wanted, _, here = device.partition(":")
    kind, _, there = on.partition(":")
    if wanted != "cuda" or kind != "cuda" or not there.isdigit() or not here.isdigit():
        return {}
    i, j = int(here), int(there)
    if i == j:
        return {}
    seen = environment.get("CUDA_VISIBLE_DEVICES", "")
    names = [one.strip() for one in seen.split(",") if one.strip()]
    if not names:
        names = [str(index) for index in range(max(i, j) + 1)]
    if max(i, j) >= len(names):
        return {}
    names[i], names[j] = names[j], names[i]
    return {"CUDA_VISIBLE_DEVICES": ",".join(names)}
