"""Devices: which one an environment runs on, and the published limits of each GPU."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING

from triton_gym.errors import DeviceError, InvalidOptionError, unknown

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Gpu:
    """What a GPU can do, from its vendor's datasheet and architecture white paper.

    Rates are peaks: dense, at boost clock. The roofline of a real device uses its measured
    copy bandwidth where that is higher.
    """

    name: str
    """Key in `GPUS`."""
    match: str
    """Regular expression that the driver's name for the device matches."""
    capability: int
    """Compute capability times ten, as Triton's `GPUTarget` takes it."""
    multiprocessors: int
    clock_ghz: float
    """Boost clock."""
    memory_gbps: float
    """Device memory bandwidth, 10⁹ bytes a second."""
    l2_bytes: int
    shared_bytes: int
    """Shared memory of one multiprocessor that programs can use."""
    vector_tflops: float
    """fp32 outside the matrix units, a fused multiply-add counted as two."""
    matrix_tflops: Mapping[str, float] = field(default_factory=dict)
    """Matrix units by input precision: `tf32`, `float16`, `bfloat16`, `float8`, `int8`."""
    registers: int = 65536
    """32-bit registers of one multiprocessor."""
    max_threads: int = 2048
    """Resident threads of one multiprocessor."""
    max_programs: int = 32
    """Resident thread blocks of one multiprocessor."""

    def peak_tflops(self, dtype: str, *, matrix: bool) -> float:
        """Peak rate for inputs of `dtype` on the matrix or the vector units.

        fp32 tasks are bounded by the tf32 rate on the matrix units, although a kernel that
        rounds its inputs to tf32 fails the fp32 tolerance: a bound must not be too low.
        """
        if not matrix:
            return self.vector_tflops
        key = {"float32": "tf32"}.get(dtype, dtype)
        return self.matrix_tflops.get(key, self.vector_tflops)


_HOPPER = MappingProxyType(
    {"tf32": 494.7, "float16": 989.4, "bfloat16": 989.4, "float8": 1978.9, "int8": 1978.9}
)

GPUS: Mapping[str, Gpu] = MappingProxyType(
    {
        gpu.name: gpu
        for gpu in (
            # NVIDIA H100 Tensor Core GPU datasheet, SXM5; white paper "H100 Architecture".
            Gpu("h100", r"H100(?!.*PCIe)", 90, 132, 1.98, 3352, 50 << 20, 227 << 10, 66.9, _HOPPER),
            # NVIDIA H200 Tensor Core GPU datasheet, SXM.
            Gpu("h200", r"H200", 90, 132, 1.98, 4800, 60 << 20, 227 << 10, 66.9, _HOPPER),
            # NVIDIA A100 Tensor Core GPU datasheet, SXM 80 GB; white paper "A100 Architecture".
            Gpu(
                "a100", r"A100", 80, 108, 1.41, 2039, 40 << 20, 163 << 10, 19.5,
                MappingProxyType({"tf32": 156, "float16": 312, "bfloat16": 312, "int8": 624}),
            ),
        )
    }
)  # fmt: skip


def gpu_named(name: str) -> Gpu:
    """The published limits of a GPU by its key, e.g. `h100`.

    Raises:
        InvalidOptionError: there is no such key.
    """
    if name not in GPUS:
        raise unknown("GPU", name, GPUS)
    return GPUS[name]


def gpu_matching(driver_name: str) -> Gpu | None:
    """The published limits of the GPU that the driver calls `driver_name`, if known."""
    for gpu in GPUS.values():
        if re.search(gpu.match, driver_name):
            return gpu
    return None


@dataclass(frozen=True, slots=True)
class Device:
    """Where answers run: one CUDA device, or the simulation of a named GPU."""

    kind: str
    """`cuda` or `simulated`."""
    index: int = 0
    """Ordinal of the CUDA device."""
    gpu: str = "h100"
    """Key in `GPUS` of the GPU that is simulated."""

    @property
    def simulated(self) -> bool:
        """Whether no GPU is used."""
        return self.kind == "simulated"

    def __str__(self) -> str:
        return f"simulated:{self.gpu}" if self.simulated else f"cuda:{self.index}"


def cuda_device_count() -> int:
    """Number of usable CUDA devices, found without starting a CUDA context."""
    import torch

    return torch.cuda.device_count()


def resolve(device: str) -> Device:
    """The device that a user's `device=` names.

    Args:
        device: `auto`, `cuda`, `cuda:<ordinal>`, `simulated` or `simulated:<gpu>`.

    Raises:
        InvalidOptionError: the text is none of these.
        DeviceError: the CUDA device is not there.
    """
    text = str(device).strip().lower()
    found = re.fullmatch(r"auto|cuda(?::(\d+))?|simulated(?::(\w+))?", text)
    if not found:
        raise InvalidOptionError(
            f"device={device!r} is not a device. Allowed: 'auto', 'cuda', 'cuda:<ordinal>', "
            f"'simulated', 'simulated:<gpu>' with one of {', '.join(GPUS)}."
        )
    if text.startswith("simulated"):
        return Device("simulated", gpu=gpu_named(found[2] or "h100").name)
    count = cuda_device_count()
    if text == "auto":
        return Device("cuda") if count else Device("simulated")
    index = int(found[1] or 0)
    if index >= count:
        raise DeviceError(
            f"device={device!r} was asked for, but PyTorch sees {count} CUDA device(s) here. "
            "Use device='simulated' to work without one; `triton-gym doctor` says what is missing."
        )
    return Device("cuda", index)


def resolve_all(device: str) -> tuple[Device, ...]:
    """The devices that `device=` names: `cuda:all` for every GPU, else as of `resolve`.

    Raises:
        InvalidOptionError, DeviceError: see `resolve`.
    """
    if str(device).strip().lower() != "cuda:all":
        return (resolve(device),)
    first = resolve("cuda")
    return tuple(Device(first.kind, index) for index in range(cuda_device_count()))
