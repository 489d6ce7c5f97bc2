"""Scoring a model on tasks: n tries at each, of one turn or several, evaluated in parallel."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from typing import Any

from triton_gym.errors import InvalidOptionError
from triton_gym.outcome import from_json, to_json
from triton_gym.prompt import next_turn, opening
from triton_gym.runs.recording import Playback

from ..protocol import Environment
from ..scoring import Attempt, scores
from .models import ChatModel, stream
from .replies import Recorded, Replies

Watch = Callable[[int, int], None]
"""Is shown how many replies were evaluated, and of how many at most."""
EMPTY = "empty_reply"
"""Status, in scores, of a try of which no reply held anything."""


@dataclass(slots=True)
class _Try:
    number: int
    env: Environment
    task: str
    messages: list[dict[str, str]]
    best: Attempt
    taken: int = 0
    """Replies so far."""
    empty: int = 0
    """Of them, those that held nothing."""
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
    replies: Replies | None = None,
) -> dict[str, Any]:
    """Scores of a model: see `triton_gym.agents.scoring.scores`.

    Beside them stands `replies`: how many there were, and how many of them were empty. Those count
    as wrong, and say more of the endpoint or of `longest` than of the model.

    Args:
        model: where replies come from.
        make: makes an environment of an id.
        tasks: ids and the seeds of their resets.
        tries: conversations about each task.
        turns: replies of each; the one with the highest reward counts.
        seed: of the replies.
        workers: environments that step at the same time.
        watch: see `Watch`.
        replies: where they are written as they come; those that it holds are not asked for again.

    Raises:
        InvalidOptionError: there is nothing to score.
        RunError: the model's endpoint failed, or the replies cannot be written.
    """
    if not tasks or tries < 1 or turns < 1:
        raise InvalidOptionError(
            f"Scoring needs tasks, tries and turns; got {len(tasks)}, {tries} and {turns}."
        )
    starts = [start for start in tasks for _ in range(tries)]
    scoring = _Scoring([_begin(make, n, *start) for n, start in enumerate(starts)], replies)
    pool = ThreadPoolExecutor(workers)
    try:
        for turn in range(turns):
            for _ in scoring.turn(model, turn, seed + turn * len(starts), pool):
                if watch:
                    watch(scoring.evaluated, len(starts) * turns)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)  # who interrupts it is not kept waiting
        for conversation in scoring.conversations:
            conversation.env.close()
    ks = [k for k in (1, 2, 4, 8, 16, 32, 64, 128) if k <= tries]
    return {
        **scores([c.best for c in scoring.conversations], ks),
        "replies": {
            "made": sum(c.taken for c in scoring.conversations),
            "empty": sum(c.empty for c in scoring.conversations),
        },
    }


class _Scoring:
    """All conversations of a scoring, a turn at a time."""

    def __init__(self, conversations: list[_Try], replies: Replies | None) -> None:
        self.conversations = conversations
        self.evaluated = 0
        self._replies = replies

    def turn(
        self, model: ChatModel, turn: int, seed: int, pool: ThreadPoolExecutor
    ) -> Iterator[None]:
        """Take one turn of every conversation that goes on; yields after each."""
        going = [c for c in self.conversations if not c.over and c.taken == turn]
        started: dict[Future[Mapping[str, Any]], _Try] = {}
        asked = []
        for conversation in going:
            known = self._known(conversation)
            if known is None:
                asked.append(conversation)
            else:
                started[pool.submit(_take, conversation, known)] = conversation
        messages = [c.messages for c in asked]
        for index, text in stream(model, messages, [seed + c.number for c in asked]):
            conversation = asked[index]
            if self._replies:
                self._replies.reply(conversation.number, text)
            started[pool.submit(_take, conversation, Recorded(text))] = conversation
            for done in [future for future in started if future.done()]:
                self._settle(started.pop(done), done.result())
                yield
        for done in as_completed(started):
            self._settle(started[done], done.result())
            yield

    def _known(self, conversation: _Try) -> Recorded | None:
        recorded = self._replies.known.get(conversation.number, []) if self._replies else []
        return recorded[conversation.taken] if conversation.taken < len(recorded) else None

    def _settle(self, conversation: _Try, result: Mapping[str, Any]) -> None:
        known = self._known(conversation)
        if self._replies and (known is None or known.result is None):
            self._replies.result(conversation.number, result)
        conversation.taken += 1
        self.evaluated += 1
        if float(result["reward"]) > conversation.best.reward:
            speedup = math.nan if result["speedup"] is None else float(result["speedup"])
            conversation.best = Attempt(
                conversation.task, str(result["status"]), speedup, float(result["reward"])
            )


def _begin(make: Callable[[str], Environment], number: int, name: str, seed: int) -> _Try:
    env = make(name)
    observation, info = env.reset(seed=seed)
    task = str(info.get("task", name))
    label = f"{task}@{seed}" if "composed" in name else task
    return _Try(number, env, label, opening(observation), Attempt(label, "", math.nan, -math.inf))


def _take(conversation: _Try, reply: Recorded) -> Mapping[str, Any]:
    """One turn of a conversation: what became of a reply, or what had become of it before."""
    env: Any = conversation.env.unwrapped
    outcome = (reply.result or {}).get("outcome")
    evaluator = getattr(env, "evaluator", None)
    if outcome is not None and evaluator is not None:  # do not evaluate it again
        env.evaluator = Playback(evaluator)
        env.evaluator.next = from_json(outcome)
    try:
        observation, reward, terminated, truncated, info = conversation.env.step(reply.text)
    finally:
        if evaluator is not None:
            env.evaluator = evaluator
    empty = not reply.text.strip()
    conversation.empty += empty
    conversation.messages += [
        {"role": "assistant", "content": reply.text},
        {"role": "user", "content": next_turn(observation)},
    ]
    conversation.over = bool(terminated or truncated)
    if reply.result is not None:
        return reply.result
    speedup = float(info["speedup"])
    found = getattr(env, "outcome", None)
    return {
        "task": conversation.task,
        "status": EMPTY if empty else str(info["status"]),
        "speedup": speedup if math.isfinite(speedup) else None,
        "reward": float(reward),
        "outcome": None if found is None else to_json(found),
    }
