"""A verified answer's source as a function that this process calls.

Triton compiles a kernel when it is first launched with arguments of a new kind, which takes up to
seconds. A caller never waits for that: what Triton's cache on disk holds is loaded, in
milliseconds, and for what is not there `NotCompiledError` is raised before anything was launched.
It is compiled elsewhere then (`compiling`). What is compiled lies in a folder of ours:
`torch.compile` moves Triton's own to another place as soon as it makes a kernel.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.util
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from triton_gym.errors import TritonGymError
from triton_gym.optimization.plan import watch_launches
from triton_gym.optimization.replay import Replayed, replayable
from triton_gym.runs.folder import write_whole


class NotCompiledError(TritonGymError):
    """A kernel is not compiled for these arguments yet, and the caller must not wait for it."""


_ASSEMBLER = "TRITON_PTXAS_PATH"
_allowed = threading.local()
_storing = threading.RLock()
"""Held while Triton's folder is ours: there is one for all threads of a process."""


@contextlib.contextmanager
def compiling() -> Iterator[None]:
    """Let this thread compile kernels of loaded answers."""
    before = getattr(_allowed, "depth", 0)
    _allowed.depth = before + 1
    try:
        yield
    finally:
        _allowed.depth = before


@dataclass(frozen=True, slots=True)
class Loaded:
    """An answer in this process."""

    call: Callable[..., Any]
    """Its host function; see `replay`."""
    module: ModuleType
    path: Path
    """Its file: Triton reads a kernel's source from there."""
    kernels: Mapping[str, Any] = field(default_factory=dict)
    """What `@triton.jit` and what is around it made, by the module's names."""
    replayed: Replayed | None = None
    """What repeats calls that came before; None if it has no kernels."""

    def choices(self) -> dict[str, dict[str, Any]]:
        """What each `@triton.autotune` of the module chose last; see `pin`."""
        found: dict[str, dict[str, Any]] = {}
        for name, kernel in self.kernels.items():
            for tuner in _layers(kernel):
                config = getattr(tuner, "best_config", None)
                if config is not None and hasattr(tuner, "configs"):
                    found[name] = {
                        "kwargs": dict(config.kwargs), "num_warps": config.num_warps,
                        "num_stages": config.num_stages, "num_ctas": config.num_ctas,
                    }  # fmt: skip
        return found

    def pin(self, choices: Mapping[str, Mapping[str, Any]]) -> None:
        """Have each tuner use the one configuration that it chose, so that no call tunes."""
        import triton

        for name, choice in choices.items():
            for tuner in _layers(self.kernels[name]):
                if hasattr(tuner, "configs"):
                    tuner.configs = [triton.Config(**choice)]
                    tuner.cache.clear()
        if self.replayed is not None:
            self.replayed.forget()  # plans hold what the tuners had chosen before

    @property
    def replays(self) -> bool:
        """Whether calls are repeated as they were; see `replay`."""
        return self.replayed is not None and self.replayed.on

    def stop_replaying(self) -> bool:
        """Run the host function itself from now on; whether anything had been replayed."""
        if self.replayed is None or not self.replayed.plans:
            return False
        self.replayed.stop()
        return True

    @property
    def tuned(self) -> bool:
        """Whether a call may have to tune first."""
        return any(
            len(getattr(layer, "configs", ())) > 1
            for kernel in self.kernels.values()
            for layer in _layers(kernel)
        )


def load(source: str, entry: str, folder: Path, compiled: Path | None = None) -> Loaded:
    """Import an answer.

    Args:
        source: of the answer. It is run: it has to be `admissible`.
        entry: name of its host function.
        folder: where its file goes, made if it is not there.
        compiled: where its compiled kernels lie; if None, where Triton has them at the time.

    Raises:
        Exception: whatever the module raises while it is imported.
        AttributeError: it has no such function.
    """
    digest = hashlib.sha256(source.encode()).hexdigest()[:16]
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{entry}_{digest}.py"
    if not path.exists() or path.read_text(encoding="utf-8") != source:
        write_whole(path, source)
    name = f"_triton_gym_{entry}_{digest}_{len(sys.modules)}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} cannot be imported.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and Triton look it up
    try:
        spec.loader.exec_module(module)
        call = getattr(module, entry)
    except BaseException:
        del sys.modules[name]
        raise
    kernels = {n: value for n, value in vars(module).items() if _inner(value) is not None}
    for kernel in kernels.values():
        _hold_compiling(_inner(kernel), compiled)
        watch_launches(_inner(kernel))
    replayed = Replayed(call, source) if kernels and replayable(call) else None
    return Loaded(replayed.answer if replayed else call, module, path, kernels, replayed)


