"""One process, or several that train together, one a GPU, started by `accelerate launch`."""

from __future__ import annotations

import importlib.util
import os
from typing import Any, TypeVar

import torch

from triton_gym.errors import InvalidOptionError

Thing = TypeVar("Thing")


class World:
    """This process among those that train together. Alone, every method is trivial.

    Gradients are added up here rather than by a wrapper around the model, since log-probabilities
    are computed from the model's parts.
    """

    def __init__(self) -> None:
        self.rank = int(os.environ.get("RANK", 0))
        self.size = int(os.environ.get("WORLD_SIZE", 1))
        self._state: Any = None
        if self.size > 1:
            if importlib.util.find_spec("accelerate") is None:
                raise InvalidOptionError(
                    "Training with several processes needs accelerate: "
                    "pip install 'triton-gym[grpo]'."
                )
            from accelerate import PartialState

            self._state = PartialState(cpu=not torch.cuda.is_available())

    @property
    def main(self) -> bool:
        """Whether this process writes the files."""
        return self.rank == 0

    def share(self, count: int, what: str) -> range:
        """Which of `count` things are this process's.

        Raises:
            InvalidOptionError: they cannot be shared evenly.
        """
        if count % self.size:
            raise InvalidOptionError(
                f"{what} must be a multiple of the number of processes, {self.size}; got {count}."
            )
        part = count // self.size
        return range(self.rank * part, (self.rank + 1) * part)

    def add(self, *tensors: torch.Tensor) -> None:
        """Replace each tensor by its sum over all processes."""
        if self.size > 1:
            for tensor in tensors:
                torch.distributed.all_reduce(tensor)

    def add_gradients(self, gradients: list[torch.Tensor]) -> None:
        """Replace gradients by their sums, in few large messages."""
        if self.size == 1 or not gradients:
            return
        for start in range(0, len(gradients), 64):
            part = gradients[start : start + 64]
            flat = torch.cat([gradient.flatten() for gradient in part])
            torch.distributed.all_reduce(flat)
            place = 0
            for gradient in part:
                gradient.copy_(flat[place : place + gradient.numel()].view_as(gradient))
                place += gradient.numel()

    def gather(self, thing: Thing) -> list[Thing]:
        """What every process has, in their order."""
        if self.size == 1:
            return [thing]
        found: list[Any] = [None] * self.size
        torch.distributed.all_gather_object(found, thing)
        return found

    def wait(self) -> None:
        """Until every process is here."""
        if self.size > 1:
            self._state.wait_for_everyone()
