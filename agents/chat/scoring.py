"""Scoring a model on tasks: n tries at each, of one turn or several, evaluated in parallel."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from triton_gym.errors import InvalidOptionError
from triton_gym.prompt import next_turn, opening

from ..protocol import Environment
from ..scoring import Attempt, scores
from .models import ChatModel

Watch = Callable[[int, int], None]
"""Is shown how many replies were evaluated, and of how many at most."""


@dataclass(slots=True)
class _Try:
    env: Environment
    task: str
    messages: list[dict[str, str]]
    best: Attempt
    over: bool = False


def score(
    model: ChatModel,
    make: Callable[[str], Environment],
    tasks: Sequence[tuple[str, int]],
    *,
    tries: int,
    turns: int = 1,
    seed: int = 0,
    workers: int = 8,
    watch: Watch | None = None,
) -> dict[str, Any]:
    """Scores of a model: see `triton_gym.agents.scoring.scores`.

    Args:
        model: where replies come from.
        make: makes an environment of an id.
        tasks: ids and the seeds of their resets.
        tries: conversations about each task.
        turns: replies of each; the one with the highest reward counts.
        seed: of the replies.
        workers: environments that step at the same time.
        watch: see `Watch`.

    Raises:
        InvalidOptionError: there is nothing to score.
        RunError: the model's endpoint failed.
    """
    if not tasks or tries < 1 or turns < 1:
        raise InvalidOptionError(
            f"Scoring needs tasks, tries and turns; got {len(tasks)}, {tries} and {turns}."
        )
    conversations = [_begin(make, name, reset) for name, reset in tasks for _ in range(tries)]
    total, done = len(conversations) * turns, 0
    try:
        with ThreadPoolExecutor(workers) as pool:
            for turn in range(turns):
                going = [c for c in conversations if not c.over]
                replies = model.reply([c.messages for c in going], seed + turn * len(conversations))
                pairs = list(zip(going, replies, strict=True))
                for _ in pool.map(lambda pair: _take(*pair), pairs):
                    done += 1
                    if watch:
                        watch(done, total)
    finally:
        for conversation in conversations:
            conversation.env.close()
    ks = [k for k in (1, 2, 4, 8, 16, 32, 64, 128) if k <= tries]
    return scores([c.best for c in conversations], ks)


def _begin(make: Callable[[str], Environment], name: str, seed: int) -> _Try:
    env = make(name)
    observation, info = env.reset(seed=seed)
    task = str(info.get("task", name))
    label = f"{task}@{seed}" if "composed" in name else task
    return _Try(env, label, opening(observation), Attempt(label, "", math.nan, -math.inf))


def _take(conversation: _Try, reply: str) -> None:
    """One turn of a conversation."""
    observation, reward, terminated, truncated, info = conversation.env.step(reply)
    if float(reward) > conversation.best.reward:
        conversation.best = Attempt(
            conversation.task, str(info["status"]), float(info["speedup"]), float(reward)
        )
    conversation.messages += [
        {"role": "assistant", "content": reply},
        {"role": "user", "content": next_turn(observation)},
    ]
    conversation.over = terminated or truncated
