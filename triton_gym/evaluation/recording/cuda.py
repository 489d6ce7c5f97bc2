"""What `torch.cuda` and its relatives say of a device that is not there."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import torch

from triton_gym.evaluation.recording.recorder import Recorder
from triton_gym.evaluation.recording.streams import Event, ExternalStream, Graph, Stream
from triton_gym.evaluation.recording.tuning import Tuner

_UUID = "00000000-0000-0000-0000-000000000000"


def properties(recorder: Recorder) -> Any:
    """What `torch.cuda.get_device_properties` returns."""
    facts = recorder.facts
    major, minor = divmod(facts.capability, 10)
    return SimpleNamespace(
        name=facts.name,
        major=major,
        minor=minor,
        total_memory=facts.total_bytes,
        multi_processor_count=facts.multiprocessors,
        L2_cache_size=facts.l2_bytes,
        warp_size=32,
        max_threads_per_multi_processor=facts.threads,
        max_threads_per_block=1024,
        regs_per_multiprocessor=facts.registers,
        shared_memory_per_block=48 << 10,
        shared_memory_per_block_optin=facts.shared_bytes,
        shared_memory_per_multiprocessor=facts.shared_bytes_multiprocessor,
        clock_rate=facts.clock_khz,
        memory_clock_rate=facts.memory_clock_khz,
        memory_bus_width=facts.memory_bus_bits,
        is_integrated=0,
        is_multi_gpu_board=0,
        gcnArchName="",
        pci_bus_id=0,
        pci_device_id=0,
        pci_domain_id=0,
        uuid=_UUID,
    )


def install(recorder: Recorder, tuner: Tuner) -> None:
    """Have `torch.cuda`, and what asks it, tell of the recorder's device, for good."""
    Stream.recorder = Event.recorder = recorder
    Event.tuner = tuner
    for name, value in {**_device(recorder), **_streams(recorder), **_memory(recorder)}.items():
        setattr(torch.cuda, name, value)
    for name, function in _raw().items():
        setattr(torch._C, name, function)
    for name, value in _random().items():
        setattr(torch.cuda, name, value)
        setattr(torch.cuda.random, name, value)
    for name in ("range_push", "range_pop", "mark", "range_start", "range_end"):
        setattr(torch.cuda.nvtx, name, _quiet())
    torch.cuda.nvtx.range = lambda *_, **__: contextlib.nullcontext()  # type: ignore[assignment]
    torch.cuda.graphs.CUDAGraph = Graph  # type: ignore[assignment, misc]
    Graph.recorder = recorder
    torch.cuda.streams.Stream = torch.cuda.Stream  # type: ignore[misc]
    torch.cuda.streams.Event = torch.cuda.Event  # type: ignore[misc]
    for name, value in _accelerator(recorder).items():
        setattr(torch.accelerator, name, value)
    if torch.version.cuda is None:
        torch.version.cuda = "13.0"
    torch.Generator = _HostGenerator  # type: ignore[misc]


_Generator = torch.Generator


class _Kind(type):
    """Generators of PyTorch's own are what their stand-in makes."""

    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, _Generator)


class _HostGenerator(metaclass=_Kind):
    """Stands in for `torch.Generator`: random numbers are drawn on the host."""

    def __new__(cls, device: Any = "cpu") -> Any:
        return _Generator()


def _quiet() -> Callable[..., None]:
    """What has no meaning without a device. Each name gets its own: `torch.compile` tells functions
    of PyTorch apart by identity."""
    return lambda *_, **__: None


def _device(recorder: Recorder) -> dict[str, Any]:
    facts = recorder.facts
    about = properties(recorder)
    return {
        "is_available": lambda: True,
        "is_initialized": lambda: True,
        "_is_compiled": lambda: True,
        "_initialized": True,
        "init": _quiet(),
        "_lazy_init": _quiet(),
        "device_count": lambda: 1,
        "current_device": lambda: 0,
        "set_device": _quiet(),
        "_exchange_device": lambda device: 0,
        "_maybe_exchange_device": lambda device: 0,
        "get_device_name": lambda device=None: facts.name,
        "get_device_capability": lambda device=None: divmod(facts.capability, 10),
        "get_device_properties": lambda device=None: about,
        "get_arch_list": lambda: [f"sm_{facts.capability}"],
        "get_gencode_flags": lambda: "",
        "is_bf16_supported": lambda including_emulation=True: facts.capability >= 80,
        "is_tf32_supported": lambda: facts.capability >= 80,
        "can_device_access_peer": lambda device, peer: False,
        "synchronize": lambda device=None: recorder.synchronize(),
        "clock_rate": lambda device=None: facts.clock_khz // 1000,
        "utilization": lambda device=None: 0,
        "temperature": lambda device=None: 40,
        "power_draw": lambda device=None: 100_000,
        "_sleep": _quiet(),
        "ipc_collect": _quiet(),
        "get_sync_debug_mode": lambda: 0,
        "set_sync_debug_mode": _quiet(),
    }


