"""A file of Triton kernels, run where there is no GPU and no Triton."""

from __future__ import annotations

import builtins
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import CodeType, ModuleType, SimpleNamespace
from typing import Any

import torch

from triton_gym import syntax
from triton_gym.errors import InvalidTaskError
from triton_gym.suites.eager_triton import language, launching
from triton_gym.suites.eager_triton.memory import PROGRAM
from triton_gym.suites.eager_triton.rewriting import rewritten
from triton_gym.suites.execution import Redirected

CPU = torch.device("cpu")
_IS_CUDA = torch.Tensor.is_cuda.__get__  # type: ignore[attr-defined]
_DEVICE = torch.Tensor.device.__get__
_GPU = torch.device("cuda", 0)
_DTYPE = torch.Tensor.dtype.__get__  # type: ignore[attr-defined]
_FRESH = ("empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided")
"""Functions that hand out memory as it is; here it is zero, so that runs are alike."""


def emulated(source: str, path: str) -> dict[str, Any]:
    """The names of a file after it ran, its kernels emulated.

    Raises:
        InvalidTaskError: it needs a package that is not here.
    """
    scope: dict[str, Any] = {
        "__name__": "problem", "__file__": path, **launching.HELPERS,
        "torch": _modules()["torch"],  # some leave its import to their tests
        "__builtins__": {**vars(builtins), "__import__": _import, "print": _silent},
    }  # fmt: skip
    try:
        exec(_compiled(source, path), scope)
    except ModuleNotFoundError as error:
        raise InvalidTaskError(
            f"{path} needs the module {error.name}, which is not installed."
        ) from error
    return scope


def _silent(*args: Any, **kwargs: Any) -> None:
    """`print` of an emulated file, which runs many times."""


@functools.lru_cache(maxsize=512)
def _compiled(source: str, path: str) -> CodeType:
    return compile(rewritten(syntax.parse(source)), path, "exec")


@contextmanager
def hosted(device: torch.device = CPU, pretended: torch.dtype | None = None) -> Iterator[None]:
    """While it lasts, tensors on a device pass for a GPU's.

    Args:
        device: the CPU, or `meta` for shapes alone.
        pretended: what the dtype of a float64 tensor is said to be, for files that take no such.
    """
    with _Host(device, pretended):
        yield


@contextmanager
def idle() -> Iterator[None]:
    """While it lasts, launches do nothing."""
    before = PROGRAM.idle
    PROGRAM.idle = True
    try:
        yield
    finally:
        PROGRAM.idle = before


@contextmanager
def ends_only() -> Iterator[None]:
    """While it lasts, of a large grid only the first and the last programs run."""
    before = PROGRAM.ends
    PROGRAM.ends = True
    try:
        yield
    finally:
        PROGRAM.ends = before


class _Host(Redirected):
    def __init__(self, device: torch.device, pretended: torch.dtype | None) -> None:
        super().__init__(device)
        self._pretended = pretended

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if func == _IS_CUDA:
            return True
        found = super().__torch_function__(func, types, args, kwargs)
        if func == _DEVICE and found.type == "cpu":
            return _GPU
        if self._pretended is not None and func == _DTYPE and found is torch.float64:
            return self._pretended
        if getattr(func, "__name__", "") in _FRESH and isinstance(found, torch.Tensor):
            return found.zero_()
        return found


class _Module(ModuleType):
    """A package with some names exchanged."""

    def __init__(self, package: ModuleType, exchanged: Mapping[str, Any]) -> None:
        super().__init__(package.__name__)
        self.__dict__.update(exchanged)
        self._package = package

    def __getattr__(self, name: str) -> Any:
        return getattr(self._package, name)


