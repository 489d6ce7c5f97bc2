"""An answer's host function, and what it does with the kinds of calls that come again and again.

The first call of a kind runs as it stands, the second one is written down (`plan.py`), and from the
third on the plan is what runs. What tells kinds apart are shapes and strides: dtypes and devices
are the guard's matter, values and addresses nobody's.
"""

from __future__ import annotations

import ast
import inspect
import threading
from collections.abc import Callable, Iterator
from typing import Any

import torch

from triton_gym.optimization.plan import ALIGNED, recorded

MOST_PLANS = 64
"""Kinds of calls of an answer that are planned; others run as they stand."""
_FAILURES = 3
"""Calls that could not be planned before no more are tried."""
_OF_A_CALL = frozenset(
    {"requires_grad", "requires_grad_", "is_leaf", "grad", "grad_fn", "is_inference", "is_shared",
     "is_pinned", "data", "tolist", "numpy", "item", "cpu", "names", "current_stream",
     "default_stream", "stream", "Stream", "Event", "Generator", "memory_allocated",
     "memory_reserved", "memory_stats", "mem_get_info", "is_grad_enabled",
     "is_inference_mode_enabled", "is_current_stream_capturing", "seed", "initial_seed",
     "manual_seed", "get_rng_state", "get_default_dtype"}
)  # fmt: skip
"""What host code may ask that differs between calls with tensors of the same shapes."""


class Replayed:
    """A host function that is not run through where the same was done before.

    Args:
        call: the host function; all that it takes are tensors.
        source: of its module.
    """

    def __init__(self, call: Callable[..., Any], source: str) -> None:
        self._call = call
        self._offsets = "storage_offset" in source
        self._plans: dict[Any, Callable[..., Any]] = {}
        self._seen: set[Any] = set()
        self._failed = 0
        self.on = unsteady(source) is None
        """Whether calls are repeated as they were."""
        self._lock = threading.Lock()
        self.answer = self._way(len(inspect.signature(call).parameters))
        """Takes the tensors, and returns what the host function does."""

    def forget(self) -> None:
        """Begin anew: launches are no longer what they were."""
        with self._lock:
            self._plans.clear()
            self._seen.clear()

    def stop(self) -> None:
        """Run the host function itself from now on."""
        with self._lock:
            self.on = False
            self._plans.clear()

    @property
    def plans(self) -> int:
        """Kinds of calls that are planned."""
        return len(self._plans)

    def _way(self, count: int) -> Callable[..., Any]:
        """Written out for a number of tensors: this is between a caller and a kernel."""
        names = [f"t{place}" for place in range(count)]
        kind = [f"{name}.shape, {name}.stride(), " for name in names]
        kind += [f"{name}.storage_offset(), " for name in names if self._offsets]
        given = ", ".join(names)
        address = " | ".join(f"{name}.data_ptr()" for name in names) or "0"
        source = (
            f"def answer({given}):\n"
            f"    plan = planned(({''.join(kind)}))\n"
            f"    if plan is None or ({address}) & {ALIGNED - 1} or hooked(): "
            f"return slow({given})\n"
            f"    return plan({given})\n"
        )
        scope = {"planned": self._plans.get, "slow": self._slow, "hooked": _hooks()}
        exec(compile(source, "<replay of a kernel's host function>", "exec"), scope)
        made: Callable[..., Any] = scope["answer"]  # type: ignore[assignment]
        return made

    def _slow(self, *tensors: torch.Tensor) -> Any:
        if not self.on or any(one.data_ptr() % ALIGNED for one in tensors) or _hooks()():
            return self._call(*tensors)
        kind = self._kind(tensors)
        with self._lock:
            again = kind in self._seen
            if not again and len(self._seen) < 8 * MOST_PLANS:
                self._seen.add(kind)
            again = again and len(self._plans) < MOST_PLANS
        if not again:
            return self._call(*tensors)
        result, plan = recorded(self._call, tensors)
        with self._lock:
            if plan is None:
                self._failed += 1
                self.on = self.on and self._failed < _FAILURES
            elif self.on:
                self._plans[kind] = plan
        return result

    def _kind(self, tensors: tuple[torch.Tensor, ...]) -> Any:
        """As `_way` writes it."""
        kind: list[Any] = []
        for one in tensors:
            kind += [one.shape, one.stride()]
        if self._offsets:
            kind += [one.storage_offset() for one in tensors]
        return tuple(kind)


def replayable(call: Callable[..., Any]) -> bool:
    """Whether a host function takes tensors and nothing else: its parameters have no defaults."""
    plain = inspect.Parameter.POSITIONAL_OR_KEYWORD
    given = inspect.signature(call).parameters.values()
    return all(one.kind is plain and one.default is one.empty for one in given)


def unsteady(source: str) -> str | None:
    """What a host function asks that differs between calls with tensors of the same shapes, in
    words; None if it asks nothing of the kind."""
    return next(_unsteady(ast.parse(source)), None)


def _unsteady(tree: ast.Module) -> Iterator[str]:
    inside = [node for one in tree.body if not _jitted(one) for node in ast.walk(one)]
    allowed = {
        id(node.left.func) for node in inside
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mod)
        and isinstance(node.left, ast.Call) and isinstance(node.right, ast.Constant)
        and isinstance(node.right.value, int) and node.right.value in (1, 2, 4, 8, ALIGNED)
    }  # fmt: skip
    for node in inside:
        if isinstance(node, ast.Attribute):
            if node.attr in _OF_A_CALL:
                yield f"line {node.lineno} asks for .{node.attr}"
            elif node.attr == "data_ptr" and id(node) not in allowed:
                yield f"line {node.lineno} uses an address"
        elif isinstance(node, ast.Name) and node.id in ("id", "hash"):
            yield f"line {node.lineno} uses {node.id}"
        elif isinstance(node, ast.Compare):
            identity = any(isinstance(one, ast.Is | ast.IsNot) for one in node.ops)
            parts = [node.left, *node.comparators]
            if identity and not any(isinstance(one, ast.Constant) for one in parts):
                yield f"line {node.lineno} asks whether two are the same"


def _jitted(node: ast.stmt) -> bool:
    """Whether a statement defines a kernel: what is in it does not run on the host."""
    return isinstance(node, ast.FunctionDef) and any(
        "jit" in ast.unparse(one) for one in node.decorator_list
    )


def _hooks() -> Callable[[], bool]:
    """Asks whether somebody, a profiler for one, is to be told of launches: plans tell nobody."""
    from triton import knobs

    runtime: Any = knobs.runtime

    def hooked() -> bool:
        enter, leave = runtime.launch_enter_hook, runtime.launch_exit_hook
        return bool(getattr(enter, "calls", enter) or getattr(leave, "calls", leave))

    return hooked
