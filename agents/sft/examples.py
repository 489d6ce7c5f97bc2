"""From conversations to tokens, and to rows of tokens.

The loss is on the last answer alone: in a conversation that repairs or speeds up a kernel, the
answers before it are the bad ones.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from triton_gym.errors import InvalidOptionError, RunError

from ..policy.conversation import render
from ..policy.models import Policy
from .settings import ExamplesSettings


@dataclass(frozen=True, slots=True)
class Example:
    """One conversation."""

    tokens: tuple[int, ...]
    start: int
    """Index of the first token of the answer; it and all after it are learned."""


@dataclass(frozen=True, slots=True)
class Packed:
    """Rows of examples, `(rows, length)`."""

    tokens: torch.Tensor
    positions: torch.Tensor
    """Of each token within its example: where they start again at 0, another example begins, and
    transformers lets none see another."""
    learned: torch.Tensor
    """Bool `(rows, length − 1)`: which tokens, from the second on, the loss is on."""


def read_examples(
    paths: Sequence[str], policy: Policy, settings: ExamplesSettings
) -> tuple[list[Example], int]:
    """The examples of all files, and how many were too long.

    Raises:
        RunError: a file is not there, or is damaged.
        InvalidOptionError: they hold no examples that can be used.
    """
    rows = [row for path in paths for row in _rows(Path(path))]
    wanted = [row for row in rows if not settings.kinds or row.get("kind") in settings.kinds]
    found: list[Example] = []
    long = 0
    for row in wanted:
        if settings.limit and len(found) >= settings.limit:
            break
        example = encode(policy, row["messages"])
        if len(example.tokens) > settings.length:
            long += 1
        else:
            found.append(example)
    if not found:
        kinds = sorted({str(row.get("kind")) for row in rows})
        raise InvalidOptionError(
            f"{', '.join(paths)}: no usable examples: {len(rows)} rows, {len(wanted)} of the kinds "
            f"asked for (there are {', '.join(kinds)}), {long} longer than examples.length="
            f"{settings.length}."
        )
    return found, long


def encode(policy: Policy, messages: Sequence[dict[str, str]]) -> Example:
    """A conversation that ends with an answer, in tokens.

    The answer is cut into tokens apart from what precedes it, as a policy that writes it does.

    Raises:
        InvalidOptionError: the last message is not an answer, or the chat template writes it
            otherwise than a reply would be.
    """
    if not messages or messages[-1]["role"] != "assistant":
        raise InvalidOptionError("An example must end with a message of the assistant.")
    before = render(policy.tokenizer, messages[:-1], reply=True)
    whole = render(policy.tokenizer, messages, reply=False)
    if not whole.startswith(before):
        raise InvalidOptionError(
            "The chat template does not write a conversation as a continuation of its beginning; "
            "set policy.chat_template."
        )
    head = policy.tokenizer(before, add_special_tokens=False)["input_ids"]
    answer = policy.tokenizer(whole[len(before) :], add_special_tokens=False)["input_ids"]
    ends = [i for i, token in enumerate(answer) if token in policy.stops]
    if not ends:
        raise InvalidOptionError(
            "The chat template does not end an answer with a token that stops sampling; set "
            "policy.chat_template."
        )
    return Example((*head, *answer[: ends[0] + 1]), len(head))


def pack(examples: Sequence[Example], length: int, *, packing: bool) -> list[list[Example]]:
    """Which examples share a row: in order, each in the first of the last rows that has room."""
    if not packing:
        return [[example] for example in examples]
    rows: list[list[Example]] = []
    room: list[int] = []
    for example in examples:
        size = len(example.tokens)
        for index in range(max(0, len(rows) - 16), len(rows)):
            if room[index] >= size:
                rows[index].append(example)
                room[index] -= size
                break
        else:
            rows.append([example])
            room.append(length - size)
    return rows


def rows_of(rows: Sequence[Sequence[Example]], pad: int, device: torch.device) -> Packed:
    """Packed examples as tensors, as wide as the widest row."""
    width = max(sum(len(e.tokens) for e in row) for row in rows)
    tokens = torch.full((len(rows), width), pad)
    positions = torch.zeros(len(rows), width, dtype=torch.int64)
    learned = torch.zeros(len(rows), width - 1, dtype=torch.bool)
    for number, row in enumerate(rows):
        place = 0
        for example in row:
            end = place + len(example.tokens)
            tokens[number, place:end] = torch.tensor(example.tokens)
            positions[number, place:end] = torch.arange(end - place)
            learned[number, max(place + example.start - 1, 0) : end - 1] = True
            place = end
        positions[number, place:] = torch.arange(width - place)  # padding, an example of its own
    return Packed(tokens.to(device), positions.to(device), learned.to(device))


class Schedule:
    """Which rows each step learns from; the same for the same seed."""

    def __init__(self, examples: Sequence[Example], settings: ExamplesSettings, seed: int) -> None:
        self._examples = examples
        self._settings = settings
        self._seed = seed
        self._epoch = -1
        self._rows: list[list[Example]] = []
        self.size = max(1, settings.batch_tokens // settings.length)
        """Rows a step."""
        self._fill(0)
        self.steps_an_epoch = max(1, len(self._rows) // self.size)
        self.steps = max(1, round(settings.epochs * self.steps_an_epoch))

    def rows(self, step: int) -> list[list[Example]]:
        """The rows of a step, counted from 0."""
        epoch, number = divmod(step, self.steps_an_epoch)
        if epoch != self._epoch:
            self._fill(epoch)
        start = number * self.size
        return self._rows[start : start + self.size] or self._rows[: self.size]

    def _fill(self, epoch: int) -> None:
        order = np.random.default_rng([self._seed, epoch]).permutation(len(self._examples))
        shuffled = [self._examples[i] for i in order]
        self._rows = pack(shuffled, self._settings.length, packing=self._settings.packing)
        self._epoch = epoch


def _rows(path: Path) -> list[dict[str, Any]]:
    try:
        if path.suffix == ".parquet":
            import pyarrow.parquet

            table = pyarrow.parquet.read_table(path, partitioning=None)
            found: list[dict[str, Any]] = table.to_pylist()
        else:
            found = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    except ModuleNotFoundError:
        raise InvalidOptionError(f"{path} needs pyarrow: pip install pyarrow") from None
    except (OSError, ValueError) as error:
        raise RunError(f"{path} cannot be read: {error}.") from None
    if found and "messages" not in found[0]:
        raise InvalidOptionError(f"{path} has no column 'messages'.")
    return found
