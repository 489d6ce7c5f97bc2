"""What a problem's file may do to the process that loads it: nothing that outlasts the loading."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any, NoReturn

import torch

_LOADING = threading.RLock()
"""Problems are loaded one at a time: what is put in the place of `os._exit` is the process's."""

AGAIN_S = 1.0
"""Seconds after which what ended a load in vain does so again."""


class TooLongError(BaseException):
    """Loading takes too long. No `Exception`, which a file may catch."""


@contextlib.contextmanager
def held(seconds: float) -> Iterator[None]:
    """Run a problem's loader so that the process, and what is loaded next, are as before.

    `os._exit` raises `SystemExit`, and `os.fork` `PermissionError`, since the child would go on as
    a second caller, and files run several times; other programs may be started. What is
    printed goes to the standard error, since results are printed to the standard output; nothing is
    read from a terminal. The working folder, `sys.path`, and PyTorch's default dtype and device and
    whether it records gradients are as they were afterwards.

    Args:
        seconds: after so many by the clock `TooLongError` is raised. It is in the main thread
            alone; a timer of the caller's that ends sooner is left to end it, a later one goes on.
    """
    with _LOADING, _state(), _no_exit(), _ended(seconds):
        reading, sys.stdin = sys.stdin, io.StringIO()
        try:
            with contextlib.redirect_stdout(sys.stderr):
                yield
        finally:
            sys.stdin = reading


@contextlib.contextmanager
def _no_exit() -> Iterator[None]:
    leave, fork, thread = os._exit, os.fork, threading.get_ident()

    def left(status: int) -> NoReturn:
        if threading.get_ident() == thread:
            raise SystemExit(f"os._exit({status})")
        leave(status)

    def forked() -> int:
        if threading.get_ident() == thread:
            raise PermissionError("a problem's file may not fork while it is loaded")
        return fork()

    os._exit, os.fork = left, forked
    try:
        yield
    finally:
        os._exit, os.fork = leave, fork


@contextlib.contextmanager
def _state() -> Iterator[None]:
    try:
        folder = os.getcwd()
    except FileNotFoundError:  # it was deleted, and nobody can come back
        folder = ""
    places, dtype, device = list(sys.path), torch.get_default_dtype(), torch.get_default_device()
    gradients = torch.is_grad_enabled()
    try:
        yield
    finally:
        if folder:
            with contextlib.suppress(OSError):
                os.chdir(folder)
        sys.path[:] = places
        torch.set_default_dtype(dtype)
        torch.set_grad_enabled(gradients)
        if torch.get_default_device() != device:
            torch.set_default_device(None if device.type == "cpu" else device)


@contextlib.contextmanager
def _ended(seconds: float) -> Iterator[None]:
    main = threading.current_thread() is threading.main_thread()
    left, every = signal.getitimer(signal.ITIMER_REAL)
    if not main or 0 < left <= seconds:
        yield
        return

    def late(*_: Any) -> NoReturn:
        raise TooLongError

    started = time.monotonic()
    before = signal.signal(signal.SIGALRM, late)
    # Again and again: where a finalizer or the file itself catches it, it is lost.
    signal.setitimer(signal.ITIMER_REAL, max(seconds, 1e-3), AGAIN_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        if left:  # the caller's own timer goes on
            rest = max(left - (time.monotonic() - started), 1e-3)
            signal.setitimer(signal.ITIMER_REAL, rest, every)
