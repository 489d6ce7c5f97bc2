"""A GPU that several searches time kernels on: each has it alone for a while."""

from __future__ import annotations

import contextlib
import time

import torch

from triton_gym.evaluation.judging.sharing import gpu_lock

TURN_S = 0.5
"""Longest that pairs keep judges and other searches off the GPU at a time."""


class Turn:
    """The GPU alone, among judges and searches of this user, for `TURN_S` at a time.

    Without it the pairs of one search would be timed beside the kernels of another.
    """

    def __init__(self, device: torch.device) -> None:
        self._lock = gpu_lock(device) if device.type == "cuda" else None
        self._held, self._since = contextlib.ExitStack(), 0.0
        self._has = False

    def take(self) -> None:
        """Have the GPU for the next measurement; a turn that lasted long enough ends first."""
        if self._lock is None:
            return
        if self._has and time.monotonic() - self._since > TURN_S:
            self.end()
        if not self._has:
            self._held.enter_context(self._lock(alone=True))
            self._has, self._since = True, time.monotonic()

    def end(self) -> None:
        """Let others have it."""
        self._has = False
        self._held.close()

    def __enter__(self) -> Turn:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()
