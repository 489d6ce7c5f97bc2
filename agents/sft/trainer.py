"""Fine-tuning: the likelihood of verified answers, in packed rows."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import torch

from triton_gym.errors import DeviceError

from ..grpo.episodes import Stage
from ..grpo.examination import held_out
from ..grpo.judging import SharedEvaluator
from ..grpo.places import maker
from ..policy.logprobs import token_logprobs
from ..policy.models import load_policy
from ..policy.sampling import sampler_for
from ..protocol import Environment
from ..training.optimizer import Optimizer, learning_rate
from ..training.run import Run, Watch
from ..training.world import World
from .examples import Example, Schedule, pack, read_examples, rows_of
from .settings import SFTSettings

GLOSSARY: Mapping[str, str] = MappingProxyType(
    {
        "loss": "Mean negative log-likelihood of the answers' tokens, in nats.",
        "accuracy": "Share of the answers' tokens that the model finds likeliest of all.",
        "entropy": "Mean entropy of the model at those tokens, in nats.",
        "lr": "Learning rate.",
        "gradient_norm": "Norm of the gradient before clipping; not finite if no step was taken.",
        "epoch": "Passes over the examples so far.",
        "tokens": "Tokens in the step, by all processes, padding included.",
        "tokens/learned": "Of them, those that the loss is on.",
        "seconds/step": "Wall time of the step.",
        "tokens/second": "Tokens over those seconds.",
        "memory_gb": "Most device memory that PyTorch held, in 10⁹ bytes; 0 on a CPU.",
        "held_out/loss": "The loss on held-out examples.",
        "held_out/correct": "Share of held-out tasks that the policy solves in one try.",
        "held_out/fast_1": "Share of them that it solves faster than PyTorch.",
        "held_out/speedup": "Mean speedup of its correct replies to them.",
        "held_out/reward": "Mean reward on them.",
    }
)


class Trainer:
    """A fine-tuning run in its folder.

    Args:
        settings: see there.
        make: makes the environments of examinations in place of the settings' own.
        evaluator: in place of one of its own, for examinations.
        watch: see `Watch`.

    Raises:
        InvalidOptionError, DeviceError: the settings cannot be carried out here.
        RunError: the examples cannot be read, or the folder holds another run.
    """

    def __init__(
        self,
        settings: SFTSettings,
        *,
        make: Callable[[str], Environment] | None = None,
        evaluator: SharedEvaluator | None = None,
        watch: Watch | None = None,
    ) -> None:
        self.settings = settings
        self.world = World()
        self.policy = load_policy(settings.policy, seed=settings.run.seed)
        self._make = make
        self._evaluator = evaluator
        self._owned: SharedEvaluator | None = None
        examples, self.too_long = read_examples(
            settings.examples.train, self.policy, settings.examples
        )
        self._schedule = Schedule(examples, settings.examples, settings.run.seed)
        self.world.share(self._schedule.size, "rows a step (examples.batch_tokens / length)")
        self.steps = min(self._schedule.steps, settings.run.steps)
        self._held_out: list[Example] = []
        if settings.examples.test:
            self._held_out, _ = read_examples(
                settings.examples.test, self.policy, settings.examples
            )
        self._optimizer = Optimizer(self.policy.model.parameters(), settings.optimizer, self.world)
        self._micro_tokens = settings.optimizer.micro_tokens
        self._run = Run(
            settings, settings.run, self.policy, self._optimizer, GLOSSARY, self.world, watch
        )
        self._micro_tokens = self._run.extra.get("micro_tokens", self._micro_tokens)

    @property
    def done(self) -> int:
        """Steps that are done."""
        return self._run.done

    def watch(self, watch: Watch) -> None:
        """Show every further step to `watch`."""
        self._run.watch = watch

    def checkpoint(self) -> Path | None:
        """The newest checkpoint, which transformers loads."""
        return self._run.checkpoints.last()

    def train(self, until: int | None = None) -> int:
        """Train up to step `until`, or to the end; returns how many steps are done."""
        return self._run.go(self._step, self.steps if until is None else min(until, self.steps))

    def close(self) -> None:
        """End everything that was started."""
        self._run.close()
        if self._owned:
            self._owned.close()

    def __enter__(self) -> Trainer:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def held_out_loss(self) -> float:
        """Mean negative log-likelihood of the held-out answers' tokens; NaN without examples."""
        settings = self.settings.examples
        rows = pack(self._held_out, settings.length, packing=settings.packing)
        self.policy.model.eval()
        mine = rows[self.world.rank :: self.world.size]
        with torch.no_grad():
            sums = self._pass(mine, None)
        self.world.add(sums)
        return float(sums[0] / sums[3]) if sums[3] else math.nan

    def _step(self, step: int) -> dict[str, float]:
        started = time.perf_counter()
        rows = self._schedule.rows(step)
        mine = rows[self.world.rank :: self.world.size]
        learned = sum(len(e.tokens) - max(e.start, 1) for row in rows for e in row)
        lr = learning_rate(self.settings.optimizer, step, self.steps)
        self.policy.model.train()
        sums = self._retried(mine, float(max(learned, 1)))
        norm = self._optimizer.step(lr)
        self.policy.model.eval()
        self.world.add(sums)
        loss, entropy, hits, learned_here, tokens = sums.tolist()
        count = max(learned_here, 1.0)
        seconds = time.perf_counter() - started
        metrics = {
            "loss": loss / count, "entropy": entropy / count, "accuracy": hits / count, "lr": lr,
            "gradient_norm": norm, "epoch": (step + 1) / self._schedule.steps_an_epoch,
            "tokens": tokens, "tokens/learned": learned_here, "seconds/step": seconds,
            "tokens/second": tokens / seconds,
            "memory_gb": torch.cuda.max_memory_allocated() / 1e9 * torch.cuda.is_available(),
        }  # fmt: skip
        every = self.settings.held_out.every
        last = step + 1 == self.steps
        if self._held_out and (last or (every and (step + 1) % every == 0)):
            metrics["held_out/loss"] = self.held_out_loss()
        if every and (last or (step + 1) % every == 0):
            examined = self._examine()
            self._run.rate(examined["held_out/reward"])
            metrics.update(examined)
        self._run.extra["micro_tokens"] = self._micro_tokens
        return metrics

    def _retried(self, rows: Sequence[Sequence[Example]], learned: float) -> torch.Tensor:
        """A step's gradient; in smaller parts if memory runs out."""
        while True:
            try:
                return self._pass(rows, learned)
            except torch.cuda.OutOfMemoryError as error:
                self._optimizer.clear()
                torch.cuda.empty_cache()
                if self._micro_tokens <= self.settings.examples.length:
                    raise DeviceError(
                        f"One row does not fit {self.policy.device}: {error}. Lower "
                        "examples.length, or set policy.gradient_checkpointing=true or a "
                        "policy.lora_rank."
                    ) from None
                self._micro_tokens //= 2

    def _pass(self, rows: Sequence[Sequence[Example]], learned: float | None) -> torch.Tensor:
        """Sums over rows of loss, entropy, hits, learned tokens and tokens.

        Args:
            rows: packed examples.
            learned: tokens that the whole step learns, to divide the gradient by; None for no
                gradient.
        """
        device = self.policy.device
        sums = torch.zeros(5, dtype=torch.float64, device=device)
        size = max(1, self._micro_tokens // self.settings.examples.length)
        for start in range(0, len(rows), size):
            part = rows_of(rows[start : start + size], self.policy.pad, device)
            packed = any(len(row) > 1 for row in rows[start : start + size])
            scores = token_logprobs(
                self.policy.model, part.tokens, keep=part.learned,
                positions=part.positions if packed else None,
            )  # fmt: skip
            loss = -scores.logps.sum()
            if learned is not None:
                if loss.requires_grad:  # not where a row has nothing to learn
                    (loss / learned).backward()
            with torch.no_grad():
                sums += torch.stack(
                    [
                        loss.detach().double(), scores.entropy.sum().double(),
                        (scores.best & part.learned).sum().double(),
                        part.learned.sum().double(),
                        torch.tensor(float(part.tokens.numel()), device=device).double(),
                    ]
                )  # fmt: skip
        return sums

    def _examine(self) -> dict[str, float]:
        held = self.settings.held_out
        sampling = dataclasses.replace(self.settings.sampling, temperature=held.temperature)
        if self._make is None and self._evaluator is None:
            self._evaluator = self._owned = SharedEvaluator.on("auto", 8)
        make = self._make or maker(held.options, evaluator=self._evaluator, turns=1, reward="kevin")
        stage = Stage(
            self.policy, sampler_for(self.policy, sampling), make, turns=1,
            longest=sampling.longest, parts=2, threads=16,
        )  # fmt: skip
        return held_out(stage, held, self.world)
