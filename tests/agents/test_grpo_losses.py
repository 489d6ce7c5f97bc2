"""Each variant against its paper's formula, worked by hand on two replies or four."""

from __future__ import annotations

import math

import pytest
import torch

from triton_gym.agents.grpo.advantages import (
    Baseline,
    advantages,
    overlong_penalty,
    rewards_to_go,
    varied,
)
from triton_gym.agents.grpo.losses import (
    Aggregation,
    Correction,
    aggregate,
    divergence,
    importance,
    normaliser,
    surrogate,
)
from triton_gym.agents.grpo.variants import variant_named
from triton_gym.errors import InvalidOptionError


def whole(rewards):
    return torch.tensor(rewards).reshape(1, -1, 1), torch.ones(1, len(rewards), 1, dtype=torch.bool)


def test_grpo_divides_by_the_deviation():
    # mean 0.5, sample deviation of (0, 0, 1, 1) = sqrt(4 · 0.25 / 3) = 0.57735
    found = advantages(*whole([0.0, 0.0, 1.0, 1.0]), Baseline.NORMALISED)
    expected = 0.5 / (math.sqrt(1 / 3) + 1e-4)
    torch.testing.assert_close(found.flatten(), expected * torch.tensor([-1.0, -1.0, 1.0, 1.0]))


def test_dr_grpo_only_centres():
    found = advantages(*whole([0.0, 1.0, 5.0]), Baseline.CENTRED)
    torch.testing.assert_close(found.flatten(), torch.tensor([-2.0, -1.0, 3.0]))


def test_leave_one_out_compares_with_the_others():
    # others of 0: (1 + 5) / 2 = 3; of 1: 2.5; of 5: 0.5
    found = advantages(*whole([0.0, 1.0, 5.0]), Baseline.LEAVE_ONE_OUT)
    torch.testing.assert_close(found.flatten(), torch.tensor([-3.0, -1.5, 4.5]))


def test_a_turn_is_compared_with_the_same_turn_of_those_that_reached_it():
    returns = torch.tensor([[[1.0, 10.0], [3.0, 20.0], [8.0, 99.0]]])
    present = torch.tensor([[[True, True], [True, True], [True, False]]])
    found = advantages(returns, present, Baseline.LEAVE_ONE_OUT)
    expected = [[[1 - 5.5, 10 - 20.0], [3 - 4.5, 20 - 10.0], [8 - 2.0, 0.0]]]
    torch.testing.assert_close(found, torch.tensor(expected))
    alone = torch.tensor([[[True, True], [True, False], [True, False]]])
    assert advantages(returns, alone, Baseline.LEAVE_ONE_OUT)[0, 0, 1] == 0


def test_rewards_to_go():
    rewards = torch.tensor([[[1.0, 0.0, 2.0], [1.0, 5.0, 7.0]]])
    present = torch.tensor([[[True, True, True], [True, True, False]]])
    found = rewards_to_go(rewards, present, gamma=0.4)
    # 1 + .4·0 + .16·2, 0 + .4·2, 2; and 1 + .4·5, 5, nothing
    torch.testing.assert_close(found, torch.tensor([[[1.32, 0.8, 2.0], [3.0, 5.0, 0.0]]]))


def test_groups_without_variance_are_found():
    returns = torch.tensor([[[1.0], [1.0]], [[1.0], [1.005]], [[0.0], [1.0]]])
    present = torch.ones_like(returns, dtype=torch.bool)
    assert varied(returns, present, 0.0).tolist() == [False, True, True]
    assert varied(returns, present, 0.01).tolist() == [False, False, True]


def test_overlong_shaping_has_three_parts():
    # DAPO's own figures: L_max 20480, L_cache 4096
    lengths = torch.tensor([100, 16384, 18432, 20480])
    found = overlong_penalty(lengths, 20480, 4096)
    torch.testing.assert_close(found, torch.tensor([0.0, 0.0, -0.5, -1.0]))
    assert overlong_penalty(lengths, 20480, 0).abs().sum() == 0


# -- losses ---------------------------------------------------------------------------------------

