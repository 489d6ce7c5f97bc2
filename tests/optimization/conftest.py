"""A function on the CPU, and "kernels" for it in plain PyTorch: all of a swap but the launch."""

from __future__ import annotations

import inspect

import pytest
import torch

from triton_gym.evaluation.check import Timed
from triton_gym.evaluation.trees import flatten
from triton_gym.optimization.binding import Binding, Verified
from triton_gym.optimization.guard import ConstantGuard, Guard, TensorGuard
from triton_gym.optimization.pairs import Ratio
from triton_gym.optimization.swap import Swap
from triton_gym.optimization.traced import Result, Start, TracedFunction
from triton_gym.optimization.watcher import WATCHER
from triton_gym.task import Case, Entry, Span, Task

RIGHT = """
import torch

def scaled(x, w):
    return torch.mul(x, w) * 2.0
"""


def scaled(x, w, factor=2.0):
    """Twice the product."""
    return x * w * factor


def _binding(function=scaled, **changes):
    guard = Guard(
        signature=inspect.signature(function),
        tensors=(
            TensorGuard("x", "float32", "cpu", ("n", 8), (0, 1)),
            TensorGuard("w", "float32", "cpu", (8,), (0,)),
        ),
        constants=(ConstantGuard("factor", 2.0),),
        sizes={"n": ("x", 0)},
        ranges={"n": (2, None)},
    )
    tree = flatten(torch.zeros(4, 8))[1]
    given = {
        "guard": guard, "captured": (), "settings": (), "tree": tree, "digest": "0" * 64,
        "results": (Result("float32", ("n", 8), (8, 1)),),
    }  # fmt: skip
    return Binding(**given | changes)


def _verified(source=RIGHT, binding=None, **changes):
    given = {
        "source": source, "entry": "scaled", "binding": binding or _binding(), "choices": {},
        "timed": Timed((1e-6,), (0.0,), False, (1e-6,)), "device": Ratio(2.0, 1.9, 2.1),
        "wall": Ratio(1.5, 1.4, 1.6), "overall": 2.0, "against": "eager", "number": 1, "pairs": 9,
        "evalue": 100.0, "route": "test",
    }  # fmt: skip
    return Verified(**given | changes)


@pytest.fixture
def function():
    """See `scaled`."""
    return scaled


@pytest.fixture
def binding_of():
    """Makes what is held of `scaled`."""
    return _binding


def inputs(case, generator):
    """What `scaled` takes."""
    return torch.randn(case["n"], 8, generator=generator), torch.randn(8, generator=generator)


@pytest.fixture
def traced_of(binding_of):
    """Makes what tracing it comes to, with answers to start from."""

    def make(sources=(), function=scaled):
        case, starter = Case("float32", {"n": 4}), next(iter(sources), "")
        task = Task(
            name="scaled", title="Scaled", statement="Twice the product.",
            entry=Entry("scaled", ("x", "w")), reference=lambda x, w: x * w * 2.0, inputs=inputs,
            tiny=(case,), bench=(case,), spans={"n": Span(2, 64, 16)},
            flops=lambda case: 2.0 * case["n"] * 8, min_bytes=lambda case: 8.0 * case["n"] * 8,
            reduction=lambda case: 1, starter=starter, expert=starter,
        )  # fmt: skip
        binding = binding_of(function)
        starts = tuple(Start(source, f"route{i}") for i, source in enumerate(sources))
        return TracedFunction(
            task=task, guard=binding.guard, starts=starts, captured=(), settings=(),
            results=binding.results, tree=binding.tree, digest="1" * 64,
        )  # fmt: skip

    return make


@pytest.fixture
def verified_of():
    """Makes a kernel that was verified for it."""
    return _verified


@pytest.fixture
def swapped():
    """Makes a swap in which a kernel answers: its first call was computed twice."""

    def make(call, original=scaled, *, binding=None, **options):
        swap = Swap(original, **{"share": 0.0, **options})
        swap.adopt(_verified(binding=binding), call)
        args = (torch.randn(4, 8), torch.randn(8))
        swap.now(*args)
        assert WATCHER.drain()
        return swap

    return make
