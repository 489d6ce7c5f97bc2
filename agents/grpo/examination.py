"""Examining a policy: episodes on given tasks, scored."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..scoring import Attempt, scores
from .episodes import Episode, Place, Stage


def examine(
    stage: Stage, places: Sequence[Place], tries: int, *, seed: int, ks: Sequence[int] = (1,)
) -> tuple[dict[str, Any], list[Episode]]:
    """Scores of the stage's policy, and the episodes they come from.

    An episode of several turns counts with its best reply, as `best_of`.

    Args:
        stage: with the sampler and the environments.
        places: the tasks.
        tries: episodes at each.
        seed: of the sampling.
        ks: for correct@k.
    """
    episodes = stage.play(places, tries, [seed, 1])
    attempts = [best_of(episode) for episode in episodes]
    found = scores(attempts, ks)
    turns = max((len(e.turns) for e in episodes), default=0)
    if turns > 1:
        found["by_turn"] = [
            scores([best_of(e, turn + 1) for e in episodes], ks)["total"] for turn in range(turns)
        ]
    return found, episodes


def best_of(episode: Episode, turns: int | None = None) -> Attempt:
    """The reply with the highest reward among an episode's first ones.

    Tasks are told apart by name and seed, since a name of a drawn task may come twice.
    """
    best = max(episode.turns[:turns], key=lambda turn: turn.reward)
    return Attempt(
        task=f"{episode.task}@{episode.place.seed}",
        status=str(best.info.get("status", "")),
        speedup=float(best.info.get("speedup", float("nan"))),
        reward=best.reward,
    )
