"""What a recorder does with the steps that it sees, and whom it asks what it cannot know."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from triton_gym.evaluation.plan.messages import Compile, Compiled, Uncompiled
from triton_gym.evaluation.plan.step import (
    Buffer,
    Copy,
    Fill,
    Gather,
    Kernel,
    Launch,
    Step,
    Synchronize,
    Upload,
)


class Executor(Protocol):
    """Receives what host code does to the device, in order."""

    def allocate(self, buffer: Buffer) -> None:
        """Memory comes into being; `freed` is not known yet."""
        ...

    def free(self, buffer: Buffer) -> None:
        """Memory is given back, `freed` tells when; its addresses may be another's next."""
        ...

    def compile(self, request: Compile) -> None:
        """A kernel that is new to the session. Need not wait for it to be compiled."""
        ...

    def compiled(self, artifact: int, *, texts: bool = False) -> Compiled | Uncompiled:
        """What came of a compile request; `texts` if host code wants intermediate forms."""
        ...

    def launch(self, step: Launch, kernel: Kernel) -> None:
        """A kernel is launched."""
        ...

    def move(self, step: Copy | Gather | Fill) -> None:
        """PyTorch moves or fills elements."""
        ...

    def upload(self, step: Upload, data: bytes) -> None:
        """Bytes of the host go to the device."""
        ...

    def synchronize(self, step: Synchronize) -> None:
        """Host code waits for the device."""
        ...

    def read(self, address: int, nbytes: int, line: int) -> bytes:
        """Host code looks at values: the bytes there once all steps so far are done."""
        ...

    def alternative(self) -> AbstractContextManager[Sequence[Step]]:
        """Launches and moves inside are noted in the list, and neither done nor part of the plan.

        Uploads are: memory gets the contents that the host made for it once.
        """
        ...

    def again(self, steps: Sequence[Step]) -> None:
        """Steps that were noted apart are done now: a graph is replayed."""
        ...

    def position(self) -> tuple[Sequence[Step], int]:
        """The list that steps go to now, and how many it has."""
        ...

    def time(self, alternatives: Sequence[Sequence[Step]], line: int) -> list[float]:
        """Seconds that each alternative takes after the steps so far; infinite where it fails."""
        ...
