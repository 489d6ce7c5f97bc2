"""What is known of the contents of an answer's device memory.

Memory is *known* while its contents follow from constants and from a module's parameters: then host
memory mirrors it, and whatever host code computes of it is computed there. It is *opaque* once it
may hold inputs, or what a kernel made of them. It is *tainted* if PyTorch was to compute on opaque
memory: nothing did, so nothing may look at it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from triton_gym.evaluation.plan.step import Buffer


@dataclass(frozen=True, slots=True)
class Taint:
    """Which operator PyTorch was to compute, and where."""

    operator: str
    line: int


class Refused(Exception):
    """PyTorch's arithmetic on inputs came to be part of the work. Says which operator and where."""

    def __init__(self, taint: Taint, use: str) -> None:
        super().__init__(taint, use)
        self.taint = taint
        self.use = use


class LooksAtMuch(Exception):
    """Host code wants to see more values than a plan may depend on."""


class ImportEnded(BaseException):
    """The import went on to what only matters to a test of its own, and stops there.

    Host code looks at what a kernel or PyTorch computed, or has kernels timed, before there is an
    input.
    """

    def __init__(self, line: int) -> None:
        super().__init__(line)
        self.line = line


class Memory:
    """One allocation, as long as a storage of PyTorch's points to it."""

    __slots__ = ("_mirror", "_recipe", "borrowed", "buffer", "dirty", "holders", "section", "taint")

    def __init__(self, buffer: Buffer, section: int) -> None:
        self.buffer = buffer
        self.section = section
        """Which part of the session it was allocated in."""
        self.holders = 0
        """How many of PyTorch's storages point to it."""
        self._mirror: torch.Tensor | None = None
        self._recipe: Callable[[], torch.Tensor] | None = None
        self.borrowed = False
        """Whether others hold the mirror too, so that it must be copied before it is changed."""
        self.dirty = False
        """Whether the device does not have the mirror's contents yet."""
        self.taint: Taint | None = None

    @property
    def known(self) -> bool:
        """Whether the contents are known."""
        return self._mirror is not None or self._recipe is not None

    @property
    def mirror(self) -> torch.Tensor:
        """The bytes of known memory: one-dimensional, `uint8`, on the host."""
        if self._mirror is None:
            if self._recipe is None:
                raise RuntimeError("memory without known contents has no mirror")
            self._mirror, self._recipe = self._recipe(), None
        return self._mirror

    def know(self, mirror: torch.Tensor, *, borrowed: bool = False, dirty: bool = True) -> None:
        """From now on the contents are these."""
        self._mirror, self._recipe, self.taint = mirror, None, None
        self.borrowed, self.dirty = borrowed, dirty

    def know_later(self, recipe: Callable[[], torch.Tensor]) -> None:
        """From now on the contents are what `recipe` returns; the device has them."""
        self._mirror, self._recipe, self.taint = None, recipe, None
        self.borrowed, self.dirty = False, False

    def forget(self) -> None:
        """From now on the contents are the device's affair."""
        self._mirror, self._recipe, self.dirty, self.taint = None, None, False, None

    def spoil(self, taint: Taint) -> None:
        """From now on the contents are what PyTorch would have computed."""
        self._mirror, self._recipe, self.dirty, self.taint = None, None, False, taint

    def as_known(self, like: torch.Tensor, *, written: bool = False) -> torch.Tensor:
        """The tensor on the host that mirrors a stand-in of this memory.

        Args:
            like: the stand-in.
            written: whether it is to be changed.
        """
        if written:
            if self.borrowed:
                self._mirror, self.borrowed = self.mirror.clone(), False
            self.dirty = True
        whole = self.mirror.view(like.dtype)
        # An offset counts from the start of the storage, of which a mirror may be a part.
        offset = whole.storage_offset() + int(like.storage_offset())
        return whole.as_strided(like.size(), like.stride(), offset)


def bytes_for(nbytes: int) -> torch.Tensor:
    """Host memory that may become a mirror, with room for whole elements of every dtype."""
    return torch.empty(-(-max(nbytes, 1) // 16) * 16, dtype=torch.uint8)
