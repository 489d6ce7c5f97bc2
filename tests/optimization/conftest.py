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
from triton_gym.optimization.traced import Result
from triton_gym.optimization.watcher import WATCHER

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
