"""Lets host code that was written for a GPU run without one.

Inside `pretend(gpu)` tensors are on the CPU and say that they are on `cuda:0`, factories with
`device="cuda"` make CPU tensors, `torch.cuda` and Triton's driver describe `gpu`, and
`@triton.autotune` runs the alternatives that a recorder asks for instead of timing them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from types import SimpleNamespace
from typing import Any
from unittest import mock

import torch
from torch.overrides import TorchFunctionMode

from triton_gym.device import Gpu

_CUDA = torch.device("cuda", 0)
MAX_CONFIGS = 24
"""How many configurations of an autotuned kernel are looked at, in the order of its list."""


class Recorder:
    """Who decides which configurations of an autotuned kernel run, and sees the launches.

    This one runs the first configuration that works, and cannot launch.
    """

    tolerated: tuple[type[Exception], ...] = ()
    """What a configuration may raise and be passed over, beyond what Triton's tuner forgives."""
    worked: bool = False
    """Whether the configuration chosen last ran."""

    def choose(self, kernel: str, configs: Sequence[str]) -> Iterator[int]:
        """Yields the indices of the configurations to run, one after the other."""
        for index in range(len(configs)):
            yield index
            if self.worked:
                return

    def load(self, name: str, binary: bytes, shared: int, device: int) -> tuple[Any, ...]:
        """Triton's `load_binary`: module, function, registers, spills, largest block."""
        raise RuntimeError("There is no GPU to load a kernel on.")

    def launcher(self, source: Any, metadata: Any) -> Callable[..., None]:
        """Triton's launcher of a compiled kernel."""
        raise RuntimeError("There is no GPU to launch a kernel on.")


class Numbering(Recorder):
    """Runs the configurations of autotuned kernels as alternatives of one launch."""

    def __init__(self) -> None:
        self._index = 0
        self._config = ""

    def choose(self, kernel: str, configs: Sequence[str]) -> Iterator[int]:
        """All configurations, up to a limit."""
        first = self._index
        for number, config in enumerate(configs[:MAX_CONFIGS]):
            self._config = config if len(configs) > 1 else ""
            self._index = first
            yield number
        self._index, self._config = first + 1, ""

    def number(self) -> tuple[int, str]:
        """Number and configuration of a launch that is about to be made."""
        self._index += 1
        return self._index - 1, self._config


def _on_cpu(value: Any) -> Any:
    if isinstance(value, torch.device):
        return torch.device("cpu") if value.type == "cuda" else value
    if isinstance(value, str) and value.split(":")[0] == "cuda":
        return "cpu"
    return value


class _Host(TorchFunctionMode):
    """Turns what PyTorch is told about CUDA devices into the CPU, and back."""

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func == torch.Tensor.device.__get__:
            found = func(*args)
            return _CUDA if found.type == "cpu" else found
        if func == torch.Tensor.is_cuda.__get__:  # type: ignore[attr-defined]
            return True
        if func == torch.Tensor.is_cpu.__get__:  # type: ignore[attr-defined]
            return False
        if func == torch.Tensor.cuda:
            return args[0]
        if func == torch.Tensor.get_device:
            return 0
        kwargs = dict(kwargs or {})
        kwargs.pop("pin_memory", None)
        if "device" in kwargs:
            kwargs["device"] = _on_cpu(kwargs["device"])
        if getattr(func, "__name__", "") in ("to", "new_empty", "new_zeros", "new_full"):
            args = tuple(_on_cpu(a) for a in args)
        return func(*args, **kwargs)


def _properties(gpu: Gpu) -> Any:
    major, minor = divmod(gpu.capability, 10)
    return SimpleNamespace(
        name=f"NVIDIA {gpu.name.upper()} (simulated)",
        major=major,
        minor=minor,
        total_memory=80 << 30,
        multi_processor_count=gpu.multiprocessors,
        L2_cache_size=gpu.l2_bytes,
        warp_size=32,
        max_threads_per_multi_processor=gpu.max_threads,
        regs_per_multiprocessor=gpu.registers,
        shared_memory_per_block=48 << 10,
        shared_memory_per_block_optin=gpu.shared_bytes,
        shared_memory_per_multiprocessor=gpu.shared_bytes + 1024,
    )


