"""Kernels compiled for new kinds of arguments, in a process of their own.

    python -m triton_gym.optimization.warming            # a request is JSON on the standard input

Triton compiles anew where an integer is or is not 1, or divisible by 16. Shapes that a search drew
are compiled already; a call of another kind is answered by the original, and its kind is compiled
here into Triton's cache on disk, where the next such call finds it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from triton_gym.optimization.binding import Verified
from triton_gym.optimization.search_process import SWITCH
from triton_gym.optimization.spec import search_path

MOST = 32
"""Kinds of calls that are compiled for, of one function."""


class Warming:
    """Has kernels compiled for the calls that found none."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._asked: set[str] = set()
        self._folder: Path | None = None
        self._compiled: Path | None = None

    def took(self, folder: Path, compiled: Path) -> None:
        """Note where kernels' files and code lie; a new kernel is compiled for nothing yet."""
        with self._lock:
            self._folder, self._compiled = folder, compiled
            self._asked.clear()

    def want(self, verified: Verified, arguments: tuple[Any, ...]) -> None:
        """Compile a kernel for arguments of the kind of these; returns at once."""
        from triton_gym.optimization.watcher import WATCHER

        layouts = [_layout(one) for one in arguments]
        told = json.dumps(layouts)
        with self._lock:
            if told in self._asked or len(self._asked) >= MOST or self._folder is None:
                return
            self._asked.add(told)
            folder, compiled = self._folder, self._compiled
        request = {
            "source": verified.source, "entry": verified.entry, "folder": str(folder),
            "compiled": str(compiled),
            "choices": {k: dict(v) for k, v in verified.choices.items()}, "arguments": layouts,
        }  # fmt: skip
        WATCHER.post(lambda: _start(request))


def _start(request: dict[str, Any]) -> None:
    environment = {**os.environ, SWITCH: "off", "PYTHONPATH": os.pathsep.join(search_path())}
    process = subprocess.Popen(
        [sys.executable, "-m", "triton_gym.optimization.warming"],
        stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        env=environment, start_new_session=True,
    )  # fmt: skip
    if process.stdin is not None:
        process.stdin.write(json.dumps(request).encode())
        process.stdin.close()
    threading.Thread(target=process.wait, daemon=True).start()  # so that it is no zombie


def _layout(value: Any) -> dict[str, Any]:
    return {
        "shape": list(value.shape), "stride": list(value.stride()), "device": str(value.device),
        "dtype": str(value.dtype).removeprefix("torch."),
        # Whether an address is divisible by 16 is part of a kernel's kind.
        "offset": value.data_ptr() % 16 // max(value.element_size(), 1),
    }  # fmt: skip


def _tensor(told: Mapping[str, Any]) -> torch.Tensor:
    from triton_gym.evaluation.sizes import span

    size = span(told["shape"], told["stride"]) + told["offset"]
    dtype = getattr(torch, told["dtype"])
    memory = torch.zeros(size, dtype=dtype, device=told["device"])
    return memory.as_strided(told["shape"], told["stride"], told["offset"])


def main() -> None:
    """Carry one request out."""
    from triton_gym.optimization.running import compiling, load

    if hasattr(os, "nice"):
        os.nice(10)
    request = json.load(sys.stdin)
    places = Path(request["folder"]), Path(request["compiled"])
    loaded = load(request["source"], request["entry"], *places)
    loaded.pin(request["choices"])
    with compiling(), torch.no_grad():
        loaded.call(*map(_tensor, request["arguments"]))


if __name__ == "__main__":
    main()
