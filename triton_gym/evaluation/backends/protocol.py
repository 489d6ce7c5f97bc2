"""What a device is to the rest of the library: all that may differ from one kind to the next.

A kind of device is a folder beside this file, and a line in `BACKENDS`. Nobody else asks which
kind a device is.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from triton_gym.device import Device, Gpu

if TYPE_CHECKING:
    from triton_gym.evaluation.judging.judge import Judge


@dataclass(frozen=True, slots=True)
class Requirement:
    """Something that a backend needs of the machine, or is better with."""

    name: str
    there: bool
    found: str
    """What is there, e.g. `driver 580.159.04`."""
    cost: str = ""
    """What its absence costs; empty if it is there."""
    needed: bool = False
    """Whether nothing works without it."""


@dataclass(frozen=True, slots=True)
class Placement:
    """A judge on a cluster."""

    device: Device
    """What it runs on, as it will call it on its node."""
    workers: int
    """Evaluations at the same time."""
    holds: dict[str, float]
    """What it holds of its node: `num_gpus` and `num_cpus`, as Ray names them."""


class Fault(enum.Enum):
    """Whose doing an exception is that a judge did not foresee."""

    OTHER = enum.auto()
    """The service's, or that of the task's functions."""
    MEMORY = enum.auto()
    """Memory of the device was short: the evaluation is done again."""
    DEVICE = enum.auto()
    """The device failed and stays so in this process: another judge takes over."""


class Backend(Protocol):
    """A kind of device. Stateless; no method but `open`, `hardware` and `requirements` may touch
    the device, since they are called in the user's process."""

    name: str
    """What `device=` begins with, e.g. `cuda`."""
    spellings: tuple[str, ...]
    """All forms that `device=` can have, for messages."""
    deterministic: bool
    """Whether equal requests with equal seeds have equal outcomes. If so, a seed decides the
    inputs; if not, they are better drawn where nobody can know them."""
    exclusive: bool
    """Whether an evaluator can have each device of this kind once only."""
    patience: float
    """Seconds that are enough for an answer that hangs on purpose; honest ones have more."""

    def usable(self) -> bool:
        """Whether `device="auto"` may choose it on this machine."""

    def devices(self, which: str) -> tuple[Device, ...]:
        """What `device="<name>"` (`which` is empty) or `device="<name>:<which>"` stands for.

        Raises:
            InvalidOptionError: there is no such thing.
            DeviceError: it is not there.
        """

    def sheet(self, device: Device) -> Gpu | None:
        """The published limits of a device, if they are known."""

    def requirements(self) -> Iterator[Requirement]:
        """What it needs, and what of that this machine has."""

    def workers(self, devices: int) -> int:
        """Evaluations at the same time that each of so many devices of this machine bears."""

    def placement(self, which: str, workers: int | None, cpus: float) -> Placement:
        """A judge on a cluster that chooses the device itself.

        Args:
            which: as of `devices`.
            workers: evaluations at the same time, if the user has said.
            cpus: processors that a judge holds whose device does the work.

        Raises:
            InvalidOptionError: `which` names one that only the cluster can choose.
        """

    def isolated(self, device: Device) -> tuple[Device, dict[str, str]]:
        """What a judge's process calls its device, with the environment that it is started in."""

    def open(self, device: Device, judges: int) -> Judge:
        """A judge in this process, one of so many that share the device.

        Raises:
            Exception: the device cannot be used.
        """

    def hardware(self, device: Device) -> str:
        """What outcomes depend on: the model of a GPU, say. Called where the judge is."""

    def model(self, device: Device) -> str | None:
        """`hardware`, where that follows from the name alone; else None."""

    def fault(self, error: Exception) -> Fault:
        """Whose doing an exception is that a judge did not foresee."""
