"""Where host code runs: it finds its GPU, its tensors and its Triton, and all of it is recorded."""

from __future__ import annotations

import contextlib
import copy
import sys
import threading
from collections.abc import Iterator
from typing import Any

import torch
import triton
import triton.compiler
import triton.testing
from torch.overrides import TorchFunctionMode

from triton_gym.evaluation.recording import backward, cuda, standin
from triton_gym.evaluation.recording.dispatch import Dispatch
from triton_gym.evaluation.recording.driver import Driver
from triton_gym.evaluation.recording.kernels import Toolchain
from triton_gym.evaluation.recording.recorder import Recorder, is_standin
from triton_gym.evaluation.recording.tuning import Tuner

_text: Any = torch._tensor_str._str
_module_to: Any = torch.nn.Module.to
_deepcopy_plain: Any = torch.Tensor.__deepcopy__


class Host:
    """The surroundings of host code. There is one in a process, and it stays.

    Args:
        recorder: sees what host code does.
        patient: see `kernels.Toolchain`.
    """

    def __init__(self, recorder: Recorder, *, patient: bool) -> None:
        self.recorder = recorder
        self.tuner = Tuner(recorder)
        self.toolchain = Toolchain(recorder, patient=patient)
        standin.install()
        cuda.install(recorder, self.tuner)
        _patch_triton(self.toolchain, self.tuner)
        triton.runtime.driver.set_active(Driver(recorder.facts, self.tuner))
        _patch_tensors(recorder)
        _patch_threads(self)

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Inside, what is done is host code's, in this thread and in those that it starts."""
        with _Functions(self.recorder), Dispatch(self.recorder):
            yield


class _Functions(TorchFunctionMode):
    """Turns what PyTorch's C++ would refuse into what the dispatch mode understands, and notes
    whose addresses host code takes."""

    def __init__(self, recorder: Recorder) -> None:
        super().__init__()
        self._recorder = recorder

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        given = kwargs or {}
        if given.get("pin_memory"):
            given = {**given, "pin_memory": False}
        if type(given.get("device")) is int:
            given = {**given, "device": standin.CUDA}
        if func is torch.Tensor.data_ptr and is_standin(args[0]):
            self._recorder.expose(args[0], sys._getframe(1).f_code.co_filename)
        if func is torch.Tensor.cuda:
            return args[0].to(standin.CUDA)
        if func is torch.Tensor.pin_memory:
            return args[0]
        if func is torch.Tensor.to and len(args) > 1 and type(args[1]) is int:
            args = (args[0], standin.CUDA, *args[2:])
        return func(*args, **given)


def _patch_triton(toolchain: Toolchain, tuner: Tuner) -> None:
    import torch._library.triton as library

    triton.compile = triton.compiler.compile = toolchain.compile
    for name in ("do_bench", "do_bench_cudagraph", "do_bench_cudagraph_proton"):
        if hasattr(triton.testing, name):
            setattr(triton.testing, name, tuner.bench)
    torch.compile = _eager
    # Operators are run and never traced; PyTorch's own would import all of its compiler.
    torch.library.wrap_triton = library.wrap_triton = _itself


_run_thread: Any = threading.Thread._bootstrap_inner  # type: ignore[attr-defined]


def _patch_threads(host: Host) -> None:
    """PyTorch's modes are a thread's own: have those that host code starts begin with them."""

    def bootstrap(self: threading.Thread) -> None:
        with host.running():
            _run_thread(self)

    threading.Thread._bootstrap_inner = bootstrap  # type: ignore[attr-defined]


def _itself(kernel: Any) -> Any:
    """Stands in for `torch.library.wrap_triton`."""
    return kernel


def _eager(model: Any = None, **_: Any) -> Any:
    """Stands in for `torch.compile`: what it would compile runs as it is written, and is recorded.

    Fused or not, PyTorch's arithmetic is not the answer's work.
    """
    return (lambda function: function) if model is None else model


def _patch_tensors(recorder: Recorder) -> None:
    def _str(self: torch.Tensor, *args: Any, **kwargs: Any) -> str:
        if not is_standin(self):
            return str(_text(self, *args, **kwargs))
        memory = recorder.memory_of(self)
        if memory.known:
            return str(_text(memory.as_known(self), *args, **kwargs))
        return f"tensor(..., device='cuda:0', size={tuple(self.size())}, dtype={self.dtype})"

    def _deepcopy(self: torch.Tensor, memo: dict[int, Any]) -> torch.Tensor:
        if not is_standin(self):
            made: torch.Tensor = _deepcopy_plain(self, memo)
            return made
        if id(self) in memo:
            known: torch.Tensor = memo[id(self)]
            return known
        with torch.no_grad():
            copied = self.detach().clone()
        if isinstance(self, torch.nn.Parameter):
            copied = torch.nn.Parameter(copied, self.requires_grad)
        else:
            copied.requires_grad_(self.requires_grad)
        copied.__dict__.update(copy.deepcopy(self.__dict__, memo))
        memo[id(self)] = copied
        return copied

    torch.autograd.backward = backward.backward
    torch.autograd.grad = backward.grad  # type: ignore[assignment]

    def module_to(self: torch.nn.Module, *args: Any, **kwargs: Any) -> torch.nn.Module:
        moved: torch.nn.Module = _module_to(
            self, *(standin.CUDA if type(arg) is int else arg for arg in args), **kwargs
        )
        return moved

    torch.nn.Module.to = module_to  # type: ignore[method-assign, assignment]
    torch.Tensor.record_stream = lambda self, s: None  # type: ignore[method-assign]
    torch._tensor_str._str = _str
    torch.Tensor.__deepcopy__ = _deepcopy  # type: ignore[method-assign]
    torch.nn.Parameter.__deepcopy__ = _deepcopy  # type: ignore[method-assign]
