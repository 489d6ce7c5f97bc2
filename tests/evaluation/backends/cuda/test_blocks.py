"""Which memory of a device is kept between evaluations; without a device."""

from __future__ import annotations

import random
from typing import Any

import pytest
import torch

from triton_gym.evaluation.backends.cuda import blocks
from triton_gym.evaluation.backends.cuda.blocks import BlockPool, spare_bytes_of
from triton_gym.evaluation.backends.cuda.orders import Memory

MIB = 1 << 20


class Piece:
    """Memory that is nowhere."""

    made: list[Piece]
    live = 0

    def __init__(self, number: int, nbytes: int, device: object) -> None:
        self.memory, self.nbytes = Memory(number, nbytes), nbytes
        Piece.made.append(self)
        Piece.live += nbytes

    def release(self) -> None:
        Piece.live -= self.nbytes


@pytest.fixture
def pool(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(blocks, "Block", Piece)
    Piece.made, Piece.live = [], 0
    told: list[int] = []
    found = BlockPool(torch.device("cuda", 0), told.extend, spare_bytes=1000 * MIB)
    return found, told


def test_what_every_evaluation_takes_is_not_made_again_for_sizes_that_vary(pool: Any) -> None:
    found, told = pool
    rng = random.Random(0)
    for turn in range(60):
        if turn == 20:
            before = len(Piece.made)
        timed = [found.take(64 * MIB) for _ in range(8)]
        hidden = [found.take(rng.randrange(1, 60) * MIB) for _ in range(4)]
        for block in (*hidden, *timed):
            found.give_back(block)
    late = Piece.made[before:]
    assert not [block for block in late if block.nbytes == 64 * MIB]
    assert late  # there is too little room for all sizes
    assert len(told) == len(set(told)) > 0
    assert Piece.live <= 1000 * MIB


def test_all_that_is_spare_can_be_given_back(pool: Any) -> None:
    found, told = pool
    for block in [found.take(MIB), found.take(9 * MIB)]:
        found.give_back(block)
    found.trim(0)
    assert Piece.live == 0
    assert sorted(told) == [0, 1]


def test_judges_share_what_is_kept_of_a_device() -> None:
    assert spare_bytes_of(24 << 30, 1) == 3 << 30
    assert 3 * spare_bytes_of(140 << 30, 3) <= (140 << 30) // 8
    assert spare_bytes_of(1 << 40, 1) == 8 << 30
