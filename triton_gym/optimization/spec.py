"""What a search is asked to do, as one process leaves it for another."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cloudpickle
import torch
from torch.utils import _pytree as pytree

from triton_gym.errors import InvalidOptionError
from triton_gym.runs.folder import write_whole

AGENTS = ("steady-state",)
"""Which agents search, unless others are named; a task with knobs is tuned first."""
BASELINES = ("eager", "eager-only", "compile")
"""What the function runs as: `eager`, where a kernel must also take no longer than what
`torch.compile` makes; `eager-only`, where nobody would compile it; `compile`."""
BEGIN = "begin.json"
"""In a search's folder, for what is started before the rest is read: `path`, where modules are
found; `live`, whether kernels can run there as in the user's program; the `device`; `shared`,
whether its GPU is the program's too."""

Call = tuple[tuple[Any, ...], dict[str, Any]]
"""Arguments of a call: positional, by keyword."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """One search."""

    name: str
    function: Callable[..., Any]
    examples: Any
    """Calls of the function, or a function that makes them; see `calls`."""
    dynamic: Mapping[str, Sequence[int]] | None = None
    """Axes that vary, by argument; None for all that can."""
    draw: Callable[..., Any] | None = None
    """Draws the arguments of a call of given sizes; see `tracing.trace`."""
    reference: Callable[..., Any] | None = None
    """The same in plain PyTorch, needed if the function launches Triton kernels."""
    seconds: float = 600.0
    """Wall time of the search."""
    agents: tuple[str, ...] = ()
    """Their names; `AGENTS` if empty."""
    device: str = "auto"
    """What answers are evaluated on: `cuda:0`, `simulated:h200`, …"""
    share: float = 0.005
    """Of the time, how much the search may keep the GPU busy."""
    against: str = "eager"
    """What the function runs as: `eager` or `compile`."""
    seed: int = 0
    key: str = ""
    """Of the cache's entry; empty to keep nothing."""
    cache: str = ""
    """The cache's folder."""
    sources: tuple[str, ...] = ()
    """Answers from elsewhere, which are tried first."""

    def write(self, folder: Path) -> None:
        """Leave the search in its run folder.

        Raises:
            InvalidOptionError: the function or the examples cannot be sent to another process.
        """
        live = self.device.startswith("cuda")
        first = {
            "path": search_path(), "live": live, "device": self.device,
            "shared": live and self.share < 1,
        }  # fmt: skip
        write_whole(folder / BEGIN, json.dumps(first))
        write_whole(folder / "spec.pkl", pickled(self, self.name))

    @staticmethod
    def read(folder: Path) -> Spec:
        """The search of a run folder."""
        found: Spec = cloudpickle.loads((folder / "spec.pkl").read_bytes())
        return found


def search_path() -> list[str]:
    """Where this process finds modules, as another one finds them from anywhere."""
    return [os.path.abspath(entry) for entry in sys.path]


def pickled(value: Any, name: str) -> bytes:
    """Something of the user's as bytes.

    Raises:
        InvalidOptionError: it cannot be.
    """
    try:
        made: bytes = cloudpickle.dumps(value)
    except (TypeError, pickle.PicklingError, AttributeError, RuntimeError) as error:
        raise InvalidOptionError(
            f"{name} cannot be sent to the process that searches: {type(error).__name__}: {error}. "
            "It must not hold open files, locks or generators; give examples as a function."
        ) from None
    return made


def calls(examples: Any) -> list[Call]:
    """The calls that `examples` stands for.

    Args:
        examples: a sequence of calls, or a function without parameters that returns one. A call
            is a tuple of arguments, a dict of arguments by name, or a pair of both; a lone tensor
            is a call with one argument.

    Raises:
        InvalidOptionError: it is something else, or empty.
    """
    given = examples() if callable(examples) else examples
    if isinstance(given, torch.Tensor) or not isinstance(given, Sequence) or not given:
        raise InvalidOptionError(
            "examples must be a list of calls, each a tuple of arguments: examples=[(x, w)]; or a "
            f"function that returns one. Got {type(given).__name__}."
        )
    return [_call(one) for one in given]


def _call(one: Any) -> Call:
    if isinstance(one, Mapping):
        return (), dict(one)
    if isinstance(one, tuple):
        pair = len(one) == 2 and isinstance(one[0], tuple) and isinstance(one[1], dict)
        return (one[0], dict(one[1])) if pair else (one, {})
    if isinstance(one, torch.Tensor):
        return (one,), {}
    raise InvalidOptionError(
        f"An example must be a tuple of arguments, a dict of them by name, or both: ((x,), "
        f"{{'eps': 1e-6}}); got {type(one).__name__}."
    )


def kind_of(examples: Any) -> str:
    """A digest of what the examples are like, without their values; of a function, of its code."""
    from triton_gym.evaluation.fingerprint import code_fingerprint

    if callable(examples):
        return code_fingerprint(examples)
    told = [_told(leaf) for leaf in pytree.tree_leaves(calls(examples))]
    return hashlib.sha256(repr(told).encode()).hexdigest()


def device_of(examples: Sequence[Call]) -> torch.device | None:
    """Where the tensors of examples lie; None where there are none."""
    for leaf in pytree.tree_leaves(list(examples)):
        if isinstance(leaf, torch.Tensor):
            return leaf.device
    return None


def _told(leaf: Any) -> Any:
    if isinstance(leaf, torch.Tensor):
        return (tuple(leaf.shape), tuple(leaf.stride()), str(leaf.dtype), str(leaf.device))
    return repr(leaf)
