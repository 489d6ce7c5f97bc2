"""Advantages: what a reply was worth, against the other replies of its group.

All functions are pure. Rewards and returns are float tensors `(groups, replies, turns)`; `present`
is a boolean tensor of that shape which says which turns took place, since an episode may end early.
Where a turn did not take place the result is 0. A baseline is always that of one turn: a first
reply is compared with first replies, a second with second ones (Dr. Kernel, arXiv 2602.05885).
"""

from __future__ import annotations

import enum

import torch

_SMALL = 1e-4
"""Added to a standard deviation before dividing by it; TRL's value, so that both agree."""


class Baseline(enum.StrEnum):
    """What is taken off a return, and what the rest is divided by."""

    NORMALISED = "normalised"
    """Mean of the group, over its standard deviation: GRPO (arXiv 2402.03300, §4.1.2)."""
    CENTRED = "centred"
    """Mean of the group, undivided: Dr. GRPO (arXiv 2503.20783, §3.2)."""
    LEAVE_ONE_OUT = "leave_one_out"
    """Mean of the others, undivided: RLOO (arXiv 2402.14740, §3.3)."""


def rewards_to_go(rewards: torch.Tensor, present: torch.Tensor, gamma: float) -> torch.Tensor:
    """`G_t = Σ_{k ≥ t} γ^(k−t) r_k`, over the turns of each episode (Kevin, arXiv 2507.11948, §4).

    Args:
        rewards: `(..., turns)`.
        present: `(..., turns)`, bool.
        gamma: discount from a turn to the one before it, 0 to 1.
    """
    returns = torch.zeros_like(rewards)
    later = torch.zeros_like(rewards[..., 0])
    for turn in reversed(range(rewards.shape[-1])):
        here = present[..., turn]
        later = torch.where(here, rewards[..., turn] + gamma * later, 0.0)
        returns[..., turn] = later
    return returns


def advantages(returns: torch.Tensor, present: torch.Tensor, baseline: Baseline) -> torch.Tensor:
    """The advantage of every turn over its baseline, shape `(groups, replies, turns)`.

    A turn that only one episode of the group reached has nothing to be compared with: 0.
    The standard deviation is the sample's (over n − 1), as TRL computes it.
    """
    mask = present.to(returns.dtype)
    count = mask.sum(1, keepdim=True)
    total = (returns * mask).sum(1, keepdim=True)
    centred = returns - total / count.clamp(min=1.0)
    if baseline is Baseline.LEAVE_ONE_OUT:
        found = centred * count / (count - 1).clamp(min=1.0)
    elif baseline is Baseline.NORMALISED:
        found = centred / (deviations(returns, present) + _SMALL)
    else:
        found = centred
    return torch.where(present & (count > 1), found, 0.0)


def deviations(returns: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
    """Standard deviation of a group's returns at each turn, shape `(groups, 1, turns)`."""
    mask = present.to(returns.dtype)
    count = mask.sum(1, keepdim=True)
    mean = (returns * mask).sum(1, keepdim=True) / count.clamp(min=1.0)
    square = ((returns - mean) ** 2 * mask).sum(1, keepdim=True)
    return (square / (count - 1).clamp(min=1.0)).sqrt()


def varied(returns: torch.Tensor, present: torch.Tensor, least: float) -> torch.Tensor:
    """Which groups can teach something: bool `(groups,)`.

    A group whose returns all lie together has advantages of zero, or, divided by a tiny deviation,
    of noise: it is left out and another is sampled (DAPO's dynamic sampling, arXiv 2503.14476,
    §3.2).

    Args:
        returns: `(groups, replies, turns)`.
        present: likewise, bool.
        least: the smallest standard deviation, at any turn, that counts as varied.
    """
    return (deviations(returns, present) > least).flatten(1).any(1)


def overlong_penalty(lengths: torch.Tensor, limit: int, margin: int) -> torch.Tensor:
    """DAPO's soft punishment of long replies, 0 to −1 (arXiv 2503.14476, equation 13).

    Args:
        lengths: tokens of each reply.
        limit: the longest that a reply may be, `L_max`.
        margin: the punishment grows over the last so many tokens, `L_cache`; 0 for none.
    """
    if margin <= 0:
        return torch.zeros_like(lengths, dtype=torch.float32)
    over = (limit - margin - lengths).to(torch.float32) / margin
    return over.clamp(-1.0, 0.0)
