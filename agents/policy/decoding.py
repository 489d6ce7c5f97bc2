"""Drawing replies token by token from a transformers model.

Written out rather than left to `generate`, for three things that training needs: the probability
of every token as it was drawn, randomness from one seeded generator, and a decoding step that can
be recorded (`recorded.py`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch

LOOK = 8
"""Steps between looks at which rows are done: each look waits for the device."""


@dataclass(frozen=True, slots=True)
class Drawing:
    """How tokens are drawn."""

    temperature: float
    top_p: float
    longest: int
    stops: tuple[int, ...]
    pad: int


@dataclass(frozen=True, slots=True)
class Drawn:
    """The reply to one prompt of a batch."""

    row: int
    """Of the prompt."""
    tokens: tuple[int, ...]
    """Its stop token included, if it came to one."""
    logps: tuple[float, ...]
    """Log-probability of each at the temperature, before `top_p`."""


def choose(
    logits: torch.Tensor, drawing: Drawing, generator: torch.Generator | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """One token for each row of `(rows, words)`, and its log-probability."""
    scaled = logits.float() / (drawing.temperature or 1.0)
    logps = torch.log_softmax(scaled, -1)
    if drawing.temperature == 0:
        token = logps.argmax(-1)
    else:
        shares = logps.exp()
        if drawing.top_p < 1:
            ordered, order = shares.sort(-1, descending=True)
            outside = ordered.cumsum(-1) - ordered >= drawing.top_p  # the first is never outside
            shares = shares.scatter(-1, order, ordered.masked_fill(outside, 0.0))
        # The least of exponential variables with rates `shares` is number i with chance share_i.
        race = torch.empty_like(shares).exponential_(generator=generator)
        token = (shares / race).argmax(-1)
    return token, logps.gather(-1, token[:, None])[:, 0]


@torch.no_grad()
def draw_growing(
    model: Any,
    prompts: torch.Tensor,
    valid: torch.Tensor,
    drawing: Drawing,
    generator: torch.Generator | None,
) -> Iterator[list[Drawn]]:
    """Draw with keys and values that grow; rows that are done are dropped on the way.

    Each look comes as the list of replies that are done since the last one.

    Args:
        model: a transformers causal language model.
        prompts: `(rows, width)`, padded on the left.
        valid: `(rows, width)`, 1 where a prompt's tokens are.
        drawing: see there.
        generator: of the randomness, on the model's device.
    """
    rows = len(prompts)
    state = State(rows, drawing, prompts.device)
    positions = (valid.cumsum(1) - 1).clamp(min=0)
    mask: torch.Tensor = valid
    cache: Any = None
    inputs, places = prompts, positions
    alive = torch.arange(rows, device=prompts.device)
    for start in range(0, drawing.longest, LOOK):
        for step in range(start, min(start + LOOK, drawing.longest)):
            out = model(
                input_ids=inputs, attention_mask=mask, position_ids=places,
                past_key_values=cache, use_cache=True, logits_to_keep=1,
            )  # fmt: skip
            cache = out.past_key_values
            token = state.take(step, alive, out.logits[:, -1], generator)
            inputs = token[:, None]
            mask = torch.cat([mask, mask.new_ones(len(mask), 1)], 1)
            places = places[:, -1:] + 1
        yield state.fresh(last=step == drawing.longest - 1)
        if not state.open:
            return
        left = (~state.done[alive]).nonzero()[:, 0]
        if len(left) <= len(alive) // 2 and hasattr(cache, "batch_select_indices"):
            cache.batch_select_indices(left)
            alive, inputs, mask, places = alive[left], inputs[left], mask[left], places[left]


def full_attention(model: Any) -> bool:
    """Whether every layer attends to all tokens, so that one mask of fixed size serves them all."""
    config = model.config.get_text_config(decoder=True)
    kinds = getattr(config, "layer_types", None)
    if kinds is not None:
        return set(kinds) == {"full_attention"}
    return getattr(config, "sliding_window", None) is None


class State:
    """What was drawn so far."""

    def __init__(self, rows: int, drawing: Drawing, device: torch.device) -> None:
        self.drawing = drawing
        self.tokens = torch.full((rows, drawing.longest), drawing.pad, device=device)
        self.logps = torch.zeros(rows, drawing.longest, device=device)
        self.lengths = torch.zeros(rows, dtype=torch.int64, device=device)
        self.done = torch.zeros(rows, dtype=torch.bool, device=device)
        self.stops = torch.tensor(drawing.stops, device=device)
        self.open = list(range(rows))
        """Rows whose replies were not given out yet."""

    def begin(self, wanted: int) -> None:
        """Start over, for the first `wanted` rows only."""
        for tensor in (self.lengths, self.logps):
            tensor.zero_()
        self.tokens.fill_(self.drawing.pad)
        self.done.zero_()
        self.done[wanted:] = True
        self.open = list(range(wanted))

    def take(
        self,
        step: int,
        alive: torch.Tensor,
        logits: torch.Tensor,
        generator: torch.Generator | None,
    ) -> torch.Tensor:
        """Draw the next token of the rows `alive`, and write it down where they are not done."""
        token, logp, going = self._drawn(logits, self.done[alive], generator)
        self.tokens[alive, step] = token
        self.logps[alive, step] = logp
        self.lengths[alive] += going
        self.done[alive] = ~going | self._stops(token)
        return token

    def take_all(
        self, number: torch.Tensor, logits: torch.Tensor, generator: torch.Generator | None
    ) -> torch.Tensor:
        """The same for all rows, by operations that can be recorded.

        Args:
            number: of the step, `(1,)`, on the device.
            logits: `(rows, words)`.
            generator: of the randomness.
        """
        token, logp, going = self._drawn(logits, self.done, generator)
        self.tokens.index_copy_(1, number, token[:, None])
        self.logps.index_copy_(1, number, logp[:, None])
        self.lengths += going
        self.done |= self._stops(token)
        return token

    def _drawn(
        self, logits: torch.Tensor, done: torch.Tensor, generator: torch.Generator | None
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        token, logp = choose(logits, self.drawing, generator)
        going = ~done
        return torch.where(going, token, self.drawing.pad), torch.where(going, logp, 0.0), going

    def _stops(self, token: torch.Tensor) -> torch.Tensor:
        return (token[:, None] == self.stops).any(1)

    def fresh(self, *, last: bool) -> list[Drawn]:
        """The rows that are done since the last look, or all others after the last step."""
        done = self.done.tolist()
        rows = [row for row in self.open if last or done[row]]
        self.open = [row for row in self.open if not (last or done[row])]
        if not rows:
            return []
        tokens, logps = self.tokens[rows].tolist(), self.logps[rows].tolist()
        return [
            Drawn(row, tuple(tokens[i][:length]), tuple(logps[i][:length]))
            for i, (row, length) in enumerate(zip(rows, self.lengths[rows].tolist(), strict=True))
        ]
