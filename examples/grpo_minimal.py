"""GRPO on kernels, the whole algorithm on one page.

    python grpo_minimal.py --model Qwen/Qwen2.5-Coder-1.5B-Instruct --tasks softmax,layer_norm

Group-relative policy optimisation (DeepSeekMath, arXiv 2402.03300, section 4) without a reference
model (DAPO, arXiv 2503.14476, drops it too): a group of replies to one task, each with a reward; an
advantage is a reward less the group's mean, over its deviation; the loss is PPO's clipped ratio,
a mean over tokens. What the bundled trainer has besides (`triton-gym train grpo`): packing,
checkpoints, LoRA, turns, a sampler that shares the GPU, variants of advantage and loss.
"""

from __future__ import annotations

import argparse
import random
from dataclasses import dataclass
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from triton_gym import Evaluator
from triton_gym.integrations.conversation import Conversation
from triton_gym.integrations.replies import evaluate_replies
from triton_gym.reward import finite, reward_named


@dataclass(slots=True)
class Args:
    """What a run is made of."""

    model: str
    tasks: list[str]
    device: str
    reward: str = "kevin"
    steps: int = 100
    prompts: int = 4
    """Tasks in a step."""
    group: int = 8
    """Replies to each."""
    longest: int = 1536
    """Tokens of a reply."""
    lr: float = 1e-6
    clip_low: float = 0.2
    clip_high: float = 0.28
    temperature: float = 1.0
    epochs: int = 1
    """Updates on the same replies; the clipping matters from the second on."""
    seed: int = 0


@dataclass(slots=True)
class Group:
    """The replies to one prompt."""

    tokens: torch.Tensor
    """(G, prompt + L) int64: prompt and replies, padded on the right."""
    mask: torch.Tensor
    """(G, L): 1 for a reply's own tokens, its end mark included."""
    advantages: torch.Tensor
    """(G,)"""
    old: torch.Tensor
    """(G, L): log-probabilities under the policy that sampled."""


def token_logprobs(model: Any, tokens: torch.Tensor, length: int, heat: float) -> torch.Tensor:
    """(G, L): log-probability of each of the last `length` tokens."""
    logits = model(tokens).logits[:, -length - 1 : -1].float() / heat
    chosen = logits.gather(-1, tokens[:, -length:, None])[..., 0]
    return chosen - logits.logsumexp(-1)


@torch.no_grad()
def sample(model: Any, tokenizer: Any, prompt: list[dict[str, str]], args: Args) -> Any:
    """A group of replies: texts, tokens (G, prompt + L), mask (G, L)."""
    given = tokenizer.apply_chat_template(
        prompt, add_generation_prompt=True, return_tensors="pt", return_dict=True
    ).to(model.device)
    model.eval()
    tokens = model.generate(
        **given, do_sample=True, temperature=args.temperature, top_k=0, top_p=1.0,
        num_return_sequences=args.group, max_new_tokens=args.longest,
        pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    replies = tokens[:, given["input_ids"].shape[1] :]
    ended = (replies == tokenizer.eos_token_id).cumsum(1)
    mask = ((ended == 0) | ((ended == 1) & (replies == tokenizer.eos_token_id))).float()
    texts = tokenizer.batch_decode(replies, skip_special_tokens=True)
    return texts, tokens, mask


def advantages(rewards: torch.Tensor) -> torch.Tensor:
    """(G,): rewards less their mean, over their deviation; zeros if all are equal."""
    centred = rewards - rewards.mean()
    return centred / (rewards.std() + 1e-4)


def loss_of(model: Any, group: Group, args: Args, tokens_in_step: float) -> torch.Tensor:
    """PPO's clipped objective, a mean over the tokens of the whole step."""
    now = token_logprobs(model, group.tokens, group.mask.shape[1], args.temperature)
    ratio = (now - group.old).exp()
    worth = group.advantages[:, None]
    clipped = ratio.clamp(1 - args.clip_low, 1 + args.clip_high)
    gain = torch.minimum(ratio * worth, clipped * worth)
    return -(gain * group.mask).sum() / tokens_in_step


def step(model: Any, tokenizer: Any, optimizer: Any, evaluator: Evaluator, args: Args,
         names: list[str]) -> dict[str, float]:  # fmt: skip
    """Sample, evaluate, update; what a step came to."""
    sampled = []
    for name in names:
        prompt = Conversation(name, evaluator=evaluator).open()
        sampled.append(sample(model, tokenizer, prompt, args))
    texts = [text for one, _, _ in sampled for text in one]
    asked = [name for name in names for _ in range(args.group)]
    outcomes = evaluate_replies(evaluator, asked, texts)
    score = reward_named(args.reward)
    rewards = torch.tensor([finite(score(outcome), outcome) for outcome in outcomes])
    groups = []
    model.train()
    for (_, tokens, mask), worth in zip(sampled, rewards.split(args.group), strict=True):
        with torch.no_grad():
            old = token_logprobs(model, tokens, mask.shape[1], args.temperature)
        groups.append(Group(tokens, mask, advantages(worth).to(tokens.device), old))
    told = [group for group in groups if group.advantages.abs().max() > 0]  # others teach nothing
    count = float(sum(group.mask.sum() for group in told)) or 1.0
    for _ in range(args.epochs if told else 0):
        optimizer.zero_grad()
        for group in told:
            loss_of(model, group, args, count).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    return {
        "reward": rewards.mean().item(),
        "correct": sum(outcome.correct for outcome in outcomes) / len(outcomes),
        "cheating": sum(outcome.status == "cheating" for outcome in outcomes) / len(outcomes),
        "told": len(told) / len(groups),
    }


def load(args: Args) -> tuple[Any, Any]:
    """Model and tokenizer; dropout off, or replies would not be the policy's own."""
    if args.model == "tiny-random":
        from triton_gym.agents.policy.tiny import tiny_model, tiny_tokenizer

        return tiny_model(args.seed), tiny_tokenizer()
    where = "cuda" if torch.cuda.is_available() else "cpu"
    model = AutoModelForCausalLM.from_pretrained(args.model, dtype=torch.bfloat16).to(where)
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    return model, AutoTokenizer.from_pretrained(args.model)


def main() -> None:
    """Train, a line a step."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", default="Qwen/Qwen2.5-Coder-1.5B-Instruct")
    parser.add_argument("--tasks", default="softmax,layer_norm,gelu,sum_rows")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--smoke", action="store_true", help="a tiny random model, two steps")
    given = parser.parse_args()
    args = Args(given.model, given.tasks.split(","), given.device, steps=given.steps)
    if given.smoke:
        args.model, args.steps, args.prompts, args.group, args.longest = "tiny-random", 2, 1, 2, 16
    torch.manual_seed(args.seed)
    draw = random.Random(args.seed)
    model, tokenizer = load(args)
    optimizer = torch.optim.AdamW(model.parameters(), lr=args.lr, weight_decay=0.0)
    with Evaluator(args.device) as evaluator:
        for number in range(args.steps):
            names = draw.choices(args.tasks, k=args.prompts)
            found = step(model, tokenizer, optimizer, evaluator, args, names)
            print(number, " ".join(f"{name} {value:.3f}" for name, value in found.items()))


if __name__ == "__main__":
    main()
