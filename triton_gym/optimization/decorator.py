"""`triton_gym.optimize`: a function of the user's own gets faster while the program runs.

@triton_gym.optimize(examples=[(x, w)], dynamic={"x": (0,)}, seconds=600)
def rms_norm(x, w, eps=1e-6): ...

y = rms_norm(x, w)           # never waits; from some call on it is the faster kernel
rms_norm.report()            # what runs now, since when, how fast, what was tried
"""

from __future__ import annotations

import functools
import importlib
import inspect
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from triton_gym.errors import InvalidOptionError
from triton_gym.optimization import dispatch
from triton_gym.optimization.handle import Optimization, check_options
from triton_gym.optimization.report import Report
from triton_gym.optimization.search_process import OFF, SWITCH
from triton_gym.optimization.spec import Spec
from triton_gym.optimization.tracing_process import TRACING


def optimize(
    function: Any = None,
    *,
    examples: Any = None,
    dynamic: Mapping[str, Sequence[int]] | None = None,
    seconds: float = 600.0,
    agent: str | Sequence[str] = (),
    device: str = "auto",
    share: float = 0.005,
    against: str = "eager",
    shadow: float = 0.001,
    backward: Callable[..., Any] | None = None,
    draw: Callable[..., Any] | None = None,
    reference: Callable[..., Any] | None = None,
    start: str = "call",
    seed: int = 0,
    folder: str | os.PathLike[str] | None = None,
    cache: str | os.PathLike[str] | None = None,
) -> Any:
    """Look for a faster kernel for a function in the background, and swap in what is verified.

    A decorator with arguments, or a function of a function, a bound method or a
    `torch.nn.Module`. The result has the signature, name and documentation of the function, and
    `report()`, `disable()`, `enable()`, `begin()`, `wait(seconds)` and `stop()`. A module is
    changed in place and returned. A method that is decorated in its class is optimised for the
    first object that it is called on.

    Args:
        function: computes new tensors from tensors.
        examples: calls that matter, `[(x, w), …]` (see `spec.calls`), or a function that makes them
            in the process that searches. Shapes, dtypes, strides and what values are like count.
        dynamic: axes whose size varies, by parameter: `{"x": (0,)}`. None for all that can.
        seconds: wall time of the search.
        agent: who searches: names of agents, as of `triton-gym run`. Evolution, if empty.
        device: what the search evaluates on: `auto` for the GPU of the examples, `cuda:1` for
            another one of the same model, `simulated`.
        share: of the time, how much the search may keep that GPU busy. 1 where it is its own.
        against: what the function runs as in your program: `eager`; `eager-only` to take kernels
            that are slower than what `torch.compile` would make; `compile` where it is part
            of a program that `torch.compile` makes.
        shadow: of the kernel's calls, how many are computed by both and compared.
        backward: gradients, `backward(*grads, *tensors)`; the original's, computed anew, if None.
        draw: draws arguments, see `tracing.trace`.
        reference: the function in plain PyTorch, if it launches Triton kernels.
        start: `call` to begin with the first call, or `now`.
        seed: of the search.
        folder: where run folders go; below the cache if None.
        cache: where kernels are kept; see `cache.default_folder`.

    Raises:
        InvalidOptionError: an option is outside what is allowed.
    """
    if function is None:
        given = {name: value for name, value in locals().items() if name != "function"}
        return lambda found: optimize(found, **given)
    if not callable(function):
        raise InvalidOptionError(f"optimize takes a function or a module; got {function!r}.")
    if os.environ.get(TRACING) or os.environ.get(SWITCH, "").lower() in OFF:
        return function if isinstance(function, torch.nn.Module) else _unchanged(function)
    check_options(seconds=seconds, share=share, shadow=shadow, against=against)
    if start not in ("call", "now"):
        raise InvalidOptionError(f"start must be 'call' or 'now'; got {start!r}.")
    if examples is None:
        raise InvalidOptionError("optimize needs examples=[(x, w)]: calls that matter.")
    if torch.cuda.is_available():
        importlib.import_module("triton")  # half a second that no call should share
    agents = (agent,) if isinstance(agent, str) else tuple(agent)

    def made(original: Callable[..., Any]) -> Optimization:
        spec = Spec(
            name=dispatch.identifier(original), function=original, examples=examples,
            dynamic=None if dynamic is None else dict(dynamic), draw=draw,
            reference=reference, seconds=float(seconds),
            agents=agents, device=device, share=share, against=against, seed=seed,
        )  # fmt: skip
        return Optimization(
            original, spec, share=shadow, backward=backward,
            folder=None if folder is None else Path(folder),
            cache=None if cache is None else Path(cache),
        )  # fmt: skip

    if isinstance(function, torch.nn.Module):
        return _module(function, made, start)
    if _is_method(function):
        return _method(function, made)
    handle = made(function)
    return _started(_attached(wrapped(function, handle), handle), handle, start)


