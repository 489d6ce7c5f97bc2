"""Triton's driver of a GPU that is not here."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
from triton.backends.compiler import GPUTarget

from triton_gym.evaluation.plan.messages import DeviceFacts
from triton_gym.evaluation.recording import standin
from triton_gym.evaluation.recording.tuning import Tuner


class Driver:
    """What Triton asks its driver. Kernels are neither loaded nor launched by it.

    Args:
        facts: of the device.
        tuner: times what is to be timed.
    """

    def __init__(self, facts: DeviceFacts, tuner: Tuner) -> None:
        self._target = GPUTarget("cuda", facts.capability, 32)
        self._tuner = tuner
        self.binary_ext = "cubin"
        self.utils = SimpleNamespace(
            get_device_properties=lambda device=0: {
                "max_shared_mem": facts.shared_bytes,
                "max_num_regs": facts.registers,
                "multiprocessor_count": facts.multiprocessors,
                "warpSize": 32,
                "sm_clock_rate": facts.clock_khz,
                "mem_clock_rate": facts.memory_clock_khz,
                "mem_bus_width": facts.memory_bus_bits,
            },
            unload_module=lambda module: None,
            set_printf_fifo_size=lambda size: None,
        )

    def get_device_capability(self, device: int = 0) -> tuple[int, int]:
        """Major and minor version."""
        major, minor = divmod(int(self._target.arch), 10)
        return major, minor

    def get_current_target(self) -> Any:
        """Triton's `GPUTarget`."""
        return self._target

    def get_current_device(self) -> int:
        """There is one."""
        return 0

    def set_current_device(self, device: int) -> None:
        """There is one."""

    def get_current_stream(self, device: int = 0) -> int:
        """All streams are one."""
        return 0

    def get_active_torch_device(self) -> torch.device:
        """PyTorch's name of the device."""
        return standin.CUDA

    def get_device_interface(self) -> Any:
        """The module with PyTorch's functions of the device."""
        return torch.cuda

    def get_benchmarker(self) -> Any:
        """What autotuning times with."""
        return self._tuner.bench

    def get_empty_cache_for_benchmark(self) -> torch.Tensor:
        """A buffer as large as Triton's, to flush the L2 cache with."""
        return torch.empty(256 << 20, dtype=torch.int8, device=standin.CUDA)

    def clear_cache(self, cache: torch.Tensor) -> None:
        """Flush the L2 cache."""
        cache.zero_()

    def map_python_to_cpp_type(self, kind: str) -> str:
        """Nothing is compiled for a launch."""
        return kind

    def is_active(self) -> bool:
        """It is."""
        return True
