"""Kernels in programs that `torch.compile` and export make, on the CPU."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from triton_gym.optimization.decorator import wrapped
from triton_gym.optimization.swap import Swap
from triton_gym.optimization.watcher import WATCHER

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")


class Calls(torch.nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x, w):
        return self.function(x, w) + 1


@pytest.fixture
def operated(verified_of, function):
    """A wrapper, its kernel's calls, and the swap; the kernel was compared with torch.compile."""
    calls = []

    def kernel(x, w):
        calls.append(tuple(x.shape))
        return (x * w) * 2

    swap = Swap(function, share=0.0)
    made = wrapped(function, SimpleNamespace(swap=swap))
    swap.adopt(verified_of(against="compile"), kernel)
    made(torch.randn(4, 8), torch.randn(8))
    assert WATCHER.drain()
    assert swap.report().runs == "kernel"
    calls.clear()
    torch._dynamo.reset()
    return made, calls, swap


def test_a_compiled_program_calls_the_kernel(operated, function):
    made, calls, swap = operated
    compiled = torch.compile(Calls(made), backend="aot_eager", fullgraph=True, dynamic=True)
    w = torch.randn(8)
    for n in (4, 6, 9):
        x = torch.randn(n, 8)
        torch.testing.assert_close(compiled(x, w), function(x, w) + 1)
    assert calls == [(4, 8), (6, 8), (9, 8)]
    x = torch.randn(1, 8)  # outside the guard: the operator falls back
    torch.testing.assert_close(compiled(x, w), function(x, w) + 1)
    swap.disable()  # the program stays; what answers changes
    x = torch.randn(4, 8)
    torch.testing.assert_close(compiled(x, w), function(x, w) + 1)
    assert len(calls) == 3


def test_gradients_through_a_compiled_program(operated, function):
    made, calls, _swap = operated
    compiled = torch.compile(Calls(made), backend="aot_eager", fullgraph=True)
    x, w = torch.randn(4, 8, requires_grad=True), torch.randn(8, requires_grad=True)
    (compiled(x, w) ** 2).sum().backward()
    y, v = (one.detach().clone().requires_grad_() for one in (x, w))
    ((function(y, v) + 1) ** 2).sum().backward()
    torch.testing.assert_close((x.grad, w.grad), (y.grad, v.grad))
    assert calls


def test_export_holds_the_operator(operated, function):
    made, _calls, _swap = operated
    x, w = torch.randn(4, 8), torch.randn(8)
    program = torch.export.export(Calls(made), (x, w), strict=True)
    assert "triton_gym.scaled" in str(program.graph)
    torch.testing.assert_close(program.module()(x, w), function(x, w) + 1)


def test_the_operator_under_autocast_forward_mode_and_opcheck(operated, function):
    _made, _calls, swap = operated
    operator = swap.operator()
    x, w = torch.randn(4, 8), torch.randn(8)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(operator(x, w), function(x, w))
    name = next(n for n in dir(torch.ops.triton_gym) if n.startswith("scaled"))
    plain = getattr(torch.ops.triton_gym, name).default
    given = (x.requires_grad_(), w.requires_grad_())
    torch.library.opcheck(plain, given, test_utils=("test_schema", "test_faketensor"))
    with pytest.raises((RuntimeError, NotImplementedError)):  # not a derivative of 0
        torch.func.jvp(plain, (x.detach(), w.detach()), (torch.ones(4, 8), torch.ones(8)))


def test_programs_do_not_hold_what_was_not_compared_with_compile(verified_of, function, swapped):
    swap = swapped(lambda x, w: x * w * 2)
    assert swap.report().against == "eager"
    assert swap.operator() is None
    made = wrapped(function, SimpleNamespace(swap=swap))
    torch._dynamo.reset()
    compiled = torch.compile(Calls(made), backend="aot_eager", fullgraph=True)
    x, w = torch.randn(4, 8), torch.randn(8)
    torch.testing.assert_close(compiled(x, w), function(x, w) + 1)
