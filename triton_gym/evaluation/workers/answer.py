"""An answer as its worker holds it: imported, its failures told, its results looked over.

All of this runs on hostile ground, and none of it is believed where lying would gain: see `worker`.
"""

from __future__ import annotations

import importlib.util
import linecache
import mmap
import sys
from types import ModuleType
from typing import Any

import torch

from triton_gym import syntax
from triton_gym.evaluation import trees
from triton_gym.evaluation.workers.failure import Failure
from triton_gym.outcome import Status


def import_answer(path: str, source: str) -> ModuleType:
    """The answer as a module: what runs is the text that was screened, and Triton reads the same.

    Nothing is read from the file. Another worker of the same evaluation may have written to it, or
    compiled code beside it, and whoever reads it honours a line that declares an encoding.

    Args:
        path: what the module calls its file.
        source: that text.
    """
    spec = importlib.util.spec_from_file_location("answer", path)
    if spec is None:
        raise ImportError(f"cannot load {path}")
    module = importlib.util.module_from_spec(spec)
    sys.modules["answer"] = module
    # Without a time of change: it is never looked for on the disk.
    linecache.cache[path] = (len(source), None, syntax.lines(source), path)
    exec(compile(source, path, "exec", dont_inherit=True), module.__dict__)
    return module


def zeros(leaf: trees.Leaf) -> torch.Tensor:
    """Zeros whose pages the system provides when they are touched; `torch.zeros` touches all."""
    dtype = getattr(torch, leaf.dtype)
    if not leaf.span:
        return torch.empty(leaf.shape, dtype=dtype)
    memory = mmap.mmap(-1, leaf.span * dtype.itemsize)
    return torch.frombuffer(memory, dtype=dtype, count=leaf.span).as_strided(
        leaf.shape, leaf.stride
    )


class Wanted:
    """What a call must return.

    Args:
        call: as the judge tells of it.
        entry: name of the answer's entry point, for messages.
        device: where results must be.
    """

    def __init__(self, call: dict[str, Any], entry: str, device: torch.device) -> None:
        self._case, self._entry, self._device = call["case"], entry, device
        self._tree = trees.read(call["results"])
        self._same_strides = call["same_strides"]
        self._leaves = trees.leaves(self._tree)
        self._names = trees.names(self._tree)

    def dense(self, result: Any) -> list[torch.Tensor]:
        """The tensors that an answer returned, as the result that is asked for lies in memory.

        A transposed view, say, must be written once more, unless the reference's is one too. That
        is part of the answer's work, and so of its time.

        Raises:
            Failure: the result is no such container, or holds something else than tensors.
        """
        try:
            found = trees.match(result, self._tree, self._device)
        except trees.TreeError as error:
            raise Failure(
                Status.INCORRECT, f"{self._entry} returned something else on {self._case}: {error}."
            ) from None
        if self._same_strides:
            return found
        return [
            tensor if _lies_like(tensor, leaf) else tensor.contiguous()
            for tensor, leaf in zip(found, self._leaves, strict=True)
        ]

    def hold(self, found: list[torch.Tensor]) -> list[torch.Tensor]:
        """The same tensors, which are of the right shape, dtype and device.

        Raises:
            Failure: they are not, or lie otherwise in memory where that is asked for.
        """
        for tensor, leaf, name in zip(found, self._leaves, self._names, strict=True):
            dtype, shape = trees.name_of(tensor.dtype), tuple(tensor.shape)
            if (shape, dtype, tensor.device) != (leaf.shape, leaf.dtype, self._device):
                raise Failure(
                    Status.INCORRECT,
                    f"{self._entry} returned shape {shape}, dtype {dtype} on {tensor.device}"
                    f"{name and ' at ' + name} for {self._case}; expected shape {leaf.shape}, "
                    f"dtype {leaf.dtype} on {self._device}.",
                )
            if self._same_strides and not _strided_like(tensor, leaf):
                raise Failure(
                    Status.INCORRECT,
                    f"{self._entry} returned strides {tuple(tensor.stride())}"
                    f"{name and ' at ' + name} for {self._case}; expected those of the "
                    f"reference's result, {leaf.stride}, for shape {leaf.shape}.",
                )
        return found


def _lies_like(tensor: torch.Tensor, leaf: trees.Leaf) -> bool:
    return tensor.is_contiguous() or _strided_like(tensor, leaf)


def _strided_like(tensor: torch.Tensor, leaf: trees.Leaf) -> bool:
    """Whether strides agree, but for axes of one element, whose stride says nothing."""
    if tuple(tensor.shape) != leaf.shape:
        return False
    steps = zip(leaf.shape, tensor.stride(), leaf.stride, strict=True)
    return not tensor.numel() or all(own == other for size, own, other in steps if size > 1)