LOGPS = torch.log(torch.tensor([[0.5, 0.6, 0.1], [0.2, 0.9, 0.5]]))
OLD = torch.log(torch.tensor([[0.25, 0.5, 0.1], [0.4, 0.9, 0.5]]))  # ratios 2, 1.2, 1; .5, 1, 1
MASK = torch.tensor([[1.0, 1.0, 1.0], [1.0, 1.0, 0.0]])
WORTH = torch.tensor([2.0, -1.0])


def test_the_clipped_surrogate():
    found = surrogate(LOGPS, OLD, WORTH, 0.2, 0.28)
    # A = 2: ratio 2 is clipped to 1.28; A = −1: ratio 0.5 is clipped to 0.8 (the worse of the two)
    expected = torch.tensor([[-2.56, -2.4, -2.0], [0.8, 1.0, 1.0]])
    torch.testing.assert_close(found.loss, expected)
    assert found.high.tolist() == [[True, False, False], [False] * 3]
    assert found.low.tolist() == [[False] * 3, [True, False, False]]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        # mean over tokens, then over replies; ε_high 0.2
        ("grpo", ((-2.4 - 2.4 - 2.0) / 3 + (0.8 + 1.0) / 2) / 2),
        # sum over 2 replies × 10 tokens allowed
        ("dr_grpo", (-2.4 - 2.4 - 2.0 + 0.8 + 1.0) / 20),
        # mean over the five tokens; ε_high 0.28
        ("dapo", (-2.56 - 2.4 - 2.0 + 0.8 + 1.0) / 5),
        ("leave_one_out", (-2.56 - 2.4 - 2.0 + 0.8 + 1.0) / 5),
    ],
)
def test_each_variant_on_a_batch_worked_by_hand(name, expected):
    variant = variant_named(name)
    losses = surrogate(LOGPS, OLD, WORTH, variant.clip_low, variant.clip_high).loss
    total = normaliser(MASK, variant.aggregation, longest=10)
    found = aggregate(losses, MASK, variant.aggregation, total)
    assert found.item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("aggregation", list(Aggregation))
def test_micro_batches_add_up(aggregation):
    losses = torch.randn(6, 5)
    mask = (torch.arange(5) < torch.tensor([[1], [5], [2], [3], [4], [5]])).float()
    total = normaliser(mask, aggregation, 5)
    at_once = aggregate(losses, mask, aggregation, total)
    pieces = [aggregate(losses[i : i + 2], mask[i : i + 2], aggregation, total) for i in (0, 2, 4)]
    torch.testing.assert_close(sum(pieces), at_once)


def test_kl_is_the_k3_estimate():
    found = divergence(torch.log(torch.tensor([0.5])), torch.log(torch.tensor([0.25])))
    assert found.item() == pytest.approx(0.5 - math.log(0.5) - 1)
    assert (divergence(torch.randn(1000), torch.randn(1000)) >= 0).all()


def test_importance_weights():
    logps, sampled = (
        torch.log(torch.tensor([[0.4, 0.1, 0.3]])),
        torch.log(torch.tensor([[0.1, 0.4, 0.3]])),
    )
    assert importance(logps, sampled, Correction.NONE, 2.0).tolist() == [[1.0, 1.0, 1.0]]
    torch.testing.assert_close(
        importance(logps, sampled, Correction.TRUNCATE, 2.0), torch.tensor([[2.0, 0.25, 1.0]])
    )
    torch.testing.assert_close(
        importance(logps, sampled, Correction.MASK, 2.0), torch.tensor([[0.0, 0.0, 1.0]])
    )
    torch.testing.assert_close(
        importance(logps, sampled, Correction.MASK, 4.1), torch.tensor([[4.0, 0.25, 1.0]])
    )


@pytest.mark.parametrize("aggregation", list(Aggregation))
def test_what_is_masked_leaves_no_trace(aggregation):
    losses = torch.tensor([[1.0, math.inf], [math.nan, 3.0]])
    some = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    assert math.isfinite(aggregate(losses, some, aggregation, normaliser(some, aggregation, 2)))
    none = torch.zeros(2, 2)
    assert aggregate(losses, none, aggregation, normaliser(none, aggregation, 2)) == 0


def test_an_unknown_variant_is_named():
    with pytest.raises(InvalidOptionError, match="dapo"):
        variant_named("dappo")
