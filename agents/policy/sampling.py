"""Sampling replies to prompts: by transformers in this process, or by a server."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch

from triton_gym.errors import DeviceError, InvalidOptionError

from .decoding import Drawing, Drawn, StaticDecoder, draw_growing, full_attention
from .models import Policy
from .settings import SamplingSettings

_ROUND = 256
"""Widths of prompts are rounded up to multiples of this, so that recorded steps are reused."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What the policy said to one prompt."""

    tokens: tuple[int, ...]
    """With the token that ended it, if it ended by itself."""
    logps: tuple[float, ...]
    """Log-probability of each token by the sampler, at the sampling temperature."""
    ended: bool
    """Whether it ended by itself, and not at the limit."""
    text: str


class Sampler(Protocol):
    """Where replies come from."""

    def sample(self, prompts: Sequence[Sequence[int]], seed: int) -> list[Reply]:
        """One reply to each prompt, in order; the same for the same seed and weights."""

    def update(self) -> None:
        """Called when the policy's weights have changed."""


class LocalSampler:
    """Samples from the policy's own model, in batches of similar prompts."""

    def __init__(self, policy: Policy, settings: SamplingSettings) -> None:
        self.policy = policy
        self.settings = settings
        self._batch = settings.batch
        kind = settings.cache
        if kind == "auto":
            graph = policy.device.type == "cuda" and full_attention(policy.model)
            kind = "graph" if graph else "dynamic"
        if kind != "dynamic" and not full_attention(policy.model):
            raise InvalidOptionError(
                f"sampling.cache={kind} needs a model whose layers all attend to everything; "
                f"{policy.name!r} has others. Use sampling.cache=dynamic."
            )
        if kind == "graph" and policy.device.type != "cuda":
            raise InvalidOptionError("sampling.cache=graph needs a GPU.")
        self._static = (
            None if kind == "dynamic" else StaticDecoder(policy.model, graph=kind == "graph")
        )

    def update(self) -> None:
        """Nothing: the model that is trained is the one that is sampled from."""

    def release(self) -> None:
        """Give back the memory of keys and values, for training."""
        if self._static:
            self._static.forget()

    def sample(self, prompts: Sequence[Sequence[int]], seed: int) -> list[Reply]:
        """One reply to each prompt.

        When the device's memory runs out, the batch is halved and the part sampled again.

        Raises:
            DeviceError: one prompt alone does not fit.
        """
        device = self.policy.device
        generator = torch.Generator(device).manual_seed(seed % (1 << 63))
        order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
        replies: dict[int, Reply] = {}
        training = self.policy.model.training
        self.policy.model.eval()
        start = 0
        while start < len(order):
            part = order[start : start + self._batch]
            try:
                drawn = self._draw([prompts[i] for i in part], generator)
            except torch.cuda.OutOfMemoryError as error:
                self._shrink(error)
                continue
            for index, reply in zip(part, self._replies(drawn), strict=False):
                replies[index] = reply
            start += len(part)
        self.policy.model.train(training)
        return [replies[i] for i in range(len(prompts))]

    def _shrink(self, error: Exception) -> None:
        self.release()
        torch.cuda.empty_cache()
        if self._batch == 1:
            raise DeviceError(
                f"Sampling one reply does not fit {self.policy.device}: {error}. Lower "
                "sampling.longest, or use policy.dtype=bfloat16."
            ) from None
        self._batch = max(1, self._batch // 2)

    def _draw(self, prompts: list[Sequence[int]], generator: torch.Generator) -> Drawn:
        settings, policy = self.settings, self.policy
        drawing = Drawing(
            settings.temperature, settings.top_p, settings.longest, policy.stops, policy.pad
        )
        width = max(map(len, prompts))
        if self._static:  # one shape for many calls: the last prompt fills the batch up
            width = -(-width // _ROUND) * _ROUND
            prompts = prompts + [prompts[-1]] * (self._batch - len(prompts))
        tokens = torch.full((len(prompts), width), policy.pad)
        valid = torch.zeros_like(tokens)
        for row, prompt in enumerate(prompts):
            tokens[row, width - len(prompt) :] = torch.tensor(list(prompt))
            valid[row, width - len(prompt) :] = 1
        tokens, valid = tokens.to(policy.device), valid.to(policy.device)
        if self._static:
            return self._static.draw(tokens, valid, drawing, generator)
        return draw_growing(policy.model, tokens, valid, drawing, generator)

    def _replies(self, drawn: Drawn) -> list[Reply]:
        lengths = drawn.lengths.tolist()
        tokens, logps = drawn.tokens.tolist(), drawn.logps.tolist()
        found = []
        for row, length in enumerate(lengths):
            said = tokens[row][:length]
            ended = bool(said) and said[-1] in self.policy.stops
            text = self.policy.tokenizer.decode(said[:-1] if ended else said)
            found.append(Reply(tuple(said), tuple(logps[row][:length]), ended, text))
        return found


def sampler_for(policy: Policy, settings: SamplingSettings) -> Sampler:
    """The sampler that the settings ask for."""
    if settings.backend == "vllm":
        from .vllm import ServerSampler

        return ServerSampler(policy, settings)
    return LocalSampler(policy, settings)
