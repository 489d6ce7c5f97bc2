"""Drawing replies token by token from a transformers model.

Written out rather than left to `generate`, for three things that training needs: the probability
of every token as it was drawn, randomness from one seeded generator, and a decoding step that is
recorded once as a CUDA graph and replayed. A small model's step is a few hundred tiny kernels, and
launching them from Python takes longer than running them.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch

_LOOK = 8
"""Steps between looks at which rows are done: each look waits for the device."""
_GRAPHS = 3
"""Recorded steps that are kept, each with its keys and values."""


Share = Callable[[], AbstractContextManager[None]]
"""Holds the device for some milliseconds of work, beside others who do the same."""


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
    share: Share,
) -> Iterator[Drawn]:
    """Draw with keys and values that grow; rows that are done are dropped on the way.

    Replies come as they are done.

    Args:
        model: a transformers causal language model.
        prompts: `(rows, width)`, padded on the left.
        valid: `(rows, width)`, 1 where a prompt's tokens are.
        drawing: see there.
        generator: of the randomness, on the model's device.
        share: is held while the device works.
    """
    rows = len(prompts)
    state = _State(rows, drawing, prompts.device)
    positions = (valid.cumsum(1) - 1).clamp(min=0)
    mask: torch.Tensor = valid
    cache: Any = None
    inputs, places = prompts, positions
    alive = torch.arange(rows, device=prompts.device)
    for start in range(0, drawing.longest, _LOOK):
        with share():
            for step in range(start, min(start + _LOOK, drawing.longest)):
                out = model(
                    input_ids=inputs, attention_mask=mask, position_ids=places,
                    past_key_values=cache, use_cache=True, logits_to_keep=1,
                )  # fmt: skip
                cache = out.past_key_values
                token = state.take(step, alive, out.logits[:, -1], generator)
                inputs = token[:, None]
                mask = torch.cat([mask, mask.new_ones(len(mask), 1)], 1)
                places = places[:, -1:] + 1
            fresh = state.fresh(last=step == drawing.longest - 1)
        yield from fresh
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


class _State:
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

    def take(
        self,
        step: int,
        alive: torch.Tensor,
        logits: torch.Tensor,
        generator: torch.Generator | None,
    ) -> torch.Tensor:
        """Draw the next token of the rows `alive`, and write it down where they are not done."""
        token, logp = choose(logits, self.drawing, generator)
        going = ~self.done[alive]
        token = torch.where(going, token, self.drawing.pad)
        self.tokens[alive, step] = token
        self.logps[alive, step] = torch.where(going, logp, 0.0)
        self.lengths[alive] += going
        self.done[alive] = ~going | torch.isin(token, self.stops)
        return token

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

    def leave_out(self, rows: int) -> None:
        """Draw for the first `rows` rows only."""
        self.done[rows:] = True
        self.open = self.open[:rows]


class StaticDecoder:
    """Draws with keys and values of fixed size; on a GPU the step is one recorded graph.

    The model's weights may change between calls, as long as they change in place.
    """

    def __init__(self, model: Any, *, graph: bool) -> None:
        self._model = model
        self._graph = graph
        self._steps: OrderedDict[tuple[int, int], _Step] = OrderedDict()

    @torch.no_grad()
    def draw(
        self,
        prompts: torch.Tensor,
        valid: torch.Tensor,
        drawing: Drawing,
        generator: torch.Generator | None,
        share: Share,
        wanted: int,
    ) -> Iterator[Drawn]:
        """As `draw_growing`, for the first `wanted` prompts; the others only fill the batch up."""
        rows, width = prompts.shape
        step = self._step(rows, width + drawing.longest)
        state = _State(rows, drawing, prompts.device)
        state.leave_out(wanted)
        alive = torch.arange(rows, device=prompts.device)
        for start in range(0, drawing.longest, _LOOK):
            with share():
                if not start:
                    logits = step.prefill(prompts, valid)
                for number in range(start, min(start + _LOOK, drawing.longest)):
                    token = state.take(number, alive, logits, generator)
                    last = number == drawing.longest - 1
                    if not last:
                        logits = step.next(token, width + number)
                fresh = state.fresh(last=last)
            yield from fresh
            if not state.open:
                return

    def _step(self, rows: int, size: int) -> _Step:
        key = (rows, size)
        if key not in self._steps:
            while len(self._steps) >= _GRAPHS:
                self._steps.popitem(last=False)
            self._steps[key] = _Step(self._model, rows, size, self._graph)
        self._steps.move_to_end(key)
        return self._steps[key]

    def forget(self) -> None:
        """Give the memory back."""
        self._steps.clear()


class _Step:
    """One decoding step for a fixed number of rows and tokens."""

    def __init__(self, model: Any, rows: int, size: int, graph: bool) -> None:
        from transformers import StaticCache

        self._model = model
        self._wanted = graph
        device = next(model.parameters()).device
        base = model.get_base_model() if hasattr(model, "get_base_model") else model
        self._cache = StaticCache(config=base.config, max_cache_len=size)
        self._token = torch.zeros(rows, 1, dtype=torch.int64, device=device)
        self._place = torch.zeros(rows, 1, dtype=torch.int64, device=device)
        self._seen = torch.zeros(rows, 1, 1, size, dtype=torch.bool, device=device)
        self._logits = torch.empty(0)
        self._recorded: Any = None

    def prefill(self, prompts: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
        """Read the prompts; returns the logits after them, `(rows, words)`."""
        rows, width = prompts.shape
        self._cache.reset()
        size = self._seen.shape[-1]
        here = torch.arange(width, device=prompts.device)
        seen = torch.zeros(rows, 1, width, size, dtype=torch.bool, device=prompts.device)
        causal = here[:, None] >= here[None]
        # A row of padding sees itself: attention over nothing at all is not a number.
        seen[..., :width] = (causal & valid.bool()[:, None]).unsqueeze(1) | torch.eye(
            width, dtype=torch.bool, device=prompts.device
        )
        positions = (valid.cumsum(1) - 1).clamp(min=0)
        self._seen.zero_()
        self._seen[:, 0, 0, :width] = valid.bool()
        self._place.copy_(positions[:, -1:])
        return self._forward(prompts, seen, positions)

    def next(self, token: torch.Tensor, column: int) -> torch.Tensor:
        """Read one token for each row into `column`; returns the logits after it."""
        self._token.copy_(token[:, None])
        self._place += 1
        self._seen[..., column] = True
        if not self._wanted:
            return self._forward(self._token, self._seen, self._place)
        if self._recorded is None:
            self._record(column)
        else:
            self._recorded.replay()
        return self._logits

    def _forward(
        self, tokens: torch.Tensor, seen: torch.Tensor, positions: torch.Tensor
    ) -> torch.Tensor:
        out = self._model(
            input_ids=tokens, attention_mask=seen, position_ids=positions,
            past_key_values=self._cache, use_cache=True, logits_to_keep=1,
        )  # fmt: skip
        logits: torch.Tensor = out.logits[:, -1]
        return logits

    def _record(self, column: int) -> None:
        """Run the step on a side stream until its kernels are chosen, then record and replay it."""
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(2):
                self._forward(self._token, self._seen, self._place)
                self._rewind(column)
        torch.cuda.current_stream().wait_stream(side)
        recorded = torch.cuda.CUDAGraph()
        with torch.cuda.graph(recorded):
            self._logits = self._forward(self._token, self._seen, self._place)
        self._rewind(column)
        self._recorded = recorded
        recorded.replay()

    def _rewind(self, column: int) -> None:
        """Let the cache forget the token that was only tried."""
        for layer in self._cache.layers:
            layer.cumulative_length.fill_(column)
