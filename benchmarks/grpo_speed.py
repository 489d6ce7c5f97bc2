"""Seconds and tokens of a GRPO step: ours, TRL's on the same work, and a model of 7B's shape.

    python benchmarks/grpo_speed.py ours --model runs/sft --cache graph
    python benchmarks/grpo_speed.py trl --model runs/sft             # needs the extra `trl`
    python benchmarks/grpo_speed.py trl --model runs/sft --sampler ours
    python benchmarks/grpo_speed.py shape7b

Each prints and appends a row to --out. `ours` and `trl` do the same work: the same model in
bfloat16, the same tasks, group size, lengths, micro-batch, and every reply evaluated by the same
evaluator, each text once a step. TRL samples by its own `generate`, or, to compare the rest of a
step, by our sampler as its `rollout_func`. The first --warm steps are not counted.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import gymnasium as gym
import record
import torch

from triton_gym.agents.grpo.judging import SharedEvaluator
from triton_gym.agents.grpo.places import draw_places, maker
from triton_gym.agents.grpo.settings import GRPOSettings
from triton_gym.agents.grpo.trainer import Trainer
from triton_gym.agents.policy.conversation import prompt_tokens
from triton_gym.agents.policy.models import (
    Policy,
    avoid_cudnn_attention,
    resolve_source,
    stop_tokens,
)
from triton_gym.agents.policy.sampling import LocalSampler
from triton_gym.agents.policy.settings import SamplingSettings
from triton_gym.agents.training.settings import read_settings
from triton_gym.outcome import PHASES
from triton_gym.prompt import module_reply, opening

ENV = "TritonKernel-composed-v0"


def ours(options: argparse.Namespace) -> dict[str, Any]:
    rows = _train(
        options,
        [f"policy.model={options.model}", "objective.variant=dapo", "objective.overlong_margin=0"],
    )
    return {"what": "ours", **_sampled(options, rows)}


def shape7b(options: argparse.Namespace) -> dict[str, Any]:
    """A random model writes nonsense, so each reply is replaced by a correct kernel for judging:
    a text of its own, so that each is evaluated."""
    from transformers import AutoTokenizer, Qwen2Config

    folder = Path(tempfile.mkdtemp(prefix="shape7b-"))
    Qwen2Config(
        vocab_size=152064, hidden_size=3584, intermediate_size=18944, num_hidden_layers=28,
        num_attention_heads=28, num_key_value_heads=4, max_position_embeddings=32768,
        rope_theta=1e6, tie_word_embeddings=False, use_sliding_window=False,
    ).save_pretrained(folder)  # fmt: skip
    AutoTokenizer.from_pretrained(resolve_source(options.model)).save_pretrained(folder)

    class Correct(gym.ActionWrapper):
        counted = 0

        def action(self, action: str) -> str:
            Correct.counted += 1
            starter = self.env.unwrapped.task.starter
            return module_reply(f"{starter}\n# {Correct.counted}, {len(action)}")

    rows = _train(
        options,
        [f"policy.model={folder}", "policy.random_weights=true", "policy.lora_rank=16",
         "policy.gradient_checkpointing=true"],
        Correct,
    )  # fmt: skip
    return {"what": "7B shape, LoRA 16", **_sampled(options, rows)}


def _train(
    options: argparse.Namespace, changes: list[str], wrapper: Any = None
) -> list[dict[str, float]]:
    settings = read_settings(
        GRPOSettings, None,
        ["rollout.options.split=train", f"rollout.groups={options.groups}",
         f"rollout.replies={options.replies}", f"sampling.longest={options.longest}",
         f"sampling.batch={options.groups * options.replies}",
         f"sampling.cache={options.cache}", f"sampling.attention={options.attention}",
         "rollout.attempts=1", "rollout.least_deviation=-1",
         f"optimizer.micro_tokens={options.micro_tokens}",
         f"rollout.parts={options.parts}", f"run.steps={options.warm + options.steps}",
         "run.save_every=1000000", "run.transcripts_every=0",
         f"run.out={tempfile.mkdtemp(prefix='speed-')}", *changes],
    )  # fmt: skip
    evaluator = SharedEvaluator.on(options.device, options.workers)
    inner = maker({"split": "train"}, evaluator=evaluator, turns=1, reward="kevin")
    rows: list[dict[str, float]] = []
    with Trainer(
        settings,
        make=(lambda name: wrapper(inner(name))) if wrapper else inner,
        evaluator=evaluator,
        watch=lambda step, metrics: rows.append(metrics),
    ) as trainer:
        trainer.train()
    evaluator.close()
    return rows


def _sampled(options: argparse.Namespace, rows: list[dict[str, float]]) -> dict[str, Any]:
    """How our trainer sampled, and what its steps came to."""
    return {
        "cache": options.cache, "attention": options.attention, **_means(rows[options.warm :])
    }  # fmt: skip


def trl(options: argparse.Namespace) -> dict[str, Any]:
    import trl as library
    from datasets import Dataset
    from datasets.table import InMemoryTable
    from transformers import TrainerCallback

    avoid_cudnn_attention()  # as ours
    evaluator = SharedEvaluator.on(options.device, options.workers)
    make = maker({"split": "train"}, evaluator=evaluator, turns=1, reward="kevin")
    prompts, tasks = _prompts(options, make(ENV).unwrapped)
    tokens: list[int] = []
    waited: list[float] = []

    def reward(completions: Any, completion_ids: Any, number: Any, **_: Any) -> list[float]:
        from triton_gym import InvalidAction, extract
        from triton_gym.reward import kevin

        started = time.perf_counter()
        evaluator.forget()
        futures: list[Any] = []
        for completion, which in zip(completions, number, strict=True):
            try:
                source = extract(completion[0]["content"])
                futures.append(evaluator.submit(tasks[which], source, seed=None))
            except InvalidAction:
                futures.append(None)
        rewards = [kevin(f.result()) if f else 0.0 for f in futures]
        tokens.append(sum(map(len, completion_ids)))
        waited.append(time.perf_counter() - started)
        return rewards

    ends: list[float] = []
    gpu = torch.cuda.is_available()

    class Clock(TrainerCallback):
        def on_step_end(self, *args: Any, **kwargs: Any) -> None:
            if gpu:
                torch.cuda.synchronize()
            ends.append(time.perf_counter())

    # A fingerprint of our own: not every pyarrow table can be hashed.
    rows = Dataset(InMemoryTable.from_pylist(prompts), fingerprint="prompts")
    config = _trl_config(options, library, gpu)
    sampled_s: list[float] = []
    trainer = library.GRPOTrainer(
        model=resolve_source(options.model), reward_funcs=reward, args=config,
        train_dataset=rows, callbacks=[Clock()],
        rollout_func=_rollout(options, sampled_s) if options.sampler == "ours" else None,
    )  # fmt: skip
    trainer.train()
    evaluator.close()
    seconds = [b - a for a, b in itertools.pairwise(ends)][options.warm - 1 :]
    counted, waits = tokens[options.warm :], waited[options.warm :]
    sampler = {}
    if sampled_s:
        sampler = {
            "cache": options.cache, "attention": options.attention,
            "seconds/sampling": statistics.fmean(sampled_s[options.warm :]),
        }  # fmt: skip
    return {
        "what": f"trl {library.__version__}",
        "sampler": options.sampler,
        **sampler,
        "seconds/step": statistics.fmean(seconds),
        "tokens/second": sum(counted) / sum(seconds),
        "tokens/sampled": statistics.fmean(counted),
        "seconds/waiting": statistics.fmean(waits),
        "memory_gb": torch.cuda.max_memory_allocated() / 1e9 if gpu else 0.0,
        "steps": len(seconds),
        "each": seconds,
    }


def _prompts(options: argparse.Namespace, env: Any) -> tuple[list[dict[str, Any]], list[Any]]:
    prompts: list[dict[str, Any]] = []
    tasks: list[Any] = []
    for step in range(options.warm + options.steps):
        for place in draw_places((ENV,), options.groups, [0, step, 0]):
            observation, _ = env.reset(seed=place.seed)
            tasks.append(env.task)
            prompts.append({"prompt": opening(observation), "number": len(prompts)})
    return prompts, tasks


def _rollout(options: argparse.Namespace, seconds: list[float]) -> Any:
    """TRL's `rollout_func` that samples as our trainer does, and notes how long that took."""
    samplers: list[LocalSampler] = []

    def rollout(prompts: list[Any], trainer: Any) -> dict[str, Any]:
        started = time.perf_counter()
        model = trainer.accelerator.unwrap_model(trainer.model)
        tokenizer = trainer.processing_class
        if not samplers:
            stops = stop_tokens(model, tokenizer)
            context = model.config.max_position_embeddings
            policy = Policy(model, tokenizer, options.model, model.device, stops, context)
            settings = SamplingSettings(
                longest=options.longest, batch=options.groups * options.replies,
                cache=options.cache, attention=options.attention,
            )  # fmt: skip
            samplers.append(LocalSampler(policy, settings))
        room = samplers[0].policy.context - options.longest
        tokens = [prompt_tokens(tokenizer, prompt, room) for prompt in prompts]
        replies = samplers[0].sample(tokens, seed=len(seconds))
        seconds.append(time.perf_counter() - started)
        return {
            "prompt_ids": tokens,
            "completion_ids": [list(reply.tokens) for reply in replies],
            "logprobs": [list(reply.logps) for reply in replies],
        }

    return rollout


