"""What a gate costs: wrapper, guard and dispatch around a function that does nothing.

    python benchmarks/optimize_overhead.py

Calls of each kind are timed in turn, in short rounds: an empty Python function, the plain function,
the wrapped one with a kernel in use, the same with shapes that change from call to call, and after
`disable()`; on a GPU also host functions of kernels, as they stand and replayed. Each is told in nanoseconds over the plain one and in empty calls: the fifth percentile
of rounds, since what else a machine does only adds, and the median.
"""

from __future__ import annotations

import inspect
import json
import statistics
import tempfile
import time
import timeit
from pathlib import Path
from typing import Any

import torch

from triton_gym.evaluation.check import Timed
from triton_gym.evaluation.trees import flatten
from triton_gym.optimization import dispatch
from triton_gym.optimization.binding import Binding, Verified
from triton_gym.optimization.gate import Ways, gate
from triton_gym.optimization.guard import ConstantGuard, Guard, TensorGuard
from triton_gym.optimization.pairs import Ratio
from triton_gym.optimization.running import compiling, load
from triton_gym.optimization.starts.pieces import piece
from triton_gym.optimization.swap import Swap
from triton_gym.optimization.watcher import WATCHER

CALLS, ROUNDS = 200, 400
HOST_CALLS = 50
SHAPES = 4
"""How many shapes a caller changes between."""
_SOURCES = {
    1: "def function(a, eps=1e-6): return a",
    2: "def function(a, b, eps=1e-6): return a",
    4: "def function(a, b, c, d, eps=1e-6): return a",
}


def gate_of(tensors: int, device: str) -> tuple[Any, Swap, Any, tuple[torch.Tensor, ...]]:
    """A wrapper with a kernel in use, its swap, the plain function, and arguments of a call."""
    scope: dict[str, Any] = {}
    exec(_SOURCES[tensors], scope)
    function = scope["function"]
    names = "abcd"[:tensors]
    guard = Guard(
        signature=inspect.signature(function),
        tensors=tuple(TensorGuard(name, "float32", device, ("n", 64), (0, 1)) for name in names),
        constants=(ConstantGuard("eps", 1e-6),),
        sizes={"n": ("a", 0)},
        ranges={"n": (2, None)},
    )
    arguments = arguments_of(tensors, 16, device)
    binding = Binding(guard, (), (), (), flatten(arguments[0])[1], "0" * 64)
    even = Ratio(1.0, 1.0, 1.0)
    verified = Verified(
        source="", entry="function", binding=binding, choices={},
        timed=Timed((0.0,), (0.0,), False, (0.0,)), device=even, wall=even, overall=1.0,
        against="eager", number=1, pairs=0, evalue=0.0, route="none",
    )  # fmt: skip
    swap = Swap(function, share=0.001)
    wrapped = dispatch.wrapper(function, swap, function)
    swap.adopt(verified, lambda *given: given[0])
    wrapped(*arguments)
    WATCHER.drain()
    if swap.report().runs != "kernel":
        raise RuntimeError(f"the gate was not taken into use: {swap.report()}")
    # The comparison of one call in a thousand is no part of what every call costs.
    ways = Ways(function, function, function, function, lambda *given: given[0])
    swap.now = gate(function, binding, ways, 1e-9, swap._draw)
    return wrapped, swap, function, arguments


def arguments_of(tensors: int, rows: int, device: str) -> tuple[torch.Tensor, ...]:
    """Arguments of a call."""
    return tuple(torch.ones(rows, 64, device=device) for _ in range(tensors))


def empty() -> None:
    """Does nothing."""


def overhead(device: str) -> dict[str, Any]:
    """Host time that wrapper and gate add to a call of a function that does nothing."""
    found = {}
    for tensors in (1, 2, 4):
        wrapped, _, plain, arguments = gate_of(tensors, device)
        original, swap, _, _ = gate_of(tensors, device)
        swap.disable()
        scope = {"given": arguments} | {
            f"given{i}": arguments_of(tensors, 16 * (i + 1), device) for i in range(SHAPES)
        }
        several = "; ".join(f"call(*given{i})" for i in range(SHAPES))

        def timer(call: Any, code: str = "call(*given)", scope: Any = scope) -> timeit.Timer:
            return timeit.Timer(code, globals={"call": call, **scope})

        kinds = {
            "empty": (timer(empty, "call()"), 1), "plain": (timer(plain), 1),
            "kernel": (timer(wrapped), 1), "original": (timer(original), 1),
            "plain, shapes": (timer(plain, several), SHAPES),
            "kernel, shapes": (timer(wrapped, several), SHAPES),
        }  # fmt: skip
        found[f"{tensors} tensors"] = _row(kinds)
    return found


