"""Examining a policy: episodes on given tasks, scored."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ..scoring import Attempt, scores
from ..training.world import World
from .episodes import Episode, Place, Stage
from .places import HELD_OUT, draw_places
from .settings import HeldOutSettings

_SCORES = {
    "correct": "correct@1", "fast_1": "fast_1", "speedup": "mean_speedup", "reward": "mean_reward",
}  # fmt: skip
"""What a metric `held_out/…` is called among scores."""


def held_out(stage: Stage, held: HeldOutSettings, world: World) -> dict[str, float]:
    """Metrics `held_out/…` of the stage's policy, over the shares of all processes.

    The stage is closed.
    """
    try:
        places = draw_places(held.envs, held.tasks, HELD_OUT)
        mine = places[world.rank :: world.size]
        total = examine(stage, mine, held.tries, seed=0)[0]["total"]
    finally:
        stage.close()
        stage.sampler.release()
    gathered = world.gather(total)
    found = {}
    for short, name in _SCORES.items():
        known = [t[name]["value"] for t in gathered if t[name]["value"] is not None]
        found[f"held_out/{short}"] = sum(known) / len(known) if known else math.nan
    return found


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