class _Unused(ModuleType):
    """A module of which names are taken and nothing is called."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _Unused(f"{self.__name__}.{name}")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError(f"{self.__name__} is not emulated")


@contextmanager
def _nowhere(*args: Any, **kwargs: Any) -> Iterator[None]:
    yield


class _Seed:
    """The generator of the one GPU: a seed and how much was drawn, in 16 bytes."""

    def __init__(self) -> None:
        self._state = torch.zeros(2, dtype=torch.int64)

    def get_state(self) -> torch.Tensor:
        """A copy."""
        return self._state.clone().view(torch.uint8)

    def set_state(self, state: torch.Tensor) -> None:
        """What is drawn from next."""
        self._state = state.clone().view(torch.int64)


def _cuda() -> ModuleType:
    """`torch.cuda` of one GPU, as far as host code asks before it launches."""
    properties = SimpleNamespace(
        multi_processor_count=132, major=9, minor=0, name="emulated", total_memory=1 << 36,
        warp_size=32,
    )  # fmt: skip

    def constant(value: Any) -> Callable[..., Any]:
        return lambda *args, **kwargs: value

    return _Module(
        torch.cuda,
        {
            "is_available": constant(True), "current_device": constant(0),
            "device_count": constant(1), "device": _nowhere, "device_of": _nowhere,
            "_DeviceGuard": _nowhere,
            "get_device_capability": constant((9, 0)), "synchronize": constant(None),
            "get_device_properties": constant(properties), "empty_cache": constant(None),
            "current_stream": constant(SimpleNamespace(cuda_stream=0)),
            "set_device": constant(None), "get_device_name": constant("emulated"),
            "default_generators": (_Seed(),), "manual_seed": torch.manual_seed,
            "manual_seed_all": torch.manual_seed,
        },
    )  # fmt: skip


def _inductor() -> ModuleType:
    """`torch._inductor.runtime.triton_helpers`, as far as generated kernels call it."""
    found = ModuleType("triton_helpers")
    found.__dict__.update(
        libdevice=language, math=language, maximum=language.maximum, minimum=language.minimum,
        promote_to_tensor=torch.as_tensor, max2=language.max, min2=language.min,
        welford_reduce=_welford_reduce, welford=_welford,
    )  # fmt: skip
    return found


def _welford_reduce(value: Any, mean: Any, m2: Any, weight: Any, first: bool) -> tuple[Any, ...]:
    """Mean, sum of squared differences and count after one more value each (Welford,
    Technometrics 4(3), 1962)."""
    if first:
        return value, torch.zeros_like(m2), torch.ones_like(weight)
    delta, count = value - mean, weight + 1
    moved = mean + delta / count
    return moved, m2 + delta * (value - moved), count


def _welford(mean: Any, m2: Any, weight: Any, dim: int) -> tuple[Any, Any, Any]:
    """The same of all along an axis (Chan et al., The American Statistician 37(3), 1983)."""
    count = weight.sum(dim)
    share = torch.where(count == 0, torch.ones_like(count), count)
    whole = (mean * weight).sum(dim) / share
    apart = mean - whole.unsqueeze(dim)
    return whole, (m2 + weight * apart * apart).sum(dim), count


def _zeros_strided(size: Any, stride: Any, dtype: torch.dtype) -> torch.Tensor:
    return torch.empty_strided(size, stride, dtype=dtype).zero_()


@functools.cache
def _modules() -> dict[str, Any]:
    """Modules by the name that they are imported by."""
    triton = launching.module()
    vars(triton).update(ops=_Unused("triton.ops"), runtime=_Unused("triton.runtime"))
    target = SimpleNamespace(backend="cuda", arch=90, warp_size=32)
    active = SimpleNamespace(get_current_target=lambda: target)
    vars(triton.runtime).update(driver=SimpleNamespace(active=active))
    vars(triton).update(testing=_Unused("triton.testing"), compiler=_Unused("triton.compiler"))
    helpers = _inductor()
    core = _Module(
        torch._C,
        {
            "_cuda_getCurrentRawStream": lambda index: 0,
            "_dynamo": SimpleNamespace(guards=SimpleNamespace(_empty_strided_cuda=_zeros_strided)),
        },
    )
    return {"triton": triton, "triton.language": language,
            "torch": _Module(torch, {"cuda": _cuda(), "_C": core}),
            "torch._inductor.runtime": SimpleNamespace(triton_helpers=helpers, libdevice=language),
            "torch._inductor.runtime.triton_helpers": helpers,
            "torch._C": core,
            }  # fmt: skip


def _import(
    name: str, globals: Any = None, locals: Any = None, fromlist: Sequence[str] = (), level: int = 0
) -> Any:
    """`__import__` of an emulated file."""
    known = _modules()
    top = name.partition(".")[0]
    if top == "triton":
        return _part(known["triton"], name) if fromlist else known["triton"]
    if name in known:
        return known[name] if fromlist else known[top]
    found = builtins.__import__(name, globals, locals, fromlist, level)
    return known["torch"] if found is torch else found


def _part(package: Any, name: str) -> Any:
    """A module within a package; libraries of math are the language itself."""
    for part in name.split(".")[1:]:
        if part in ("math", "libdevice", "extra", "cuda", "core", "standard", "random"):
            return language
        package = getattr(package, part)
    return package
