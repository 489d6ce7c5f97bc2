"""Devices by name, and the published limits of each GPU."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING

from triton_gym.errors import unknown

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
        key = "float8" if dtype.startswith("float8") else _RATED_AS.get(dtype, dtype)
        return self.matrix_tflops.get(key, self.vector_tflops)


_RATED_AS = MappingProxyType({"float32": "tf32", "uint8": "int8"})
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
    """Where answers run; `triton_gym.evaluation.backends.resolve` makes it of a `device=`."""

    kind: str
    """Name of its backend, e.g. `cuda`."""
    which: str
    """Which of its kind: the ordinal of a GPU, the key in `GPUS` of one that is simulated."""

    def __str__(self) -> str:
        return f"{self.kind}:{self.which}"


def cuda_device_count() -> int:
    """Number of usable CUDA devices, found without starting a CUDA context."""
    import torch

    return torch.cuda.device_count()
