"""What host code can find out about a GPU, and the limits that count for it."""

from __future__ import annotations

from typing import Any

import torch

from triton_gym.device import Gpu, gpu_matching, gpu_named
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


def limits_of(properties: Any) -> Gpu:
    """The published limits of a device; of one that is not in the table an H100's clocks, its own
    caches, and the H100's peaks.

    Args:
        properties: what PyTorch tells of it.
    """
    known = gpu_matching(properties.name)
    if known is not None:
        return known
    like = gpu_named("h100")
    share = properties.multi_processor_count / like.multiprocessors
    return Gpu(
        properties.name, "", properties.major * 10 + properties.minor,
        properties.multi_processor_count, like.clock_ghz, like.memory_gbps,
        int(properties.L2_cache_size), like.shared_bytes, like.vector_tflops * max(share, 1.0),
        like.matrix_tflops,
    )  # fmt: skip