def wrapped(function: Callable[..., Any], handle: Any) -> Any:
    """The function that stands for the original."""
    swap = handle.swap
    taken = dispatch.parameters_of(signature := inspect.signature(function))
    held: list[Any] = []
    scope: dict[str, Any] = {
        **dispatch.defaults_of(signature), "_swap_chosen": _chosen(swap, held),
        "_swap_operator": held, "_swap_function": function,
    }  # fmt: skip
    named = dispatch.names_of(signature)
    source = (
        f"def traced({taken}):\n"
        f"    if not _swap_chosen(): return _swap_function({named})\n"
        f"    return _swap_operator[0]({named})\n"
    )
    exec(compile(source, "<traced call>", "exec"), scope)
    return dispatch.wrapper(function, swap, scope["traced"])


def _chosen(swap: Any, held: list[Any]) -> Callable[[], bool]:
    """Whether a traced program is to hold the operator, which is put where it finds it.

    It is a constant to Dynamo: a program that was compiled before a swap stays as it is, since
    nobody waits for it to be compiled again.
    """

    @torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
    def chosen() -> bool:
        operator = swap.operator()
        if operator is not None and held[:1] != [operator]:
            held[:] = [operator]
        return operator is not None

    found: Callable[[], bool] = chosen
    return found


def _attached(wrapper: Any, handle: Optimization) -> Any:
    """What a user does with an optimised function, as its attributes."""
    wrapper.report, wrapper.begin, wrapper.wait = handle.report, handle.begin, handle.wait
    wrapper.disable, wrapper.enable = handle.swap.disable, handle.swap.enable
    wrapper.stop, wrapper.optimization = handle.stop, handle
    return wrapper


def _started(wrapper: Any, handle: Optimization, start: str) -> Any:
    if start == "now":
        handle.begin()
    else:
        handle.swap.at_first_call(lambda: handle.begin())
    return wrapper


def _is_method(function: Any) -> bool:
    """Whether a function is decorated in the body of a class."""
    if inspect.ismethod(function) or not inspect.isfunction(function):
        return False
    outer = function.__qualname__.rpartition(".")[0]
    first = next(iter(inspect.signature(function).parameters), "")
    return bool(outer) and not outer.endswith("<locals>") and first == "self"


def _method(function: Any, made: Callable[..., Optimization]) -> Any:
    """A method of a class: the first object that it is called on is the one it is optimised for."""
    held: list[Any] = []  # the object, its wrapper

    @functools.wraps(function)
    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        if torch.compiler.is_compiling():
            return function(self, *args, **kwargs)
        if not held:
            bound = function.__get__(self)
            handle = made(bound)
            held[:] = [self, _started(wrapped(bound, handle), handle, "call")]
            _attached(method, handle)
        if held[0] is self:
            return held[1](*args, **kwargs)
        return function(self, *args, **kwargs)

    return method


def _module(module: torch.nn.Module, made: Callable[..., Optimization], start: str) -> Any:
    """A module whose class calls the wrapper; a copy of it, and what is pickled, is plain."""
    base: type[Any] = type(module)
    plain = base.forward.__get__(module)
    handle = made(plain)
    wrapper = _attached(_started(wrapped(plain, handle), handle, start), handle)

    def forward(self: Any, *args: Any, **kwargs: Any) -> Any:
        if self is module:
            return wrapper(*args, **kwargs)
        return base.forward(self, *args, **kwargs)

    def reduced(self: Any, protocol: Any) -> Any:
        return _plain, (base,), dict(vars(self))

    forward.__signature__ = inspect.signature(base.forward)  # type: ignore[attr-defined]
    own = {
        "forward": forward, "__reduce_ex__": reduced, "__module__": base.__module__,
        "__qualname__": base.__qualname__, "__doc__": base.__doc__,
    }  # fmt: skip
    own |= {
        name: staticmethod(getattr(wrapper, name)) for name in _TOOLS if not hasattr(base, name)
    }
    module.__class__ = type(base.__name__, (base,), own)
    return module


def _plain(base: type[Any]) -> Any:
    """A module of a class, without its state."""
    return object.__new__(base)


_TOOLS = ("report", "begin", "wait", "disable", "enable", "stop")


def _unchanged(function: Any) -> Any:
    """The function as it is, with the attributes of an optimised one."""

    @functools.wraps(function)
    def same(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    name = dispatch.identifier(function)
    report = Report(name=name, runs="original", reason=f"{SWITCH} is off")  # type: ignore[arg-type]
    tools: Any = same
    tools.report = lambda: report
    tools.begin = tools.disable = tools.enable = tools.stop = lambda: None
    tools.wait = lambda seconds=None: True
    return same
