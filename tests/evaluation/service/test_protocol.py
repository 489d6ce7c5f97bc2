"""Whatever stands where an evaluator is asked for: it can be asked the same."""

from __future__ import annotations

import copy
import inspect

import pytest

from triton_gym import Evaluator
from triton_gym.agents.grpo.judging import SharedEvaluator
from triton_gym.evaluation.service.cluster import RayEvaluator
from triton_gym.evaluation.service.protocol import (
    EvaluationOptions,
    EvaluatorLike,
    EvaluatorWrapper,
)
from triton_gym.outcome import Outcome, Status
from triton_gym.runs.recording import Playback

METHODS = [name for name in vars(EvaluatorLike) if not name.startswith("_")]


@pytest.mark.parametrize("kind", [Evaluator, RayEvaluator, SharedEvaluator, Playback])
def test_all_can_be_asked_the_same(kind):
    for name in ("submit", "evaluate", "describe", "close"):
        assert name in METHODS
        assert callable(getattr(kind, name))
    given = inspect.signature(kind.submit).parameters
    options = set(EvaluationOptions.__annotations__)
    assert options <= set(given) or "options" in given


def test_a_wrapper_asks_what_it_wraps(stub):
    stub.workers, stub.close = 3, lambda: stub.sources.append("closed")
    wrapped = EvaluatorWrapper(stub)
    assert (wrapped.device, wrapped.deterministic, wrapped.workers) == (stub.device, True, 3)
    assert wrapped.describe() == stub.describe()
    assert copy.deepcopy(wrapped) is wrapped
    wrapped.close()
    assert stub.sources == ["closed"]


def test_playback_repeats_once_and_then_asks(stub):
    playback = Playback(stub)
    recorded = Outcome(status=Status.TIMEOUT)
    for ask in (playback.evaluate, lambda *given: playback.submit(*given).result()):
        playback.next = recorded
        assert ask(None, "x = 1") is recorded
    assert playback.evaluate(None, "x = 1").correct
    assert stub.sources == ["x = 1"]
