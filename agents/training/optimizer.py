"""AdamW whose weights and gradients are fp32, whatever the model computes in.

At a learning rate of 1e-6 a bfloat16 weight of 0.05 never changes: the step is a thousandth of
what its 8 bits can tell apart. So each trained weight of lower precision has an fp32 copy, which
collects the gradients of all micro-batches and takes the steps, and from which it is rounded.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch

from .settings import OptimizerSettings
from .world import World


class Optimizer:
    """Steps for the trainable parameters of a model."""

    def __init__(
        self, parameters: Iterable[torch.nn.Parameter], settings: OptimizerSettings, world: World
    ) -> None:
        self._settings = settings
        self._world = world
        self._trained = [p for p in parameters if p.requires_grad]
        self._masters = [self._master(p) for p in self._trained]
        fused = bool(self._masters) and self._masters[0].device.type == "cuda"
        self._adam = torch.optim.AdamW(
            self._masters, lr=settings.lr, betas=(settings.beta1, settings.beta2),
            eps=settings.eps, weight_decay=settings.weight_decay, fused=fused,
        )  # fmt: skip

    def _master(self, parameter: torch.nn.Parameter) -> torch.nn.Parameter:
        if parameter.dtype == torch.float32:
            return parameter
        master = torch.nn.Parameter(parameter.detach().float())

        def collect(low: torch.Tensor) -> None:
            if low.grad is not None:
                if master.grad is None:
                    master.grad = low.grad.float()
                else:
                    master.grad += low.grad
                low.grad = None

        parameter.register_post_accumulate_grad_hook(collect)
        return master

    def clear(self) -> None:
        """Forget all gradients."""
        for parameter in (*self._trained, *self._masters):
            parameter.grad = None

    def step(self, lr: float) -> float:
        """Take one step and forget the gradients.

        Args:
            lr: learning rate of this step.

        Returns:
            The gradients' norm before it was clipped. A step whose norm is not finite is not taken.
        """
        for master in self._masters:
            if master.grad is None:  # unused in this batch, but the processes must agree
                master.grad = torch.zeros_like(master)
        self._world.add_gradients([m.grad for m in self._masters if m.grad is not None])
        limit = self._settings.clip_norm or math.inf
        norm = float(torch.nn.utils.clip_grad_norm_(self._masters, limit))
        if math.isfinite(norm):
            for group in self._adam.param_groups:
                group["lr"] = lr
            self._adam.step()
            with torch.no_grad():
                for parameter, master in zip(self._trained, self._masters, strict=True):
                    if parameter is not master:
                        parameter.copy_(master)
        self.clear()
        return norm

    def state(self) -> dict[str, Any]:
        """For a checkpoint."""
        copies = [
            None if master is parameter else master.detach().cpu()
            for parameter, master in zip(self._trained, self._masters, strict=True)
        ]
        return {"adam": self._adam.state_dict(), "masters": copies}

    def restore(self, state: dict[str, Any]) -> None:
        """From a checkpoint of the same model."""
        self._adam.load_state_dict(state["adam"])
        with torch.no_grad():
            for master, copy in zip(self._masters, state["masters"], strict=True):
                if copy is not None:
                    master.copy_(copy)


def learning_rate(settings: OptimizerSettings, step: int, steps: int) -> float:
    """The learning rate of step `step`, counted from 0, of `steps`."""
    if step < settings.warmup:
        return settings.lr * (step + 1) / settings.warmup
    if settings.schedule == "constant":
        return settings.lr
    done = (step - settings.warmup) / max(1, steps - settings.warmup)
    shape = 1 - done if settings.schedule == "linear" else (1 + math.cos(math.pi * done)) / 2
    return settings.lr * (0.1 + 0.9 * shape)
