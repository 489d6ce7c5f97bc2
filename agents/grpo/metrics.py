"""Every number that a GRPO run writes down, and what it means."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from triton_gym.outcome import PHASES, Status

from .episodes import Episode

_STATUS = {f"share/{status}": f"Share of replies that ended `{status}`." for status in Status}
_PHASES = {f"evaluation/{phase}": f"Of it, the phase `{phase}`." for phase in PHASES}

GLOSSARY: Mapping[str, str] = MappingProxyType(
    {
        "reward": "Mean reward of a reply; see also `rollout.credit_unchanged`.",
        "return": "Mean over episodes of the first turn's discounted reward-to-go.",
        "correct": "Share of episodes with a correct reply.",
        "correct/best": "Share of tasks with a correct reply in at least one episode.",
        "fast_1": "Share of replies that are correct and faster than PyTorch.",
        "speedup": "Mean speedup over PyTorch of the correct replies that were timed.",
        **_STATUS,
        "share/unchanged": "Share of replies that left the kernel that they were shown as it was.",
        "reply/tokens": "Mean length of a reply.",
        "reply/cut": "Share of replies that ran into the limit instead of ending.",
        "episode/turns": "Mean number of replies of an episode.",
        "episode/cut": "Share of episodes that ended because the prompt grew too long.",
        "groups/varied": "Share of the sampled groups whose returns differ enough to teach.",
        "groups/used": "Groups that were trained on.",
        "samples": "Replies that were trained on.",
        "evaluations": "Answers that were evaluated; the same text in a task counts once.",
        "evaluation/total": "Mean wall time of an evaluation on a GPU, in seconds.",
        **_PHASES,
        "loss": "The objective; its size means little, since advantages have mean zero.",
        "entropy": "Mean entropy of the policy at the tokens it wrote, in nats.",
        "clip/low": "Share of tokens whose probability ratio was clipped from below.",
        "clip/high": "Share of tokens whose probability ratio was clipped from above.",
        "kl": "Mean divergence (k3) from the reference policy; 0 without `beta`.",
        "mismatch/kl": "Mean divergence (k3) of the sampler's from the trainer's probabilities.",
        "mismatch/weight": "Mean weight of a token after the correction for that mismatch.",
        "mismatch/dropped": "Share of tokens that the correction left out.",
        "gradient_norm": "Norm of the gradient before clipping; not finite if no step was taken.",
        "lr": "Learning rate.",
        "seconds/step": "Wall time of the step.",
        "seconds/sampling": "Of it, drawing replies; evaluations run beside it.",
        "seconds/waiting": "Of it, waiting for evaluations, to end or to release the GPU.",
        "seconds/training": "Of it, log-probabilities, gradients and the optimizer.",
        "share/waiting": "seconds/waiting over seconds/step.",
        "tokens/sampled": "Tokens sampled in the step, by all processes.",
        "tokens/second": "Those, over the seconds of the step.",
        "memory_gb": "Most device memory that PyTorch held, in 10⁹ bytes; 0 on a CPU.",
        "held_out/correct": "Share of held-out tasks that the policy solves in one try.",
        "held_out/fast_1": "Share of them that it solves faster than PyTorch.",
        "held_out/speedup": "Mean speedup of its correct replies to them.",
        "held_out/reward": "Mean reward on them.",
    }
)


def describe(episodes: Sequence[Episode]) -> dict[str, float]:
    """Metrics of a step's episodes."""
    turns = [turn for episode in episodes for turn in episode.turns]
    if not turns:
        return {}
    statuses = [str(turn.info.get("status", "")) for turn in turns]
    correct = [status == Status.CORRECT for status in statuses]
    speedups = [float(turn.info.get("speedup", math.nan)) for turn in turns]
    timed = [s for s, right in zip(speedups, correct, strict=True) if right and math.isfinite(s)]
    solved = [episode.has(Status.CORRECT) for episode in episodes]
    groups: dict[int, bool] = {}
    for episode, right in zip(episodes, solved, strict=True):
        groups[episode.group] = groups.get(episode.group, False) or right
    return {
        "reward": statistics.fmean(turn.reward for turn in turns),
        "correct": statistics.fmean(solved),
        "correct/best": statistics.fmean(groups.values()),
        "fast_1": sum(s > 1 for s in timed) / len(turns),
        "speedup": statistics.fmean(timed) if timed else math.nan,
        **{f"share/{status}": statuses.count(status) / len(turns) for status in Status},
        "share/unchanged": statistics.fmean(turn.unchanged for turn in turns),
        "reply/tokens": statistics.fmean(len(turn.reply.tokens) for turn in turns),
        "reply/cut": statistics.fmean(not turn.reply.ended for turn in turns),
        "episode/turns": len(turns) / len(episodes),
        "episode/cut": statistics.fmean(episode.cut for episode in episodes),
    }
