"""Runs ptxas with a time limit, which Triton does not give it."""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any
from unittest import mock


@contextlib.contextmanager
def limited(seconds: float) -> Iterator[None]:
    """Give ptxas a time limit, which Triton does not."""
    from triton.backends.nvidia import compiler
    from triton.runtime.errors import PTXASError

    def run(command: Any, **options: Any) -> Any:
        try:
            return _run(command, seconds, **options)
        except subprocess.TimeoutExpired:
            raise PTXASError(
                f"ptxas took more than {seconds:g} s, as it does when a tile is far too large "
                "for the registers. Reduce the block sizes or raise num_warps."
            ) from None

    shim = SimpleNamespace(**{**vars(subprocess), "run": run})
    with mock.patch.object(compiler, "subprocess", shim):
        yield


def _run(command: Any, seconds: float, *, check: bool = False, **options: Any) -> Any:
    """`subprocess.run` with a limit that sees at once that the process has ended.

    Python looks for that from time to time, up to a twentieth of a second late. The process holds
    the one end of a pipe, whose other end hangs up.
    """
    if options.keys() - {"close_fds", "stdin", "stdout", "stderr"}:
        return subprocess.run(command, timeout=seconds, check=check, **options)
    ours, theirs = os.pipe()
    try:
        os.set_inheritable(theirs, True)
        try:
            process = subprocess.Popen(command, **{**options, "close_fds": False})
        finally:
            os.close(theirs)
        with process:
            waiting = select.poll()
            waiting.register(ours, select.POLLIN)
            try:
                if not waiting.poll(seconds * 1e3):
                    raise subprocess.TimeoutExpired(command, seconds)
                code = process.wait(seconds)
            except BaseException:
                process.kill()
                raise
    finally:
        os.close(ours)
    if check and code:
        raise subprocess.CalledProcessError(code, command)
    return subprocess.CompletedProcess(command, code)
