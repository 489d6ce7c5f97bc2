"""The memory of a GPU, which evaluations share: one that found too little has it for itself."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TypeVar

import torch

from triton_gym.evaluation.backends.cuda.stage import NoMemory
from triton_gym.evaluation.judging.sharing import GpuLock

Made = TypeVar("Made")


class DeviceMemory:
    """How evaluations of all judges of a GPU share its memory.

    Args:
        lock: of the memory, the same for all judges.
        let_go: gives back what this judge keeps between evaluations.
        free_bytes: says how much memory nobody has.
    """

    def __init__(
        self, lock: GpuLock, let_go: Callable[[], None], free_bytes: Callable[[], int]
    ) -> None:
        self._lock, self._let_go, self._free_bytes = lock, let_go, free_bytes

    def shared(self) -> AbstractContextManager[None]:
        """Evaluate beside others."""
        return self._lock(alone=False)

    def use(self, evaluate: Callable[[], Made], promised_bytes: int) -> Made:
        """Evaluate beside others, and where memory is short, once more without them.

        Args:
            evaluate: does it.
            promised_bytes: what an answer may allocate.

        Raises:
            NoMemory: the answer allocates too much.
            torch.OutOfMemoryError: other programs have the memory, or the task is too large for it.
        """
        try:
            with self.shared():
                return evaluate()
        except (torch.OutOfMemoryError, NoMemory):
            self._let_go()
        with self._lock(alone=True):
            self._let_go()
            free = self._free_bytes()
            try:
                return evaluate()
            except NoMemory as end:
                if end.allowed and free < promised_bytes:
                    raise torch.OutOfMemoryError(
                        f"{free >> 20} MiB of the GPU's memory are left, where an answer may "
                        f"allocate {promised_bytes >> 20} MiB: other programs have the rest"
                    ) from end
                raise