def _streams(recorder: Recorder) -> dict[str, Any]:
    main = Stream()
    current = [main]

    def set_stream(stream: Stream | None) -> None:
        if stream is not None:
            current[0] = stream

    return {
        "Stream": Stream,
        "ExternalStream": ExternalStream,
        "Event": Event,
        "CUDAGraph": Graph,
        "current_stream": lambda device=None: current[0],
        "default_stream": lambda device=None: main,
        "set_stream": set_stream,
        "get_stream_from_external": lambda data_ptr, device=None: ExternalStream(data_ptr),
        "is_current_stream_capturing": lambda: recorder.capturing,
        "graph_pool_handle": lambda: (0, 0),
    }


def _memory(recorder: Recorder) -> dict[str, Any]:
    def allocated(device: Any = None) -> int:
        return recorder.allocated_bytes

    def peak(device: Any = None) -> int:
        return recorder.peak_bytes

    def info(device: Any = None) -> tuple[int, int]:
        total = recorder.facts.total_bytes
        return total - recorder.allocated_bytes, total

    def stats(device: Any = None) -> dict[str, int]:
        return {
            "allocated_bytes.all.current": allocated(), "allocated_bytes.all.peak": peak(),
            "reserved_bytes.all.current": allocated(), "reserved_bytes.all.peak": peak(),
        }  # fmt: skip

    quiet = (
        "empty_cache", "reset_peak_memory_stats", "reset_max_memory_allocated",
        "reset_accumulated_memory_stats", "set_per_process_memory_fraction",
    )  # fmt: skip
    return {
        **{name: _quiet() for name in quiet},
        "memory_allocated": allocated,
        "memory_reserved": allocated,
        "max_memory_allocated": peak,
        "max_memory_reserved": peak,
        "mem_get_info": info,
        "memory_stats": stats,
        "memory_summary": lambda *_, **__: "",
        "get_allocator_backend": lambda: "native",
    }


def _random() -> dict[str, Callable[..., Any]]:
    host = torch.default_generator
    return {
        "manual_seed": lambda seed: None,
        "manual_seed_all": lambda seed: None,
        "seed": _quiet(),
        "seed_all": _quiet(),
        "initial_seed": lambda: host.initial_seed(),
        "get_rng_state": lambda device="cuda": host.get_state(),
        "set_rng_state": _quiet(),
        "get_rng_state_all": lambda: [host.get_state()],
        "set_rng_state_all": _quiet(),
    }


def _raw() -> dict[str, Any]:
    """Of PyTorch's C++, what generated code calls."""
    return {
        "_cuda_getCurrentRawStream": lambda device: 0,
        "_cuda_getDevice": lambda: 0,
        "_cuda_setDevice": _quiet(),
        "_cuda_exchangeDevice": lambda device: 0,
        "_cuda_maybeExchangeDevice": lambda device: 0,
        "_cuda_getDeviceCount": lambda: 1,
        "_host_emptyCache": _quiet(),
        "_cuda_synchronize": _quiet(),
        "_cuda_isCurrentStreamCapturing": lambda: False,
    }


def _accelerator(recorder: Recorder) -> dict[str, Any]:
    return {
        "is_available": lambda: True,
        "device_count": lambda: 1,
        "current_accelerator": lambda check_available=False: torch.device("cuda"),
        "current_device_index": lambda: 0,
        "current_device_idx": lambda: 0,
        "set_device_index": _quiet(),
        "set_device_idx": _quiet(),
        "device_index": lambda index=None: contextlib.nullcontext(),
        "current_stream": lambda device=None: torch.cuda.current_stream(),
        "set_stream": lambda stream: torch.cuda.set_stream(stream),
        "synchronize": lambda device=None: recorder.synchronize(),
        "get_device_capability": lambda device=None: divmod(recorder.facts.capability, 10),
        "memory_allocated": lambda device=None: recorder.allocated_bytes,
    }
