"""NVIDIA GPUs of this machine."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, TypeVar

from triton_gym.device import Device, Gpu, cuda_device_count, gpu_matching
from triton_gym.errors import DeviceError, InvalidOptionError
from triton_gym.evaluation.backends.cuda import requirements
from triton_gym.evaluation.backends.protocol import Fault, Placement, Requirement
from triton_gym.evaluation.workers.worker_pool import WorkerPool, with_pools

if TYPE_CHECKING:
    from triton_gym.evaluation.judging.judge import Judge

MOST_WORKERS = 32
"""Most evaluations at a time on one GPU by default. They take processors; the GPU is held some
thirtieth of a second by each."""
MEMORY_S = 120.0
"""How long a judge waits at its start for memory of the device: a policy that samples there may
give its own back."""
PAUSE_S = 5.0
"""How long it leaves the device to others when it has found no memory."""

_LOST = ("CUDA error", "CUDA driver error", "Triton Error [CUDA]")

Made = TypeVar("Made")


class CudaBackend:
    """See `Backend`."""

    name = "cuda"
    spellings = ("cuda", "cuda:<ordinal>", "cuda:all")
    deterministic = False
    exclusive = True
    patience = 10.0

    def usable(self) -> bool:
        """Where PyTorch sees a GPU."""
        return cuda_device_count() > 0

    def devices(self, which: str) -> tuple[Device, ...]:
        """A GPU by its ordinal, or all of them."""
        if which.lower() not in ("", "all") and not which.isdecimal():
            raise InvalidOptionError(
                f"device='cuda:{which}' names no GPU. Allowed: {', '.join(self.spellings)}."
            )
        count = cuda_device_count()
        index = int(which) if which.isdecimal() else 0
        if index >= count:
            asked = f"cuda:{which}" if which else "cuda"
            raise DeviceError(
                f"device={asked!r} was asked for, but PyTorch sees {count} CUDA device(s) here. "
                "Use device='simulated' to work without one; `triton-gym doctor` says what is "
                "missing."
            )
        found = range(count) if which.lower() == "all" else [index]
        return tuple(Device(self.name, str(one)) for one in found)

    def sheet(self, device: Device) -> Gpu | None:
        """By what the driver's tool calls it: asking CUDA would touch it."""
        _, chosen = self.isolated(device)
        return gpu_matching(requirements.driver_name(chosen["CUDA_VISIBLE_DEVICES"]))

    def requirements(self) -> Iterator[Requirement]:
        """Driver, GPUs, and whether processes can share their memory."""
        return requirements.found()

    def workers(self, devices: int) -> int:
        """One a processor: an evaluation compiles, mostly, while the GPU is another's."""
        return min(max(1, len(os.sched_getaffinity(0)) // devices), MOST_WORKERS)

    def placement(self, which: str, workers: int | None, cpus: float) -> Placement:
        """A judge that holds a GPU, which it calls the first, and some processors."""
        if which.lower() not in ("", "all"):
            raise InvalidOptionError(
                f"device='cuda:{which}': the cluster chooses the GPUs. Allowed: 'cuda'."
            )
        holds = {"num_gpus": 1.0, "num_cpus": cpus}
        return Placement(Device(self.name, "0"), workers or MOST_WORKERS, holds)

    def isolated(self, device: Device) -> tuple[Device, dict[str, str]]:
        """It sees its own GPU only: a process starts CUDA on every GPU that it sees."""
        names = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
        one = names[int(device.which)].strip() if any(names) else device.which
        return Device(self.name, "0"), {"CUDA_VISIBLE_DEVICES": one}

    def open(self, device: Device, judges: int) -> Judge:
        """Fork servers first: they import for as long as the judge does."""

        def make(pools: tuple[WorkerPool, ...]) -> Judge:
            from triton_gym.evaluation.backends.cuda.judge import CudaJudge

            return patiently(lambda: CudaJudge(device, judges, pools))

        return with_pools(("record", "lower", "run"), make)

    def hardware(self, device: Device) -> str:
        """The model of the GPU, not its number."""
        import torch

        return torch.cuda.get_device_name(int(device.which))

    def model(self, device: Device) -> str | None:
        """Its judge has to say: asking CUDA in the user's process would spoil it for forks."""
        return None

    def fault(self, error: Exception) -> Fault:
        """A context that failed once fails always; memory may be given back."""
        import torch

        if isinstance(error, torch.OutOfMemoryError):
            return Fault.MEMORY
        if isinstance(error, torch.AcceleratorError):
            return Fault.DEVICE
        # Libraries, such as cuBLAS, report theirs as plain errors.
        lost = isinstance(error, RuntimeError) and str(error).startswith(_LOST)
        return Fault.DEVICE if lost else Fault.OTHER


def patiently(make: Callable[[], Made]) -> Made:
    """What `make` returns; where memory of the device is short, it is called again for a while."""
    import torch

    deadline = time.monotonic() + MEMORY_S
    while True:
        try:
            return make()
        except torch.OutOfMemoryError:
            if time.monotonic() + PAUSE_S > deadline:
                raise
        torch.cuda.empty_cache()
        time.sleep(PAUSE_S)
