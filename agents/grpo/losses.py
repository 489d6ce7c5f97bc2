"""Losses: from log-probabilities and advantages to a number to descend.

All functions are pure. Log-probabilities, ratios and masks are float tensors `(replies, tokens)`;
`mask` is 1 on the tokens that the policy wrote. Losses are sums over what they are given divided by
a normaliser that the caller has counted over the *whole* batch, so that a batch may be cut into
micro-batches, and spread over GPUs, without changing its gradient.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

import torch


class Aggregation(enum.StrEnum):
    """How the losses of tokens become one number."""

    SEQUENCE = "sequence"
    """Mean over each reply's tokens, then over replies: GRPO (arXiv 2402.03300, equation 3)."""
    TOKEN = "token"
    """Mean over all tokens of the batch: DAPO (arXiv 2503.14476, equation 8)."""
    CONSTANT = "constant"
    """Sum over replies × the longest reply allowed: Dr. GRPO (arXiv 2503.20783, §3.2)."""


class Correction(enum.StrEnum):
    """What is done about tokens that the sampler and the trainer find differently likely."""

    NONE = "none"
    TRUNCATE = "truncate"
    """Weigh a token by `min(p_train / p_sample, limit)`: truncated importance sampling."""
    MASK = "mask"
    """The same weight, but leave tokens out whose ratio is outside `[1 / limit, limit]`."""


@dataclass(frozen=True, slots=True)
class Surrogate:
    """A clipped policy loss and what became of its tokens."""

    loss: torch.Tensor
    """Loss of each token, `(replies, tokens)`, not masked."""
    low: torch.Tensor
    """Bool `(replies, tokens)`: the ratio fell below `1 − ε_low` and the advantage is negative."""
    high: torch.Tensor
    """Bool `(replies, tokens)`: the ratio rose above `1 + ε_high` and the advantage is positive."""


def surrogate(
    logps: torch.Tensor,
    old_logps: torch.Tensor,
    advantages: torch.Tensor,
    clip_low: float,
    clip_high: float,
) -> Surrogate:
    """`−min(ρ A, clip(ρ, 1 − ε_low, 1 + ε_high) A)` of each token (PPO, arXiv 1707.06347).

    Args:
        logps: of the policy that is trained, with gradient.
        old_logps: of the same policy before this batch's first update.
        advantages: `(replies,)`, or `(replies, tokens)`.
        clip_low: ε_low; DAPO's clip-higher has 0.2 and 0.28.
        clip_high: ε_high.
    """
    worth = advantages.unsqueeze(1) if advantages.dim() == 1 else advantages
    ratio = torch.exp(logps - old_logps)
    clipped = ratio.clamp(1.0 - clip_low, 1.0 + clip_high)
    return Surrogate(
        loss=-torch.minimum(ratio * worth, clipped * worth),
        low=(ratio < 1.0 - clip_low) & (worth < 0),
        high=(ratio > 1.0 + clip_high) & (worth > 0),
    )


def divergence(logps: torch.Tensor, reference_logps: torch.Tensor) -> torch.Tensor:
    """Schulman's k3 estimate of KL(policy ‖ reference) at each token, never negative.

    `exp(r) − r − 1` with `r = log p_ref − log p` (http://joschu.net/blog/kl-approx.html).
    """
    difference = reference_logps - logps
    return torch.exp(difference) - difference - 1.0


def importance(
    logps: torch.Tensor, sampled_logps: torch.Tensor, correction: Correction, limit: float
) -> torch.Tensor:
    """Weights for tokens that were sampled by a slightly different program or precision.

    Args:
        logps: by the trainer's program, before this batch's first update; no gradient flows.
        sampled_logps: by the sampler's program, when the tokens were drawn.
        correction: see `Correction`.
        limit: 1 or more.

    Returns:
        `(replies, tokens)`: 1 everywhere without a correction.
    """
    if correction is Correction.NONE:
        return torch.ones_like(logps)
    ratio = torch.exp((logps - sampled_logps).detach())
    if correction is Correction.TRUNCATE:
        return ratio.clamp(max=limit)
    inside = (ratio <= limit) & (ratio >= 1.0 / limit)
    return torch.where(inside, ratio, 0.0)


def normaliser(mask: torch.Tensor, aggregation: Aggregation, longest: int) -> torch.Tensor:
    """What `aggregate` divides by, as a scalar; for many micro-batches it is the sum of theirs.

    Args:
        mask: `(replies, tokens)`.
        aggregation: see `Aggregation`.
        longest: tokens of the longest reply that is allowed.
    """
    if aggregation is Aggregation.TOKEN:
        return mask.sum()
    replies = mask.new_tensor(float(mask.shape[0]))
    return replies if aggregation is Aggregation.SEQUENCE else replies * longest


def aggregate(
    losses: torch.Tensor, mask: torch.Tensor, aggregation: Aggregation, total: torch.Tensor | float
) -> torch.Tensor:
    """The loss of a (micro-)batch, whose share of the whole is its sum over `total`.

    Args:
        losses: of each token, `(replies, tokens)`.
        mask: likewise.
        aggregation: see `Aggregation`.
        total: `normaliser` of the whole batch; 0, where every token is masked, gives a loss of 0.
    """
    masked = torch.where(mask > 0, losses * mask, 0.0)  # what is masked need not be finite
    divisor = total if total else 1.0
    if aggregation is Aggregation.SEQUENCE:
        return (masked.sum(1) / mask.sum(1).clamp(min=1.0)).sum() / divisor
    return masked.sum() / divisor