def _trl_config(options: argparse.Namespace, library: Any, gpu: bool) -> Any:
    batch = options.groups * options.replies
    return library.GRPOConfig(
        output_dir=tempfile.mkdtemp(prefix="trl-"), per_device_train_batch_size=batch // options.accumulate,
        gradient_accumulation_steps=options.accumulate, num_generations=options.replies,
        max_completion_length=options.longest, beta=0.0, loss_type="dapo", epsilon=0.2,
        epsilon_high=0.28, temperature=1.0, learning_rate=1e-6, bf16=gpu, use_cpu=not gpu,
        gradient_checkpointing=False, max_steps=options.warm + options.steps, report_to=[],
        save_strategy="no", logging_strategy="no", shuffle_dataset=False, disable_tqdm=True,
        model_init_kwargs={"dtype": "bfloat16"}, mask_truncated_completions=False,
    )  # fmt: skip


def _means(rows: list[dict[str, float]]) -> dict[str, Any]:
    names = ("seconds/step", "tokens/sampled", "seconds/sampling", "seconds/waiting",
             "seconds/training", "share/waiting", "evaluations", "reply/tokens", "correct",
             "evaluation/total", *(f"evaluation/{phase}" for phase in PHASES))  # fmt: skip
    known = {
        name: [row[name] for row in rows if math.isfinite(row.get(name, math.nan))]
        for name in names
    }
    found: dict[str, Any] = {name: statistics.fmean(some) for name, some in known.items() if some}
    found["tokens/second"] = sum(r["tokens/sampled"] for r in rows) / sum(
        r["seconds/step"] for r in rows
    )
    found["memory_gb"] = max(row["memory_gb"] for row in rows)
    found["steps"] = len(rows)
    found["each"] = [row["seconds/step"] for row in rows]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["ours", "trl", "shape7b"])
    parser.add_argument("--model", default="smollm2", help="for shape7b, whose tokenizer is taken")
    parser.add_argument("--cache", default="auto")
    parser.add_argument("--attention", default="auto", help="see sampling.attention")
    parser.add_argument("--sampler", choices=["generate", "ours"], default="generate", help="TRL's")
    parser.add_argument("--groups", type=int, default=8)
    parser.add_argument("--replies", type=int, default=8)
    parser.add_argument("--longest", type=int, default=512)
    parser.add_argument("--parts", type=int, default=2)
    parser.add_argument("--accumulate", type=int, default=1, help="TRL's micro-batches a step")
    parser.add_argument("--micro-tokens", type=int, default=65536)
    parser.add_argument("--warm", type=int, default=2)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--out", type=Path, default=record.RESULTS / "grpo-speed.json")
    options = parser.parse_args()
    row = {"ours": ours, "trl": trl, "shape7b": shape7b}[options.what](options)
    names = ["groups", "replies", "longest", "device", "workers"]
    names += ["accumulate"] if options.what == "trl" else ["parts", "micro_tokens"]
    shape = {k: getattr(options, k) for k in names}
    shape |= {"model": Path(options.model).name, "command": record.command()}
    old = json.loads(options.out.read_text())["rows"] if options.out.is_file() else []
    record.write(options.out, [*old, {**row, **shape}])
    print(json.dumps(row, indent=1))


if __name__ == "__main__":
    main()
