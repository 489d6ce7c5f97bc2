"""Input sets, and the memory of those that could not be drawn."""

from __future__ import annotations

import dataclasses
import weakref

import pytest
import torch

import triton_gym
from triton_gym import Case
from triton_gym.evaluation.backends.cuda.blocks import BlockPool
from triton_gym.evaluation.backends.cuda.inputs import InputPool, draw_set, fill

CASE = Case("float32", {"rows": 64, "cols": 512})


class Drawn:
    """A set that knows whether somebody uses it."""

    def __init__(self, number: int, nbytes: int = 1) -> None:
        self.users, self.kept, self.number, self.nbytes = 1, False, number, nbytes

    def release(self) -> None:
        self.users -= 1

    def drop(self) -> None:
        self.kept = False


def running_out(after: int, made: list[Drawn]):
    """Draws so many sets, then finds no memory."""

    def draw() -> Drawn:
        if len(made) == after:
            raise torch.OutOfMemoryError("CUDA out of memory")
        made.append(Drawn(len(made)))
        return made[-1]

    return draw


def test_sets_are_in_use_only_if_all_could_be_drawn():
    made: list[Drawn] = []
    with pytest.raises(torch.OutOfMemoryError):
        fill([], 4, running_out(3, made))
    assert [one.users for one in made] == [0, 0, 0]


@pytest.mark.parametrize("way", ["take", "share"])
def test_a_pool_s_sets_are_in_use_only_if_all_could_be_drawn(way):
    made: list[Drawn] = []
    pool = InputPool(1 << 20)
    pool.take("task", 2, set(), running_out(9, made))
    for one in made:
        one.release()
    with pytest.raises(torch.OutOfMemoryError):
        getattr(pool, way)("task", 9, {made[0].number}, running_out(5, made))
    assert [one.users for one in made] == [0] * 5


def test_what_an_evaluation_has_seen_is_not_kept_alive():
    pool, seen = InputPool(capacity=10), set()
    (first,) = pool.take("task", 1, seen, lambda: Drawn(1, nbytes=6))  # too large to be kept
    first.release()
    gone = weakref.ref(first)
    del first
    assert gone() is None
    (second,) = pool.take("task", 1, seen, lambda: Drawn(2, nbytes=6))
    assert seen == {1, 2}
    assert second.number == 2


@pytest.mark.gpu
def test_inputs_that_could_not_be_drawn_leave_no_memory_behind():
    def reference(x):
        raise torch.OutOfMemoryError("CUDA out of memory")

    device = torch.device("cuda", 0)
    softmax = triton_gym.load("softmax")
    blocks = BlockPool(device, lambda numbers: None, spare_bytes=0)
    draw_set(softmax, CASE, 0, device, blocks).release()
    before = torch.cuda.mem_get_info(device)[0]
    for seed in range(3):
        with pytest.raises(torch.OutOfMemoryError):
            draw_set(dataclasses.replace(softmax, reference=reference), CASE, seed, device, blocks)
    torch.cuda.empty_cache()
    assert torch.cuda.mem_get_info(device)[0] >= before