def host(device: str, folder: Path) -> dict[str, Any]:
    """Host time of a call of a kernel's host function, as it stands and replayed, on a GPU.

    The matrices are small, so that launches, not the GPU, are what a queue of calls takes.
    """
    found = {}
    for name, (source, arguments) in _hosts(device).items():
        loaded = load(source, "function", folder)
        times: dict[str, list[float]] = {"stands": [], "replayed": []}
        with torch.no_grad(), compiling():
            for _ in range(3):
                loaded.call(*arguments)
            calls = {"stands": loaded.module.function, "replayed": loaded.call}
            planned = loaded.replayed.plans if loaded.replayed is not None else 0
            for _ in range(ROUNDS // 4):
                for kind, call in calls.items():
                    torch.cuda.synchronize()
                    began = time.perf_counter()
                    for _ in range(HOST_CALLS):
                        call(*arguments)
                    times[kind].append((time.perf_counter() - began) / HOST_CALLS * 1e6)
        found[name] = {
            "plans": planned,
            **{f"{kind}_us": [round(_low(some), 2), round(statistics.median(some), 2)]
               for kind, some in times.items()},
        }  # fmt: skip
    return found


def _hosts(device: str) -> dict[str, tuple[str, tuple[torch.Tensor, ...]]]:
    head = (
        "import torch\nimport triton\nimport triton.language as tl\n"
        "from triton.tools.tensor_descriptor import TensorDescriptor\n\n\n"
    )
    rows = "@triton.jit\ndef scaled(x, y, n, B: tl.constexpr):\n"
    rows += "    i = tl.program_id(0) * B + tl.arange(0, B)\n"
    rows += "    tl.store(y + i, tl.load(x + i, mask=i < n) * 2, mask=i < n)\n\n\n"
    rows += "def function(x):\n    y = torch.empty_like(x)\n"
    rows += "    scaled[(triton.cdiv(x.numel(), 1024),)](x, y, x.numel(), 1024)\n    return y\n"
    product = piece("products") + "\n\ndef function(a, b):\n"
    product += "    return activated_product(a, b, None, 'silu', None, '')\n"
    a, b = (torch.randn(128, 128, device=device, dtype=torch.bfloat16) for _ in range(2))
    return {"one launch": (head + rows, (a,)), "product": (head + product, (a, b))}


def _row(kinds: dict[str, tuple[timeit.Timer, int]]) -> dict[str, Any]:
    times: dict[str, list[float]] = {name: [] for name in kinds}
    for _ in range(ROUNDS):  # in turn, so that what else the machine does meets all of them
        for name, (timer, each) in kinds.items():
            count = CALLS // each
            times[name].append(timer.timeit(count) / (count * each) * 1e9)
    at = {name: (_low(some), statistics.median(some)) for name, some in times.items()}
    row: dict[str, Any] = {"empty_call_ns": [round(one, 1) for one in at["empty"]]}
    for name, plain in (
        ("kernel", "plain"), ("kernel, shapes", "plain, shapes"), ("original", "plain")
    ):  # fmt: skip
        added = [one - other for one, other in zip(at[name], at[plain], strict=True)]
        key = name.replace(", ", "_")
        row[f"{key}_ns"] = [round(one) for one in added]
        row[f"{key}_empty_calls"] = [
            round(one / empty, 1) for one, empty in zip(added, at["empty"], strict=True)
        ]
    return row


def _low(values: list[float]) -> float:
    return statistics.quantiles(values, n=20)[0]


def main() -> None:
    device = "cuda:0" if torch.cuda.is_available() else "cpu"
    for name, row in overhead(device).items():
        print(f"{name}: {json.dumps(row)}")
    if torch.cuda.is_available():
        print(json.dumps(host(device, Path(tempfile.mkdtemp(prefix="optimize-")))))


if __name__ == "__main__":
    main()
