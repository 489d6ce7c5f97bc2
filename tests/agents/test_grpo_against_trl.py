"""Losses and advantages against TRL's GRPOTrainer on the same batch (extra `trl`)."""

from __future__ import annotations

import warnings

import pytest
import torch

from triton_gym.agents.grpo.advantages import Baseline, advantages
from triton_gym.agents.grpo.losses import (
    aggregate,
    divergence,
    normaliser,
    surrogate,
)
from triton_gym.agents.grpo.variants import variant_named
from triton_gym.agents.policy.logprobs import token_logprobs
from triton_gym.agents.policy.tiny import tiny_model, tiny_tokenizer

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    trl = pytest.importorskip("trl")
    from datasets import Dataset
    from datasets.table import InMemoryTable
    from transformers import AutoModelForCausalLM
    from trl import GRPOConfig, GRPOTrainer

pytestmark = pytest.mark.filterwarnings("ignore")

GROUP, LONGEST, PROMPT = 4, 12, 5
REWARDS = torch.tensor([0.0, 1.3, 2.0, 0.3, 0.0, 0.0, 0.0, 1.0])


def trainer_for(tmp_path, **settings):
    table = InMemoryTable.from_pydict({"prompt": [f"p{i}" for i in range(8)]})
    prompts = Dataset(table, fingerprint="prompts")  # made up: not every pyarrow can be hashed
    config = GRPOConfig(
        output_dir=str(tmp_path), per_device_train_batch_size=8, num_generations=GROUP,
        max_completion_length=LONGEST, report_to=[], use_cpu=True, bf16=False,
        gradient_checkpointing=False, temperature=0.7, use_bias_correction_kl=False, **settings,
    )  # fmt: skip
    tiny_model(seed=3).save_pretrained(tmp_path / "model")  # TRL reads its reference from a folder
    return GRPOTrainer(
        model=AutoModelForCausalLM.from_pretrained(tmp_path / "model"),
        processing_class=tiny_tokenizer(),
        reward_funcs=lambda completions, **_: REWARDS.tolist(),
        args=config,
        train_dataset=prompts,
    )


def batch_of(model):
    """Left-padded prompts and right-padded replies, with probabilities of an older policy."""
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(8, 90, (8, PROMPT + LONGEST), generator=generator)
    lengths = torch.tensor([12, 3, 7, 1, 9, 12, 5, 2])
    mask = (torch.arange(LONGEST) < lengths[:, None]).float()
    prompt_mask = (torch.arange(PROMPT) >= torch.tensor([0, 1, 2, 0, 3, 0, 1, 0])[:, None]).long()
    noise = 0.3 * torch.randn(8, LONGEST, generator=generator)
    return tokens, prompt_mask, mask, noise


def ours(model, tokens, prompt_mask, mask, temperature=0.7):
    """The same replies as the trainer lays them out: no padding in front."""
    found = torch.zeros(8, LONGEST)
    for row in range(8):
        start, length = int((prompt_mask[row] == 0).sum()), int(mask[row].sum())
        ids = tokens[row, start : PROMPT + length][None]
        found[row, :length] = token_logprobs(model, ids, temperature=temperature).logps[0, -length:]
    return found


@pytest.mark.parametrize("name", ["grpo", "dr_grpo", "dapo"])
@pytest.mark.parametrize("beta", [0.0, 0.04])
def test_loss_and_gradient_agree(name, beta, tmp_path):
    variant = variant_named(name)
    trainer = trainer_for(
        tmp_path, loss_type=name, beta=beta, epsilon=variant.clip_low,
        epsilon_high=variant.clip_high,
    )  # fmt: skip
    model = trainer.model.train()
    trainer.current_gradient_accumulation_steps = 1
    tokens, prompt_mask, mask, noise = batch_of(model)
    before = ours(model, tokens, prompt_mask, mask).detach()
    old, reference = before + noise, before - 0.5 * noise
    worth = advantages(
        REWARDS.reshape(2, GROUP, 1), torch.ones(2, GROUP, 1, dtype=torch.bool), variant.baseline
    ).flatten()
    theirs = trainer._compute_loss(
        model,
        {
            "prompt_ids": tokens[:, :PROMPT], "prompt_mask": prompt_mask,
            "completion_ids": tokens[:, PROMPT:], "completion_mask": mask.long(),
            "advantages": worth, "old_per_token_logps": old, "ref_per_token_logps": reference,
            "num_items_in_batch": mask.sum(),
        },
    )  # fmt: skip
    theirs.backward()
    gradient = torch.cat([p.grad.flatten() for p in model.parameters()])
    model.zero_grad()

    logps = ours(model, tokens, prompt_mask, mask)
    losses = surrogate(logps, old, worth, variant.clip_low, variant.clip_high).loss
    losses = losses + beta * divergence(logps, reference)
    total = normaliser(mask, variant.aggregation, LONGEST)
    loss = aggregate(losses, mask, variant.aggregation, total)
    loss.backward()
    mine = torch.cat([p.grad.flatten() for p in model.parameters()])
    torch.testing.assert_close(loss, theirs, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(mine, gradient, atol=1e-5, rtol=1e-5)
    assert mine.abs().max() > 1e-4


@pytest.mark.parametrize(
    ("scale", "baseline"), [("group", Baseline.NORMALISED), ("none", Baseline.CENTRED)]
)
def test_advantages_agree(scale, baseline, tmp_path):
    trainer = trainer_for(tmp_path, scale_rewards=scale)
    trainer.model.train()
    rows = [{"prompt": "a"}] * GROUP + [{"prompt": "b"}] * GROUP
    theirs = trainer._generate_and_score_completions(rows)["advantages"]
    mine = advantages(
        REWARDS.reshape(2, GROUP, 1), torch.ones(2, GROUP, 1, dtype=torch.bool), baseline
    )
    torch.testing.assert_close(mine.flatten(), theirs, atol=1e-5, rtol=1e-5)
