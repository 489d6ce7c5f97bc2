"""A device that is shared is entered for a task that is new, and for no other."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch

import triton_gym
from triton_gym.errors import InvalidTaskError
from triton_gym.evaluation import admission
from triton_gym.evaluation.admission import Admissions


@pytest.mark.parametrize("refused", [False, True])
def test_the_device_is_entered_once_a_task(monkeypatch: pytest.MonkeyPatch, refused: bool) -> None:
    entered: list[str] = []

    @contextmanager
    def using() -> Iterator[None]:
        entered.append("in")
        yield
        entered.append("out")

    def admit(task: object, device: object) -> None:
        entered.append("admit")
        if refused:
            raise InvalidTaskError("no")

    monkeypatch.setattr(admission, "admit", admit)
    admissions, task = Admissions(), triton_gym.load("softmax")
    for _ in range(2):
        if refused:
            with pytest.raises(InvalidTaskError, match="no"):
                admissions.hold(task, torch.device("cpu"), using)
        else:
            admissions.hold(task, torch.device("cpu"), using)
    assert entered == ["in", "admit", "out"]