def _layers(kernel: Any) -> Iterator[Any]:
    """A kernel with what is around it, outermost first."""
    while kernel is not None:
        yield kernel
        kernel = getattr(kernel, "fn", None) if hasattr(kernel, "arg_names") else None


def _inner(value: Any) -> Any:
    """The function that `@triton.jit` made, within what is around it; None if there is none."""
    for layer in _layers(value):
        if hasattr(layer, "_do_compile"):
            return layer
    return None


def _hold_compiling(kernel: Any, compiled: Path | None) -> None:
    """Have a kernel compile only where `compiling` allows it; what the disk holds is loaded."""
    compile_now = kernel._do_compile

    def held(*args: Any, **kwargs: Any) -> Any:
        allowed = bool(getattr(_allowed, "depth", 0))
        if not allowed:
            kernel.ASTSource = _read_only(kernel.ASTSource)
        with _stored_in(compiled, wait=allowed):
            made = compile_now(*args, **kwargs)
            _ = getattr(made, "run", None)  # what launches it is compiled and kept there, too
            return made

    kernel._do_compile = held


@contextlib.contextmanager
def _stored_in(folder: Path | None, *, wait: bool) -> Iterator[None]:
    """Have Triton keep in a folder what it compiles.

    Raises:
        NotCompiledError: another thread compiles, and this one must not wait for it.
    """
    if folder is None:
        yield
        return
    from triton import knobs

    if not _storing.acquire(blocking=wait):
        raise NotCompiledError("another kernel is being compiled.")
    try:
        with _set(knobs.cache, "dir", str(folder)), _assembler():
            yield
    finally:
        _storing.release()


@contextlib.contextmanager
def _set(knobs: Any, name: str, value: Any) -> Iterator[None]:
    """Set a knob of Triton's past itself, which would set its environment variable for good."""
    named = vars(knobs)
    before = dict(named)
    named[name] = value
    try:
        yield
    finally:
        named.clear()
        named.update(before)


@contextlib.contextmanager
def _assembler() -> Iterator[None]:
    """Have Triton use one assembler, in this process and in those that compile for it.

    A kernel is found on the disk by the assembler's version, among others. `torch.compile` sets
    the environment variable for an assembler of PyTorch's as soon as it makes a kernel: processes
    that were started later would compile what this one never finds.
    """
    from triton import knobs
    from triton.backends.nvidia import compiler

    given = os.environ.get(_ASSEMBLER)
    if given is None or not Path(given).is_relative_to(Path(torch.__file__).parent):
        yield
        return
    version, module = _assembler_version, vars(compiler)
    with _set(knobs.nvidia, "ptxas", None):  # Triton's own
        before = module.get("get_ptxas_version")
        module["get_ptxas_version"] = version
        try:
            yield
        finally:
            module["get_ptxas_version"] = before


@functools.cache
def _assembler_version(arch: int = 80) -> str:
    """What Triton asks the assembler in use, whose answer it keeps for good."""
    from triton.backends.nvidia import compiler

    return str(subprocess.check_output([compiler.get_ptxas(arch).path, "--version"]), "utf-8")


def _read_only(made: type[Any]) -> type[Any]:
    """Triton's description of what to compile, which goes no further than the cache on disk."""
    if getattr(made, "held", False):
        return made

    class Held(made):  # type: ignore[misc]
        held = True

        def make_ir(self, *args: Any, **kwargs: Any) -> Any:
            if not getattr(_allowed, "depth", 0):
                raise NotCompiledError(f"{self.name} is not compiled for these arguments.")
            return super().make_ir(*args, **kwargs)

    return Held
