"""What each named reward makes of the same policy: a small experiment that needs no GPU.

    python benchmarks/rewards.py --work /tmp/rewards --out benchmarks/results/rewards-simulated.json
    python benchmarks/curves.py benchmarks/results/rewards-simulated.json docs/rewards.png --runs ""

The action is a word of six letters that stands for a matrix product's kernel. The first letter
chooses a program: a tuned kernel, a plain one, a wrong one, one that is right at small sizes and
copies its input at the timed one, PyTorch's own product, or that beside a kernel which nothing
calls. The others choose the tuned kernel's knobs, of which the best reach 0.95 of PyTorch's speed,
and the worst a twentieth. A policy of two layers first learns to write such words at random, then
goes through GRPO under each reward, with several seeds. Kernels are evaluated on the simulated
H100, equal ones once.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
from pathlib import Path
from typing import Any

import gymnasium as gym
import record

import triton_gym
from triton_gym import Evaluator, knobs
from triton_gym.agents.grpo.settings import GRPOSettings
from triton_gym.agents.grpo.trainer import Trainer as GRPOTrainer
from triton_gym.agents.sft.settings import SFTSettings
from triton_gym.agents.sft.trainer import Trainer as SFTTrainer
from triton_gym.agents.training.journal import read_lines
from triton_gym.agents.training.settings import read_settings
from triton_gym.audit.exploits import all_exploits
from triton_gym.prompt import system_prompt
from triton_gym.reward import REWARDS

TASK = triton_gym.load("matmul")
EXPLOITS = {e.key: e.source for e in all_exploits() if e.task == "matmul"}
PROGRAMS = {
    "t": TASK.expert,
    "p": TASK.starter,
    "w": TASK.expert.replace("range(tl.cdiv(k, BLOCK_K))", "range(k // BLOCK_K)"),
    "c": EXPLOITS["matmul/full size/copies the input"],
    "l": "import torch\n\n\ndef matmul(a, b):\n    return torch.matmul(a, b)\n",
    "d": EXPLOITS["matmul/not writing the kernel/function"],
}
"""By their letters: tuned, plain, wrong, copies, library, decoy."""
KEPT = ("GROUP_M", "PROGRAMS")
"""Knobs that stay as they are."""
KNOBS = {name: values for name, values in TASK.knobs.items() if name not in KEPT}
QUESTION = "matmul"
METRICS = ("step", "reward", "correct", "speedup", "entropy")
"""What is kept of every step, with the shares of all statuses."""


def word_of(program: str, choice: tuple[int, ...]) -> str:
    """The letters of a program and of its knobs' values."""
    return program + "".join(chr(ord("a") + index) for index in choice)


def kernel_of(program: str, choice: tuple[int, ...]) -> str:
    """The source that such a word stands for."""
    if program != "t":
        return PROGRAMS[program]
    chosen = zip(KNOBS.items(), choice, strict=True)
    return knobs.render(TASK.expert, {name: values[index] for (name, values), index in chosen})


WORDS = {
    word_of(program, choice): kernel_of(program, choice)
    for program in PROGRAMS
    for choice in itertools.product(*(range(len(values)) for values in KNOBS.values()))
}


class Words(gym.Wrapper[Any, str, Any, str]):
    """A `TritonKernel` environment whose actions are words; any other text stands for itself.

    Equal words have equal outcomes: every reset has the same seed.
    """

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        observation, info = self.env.reset(seed=0, options=options)
        return {**observation, "task": QUESTION}, info

    def step(self, action: str) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        observation, *rest = self.env.step(WORDS.get(action.strip(), action))
        return ({**observation, "task": QUESTION}, *rest)  # type: ignore[return-value]


def fine_tuned(work: Path, seed: int) -> Path:
    """A policy that writes words at random."""
    rng = random.Random(seed)
    rows = [
        {"messages": [
            {"role": "system", "content": system_prompt()},
            {"role": "user", "content": QUESTION},
            {"role": "assistant", "content": rng.choice(sorted(WORDS))},
        ]}
        for _ in range(2048)
    ]  # fmt: skip
    out, examples = work / f"sft-{seed}", work / f"words-{seed}.jsonl"
    work.mkdir(parents=True, exist_ok=True)
    examples.write_text("".join(json.dumps(row) + "\n" for row in rows))
    settings = read_settings(
        SFTSettings, None,
        ["policy.model=tiny-random", "policy.device=cpu", f"examples.train={examples}",
         "examples.length=128", "examples.batch_tokens=8192", "examples.epochs=3",
         "optimizer.lr=3e-3", f"run.out={out}", f"run.seed={seed}"],
    )  # fmt: skip
    with SFTTrainer(settings) as trainer:
        trainer.train()
    return out


def reinforced(work: Path, reward: str, seed: int, steps: int, evaluator: Evaluator) -> None:
    """GRPO from the fine-tuned policy under a reward."""
    out = work / f"{reward}-{seed}"
    settings = read_settings(
        GRPOSettings, None,
        [f"policy.model={work}/sft-{seed}", "policy.device=cpu", "sampling.longest=8",
         "rollout.groups=1", "rollout.replies=64", "rollout.attempts=1", "rollout.workers=8",
         f"rollout.reward={reward}", "objective.variant=leave_one_out", "optimizer.lr=1e-3",
         f"run.steps={steps}", "run.save_every=20", f"run.out={out}", f"run.seed={seed}"],
    )  # fmt: skip

    def make(name: str) -> gym.Env[Any, str]:
        inner = gym.make("TritonKernel-matmul-v0", evaluator=evaluator, reward=reward, max_turns=1)
        return Words(inner)

    with GRPOTrainer(settings, make=make) as trainer:
        if trainer.train() < steps:  # told to end; its work is saved
            raise SystemExit(f"{out} goes on with the next call")
    last = read_lines(out / "metrics.jsonl")[-1]
    print(out.name, {k: round(last[k], 3) for k in ("reward", "correct", "speedup")})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("runs/rewards"))
    parser.add_argument("--out", type=Path, default=record.RESULTS / "rewards.json")
    parser.add_argument("--rewards", nargs="+", default=list(REWARDS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=80)
    options = parser.parse_args()
    runs = [(reward, seed) for seed in range(options.seeds) for reward in options.rewards]
    options.work.mkdir(parents=True, exist_ok=True)
    with Evaluator("simulated", store=options.work / "outcomes.db") as evaluator:
        for seed in range(options.seeds):
            fine_tuned(options.work, seed)
        for reward, seed in runs:
            reinforced(options.work, reward, seed, options.steps, evaluator)
    curves = {
        f"{reward}-{seed}": [
            {name: value for name, value in line.items() if name in METRICS or "share/" in name}
            for line in read_lines(options.work / f"{reward}-{seed}" / "metrics.jsonl")
        ]
        for reward, seed in runs
    }
    record.write(options.out, [], curves=curves)


if __name__ == "__main__":
    main()
