"""Drawing with keys and values of fixed size, where a step can be recorded as one CUDA graph.

A small model's step is a few hundred tiny kernels, and launching them from Python takes longer than
running them. The graph holds all of a step, the draw and its bookkeeping included: a replay is one
call, so that other threads of the program and other processes on the GPU slow it down little.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from typing import Any

import torch

from .attention import Spans, reading
from .decoding import LOOK, Drawing, Drawn, State

_KEPT = 3
"""Steps of the largest batch that are kept, each with its keys and values; more of smaller ones."""
_WARM_UPS = 2
"""Steps that are run before one is recorded, in which libraries choose their kernels."""


class StaticDecoder:
    """Draws with keys and values of fixed size; on a GPU the step is one recorded graph.

    The model's weights may change between calls, as long as they change in place.

    Args:
        model: a transformers model whose layers all attend to everything.
        graph: whether the step is recorded.
        spans: whether it attends by our own kernel; see `attention.py`.
    """

    def __init__(self, model: Any, *, graph: bool, spans: bool) -> None:
        self._model = model
        self._graph = graph
        self._spans = spans
        self._steps: OrderedDict[tuple[int, int, Drawing], _Step] = OrderedDict()

    @torch.no_grad()
    def draw(
        self,
        prompts: torch.Tensor,
        valid: torch.Tensor,
        drawing: Drawing,
        generator: torch.Generator,
        wanted: int,
    ) -> Iterator[list[Drawn]]:
        """As `draw_growing`, for the first `wanted` prompts; the others only fill the batch up."""
        step = self._step(len(prompts), prompts.shape[1], drawing)
        for start in range(0, drawing.longest, LOOK):
            end = min(start + LOOK, drawing.longest)
            if not start:
                step.begin(prompts, valid, wanted, generator)
            for _ in range(start, end):
                step.advance()
            fresh = step.state.fresh(last=end == drawing.longest)
            if not step.state.open:
                generator.set_state(step.generator.get_state())
            yield fresh
            if not step.state.open:
                return

    def _step(self, rows: int, width: int, drawing: Drawing) -> _Step:
        key = (rows, width, drawing)
        if key not in self._steps:
            most = _KEPT * max([rows, *(kept for kept, *_ in self._steps)])
            while sum(kept for kept, *_ in self._steps) + rows > most:
                self._steps.popitem(last=False)
            self._steps[key] = _Step(
                self._model, rows, width, drawing, graph=self._graph, spans=self._spans
            )
        self._steps.move_to_end(key)
        return self._steps[key]

    def forget(self) -> None:
        """Give the memory back."""
        self._steps.clear()


class _Step:
    """One decoding step for a fixed number of rows and tokens: draw, write down, read."""

    def __init__(
        self, model: Any, rows: int, width: int, drawing: Drawing, *, graph: bool, spans: bool
    ) -> None:
        from transformers import StaticCache

        self._model = model
        self._wanted = graph
        self._width = width
        device = next(model.parameters()).device
        base = model.get_base_model() if hasattr(model, "get_base_model") else model
        size = width + drawing.longest
        self._cache = StaticCache(config=base.config, max_cache_len=size)
        self.state = State(rows, drawing, device)
        self.generator = torch.Generator(device)
        """Of the randomness; a graph is bound to one."""
        self._place = torch.zeros(rows, 1, dtype=torch.int64, device=device)
        self._seen = torch.zeros(rows, 1, 1, size, dtype=torch.bool, device=device)
        self._spans: Spans | None = None
        if spans:
            starts, ends = torch.zeros(2, rows, dtype=torch.int32, device=device)
            self._spans = Spans(starts, ends)
        self._number = torch.zeros(1, dtype=torch.int64, device=device)
        self._logits = torch.empty(0)
        self._recorded: Any = None

    def begin(
        self, prompts: torch.Tensor, valid: torch.Tensor, wanted: int, generator: torch.Generator
    ) -> None:
        """Read the prompts, and record the step if it was not."""
        width = prompts.shape[1]
        positions = (valid.cumsum(1) - 1).clamp(min=0)
        self._seen.zero_()
        self._seen[:, 0, 0, :width] = valid.bool()
        if self._spans:
            self._spans.starts.copy_(width - valid.sum(1))
        self._place.copy_(positions[:, -1:])
        self._number.zero_()
        self.state.begin(wanted)
        logits = self._read(prompts, valid.bool(), positions)
        if not self._logits.numel():
            self._logits = torch.empty_like(logits)
        self._logits.copy_(logits)
        if self._wanted and self._recorded is None:
            self._record()
        self.generator.set_state(generator.get_state())

    def _read(
        self, prompts: torch.Tensor, valid: torch.Tensor, positions: torch.Tensor
    ) -> torch.Tensor:
        """Fill the cache with the prompts, each read once however often it comes.

        Returns:
            Logits of the tokens that come next, `(rows, words)`.
        """
        from transformers import DynamicCache

        width = prompts.shape[1]
        both, which = torch.unique(
            torch.cat([prompts, valid], 1), dim=0, return_inverse=True
        )  # a token that fills up may be a prompt's own
        first = torch.empty(len(both), dtype=torch.int64, device=prompts.device)
        first[which] = torch.arange(len(prompts), device=prompts.device)
        here = torch.arange(width, device=prompts.device)
        causal = here[:, None] >= here
        # A row of padding sees itself: attention over nothing at all is not a number.
        seen = (causal & valid[first, None]) | (here[:, None] == here)
        out = self._model(
            input_ids=prompts[first], attention_mask=seen[:, None], position_ids=positions[first],
            past_key_values=DynamicCache(), use_cache=True, logits_to_keep=1,
        )  # fmt: skip
        for layer, read in zip(self._cache.layers, out.past_key_values.layers, strict=True):
            keys, values = read.keys[which], read.values[which]
            if not layer.is_initialized:
                layer.lazy_initialization(keys, values)
            layer.keys[:, :, :width] = keys
            layer.values[:, :, :width] = values
            layer.cumulative_length.fill_(width)
        logits: torch.Tensor = out.logits[which, -1]
        return logits

    def advance(self) -> None:
        """Draw a token for each row, and read it."""
        if self._recorded is None:
            self._run()
        else:
            self._recorded.replay()

    def _run(self) -> None:
        token = self.state.take_all(self._number, self._logits, self.generator)
        self._place += 1
        self._seen.index_fill_(-1, self._number + self._width, True)
        if self._spans:
            self._spans.ends.copy_((self._number + self._width + 1) * ~self.state.done)
        with reading(self._model, self._spans):
            self._logits.copy_(self._forward(token[:, None], self._seen, self._place))
        self._number += 1

    def _forward(
        self, tokens: torch.Tensor, seen: torch.Tensor, positions: torch.Tensor
    ) -> torch.Tensor:
        out = self._model(
            input_ids=tokens, attention_mask=seen, position_ids=positions,
            past_key_values=self._cache, use_cache=True, logits_to_keep=1,
        )  # fmt: skip
        logits: torch.Tensor = out.logits[:, -1]
        return logits

    def _record(self) -> None:
        """Run the step on a side stream until its kernels are chosen, record it, and undo it."""
        state = self.state
        changed = [state.tokens, state.logps, state.lengths, state.done, self._place, self._seen,
                   self._number, self._logits]  # fmt: skip
        before = [tensor.clone() for tensor in changed]
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(_WARM_UPS):
                self._run()
        torch.cuda.current_stream().wait_stream(side)
        recorded = torch.cuda.CUDAGraph()
        recorded.register_generator_state(self.generator)
        with torch.cuda.graph(recorded):
            self._run()
        for tensor, value in zip(changed, before, strict=True):
            tensor.copy_(value)
        for layer in self._cache.layers:  # the cache forgets the tokens that were only tried
            layer.cumulative_length.fill_(self._width)
        self._recorded = recorded
