"""Running a problem's file: its names, its random numbers, its idea of where a GPU is."""

from __future__ import annotations

import ast
import contextlib
import random
import re
import sys
import threading
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

import numpy as np
import torch
from torch.overrides import TorchFunctionMode

from triton_gym import syntax
from triton_gym.errors import InvalidTaskError
from triton_gym.evaluation.modules import RANDOM
from triton_gym.suites.suite import one_line

_RUNNING = threading.RLock()
"""Files run one at a time, since all are called `problem` meanwhile."""
DRAWING = ("get_inputs", "get_init_inputs")
"""Functions whose literal numbers are sizes as constants are: `torch.rand(8, 3, 224, 224)`."""


def executed(source: str, path: str, literals: Mapping[str, int] | None = None) -> dict[str, Any]:
    """The names of a file after it ran.

    Args:
        source: its text.
        path: where it lies, for what it reads beside itself and for tracebacks.
        literals: values for its literal sizes, see `literal_sizes`.

    Raises:
        InvalidTaskError: it needs a package or weights that are not here.
    """
    if missing := missing_weights(source):
        raise InvalidTaskError(
            f"{path} needs the weights of {missing} from the Hugging Face hub, which are not in "
            f"the local cache (`hf download {missing}`)."
        )
    module = ModuleType("problem")
    scope = vars(module)
    scope["__file__"] = path
    code = _compiled(source, path, tuple((literals or {}).items()))
    try:
        with _RUNNING, _imported(module):
            exec(code, scope)
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        raise InvalidTaskError(
            f"{path} needs the package {package}, which is not installed (`pip install {package}`)."
        ) from error
    return scope


@contextlib.contextmanager
def _imported(module: ModuleType) -> Iterator[None]:
    """Let a module that runs be found by its name, as `dataclasses` and `typing` do. Later it must
    not be: what is pickled by that name would not be found elsewhere."""
    before = sys.modules.get(module.__name__)
    sys.modules[module.__name__] = module
    try:
        yield
    finally:
        del sys.modules[module.__name__]
        if before is not None:
            sys.modules[module.__name__] = before


def checked(source: str, path: str) -> dict[str, Any]:
    """`executed`, with whatever the file raises as one sentence that names its line."""
    try:
        return executed(source, path)
    except InvalidTaskError:
        raise
    except (Exception, SystemExit) as error:
        raise InvalidTaskError(f"{path} does not run: {told(error, path)}") from error


def told(error: BaseException, path: str = "") -> str:
    """An error in a line, with the innermost line of the problem's file where it has one."""
    line, trace = 0, error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == path:
            line = trace.tb_lineno
        trace = trace.tb_next
    if isinstance(error, SyntaxError):
        line = error.lineno or 0
    where = f" (line {line})" if line and path else ""
    return f"{type(error).__name__}: {one_line(error)}{where}"


def literal_sizes(source: str) -> dict[str, int]:
    """The integers of 1 and more that are written in the functions that draw, in order."""
    return {
        name: node.value for name, node in _literals(syntax.parse(source))
        if isinstance(node.value, int)
    }  # fmt: skip


def _literals(tree: ast.Module) -> Iterator[tuple[str, ast.Constant]]:
    for function in tree.body:
        if isinstance(function, ast.FunctionDef) and function.name in DRAWING:
            found = (n for n in ast.walk(function) if isinstance(n, ast.Constant))
            sizes = [n for n in found if type(n.value) is int and n.value >= 1]
            for index, node in enumerate(sizes):
                yield f"{function.name}.{index}", node


@lru_cache(maxsize=1024)
def _compiled(source: str, path: str, literals: tuple[tuple[str, int], ...]) -> CodeType:
    tree = syntax.parse(source)
    values = dict(literals)
    if values:
        for name, node in _literals(tree):
            node.value = values.get(name, node.value)
    return compile(tree, path, "exec", dont_inherit=True)


