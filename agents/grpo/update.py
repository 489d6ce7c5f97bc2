"""One optimizer step on a batch of samples, in micro-batches that fit the device."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch

from triton_gym.errors import DeviceError

from ..policy.dropout import without_dropout
from ..policy.logprobs import Scores, token_logprobs
from ..policy.models import Policy
from ..training.optimizer import Optimizer
from ..training.world import World
from .batch import Rows, Sample, micro_batches, rows_of
from .losses import Correction, aggregate, divergence, importance, normaliser, surrogate
from .settings import ObjectiveSettings

_SUMS = ("loss", "entropy", "low", "high", "kl", "ratio", "mismatch", "dropped", "tokens")


@dataclass(slots=True)
class Updater:
    """Turns samples into steps."""

    policy: Policy
    optimizer: Optimizer
    objective: ObjectiveSettings
    world: World
    temperature: float
    longest: int
    """Tokens of the longest reply allowed."""
    micro_tokens: int
    reference: Any = None
    """The model that `beta` holds the policy to; None with adapters, which are switched off."""

    def update(self, samples: Sequence[Sample], lr: float, filled: float = 1.0) -> dict[str, float]:
        """Train on the samples, in `objective.updates` steps.

        Every process calls this with its own samples, which may be none.

        Args:
            samples: of groups that can teach something.
            lr: learning rate.
            filled: how much of the batch that was wanted all samples are. What lacks counts as
                replies without advantage: few groups do not make as large a step as many.

        Returns:
            Metrics, the same on every process.
        """
        count = self.objective.updates
        without_dropout(self.policy.model)
        before = self._before(samples) if count > 1 else {}
        metrics: dict[str, float] = {}
        for number in range(count):
            part = samples[number::count]
            found = self._step(part, before, lr, filled)
            for name, value in found.items():
                metrics[name] = metrics.get(name, 0.0) + value / count
        self.policy.model.eval()
        return metrics

    def _before(self, samples: Sequence[Sample]) -> dict[int, torch.Tensor]:
        """Log-probabilities of each sample's reply before the first step, by the sample's id."""
        found: dict[int, torch.Tensor] = {}
        with torch.no_grad():
            for part in micro_batches(samples, self.micro_tokens):
                rows = rows_of(part, self.policy.pad, self.policy.device)
                logps = self._score(self.policy.model, rows).logps
                for row, sample in enumerate(part):
                    start = len(sample.prompt) - 1
                    found[id(sample)] = logps[row, start : start + len(sample.reply)]
        return found

    def _step(
        self, samples: Sequence[Sample], before: dict[int, torch.Tensor], lr: float, filled: float
    ) -> dict[str, float]:
        total = self._normaliser(samples) / filled
        while True:
            try:
                sums = self._gradients(samples, before, total)
                break
            except torch.cuda.OutOfMemoryError as error:
                # Only memory of this process is short, so the others need not know.
                self.optimizer.clear()
                torch.cuda.empty_cache()
                if len(samples) < 2 or self.micro_tokens < 64:
                    raise DeviceError(
                        f"One sample does not fit {self.policy.device}: {error}. Set "
                        "policy.gradient_checkpointing=true, a policy.lora_rank, or a shorter "
                        "sampling.longest."
                    ) from None
                self.micro_tokens //= 2
        norm = self.optimizer.step(lr)
        if math.isfinite(norm):
            self.policy.model.zero_grad(set_to_none=True)
        sums = self._total(sums)
        tokens = max(sums["tokens"], 1.0)
        return {
            "loss": sums["loss"],
            "entropy": sums["entropy"] / tokens,
            "clip/low": sums["low"] / tokens,
            "clip/high": sums["high"] / tokens,
            "kl": sums["kl"] / tokens,
            "mismatch/kl": sums["mismatch"] / tokens,
            "mismatch/weight": sums["ratio"] / tokens,
            "mismatch/dropped": sums["dropped"] / tokens,
            "gradient_norm": norm,
        }

    def _normaliser(self, samples: Sequence[Sample]) -> float:
        """What every process divides the losses of its tokens by."""
        lengths = torch.tensor([len(s.reply) for s in samples])
        widest = int(lengths.max()) if len(lengths) else 0
        mask = (torch.arange(widest) < lengths[:, None]).double()
        total = normaliser(mask, self.objective.resolved().aggregation, self.longest)
        total = total.to(self.policy.device)
        self.world.add(total)
        return float(total)

    def _gradients(
        self, samples: Sequence[Sample], before: dict[int, torch.Tensor], total: float
    ) -> dict[str, float]:
        """Add up this process's part of the gradient."""
        sums = dict.fromkeys(_SUMS, 0.0)
        for part in micro_batches(samples, self.micro_tokens):
            rows = rows_of(part, self.policy.pad, self.policy.device)
            loss, found = self._loss(rows, self._old(part, rows, before), total)
            if loss.requires_grad:  # not if no token is to be learned
                loss.backward()
            for name, value in zip(_SUMS, found.tolist(), strict=True):
                sums[name] += value
        return sums

    def _old(
        self, part: Sequence[Sample], rows: Rows, before: dict[int, torch.Tensor]
    ) -> torch.Tensor | None:
        if not before:
            return None
        old = torch.zeros_like(rows.mask)
        for row, sample in enumerate(part):
            start = len(sample.prompt) - 1
            old[row, start : start + len(sample.reply)] = before[id(sample)]
        return old

    def _loss(
        self, rows: Rows, old: torch.Tensor | None, total: float
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The loss of a micro-batch, and sums over its tokens in the order of `_SUMS`."""
        objective, variant = self.objective, self.objective.resolved()
        scores = self._score(self.policy.model, rows)
        logps, mask = scores.logps, rows.mask
        # On the first step of a batch the policy is still the one that the batch came from.
        old = logps.detach() if old is None else old
        clipped = surrogate(logps, old, rows.advantages, variant.clip_low, variant.clip_high)
        weights = importance(
            old, rows.sampled, Correction(objective.correction), objective.correction_limit
        )
        # A token that is left out counts for nothing, however unlikely it has become.
        losses = torch.where(weights > 0, clipped.loss * weights, 0.0)
        kl = torch.zeros_like(losses)
        if objective.beta:
            kl = divergence(logps, self._reference(rows))
            losses = losses + objective.beta * kl
        loss = aggregate(losses, mask, variant.aggregation, total)
        with torch.no_grad():
            sums = torch.stack(
                [
                    loss.detach(),
                    *(
                        torch.where(mask > 0, value, 0.0).sum()
                        for value in (
                            scores.entropy, clipped.low.float(), clipped.high.float(), kl, weights,
                            divergence(old, rows.sampled), (weights == 0).float(),
                            torch.ones_like(mask),
                        )
                    ),
                ]
            )  # fmt: skip
        return loss, sums

    def _reference(self, rows: Rows) -> torch.Tensor:
        with torch.no_grad():
            if self.reference is not None:
                return self._score(self.reference, rows).logps
            off = getattr(self.policy.model, "disable_adapter", nullcontext)
            with off():
                return self._score(self.policy.model, rows).logps

    def _score(self, model: Any, rows: Rows) -> Scores:
        return token_logprobs(
            model, rows.tokens, temperature=self.temperature, keep=rows.mask.bool()
        )

    def _total(self, sums: dict[str, float]) -> dict[str, float]:
        values = torch.tensor([sums[name] for name in _SUMS], device=self.policy.device)
        self.world.add(values)
        return dict(zip(_SUMS, values.tolist(), strict=True))