class _Driver:
    """Triton's driver of a GPU that is not here."""

    def __init__(self, gpu: Gpu, recorder: Recorder) -> None:
        from triton.backends.compiler import GPUTarget

        self.target = GPUTarget("cuda", gpu.capability, 32)
        self.launcher_cls = recorder.launcher
        self.utils = SimpleNamespace(
            load_binary=recorder.load,
            unload_module=lambda module: None,
            get_device_properties=lambda device=0: {
                "max_shared_mem": gpu.shared_bytes,
                "max_num_regs": gpu.registers,
                "multiprocessor_count": gpu.multiprocessors,
                "warpSize": 32,
                "sm_clock_rate": int(gpu.clock_ghz * 1e6),
                "mem_clock_rate": int(gpu.memory_gbps * 1e6 / 1280),
                "mem_bus_width": 5120,
            },
        )

    def get_current_target(self) -> Any:
        return self.target

    def get_current_device(self) -> int:
        return 0

    def set_current_device(self, device: int) -> None:
        pass

    def get_current_stream(self, device: int = 0) -> int:
        return 0

    def get_active_torch_device(self) -> torch.device:
        return _CUDA

    def get_device_interface(self) -> Any:
        return torch.cuda

    def get_benchmarker(self) -> Any:
        return _benchmark

    def map_python_to_cpp_type(self, kind: str) -> str:
        return kind


def _benchmark(call: Any, *_: Any, quantiles: Sequence[float] | None = None, **__: Any) -> Any:
    """Stands in for `do_bench`: no time passes on a device that is not here."""
    call()
    return [1.0] * len(quantiles) if quantiles else 1.0


def _told_apart(configs: Sequence[Any]) -> list[str]:
    """Names of configurations, also where what differs, as a hook, is not in Triton's name."""
    names = [str(config) for config in configs]
    return [
        f"{name} (number {index + 1})" if name in names[:index] else name
        for index, name in enumerate(names)
    ]


def _tune(recorder: Recorder) -> Any:
    """A replacement of `Autotuner.run` that runs what the recorder chooses."""
    from triton.compiler.errors import CompileTimeAssertionFailure
    from triton.runtime.errors import OutOfResources, PTXASError

    # Triton's autotuner passes over the first three as well.
    forgiven = (OutOfResources, PTXASError, CompileTimeAssertionFailure, *recorder.tolerated)

    def run(self: Any, *args: Any, **kwargs: Any) -> Any:
        self.nargs = dict(zip(self.arg_names, args, strict=False))
        tuned = len(self.configs) > 1
        # As in Triton's tuner, one of configurations that are equal is enough.
        configs = list(dict.fromkeys(self.prune_configs(kwargs))) if tuned else self.configs
        result, failures, succeeded = None, [], False
        for index in recorder.choose(self.base_fn.__name__, _told_apart(configs)):
            config = configs[index]
            named = {**self.nargs, **kwargs, **config.all_kwargs()}
            if tuned:
                self.pre_hook(named, reset_only=True)
            if config.pre_hook is not None:
                config.pre_hook(named)
            self.best_config = config
            recorder.worked = False
            try:
                result = self.fn.run(*args, **kwargs, **config.all_kwargs())
                recorder.worked = succeeded = True
            except forgiven as error:
                failures.append(error)
        if failures and not succeeded:
            raise failures[0]
        self.nargs = None
        return result

    return run


class _Event:
    """An event on a device where no time passes."""

    def __init__(self, *_: Any, **__: Any) -> None: ...

    def record(self, *_: Any) -> None: ...

    def synchronize(self) -> None: ...

    def elapsed_time(self, _: Any) -> float:
        return 0.0


@contextlib.contextmanager
def pretend(gpu: Gpu, recorder: Recorder | None = None) -> Iterator[None]:
    """Run the host code of answers as if `gpu` were there.

    Args:
        gpu: the device to describe.
        recorder: chooses among the configurations of autotuned kernels; the first by default.
    """
    from triton.runtime import driver
    from triton.runtime.autotuner import Autotuner

    recorder = recorder or Recorder()
    about = _properties(gpu)
    cuda = {
        "is_available": lambda: True,
        "is_initialized": lambda: True,
        "init": lambda: None,
        "device_count": lambda: 1,
        "current_device": lambda: 0,
        "set_device": lambda device: None,
        "get_device_name": lambda device=None: about.name,
        "get_device_capability": lambda device=None: (about.major, about.minor),
        "get_device_properties": lambda device=None: about,
        "synchronize": lambda device=None: None,
        "empty_cache": lambda: None,
        "current_stream": lambda device=None: SimpleNamespace(cuda_stream=0),
        "device": lambda device: contextlib.nullcontext(),
        "device_of": lambda tensor: contextlib.nullcontext(),
        "Event": _Event,
    }
    before = driver._active
    with contextlib.ExitStack() as stack:
        for name, value in cuda.items():
            stack.enter_context(mock.patch.object(torch.cuda, name, value))
        stack.enter_context(mock.patch.object(Autotuner, "run", _tune(recorder)))
        driver.set_active(_Driver(gpu, recorder))
        stack.callback(driver.set_active, before)
        stack.enter_context(_Host())
        yield
