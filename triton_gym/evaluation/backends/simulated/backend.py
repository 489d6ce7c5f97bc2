"""The simulated device: needs no GPU, and is deterministic given a seed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

from triton_gym.device import GPUS, Device, Gpu, gpu_named
from triton_gym.evaluation.backends.protocol import Fault, Placement, Requirement
from triton_gym.evaluation.workers.worker_pool import WorkerPool, with_pools

if TYPE_CHECKING:
    from triton_gym.evaluation.judging.judge import Judge

DEFAULT = "h100"
"""The GPU that `device="simulated"` is a model of."""
CPUS_PER_JUDGE = 2
"""Processors that a judge on a cluster holds by default: it interprets and compiles at once."""


class SimulatedBackend:
    """See `Backend`."""

    name = "simulated"
    spellings = ("simulated", *(f"simulated:{gpu}" for gpu in GPUS))
    deterministic = True
    exclusive = False
    patience = 20.0

    def usable(self) -> bool:
        """Everywhere."""
        return True

    def devices(self, which: str) -> tuple[Device, ...]:
        """A GPU by its key in `GPUS`."""
        return (Device(self.name, gpu_named(which.lower() or DEFAULT).name),)

    def sheet(self, device: Device) -> Gpu | None:
        """Those of the GPU that it is made of."""
        return gpu_named(device.which)

    def requirements(self) -> Iterator[Requirement]:
        """Nothing but what compiles kernels, which every device needs."""
        return iter(())

    def workers(self, devices: int) -> int:
        """One a processor: an evaluation interprets and compiles."""
        return max(1, len(os.sched_getaffinity(0)) // devices)

    def placement(self, which: str, workers: int | None, cpus: float) -> Placement:
        """A judge that holds as many processors as it has workers."""
        count = workers or CPUS_PER_JUDGE
        (device,) = self.devices(which)
        return Placement(device, count, {"num_cpus": count})

    def isolated(self, device: Device) -> tuple[Device, dict[str, str]]:
        """There is nothing to be kept from it."""
        return device, {}

    def open(self, device: Device, judges: int) -> Judge:
        """Fork servers first: they import for as long as the judge does."""

        def make(pools: tuple[WorkerPool, ...]) -> Judge:
            from triton_gym.evaluation.backends.simulated.judge import SimulatedJudge

            return SimulatedJudge(device, pools)

        return with_pools(("record", "simulate", "lower"), make)

    def hardware(self, device: Device) -> str:
        """The device's own name."""
        return str(device)

    def model(self, device: Device) -> str | None:
        """The device's own name."""
        return str(device)

    def fault(self, error: Exception) -> Fault:
        """There is no device that could fail."""
        return Fault.OTHER
