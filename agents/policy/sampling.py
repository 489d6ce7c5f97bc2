"""Sampling replies to prompts: by transformers in this process, or by a server."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Protocol

import torch

from triton_gym.errors import DeviceError, InvalidOptionError
from triton_gym.evaluation.judging.sharing import gpu_lock

from .attention import DIMENSIONS, fits
from .decoding import Drawing, Drawn, draw_growing, full_attention
from .models import Policy
from .recorded import StaticDecoder
from .settings import SamplingSettings

_ROUND = 256
"""Widths of prompts are rounded up to multiples of this, so that recorded steps are reused."""
TURN_S = 0.06
"""How long the device is held at a time where answers are timed on it. Before each turn some are:
with shorter turns a large model hardly gets on, with longer ones evaluations do not."""


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

    waited_s: float = 0.0
    """Time that it waited for a GPU where evaluations were timed."""

    def stream(self, prompts: Sequence[Sequence[int]], seed: int) -> Iterator[tuple[int, Reply]]:
        """One reply to each prompt, as they are done: the prompt's number, and the reply.

        Replies are the same for the same seed and weights; their order need not be.
        """

    def update(self) -> None:
        """Called when the policy's weights have changed."""

    def release(self) -> None:
        """Give back what is kept between calls."""
        return None

    def sample(self, prompts: Sequence[Sequence[int]], seed: int) -> list[Reply]:
        """One reply to each prompt, in order."""
        found = dict(self.stream(prompts, seed))
        return [found[number] for number in range(len(prompts))]


class LocalSampler(Sampler):
    """Samples from the policy's own model, in batches of similar prompts.

    On a GPU where answers are evaluated too, it gives way to what is timed.
    """

    def __init__(self, policy: Policy, settings: SamplingSettings) -> None:
        self.policy = policy
        self.settings = settings
        self._batch = settings.batch
        self.waited_s = 0.0
        self._lock = gpu_lock(policy.device) if policy.device.type == "cuda" else None
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
        able = fits(policy.model)
        spans = settings.attention == "triton" or (
            settings.attention == "auto" and kind == "graph" and able
        )
        runs = policy.device.type == "cuda" or _interpreted()
        if spans and (kind == "dynamic" or not runs or not able):
            raise InvalidOptionError(
                "sampling.attention=triton needs a GPU, sampling.cache=graph, and a model with "
                f"policy.attention=sdpa whose heads have one of {DIMENSIONS} dimensions. Use "
                "sampling.attention=model."
            )
        self._static = None
        if kind != "dynamic":
            self._static = StaticDecoder(policy.model, graph=kind == "graph", spans=spans)

    def update(self) -> None:
        """Nothing: the model that is trained is the one that is sampled from."""

    @contextmanager
    def _share(self) -> Iterator[None]:
        started = time.perf_counter()
        with self._lock(alone=False) if self._lock else nullcontext():
            self.waited_s += time.perf_counter() - started
            yield

    def release(self) -> None:
        """Give back the memory of keys and values, to others on the device too."""
        if self._static:
            self._static.forget()
        if self.policy.device.type == "cuda":
            torch.cuda.empty_cache()

    def stream(self, prompts: Sequence[Sequence[int]], seed: int) -> Iterator[tuple[int, Reply]]:
        """One reply to each prompt, as they are done.

        When the device's memory runs out, the batch is halved and what is missing sampled again.

        Raises:
            DeviceError: one prompt alone does not fit.
        """
        device = self.policy.device
        generator = torch.Generator(device).manual_seed(seed % (1 << 63))
        left = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
        training = self.policy.model.training
        self.policy.model.eval()
        try:
            while left:
                part = left[: self._batch]
                done = set()
                try:
                    for drawn in self._draw([prompts[i] for i in part], generator):
                        done.add(part[drawn.row])
                        yield part[drawn.row], self._reply(drawn)
                except torch.cuda.OutOfMemoryError as error:
                    self._shrink(error)
                left = [i for i in left if i not in done]
        finally:
            self.policy.model.train(training)

    def _shrink(self, error: Exception) -> None:
        self.release()
        if self._batch == 1:
            raise DeviceError(
                f"Sampling one reply does not fit {self.policy.device}: {error}. Lower "
                "sampling.longest, or use policy.dtype=bfloat16."
            ) from None
        self._batch = max(1, self._batch // 2)

    def _draw(self, prompts: list[Sequence[int]], generator: torch.Generator) -> Iterator[Drawn]:
        settings, policy = self.settings, self.policy
        drawing = Drawing(
            settings.temperature, settings.top_p, settings.longest, policy.stops, policy.pad
        )
        width, wanted = max(map(len, prompts)), len(prompts)
        if self._static:  # few shapes for many calls: the last prompt fills the batch up
            width = -(-width // _ROUND) * _ROUND
            prompts = prompts + [prompts[-1]] * (_rows(wanted, self._batch) - wanted)
        tokens = torch.full((len(prompts), width), policy.pad)
        valid = torch.zeros_like(tokens)
        for row, prompt in enumerate(prompts):
            tokens[row, width - len(prompt) :] = torch.tensor(list(prompt))
            valid[row, width - len(prompt) :] = 1
        tokens, valid = tokens.to(policy.device), valid.to(policy.device)
        if self._static:
            looks = self._static.draw(tokens, valid, drawing, generator, wanted)
        else:
            looks = draw_growing(policy.model, tokens, valid, drawing, generator)
        return self._in_turns(looks, wanted)

    def _in_turns(self, looks: Iterator[list[Drawn]], wanted: int) -> Iterator[Drawn]:
        """All that is drawn. Who takes it may do as he likes: the device is not held meanwhile."""
        while wanted:
            found: list[Drawn] = []
            with self._share():
                end = time.perf_counter() + (TURN_S if self._lock else 0.0)
                for fresh in looks:
                    found += fresh
                    if len(found) == wanted or time.perf_counter() >= end:
                        break
            wanted -= len(found)
            yield from found

    def _reply(self, drawn: Drawn) -> Reply:
        said = drawn.tokens
        ended = bool(said) and said[-1] in self.policy.stops
        text = self.policy.tokenizer.decode(list(said[:-1] if ended else said))
        return Reply(said, drawn.logps, ended, text)


def _rows(count: int, batch: int) -> int:
    """The batch or a quarter, a sixteenth, … of it: the smallest that holds so many prompts.

    A step costs what its rows cost, also those that only fill it up; but each size is recorded.
    """
    while count <= batch // 4 and batch % 4 == 0:
        batch //= 4
    return batch


def _interpreted() -> bool:
    """Whether Triton runs its kernels in Python, which it decides when they are defined."""
    return os.environ.get("TRITON_INTERPRET") == "1"


def sampler_for(policy: Policy, settings: SamplingSettings) -> Sampler:
    """The sampler that the settings ask for."""
    if settings.backend == "vllm":
        from .vllm import ServerSampler

        return ServerSampler(policy, settings)
    return LocalSampler(policy, settings)
