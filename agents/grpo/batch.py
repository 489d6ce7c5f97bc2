"""From episodes to what is trained on: one sample a reply, with its advantage."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from .advantages import Baseline, advantages, overlong_penalty, rewards_to_go, varied
from .episodes import Episode


@dataclass(frozen=True, slots=True)
class Sample:
    """One reply, in its context."""

    prompt: tuple[int, ...]
    reply: tuple[int, ...]
    logps: tuple[float, ...]
    """By the sampler."""
    advantage: float


@dataclass(frozen=True, slots=True)
class Returns:
    """What a step's episodes earned, as `(groups, replies, turns)` tensors."""

    returns: torch.Tensor
    present: torch.Tensor


def returns_of(
    groups: Sequence[Sequence[Episode]], *, turns: int, gamma: float, longest: int, margin: int
) -> Returns:
    """Rewards-to-go of every turn, the punishment of long replies included.

    Args:
        groups: of equally many episodes each.
        turns: most turns of an episode.
        gamma: discount from a turn to the one before.
        longest: tokens of the longest reply allowed.
        margin: see `overlong_penalty`.
    """
    shape = (len(groups), len(groups[0]) if groups else 0, turns)
    rewards = torch.zeros(shape, dtype=torch.float64)
    lengths = torch.zeros(shape)
    present = torch.zeros(shape, dtype=torch.bool)
    for g, group in enumerate(groups):
        for r, episode in enumerate(group):
            for t, turn in enumerate(episode.turns):
                rewards[g, r, t] = turn.reward
                lengths[g, r, t] = len(turn.reply.tokens)
                present[g, r, t] = True
    rewards += overlong_penalty(lengths, longest, margin) * present
    return Returns(rewards_to_go(rewards, present, gamma), present)


def instructive(found: Returns, least: float) -> list[bool]:
    """Which groups have anything to teach."""
    return [bool(v) for v in varied(found.returns, found.present, least)]


def samples_of(
    groups: Sequence[Sequence[Episode]], found: Returns, baseline: Baseline
) -> list[Sample]:
    """A sample for each reply that has an advantage."""
    worth = advantages(found.returns, found.present, baseline)
    samples = []
    for g, group in enumerate(groups):
        for r, episode in enumerate(group):
            for t, turn in enumerate(episode.turns):
                if turn.reply.tokens:
                    samples.append(
                        Sample(
                            tuple(turn.prompt), turn.reply.tokens, turn.reply.logps,
                            float(worth[g, r, t]),
                        )
                    )  # fmt: skip
    return samples


@dataclass(frozen=True, slots=True)
class Rows:
    """Samples as right-padded tensors; a reply's tokens are where `mask` is 1.

    All but `tokens` are one shorter: they belong to tokens that have one before them.
    """

    tokens: torch.Tensor
    """`(rows, length)`, int64."""
    mask: torch.Tensor
    """`(rows, length − 1)`, float32."""
    sampled: torch.Tensor
    """Log-probabilities by the sampler, `(rows, length − 1)`, float32."""
    advantages: torch.Tensor
    """`(rows,)`, float32."""


def rows_of(samples: Sequence[Sample], pad: int, device: torch.device) -> Rows:
    """Samples as tensors on a device."""
    length = max(len(s.prompt) + len(s.reply) for s in samples)
    tokens = torch.full((len(samples), length), pad)
    mask = torch.zeros(len(samples), length - 1)
    sampled = torch.zeros(len(samples), length - 1)
    for row, sample in enumerate(samples):
        start, end = len(sample.prompt), len(sample.prompt) + len(sample.reply)
        tokens[row, :end] = torch.tensor([*sample.prompt, *sample.reply])
        mask[row, start - 1 : end - 1] = 1.0
        sampled[row, start - 1 : end - 1] = torch.tensor(sample.logps)
    worth = torch.tensor([s.advantage for s in samples], dtype=torch.float32)
    return Rows(tokens.to(device), mask.to(device), sampled.to(device), worth.to(device))


def micro_batches(samples: Sequence[Sample], tokens: int) -> list[list[Sample]]:
    """Samples of like length together, at most `tokens` with padding, or one alone."""
    ordered = sorted(samples, key=lambda s: len(s.prompt) + len(s.reply), reverse=True)
    found: list[list[Sample]] = []
    for sample in ordered:
        if found:
            widest = len(found[-1][0].prompt) + len(found[-1][0].reply)
            if widest * (len(found[-1]) + 1) <= tokens:
                found[-1].append(sample)
                continue
        found.append([sample])
    return found
