"""CUDA's driver through NVIDIA's own bindings: errors as exceptions that say how bad they are."""

from __future__ import annotations

from typing import Any

FATAL = frozenset(
    (
        "CUDA_ERROR_ILLEGAL_ADDRESS", "CUDA_ERROR_LAUNCH_TIMEOUT", "CUDA_ERROR_ASSERT",
        "CUDA_ERROR_HARDWARE_STACK_ERROR", "CUDA_ERROR_ILLEGAL_INSTRUCTION",
        "CUDA_ERROR_MISALIGNED_ADDRESS", "CUDA_ERROR_INVALID_ADDRESS_SPACE",
        "CUDA_ERROR_INVALID_PC", "CUDA_ERROR_LAUNCH_FAILED", "CUDA_ERROR_TENSOR_MEMORY_LEAK",
        "CUDA_ERROR_CONTAINED", "CUDA_ERROR_ECC_UNCORRECTABLE", "CUDA_ERROR_EXTERNAL_DEVICE",
    )
)  # fmt: skip
"""Errors of a kernel after which its context is lost (CUDA Driver API, `CUresult`)."""
MEANINGS = {
    "CUDA_ERROR_ILLEGAL_ADDRESS": (
        "a kernel read or wrote outside its tensors, or wrote to one of the arguments; look for a "
        "missing mask or a wrong stride"
    ),
    "CUDA_ERROR_MISALIGNED_ADDRESS": "a kernel read or wrote at an address that is not aligned",
    "CUDA_ERROR_ASSERT": "a device_assert failed",
    "CUDA_ERROR_ILLEGAL_INSTRUCTION": "a kernel executed an instruction that is none",
    "CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES": (
        "a launch needs more registers or threads than the device has"
    ),
    "CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE": (
        "the programs of a cooperative grid do not fit on the device at once"
    ),
    "CUDA_ERROR_INVALID_CLUSTER_SIZE": "the device has no clusters of that many programs",
    "CUDA_ERROR_OUT_OF_MEMORY": "the device has too little memory left",
}
"""What errors mean for who wrote the kernel."""


class CudaError(RuntimeError):
    """A call of the driver failed.

    Attributes:
        name: of the `CUresult`.
        fatal: whether the context is lost.
    """

    def __init__(self, name: str) -> None:
        super().__init__(MEANINGS.get(name, name))
        self.name = name
        self.fatal = name in FATAL


def check(result: Any) -> Any:
    """What a call of the bindings returned, without its error code.

    Raises:
        CudaError: it failed.
    """
    error, *values = result
    if int(error):
        raise CudaError(str(getattr(error, "name", error)))
    return values[0] if len(values) == 1 else tuple(values)
