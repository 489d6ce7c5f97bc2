"""What host code can find out about a GPU, and the limits that count for it."""

from __future__ import annotations

import torch

from triton_gym.evaluation.backends.cuda.driver import check
from triton_gym.evaluation.plan.messages import DeviceFacts


def device_facts(device: torch.device) -> DeviceFacts:
    """The facts of a GPU on which CUDA has started."""
    from cuda.bindings import driver as cu

    about = torch.cuda.get_device_properties(device)
    kinds = cu.CUdevice_attribute

    def attribute(name: str) -> int:
        which = getattr(kinds, f"CU_DEVICE_ATTRIBUTE_{name}")
        return int(check(cu.cuDeviceGetAttribute(which, device.index or 0)))

    return DeviceFacts(
        name=about.name,
        capability=10 * about.major + about.minor,
        multiprocessors=about.multi_processor_count,
        total_bytes=about.total_memory,
        l2_bytes=int(about.L2_cache_size),
        shared_bytes=attribute("MAX_SHARED_MEMORY_PER_BLOCK_OPTIN"),
        shared_bytes_multiprocessor=attribute("MAX_SHARED_MEMORY_PER_MULTIPROCESSOR"),
        registers=attribute("MAX_REGISTERS_PER_MULTIPROCESSOR"),
        threads=attribute("MAX_THREADS_PER_MULTIPROCESSOR"),
        clock_khz=attribute("CLOCK_RATE"),
        memory_clock_khz=attribute("MEMORY_CLOCK_RATE"),
        memory_bus_bits=attribute("GLOBAL_MEMORY_BUS_WIDTH"),
    )
