"""One function of the user's, and what answers its calls: itself, or a kernel that was verified.

What answers is one attribute, `now`, assigned between calls. A kernel takes it over in two steps:
the next call inside the guard is answered as before, copied, and computed again by the kernel in
the watcher's thread; if the two agree, `now` becomes the kernel's gate. Until then what was in use
stays in use, and if a newer kernel is on trial by then, it stays on trial. A kernel that disagrees,
in that call or in one of the few that are computed twice later, or that raises where the original
does not, is taken back for good.
"""

from __future__ import annotations

import datetime
import itertools
import random
import threading
from collections.abc import Callable
from typing import Any

import torch
from torch.utils import _pytree as pytree

from triton_gym.errors import KernelFaultError, warn
from triton_gym.optimization import dispatch, operator, shadow
from triton_gym.optimization.autograd import differentiable
from triton_gym.optimization.binding import Verified
from triton_gym.optimization.gate import Ways, gate
from triton_gym.optimization.report import Report, Runs
from triton_gym.optimization.running import NotCompiledError
from triton_gym.optimization.watcher import WATCHER

_REASONS = 3
"""How many calls outside the guard are explained."""


class Swap:
    """What answers the calls of one function.

    Args:
        function: the original.
        share: of the calls inside the guard, how many are computed twice.
        backward: see `autograd.differentiable`.
        banned: called with a kernel's source and why, when it is taken back.
        wanted: called with a kernel and arguments of a kind that it is not compiled for.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        *,
        share: float = 0.001,
        backward: Callable[..., Any] | None = None,
        banned: Callable[[Verified, str], None] | None = None,
        wanted: Callable[[Verified, tuple[Any, ...]], None] | None = None,
    ) -> None:
        self.function = function
        self.now: Callable[..., Any] = function
        """Answers a call; the only attribute that a call reads."""
        self._idle: Callable[..., Any] = function
        """Answers while no kernel does and calls are not to go straight to the original."""
        self.active: Verified | None = None
        self.since = self.reason = ""
        self.notes: list[str] = []
        self._share, self._backward = share, backward
        self._banned, self._wanted = banned, wanted
        self._lock = threading.Lock()
        self._enabled, self._final = True, False
        self._settled: Callable[..., Any] | None = None
        """The gate of the kernel in use."""
        self._on_trial: Callable[..., Any] | None = None
        """The gate of the kernel that is tried on the next call; it passes other calls on."""
        self._numbers = itertools.count(1)
        self._trial_number = self._settled_number = 0
        """When the kernel in use was adopted: an older one never takes its place."""
        self._operator: Callable[..., Any] | None = None
        self._draw = random.Random().random  # not the user's generator
        self._outside = self._checked = self._not_compiled = self._no_memory = 0
        self._outside_because: list[str] = []

    # -- what a user does -------------------------------------------------------------------------

    def disable(self) -> None:
        """Answer all calls by the original until `enable`."""
        with self._lock:
            self._enabled, self.now = False, self.function

    def enable(self) -> None:
        """Answer calls by the kernel again, if there is one."""
        with self._lock:
            self._enabled = True
            self._choose()

    def _choose(self) -> None:
        """Let calls be answered as things stand; call it with the lock."""
        chosen = self._on_trial or self._settled or self._idle
        self.now = chosen if self._enabled else self.function

    def at_first_call(self, begin: Callable[[], None]) -> None:
        """Have something done, once, as soon as the function is called while it is enabled."""

        def first(*args: Any, **kwargs: Any) -> Any:
            with self._lock:
                self._idle = self.function
                if self.now is first:
                    self.now = self.function
            begin()
            return self.function(*args, **kwargs)

        with self._lock:
            self._idle = self.now = first

    @property
    def enabled(self) -> bool:
        """Whether a kernel may answer."""
        return self._enabled

    def report(self) -> Report:
        """How calls are answered; what the search did is for whoever started it."""
        active = self.active
        runs = Runs.KERNEL if active and self._enabled else Runs.ORIGINAL
        reason = self.reason if self._enabled else "disabled"
        device, wall = (active.device, active.wall) if active is not None else (None, None)
        return Report(
            name=dispatch.identifier(self.function), runs=runs, since=self.since,
            reason="" if runs is Runs.KERNEL else reason,
            device=device, wall=wall,
            compiled=active.compiled if active else None, against=active.against if active else "",
            evalue=active.evalue if active else 0.0, route=active.route if active else "",
            guard=active.binding.guard.describe() if active else {},
            outside=self._outside, outside_because=tuple(self._outside_because),
            checked=self._checked, not_compiled=self._not_compiled, notes=tuple(self.notes),
        )  # fmt: skip

    # -- taking a kernel over, in the watcher's thread --------------------------------------------

    def adopt(self, verified: Verified, call: Callable[..., Any]) -> None:
        """Try a kernel on the next call inside its guard, and let it answer if it agrees.

        Args:
            verified: what is known of it.
            call: its host function in this process.
        """
        with self._lock:
            if self._final:
                return
            number, tried = next(self._numbers), [False]

            def before(*args: Any, **kwargs: Any) -> Any:
                answers = (self._settled or self._idle) if self._enabled else self.function
                return answers(*args, **kwargs)

            def probe(*args: Any, **kwargs: Any) -> Any:
                if tried[0] or not self._enabled:  # another thread came first
                    return before(*args, **kwargs)
                tried[0] = True
                result, sample = shadow.take(
                    self.function, verified.binding, args, kwargs, self.function
                )
                if sample is None:
                    tried[0] = False
                    return result
                WATCHER.post(lambda: self._probed(verified, call, number, sample, tried))
                return result

            ways = Ways(before, probe, probe, before, before)
            self._on_trial = gate(self.function, verified.binding, ways, 1, self._draw)
            self._trial_number = number
            self._choose()

    def _probed(
        self, verified: Verified, call: Callable[..., Any], number: int, sample: shadow.Sample,
        tried: list[bool],
    ) -> None:  # fmt: skip
        from triton_gym.optimization.running import compiling

        try:
            with compiling():
                wrong = shadow.disagreement(
                    sample, self.function, verified.binding, verified.timed, call
                )
        except (shadow.Stale, torch.OutOfMemoryError):
            tried[0] = False
            return
        except Exception as error:
            wrong = f"{type(error).__name__}: {error}"
        if wrong is not None:
            self.take_back(verified, f"on its first call here: {wrong}")
            return
        with self._lock:
            self._checked += 1
            if self._final or number < self._settled_number:
                return
            self._settled = gate(
                self.function, verified.binding, self._ways(verified, call), self._share, self._draw
            )
            self._settled_number = number
            if self._trial_number == number:  # else a newer one is on trial
                self._on_trial = None
            self.active, self.reason = verified, ""
            self.since = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
            self._choose()

    def take_back(self, verified: Verified, why: str) -> None:
        """Answer by the original from now on, for good, and say so."""
        with self._lock:
            if self._final:
                return
            self._final, self.now, self.active = True, self.function, None
            self._settled = self._on_trial = None
            self._idle = self.function
            self.reason = f"the kernel was taken back: {why}"
        name = dispatch.identifier(self.function)
        if self._banned is not None:  # before the warning, which a filter may make an error
            self._banned(verified, why)
        warn(f"triton_gym.optimize: a kernel for {name} was taken back for good: {why}")

    # -- calls, in the caller's thread ------------------------------------------------------------

    def _ways(self, verified: Verified, call: Callable[..., Any]) -> Ways:
        def twice(answer: Callable[..., Any], args: Any, kwargs: Any) -> Any:
            result, sample = shadow.take(
                self.function, verified.binding, args, kwargs,
                lambda *a, **k: answer(verified, call, a, k),
            )  # fmt: skip
            if sample is not None:
                WATCHER.post(lambda: self._shadowed(verified, sample))
            return result

        def differentiable(*args: Any, **kwargs: Any) -> Any:
            if self._draw() < self._share:
                return twice(self._graph, args, kwargs)
            return self._graph(verified, call, args, kwargs)

        return Ways(
            outside=lambda *args, **kwargs: self._went_outside(verified, args, kwargs),
            differentiable=differentiable,
            sampled=lambda *args, **kwargs: twice(self._answer, args, kwargs),
            failed=lambda error, *args, **kwargs: self._failed(verified, error, args, kwargs),
            answer=call,
        )

    def _answer(self, verified: Verified, call: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        """The slow form of what a gate does for a call inside."""
        try:
            return call(*verified.binding.answer_arguments(self.function, args, kwargs))
        except Exception as raised:
            error = raised
        return self._failed(verified, error, args, kwargs)

    def _shadowed(self, verified: Verified, sample: shadow.Sample) -> None:
        try:
            wrong = shadow.disagreement(
                sample, self.function, verified.binding, verified.timed, None
            )
        except (shadow.Stale, torch.OutOfMemoryError):
            return
        if wrong is None:
            self._checked += 1
        elif self.active is verified:
            self.take_back(verified, wrong)

    def _went_outside(self, verified: Verified, args: Any, kwargs: Any) -> Any:
        self._outside += 1
        if len(self._outside_because) < _REASONS and not torch.compiler.is_compiling():
            # While torch.jit.trace records, sizes are tensors, and reading one is recorded too.
            guard = None if torch._C._is_tracing() else verified.binding.guard
            why = (guard and guard.failure(args, kwargs)) or (
                "a mode of PyTorch's is on (autocast, a transform, a dispatch mode, "
                "torch.jit.trace), another device is current, or what the function captured was "
                "replaced"
            )
            if why not in self._outside_because:
                self._outside_because.append(why)
        return self.function(*args, **kwargs)

    def _graph(self, verified: Verified, call: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        """A call under autograd."""
        leaves, tree = pytree.tree_flatten((tuple(args), dict(kwargs)))
        places = [i for i, leaf in enumerate(leaves) if isinstance(leaf, torch.Tensor)]
        binding = verified.binding

        def rebuilt(tensors: tuple[torch.Tensor, ...]) -> Any:
            filled = list(leaves)
            for place, tensor in zip(places, tensors, strict=False):
                filled[place] = tensor
            return pytree.tree_unflatten(filled, tree)

        def forward(*tensors: torch.Tensor) -> Any:
            again, named = rebuilt(tensors)
            return self._answer(verified, call, again, named)

        def original(*tensors: torch.Tensor) -> Any:
            again, named = rebuilt(tensors)
            return self.function(*again, **named)

        # Captured tensors come after the arguments: the result depends on them, too.
        held = tuple(one.path.resolve(self.function) for one in binding.captured)
        if any(one.grad_fn is not None for one in held):
            # It may depend on another one; only for leaves is it plain whose gradient is whose.
            return self.function(*args, **kwargs)
        tensors = (*(leaves[i] for i in places), *held)
        return differentiable(forward, original, self._backward, tensors, held=len(held))

    def _failed(self, verified: Verified, error: Exception, args: Any, kwargs: Any) -> Any:
        """The kernel raised: the original answers."""
        if isinstance(error, NotCompiledError):
            self._not_compiled += 1
            if self._wanted is not None:
                self._wanted(
                    verified, verified.binding.answer_arguments(self.function, args, kwargs)
                )
            return self.function(*args, **kwargs)
        if isinstance(error, torch.OutOfMemoryError):
            self._no_memory += 1
            return self.function(*args, **kwargs)
        what = f"{type(error).__name__}: {error}"
        lost = context_lost(verified.binding.device)
        if lost:
            self.take_back(verified, f"the GPU's context was lost: {what}")
            raise KernelFaultError(
                f"The GPU's context was lost while a kernel of triton_gym.optimize answered "
                f"{dispatch.identifier(self.function)}: {what}. The kernel is banned from now on; "
                f"the program has to start again. Its source:\n{verified.source}"
            ) from error
        result = self.function(*args, **kwargs)  # where this raises, the call was at fault
        self.take_back(verified, what)
        return result

    # -- under torch.compile and export -----------------------------------------------------------

    def operator(self) -> Callable[..., Any] | None:
        """What stands in a traced program for the function; None for the function itself."""
        active = self.active
        if active is None or not self._enabled:
            return None
        if active.against != "compile" and not active.beats_compile:
            return None
        if self._operator is None:
            self._operator = operator.define(
                dispatch.identifier(self.function), active.binding, self.function,
                lambda *args, **kwargs: self.now(*args, **kwargs), self._backward,
            )  # fmt: skip
        return self._operator


def context_lost(device: str) -> bool:
    """Whether the GPU answers no more in this process."""
    if torch.device(device).type != "cuda" or not torch.cuda.is_initialized():
        return False
    try:
        if torch.cuda.is_current_stream_capturing():
            return False
        torch.cuda.synchronize(torch.device(device))
    except Exception:
        return True
    return False
