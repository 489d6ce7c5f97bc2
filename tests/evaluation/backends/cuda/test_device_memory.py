"""Evaluations that find no memory on a GPU because others have it."""

from __future__ import annotations

import threading

import pytest
import torch

from triton_gym.evaluation.backends.cuda.device_memory import DeviceMemory
from triton_gym.evaluation.backends.cuda.stage import NoMemory
from triton_gym.evaluation.judging.sharing import GpuLock

GIB = 1 << 30


class Gpu:
    """A device of so many GiB, of which judges keep some, and evaluations hold some."""

    def __init__(self, path, total: int) -> None:
        self.total, self.held, self.path = total, 0, path
        self._lock = threading.Lock()

    def memory(self) -> DeviceMemory:
        return DeviceMemory(
            GpuLock(self.path), lambda: None, lambda: (self.total - self.held) * GIB
        )

    def evaluate(self, needs: int, begun: threading.Barrier | None = None):
        """An evaluation: takes memory, meets others, gives it back."""

        def run() -> str:
            with self._lock:
                if self.held + needs > self.total:
                    raise NoMemory("CUDA out of memory", allowed=True)
                self.held += needs
            try:
                if begun is not None:
                    begun.wait(5)
            finally:
                with self._lock:
                    self.held -= needs
            return "correct"

        return run


def test_who_found_too_little_beside_others_is_evaluated_without_them(tmp_path):
    gpu = Gpu(tmp_path / "gpu", 10)
    found = []
    inside = threading.Event()

    def first():
        with gpu.memory().shared():
            gpu.held += 6
            inside.set()
            waited.wait(5)
            gpu.held -= 6

    waited = threading.Event()
    other = threading.Thread(target=first)
    other.start()
    inside.wait(5)
    mine = threading.Thread(target=lambda: found.append(gpu.memory().use(gpu.evaluate(6), 5 * GIB)))
    mine.start()
    mine.join(0.2)
    assert not found  # it waits for the other one
    waited.set()
    for thread in (mine, other):
        thread.join(5)
    assert found == ["correct"]


def test_other_programs_memory_is_no_answers_fault(tmp_path):
    gpu = Gpu(tmp_path / "gpu", 10)
    gpu.held = 7  # by a program that is none of ours
    with pytest.raises(torch.OutOfMemoryError, match="other programs"):
        gpu.memory().use(gpu.evaluate(4), 5 * GIB)


def test_who_allocates_too_much_is_told(tmp_path):
    gpu = Gpu(tmp_path / "gpu", 10)
    with pytest.raises(NoMemory):
        gpu.memory().use(gpu.evaluate(11), 5 * GIB)