_PRETRAINED = re.compile(r"\.from_pretrained\(\s*(?:[\"']([^\"']+)[\"']|(?:self\.)?(\w+))")


@lru_cache(maxsize=1024)
def missing_weights(source: str) -> str:
    """The model on the Hugging Face hub that a file asks for and the local cache lacks, or nothing.

    Asking the hub while a suite is loaded would fetch gigabytes nobody asked for, or wait for a
    network that is not there.
    """
    if ".from_pretrained(" not in source:
        return ""
    texts = {
        target.id: node.value.value
        for node in ast.walk(syntax.parse(source))
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
        for target in node.targets if isinstance(target, ast.Name)
    }  # fmt: skip
    for literal, name in _PRETRAINED.findall(source):
        model = literal or texts.get(name, "")
        if isinstance(model, str) and model and not _at_hand(model):
            return model
    return ""


def _at_hand(model: str) -> bool:
    if Path(model).is_dir():
        return True
    try:
        from huggingface_hub import try_to_load_from_cache
    except ImportError:
        return True  # the missing package is what is told
    weights = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin",
               "pytorch_model.bin.index.json")  # fmt: skip
    return isinstance(try_to_load_from_cache(model, "config.json"), str) and any(
        isinstance(try_to_load_from_cache(model, name), str) for name in weights
    )


@contextlib.contextmanager
def drawing(seed: int, device: torch.device) -> Iterator[None]:
    """Random numbers from a seed, and tensors on a device, whatever device is named for them.

    The numbers' states are restored: PyTorch's, NumPy's, Python's.
    """
    devices = [device.index or 0] if device.type == "cuda" else []
    with RANDOM, torch.random.fork_rng(devices=devices):
        plain, arrays = random.getstate(), np.random.get_state()
        torch.default_generator.manual_seed(seed)  # torch.manual_seed keeps a traceback for CUDA
        if device.type == "cuda":
            torch.cuda.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed % 2**32)
        try:
            with torch.device(device), Redirected(device), _generators(device):
                yield
        finally:
            random.setstate(plain)
            np.random.set_state(arrays)


@contextlib.contextmanager
def _generators(device: torch.device) -> Iterator[None]:
    """`torch.Generator("cuda")` is one of the device at hand; held under `RANDOM`."""
    plain = torch.Generator
    at_hand = "cpu" if device.type == "meta" else device

    class Moved(plain):  # type: ignore[valid-type, misc]
        def __new__(cls, device: Any = "cpu") -> Any:
            return plain(at_hand if _is_cuda(device) else device)

    torch.Generator = Moved  # type: ignore[misc]
    try:
        yield
    finally:
        torch.Generator = plain  # type: ignore[misc]


class Redirected(TorchFunctionMode):
    """Puts what is meant for a GPU on the device at hand: `device="cuda"`, `.cuda()`, `.to(0)`.

    Args:
        device: the device at hand.
    """

    def __init__(self, device: torch.device) -> None:
        super().__init__()
        self._device = device

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        if func is torch.Tensor.cuda:
            return args[0].to(self._device)
        if _is_cuda(kwargs.get("device")):
            kwargs["device"] = self._device
        if self._device.type == "meta":
            kwargs.pop("generator", None)  # nothing is drawn, and no generator is of this device
        if func is torch.Tensor.to and len(args) > 1 and _is_cuda(args[1]):
            args = (args[0], self._device, *args[2:])
        return func(*args, **kwargs)


def _is_cuda(device: Any) -> bool:
    if isinstance(device, torch.device):
        return device.type == "cuda"
    if isinstance(device, str):
        return device.startswith("cuda")
    return isinstance(device, int) and not isinstance(device, bool)


class DropoutOff(TorchFunctionMode):
    """Lets every function that drops at random hand its input through."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        if "dropout" in getattr(func, "__name__", "") and "attention" not in func.__name__:
            return args[0] if args else kwargs["input"]
        return func(*args, **kwargs)
