"""Kernels swapped in and taken back, with CPU functions in the place of kernels."""

from __future__ import annotations

import os
import threading
import time

import pytest
import torch
from torch.autograd import forward_ad
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from triton_gym.errors import KernelFaultError
from triton_gym.optimization.gate import gate
from triton_gym.optimization.running import NotCompiledError
from triton_gym.optimization.swap import Swap
from triton_gym.optimization.watcher import WATCHER

pytestmark = [
    pytest.mark.filterwarnings("ignore:triton_gym.optimize.*:RuntimeWarning"),
    pytest.mark.filterwarnings("ignore:.*torch.jit.(script|trace).*:DeprecationWarning"),
]


class Counting:
    """A kernel that counts its calls, and does what it is told."""

    def __init__(self, factor=2.0):
        self.calls, self.factor, self.fault = 0, factor, None

    def __call__(self, x, w):
        self.calls += 1
        if self.fault is not None:
            raise self.fault
        return (x.detach() * w.detach()) * self.factor


def arguments(n=4, **changes):
    given = {"x": torch.randn(n, 8), "w": torch.randn(8)}
    return given | changes


def test_a_kernel_answers_after_a_call_that_both_computed(swapped):
    kernel = Counting()
    swap = swapped(kernel)
    assert kernel.calls == 1  # in the background
    x, w = arguments(6).values()
    torch.testing.assert_close(swap.now(x, w), x * w * 2)
    assert kernel.calls == 2
    report = swap.report()
    assert report.runs == "kernel"
    assert report.checked == 1
    assert report.since


def test_a_kernel_that_disagrees_on_its_first_call_never_answers(swapped, function):
    swap = swapped(Counting(factor=2.1))
    assert swap.now is function
    assert swap.report().runs == "original"
    assert "first call" in swap.report().reason


@pytest.mark.parametrize("what", [
    "too few rows", "zero-size", "dtype", "strides", "expanded", "constant", "autocast",
    "dispatch mode", "function mode", "vmap", "jvp", "jit trace",
])  # fmt: skip
def test_calls_outside_go_to_the_original(swapped, function, what):
    kernel = Counting(factor=3.0)  # told apart from the original by its results
    swap = swapped(Counting())
    ways = swap._ways(swap.active, kernel)
    swap.now = gate(function, swap.active.binding, ways, 0, swap._draw)
    x, w = arguments().values()
    assert torch.equal(swap.now(x, w), kernel(x, w))
    before = kernel.calls

    class Mode(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            return func(*args, **(kwargs or {}))

    class Functions(TorchFunctionMode):
        def __torch_function__(self, func, types, args=(), kwargs=None):
            return func(*args, **(kwargs or {}))

    if what == "too few rows":
        found, expected = swap.now(x[:1], w), x[:1] * w * 2
    elif what == "zero-size":
        found, expected = swap.now(x[:0], w), x[:0] * w * 2
    elif what == "expanded":
        y = x[:1].expand(4, 8)
        found, expected = swap.now(y, w), y * w * 2
    elif what == "function mode":
        with Functions():
            found, expected = swap.now(x, w), x * w * 2
    elif what == "dtype":
        found, expected = swap.now(x.double(), w), x.double() * w * 2
    elif what == "strides":
        y = torch.randn(8, 4).T
        found, expected = swap.now(y, w), y * w * 2
    elif what == "constant":
        found, expected = swap.now(x, w, factor=5.0), x * w * 5
    elif what == "autocast":
        with torch.autocast("cpu", torch.bfloat16):
            found, expected = swap.now(x, w), x * w * 2
    elif what == "dispatch mode":
        with Mode():
            found, expected = swap.now(x, w), x * w * 2
    elif what == "vmap":
        found = torch.vmap(swap.now, in_dims=(0, None))(torch.stack([x, x]), w)
        expected = torch.stack([x, x]) * w * 2
    elif what == "jit trace":
        traced = torch.jit.trace(lambda x, w: swap.now(x, w), (x, w), check_trace=False)
        found, expected = traced(x + 1, w), (x + 1) * w * 2
    else:
        with forward_ad.dual_level():
            dual = forward_ad.make_dual(x, torch.ones_like(x))
            primal, tangent = forward_ad.unpack_dual(swap.now(dual, w))
            torch.testing.assert_close(tangent, (w * 2).expand_as(x))
            found, expected = primal, x * w * 2
    torch.testing.assert_close(found, expected)
    assert kernel.calls == before
    assert swap.report().outside >= 1
    assert swap.report().outside_because


def test_gradients_are_the_originals_and_so_are_second_ones(swapped, function):
    kernel = Counting()
    swap = swapped(kernel)
    x, w = (one.requires_grad_() for one in arguments().values())
    before = kernel.calls
    (swap.now(x, w) ** 3).sum().backward()
    assert kernel.calls == before + 1
    y, v = (one.detach().clone().requires_grad_() for one in (x, w))
    (function(y, v) ** 3).sum().backward()
    torch.testing.assert_close((x.grad, w.grad), (y.grad, v.grad))
    (first,) = torch.autograd.grad((swap.now(x, w) ** 3).sum(), x, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), w)
    (first,) = torch.autograd.grad((function(y, v) ** 3).sum(), y, create_graph=True)
    torch.testing.assert_close(second, torch.autograd.grad(first.sum(), v)[0])
    with torch.no_grad():
        assert not swap.now(x, w).requires_grad
    with torch.inference_mode():
        torch.testing.assert_close(swap.now(x, w), function(x, w))


def curved(x, w, factor=2.0):
    return torch.tanh(x * w.expand_as(x)) * x * factor


STEPS = {
    "the same again": lambda f, x, w: f(f(x, w), w),
    "one argument of the other": lambda f, x, w: f(x.sin() * w, x.sin()[0] * w),
}


@pytest.mark.parametrize("how", STEPS)
def test_gradients_of_arguments_that_depend_on_each_other(swapped, how):
    swap = swapped(lambda x, w: curved(x, w), curved)
    x, w = arguments().values()

    def gradients(function):
        leaves = [one.clone().requires_grad_() for one in (x, w)]
        plain = torch.autograd.grad(STEPS[how](function, *leaves).sum(), leaves)
        first = torch.autograd.grad(STEPS[how](function, *leaves).sum(), leaves, create_graph=True)
        second = torch.autograd.grad(sum((one**2).sum() for one in first), leaves)
        return (*plain, *first, *second)

    torch.testing.assert_close(gradients(swap.now), gradients(curved), rtol=1e-4, atol=1e-4)


def test_a_captured_parameter_of_which_the_argument_was_computed(swapped, binding_of):
    from triton_gym.optimization.captured import CapturedTensor, Path, Step

    class Owner:
        bias = torch.ones(8, requires_grad=True)

        def __call__(self, x, w, factor=2.0):
            return x * w * factor * self.bias

    owner, calls = Owner(), []
    bias = CapturedTensor("bias", Path(((Step.OWNER, ""), (Step.ATTRIBUTE, "bias"))))

    def kernel(x, w, bias):
        calls.append(1)
        return x * w * 2 * bias

    swap = swapped(kernel, owner.__call__, binding=binding_of(captured=(bias,)), share=1.0)
    assert len(calls) == 1  # a call under autograd serves to compare the two
    x, w = arguments().values()
    found = [
        torch.autograd.grad(call(call(x, w), w).sum(), owner.bias)[0] for call in (swap.now, owner)
    ]
    torch.testing.assert_close(*found)
    assert len(calls) == 3
    assert WATCHER.drain()
    assert swap.report().checked == 3


def test_a_backward_of_the_users_own(swapped):
    seen = []

    def backward(grad, x, w):
        seen.append(1)
        return grad * w * 2, (grad * x * 2).sum(0)

    swap = swapped(Counting(), backward=backward)
    x, w = (one.requires_grad_() for one in arguments().values())
    swap.now(x, w).sum().backward()
    torch.testing.assert_close(x.grad, (w * 2).expand_as(x).detach())
    assert seen == [1]


def test_a_fault_is_answered_by_the_original_and_the_kernel_is_banned(swapped, function):
    banned = []
    kernel = Counting()
    swap = swapped(kernel, banned=lambda verified, why: banned.append(why))
    kernel.fault = RuntimeError("it broke")
    x, w = arguments().values()
    with pytest.warns(RuntimeWarning, match="taken back for good: RuntimeError"):
        torch.testing.assert_close(swap.now(x, w), x * w * 2)
    assert swap.now is function
    assert banned == ["RuntimeError: it broke"]
    swap.enable()
    assert swap.now is function
    swap.adopt(swap_verified(swap), kernel)  # for good
    assert swap.now is function


def swap_verified(swap):
    from types import SimpleNamespace

    return SimpleNamespace(source="", binding=None)


def test_a_context_that_is_lost_on_the_thousandth_call_is_told_with_the_kernels_name(
    swapped, function, monkeypatch
):
    banned = []
    kernel = Counting()
    swap = swapped(kernel, banned=lambda verified, why: banned.append(verified.source))
    x, w = arguments().values()
    while kernel.calls < 1000:
        swap.now(x, w)
    kernel.fault = RuntimeError("CUDA error: an illegal memory access was encountered")
    monkeypatch.setattr("triton_gym.optimization.swap.context_lost", lambda device: True)
    with pytest.raises(KernelFaultError, match=r"scaled.*illegal memory access.*banned") as raised:
        swap.now(x, w)
    assert "def scaled" in str(raised.value)  # its source
    assert len(banned) == 1
    assert swap.now is function


def test_errors_of_the_original_come_through_as_they_are(swapped):
    class Refused(Exception):
        pass

    armed = []

    def original(x, w, factor=2.0):
        if armed:
            raise Refused("as it is")
        return x * w * factor

    kernel = Counting()
    swap = swapped(kernel, original)
    armed.append(1)
    kernel.fault = RuntimeError("only because the call is wrong")
    with pytest.raises(Refused, match=r"^as it is$") as raised:
        swap.now(**arguments())
    assert raised.value.__context__ is None
    assert raised.value.__cause__ is None
    assert swap.report().runs == "kernel"  # the call was at fault
    with pytest.raises(TypeError):
        swap.now(torch.ones(3))


def test_nobody_waits_for_a_kernel_that_is_not_compiled(swapped):
    wanted = []
    kernel = Counting()
    swap = swapped(kernel, wanted=lambda verified, given: wanted.append(given[0].shape))
    kernel.fault = NotCompiledError("not yet")
    x, w = arguments(5).values()
    torch.testing.assert_close(swap.now(x, w), x * w * 2)
    kernel.fault = None
    assert wanted == [(5, 8)]
    assert swap.report().not_compiled == 1
    assert swap.report().runs == "kernel"


def test_a_mismatch_in_a_shadowed_call_takes_the_kernel_back(swapped, function):
    kernel = Counting()
    swap = swapped(kernel, share=1.0)
    for _ in range(3):
        swap.now(**arguments())
    assert WATCHER.drain()
    assert swap.report().checked == 4
    kernel.factor = 2.01
    x, w = arguments().values()
    x0 = x.clone()
    found = swap.now(x, w)
    x.zero_()  # the copies were made before
    assert WATCHER.drain()
    torch.testing.assert_close(found, x0 * w * 2.01)
    assert swap.now is function
    assert "Wrong result" in swap.report().reason


def test_disable_and_enable(swapped, function):
    kernel = Counting()
    swap = swapped(kernel)
    swap.disable()
    assert swap.now is function
    assert swap.report().reason == "disabled"
    swap.enable()
    before = kernel.calls
    swap.now(**arguments())
    assert kernel.calls == before + 1


def test_captured_tensors_and_settings_are_the_very_same(swapped, binding_of):
    from triton_gym.optimization.captured import CapturedSetting, CapturedTensor, Path, Step

    class Owner:
        def __init__(self):
            self.bias, self.mode = torch.zeros(8), "plain"

        def __call__(self, x, w, factor=2.0):
            return x * w * factor + self.bias

    owner = Owner()
    bias = CapturedTensor("bias", Path(((Step.OWNER, ""), (Step.ATTRIBUTE, "bias"))))
    mode = CapturedSetting(Path(((Step.OWNER, ""), (Step.ATTRIBUTE, "mode"))), "plain")
    binding = binding_of(captured=(bias,), settings=(mode,))
    calls = []

    def kernel(x, w, bias):
        calls.append(1)
        return x * w * 2 + bias

    swap = swapped(kernel, owner.__call__, binding=binding)
    owner.bias.add_(1)  # its values may change
    x, w = arguments().values()
    torch.testing.assert_close(swap.now(x, w), x * w * 2 + 1)
    assert len(calls) == 2
    for change in ({"bias": torch.ones(8) * 3}, {"bias": owner.bias, "mode": "other"}):
        vars(owner).update(change)
        torch.testing.assert_close(swap.now(x, w), owner(x, w))
        assert len(calls) == 2
    owner.mode = "plain"
    swap.now(x, w)
    assert len(calls) == 3


def test_calls_that_are_recognised_are_still_told_apart(swapped):
    """A gate knows a call like an earlier one without looking at all of it again."""
    kernel = Counting()
    swap = swapped(kernel)
    x, w = (one.requires_grad_() for one in arguments().values())

    def answered(*given):
        before = kernel.calls
        result = swap.now(*given)
        torch.testing.assert_close(result, given[0] * given[1] * 2)
        return result, kernel.calls - before

    with torch.no_grad():
        assert [answered(x, w)[1] for _ in range(3)] == [1, 1, 1]
    assert answered(x, w)[0].requires_grad  # as before, but for the mode
    with torch.inference_mode():
        inferred = torch.randn(4, 8), torch.randn(8)
        assert [answered(x, w)[1], answered(*inferred)[1]] == [1, 1]
    plain = [one.detach() for one in (x, w)]
    assert [answered(*plain)[1] for _ in range(3)] == [1, 1, 1]
    assert answered(x, plain[1])[0].requires_grad
    for other in (plain[0][:3], torch.cat([plain[0], plain[0]])):
        assert answered(other, plain[1])[1] == 1
    for outside in (plain[0][:1], plain[0][:, :1], torch.randn(8, 4).T, plain[0].double()):
        assert answered(outside, plain[1])[1] == 0
    assert answered(plain[0], plain[0][0])[1] == 1  # memory that is shared
    assert answered(plain[0], plain[0])[1] == 0


def test_captured_tensors_that_were_cast_in_place_are_outside(swapped, binding_of):
    from triton_gym.optimization.captured import CapturedTensor, Path, Step

    class Owner:
        bias = torch.nn.Parameter(torch.zeros(8), requires_grad=False)

        def __call__(self, x, w, factor=2.0):
            return x * w * factor + self.bias

    owner, calls = Owner(), []
    bias = CapturedTensor("bias", Path(((Step.OWNER, ""), (Step.ATTRIBUTE, "bias"))))

    def kernel(x, w, bias):
        calls.append(1)
        return x * w * 2 + bias

    swap = swapped(kernel, owner.__call__, binding=binding_of(captured=(bias,)))
    x, w = arguments().values()
    for cast, expected in ((torch.float32, 2), (torch.float64, 2), (torch.float32, 3)):
        owner.bias.data = owner.bias.data.to(cast)  # as module.double() does
        found = swap.now(x, w)
        assert found.dtype is cast
        torch.testing.assert_close(found, owner(x, w))
        assert len(calls) == expected


def test_threads_call_while_kernels_come_and_go(swapped, verified_of):
    swap = swapped(Counting())
    stop, wrong = threading.Event(), []

    def work():
        x, w = arguments().values()
        expected = x * w * 2
        while not stop.is_set():
            if not torch.allclose(swap.now(x, w), expected):
                wrong.append(1)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for number in range(20):
        swap.adopt(verified_of(number=number), Counting())
        swap.disable()
        swap.enable()
        time.sleep(0.005)
    stop.set()
    for thread in threads:
        thread.join()
    assert not wrong
    assert not swap.report().reason


def test_a_kernel_that_comes_while_another_is_compared_is_tried_too(verified_of, function):
    swap, first, second = Swap(function, share=0.0), Counting(), Counting()
    older, newer = verified_of(number=1), verified_of(number=2)
    held = threading.Event()
    WATCHER.post(held.wait)  # comparisons come after it
    swap.adopt(older, first)
    swap.now(**arguments())
    swap.adopt(newer, second)
    held.set()
    assert WATCHER.drain()
    assert swap.active is older
    swap.now(**arguments())  # answered by the original, and compared with the newer one
    assert WATCHER.drain()
    assert swap.active is newer
    before = first.calls, second.calls
    swap.now(**arguments())
    assert (first.calls, second.calls) == (before[0], before[1] + 1)


def test_an_older_kernel_never_takes_the_place_of_a_newer_one(verified_of, function):
    swap, first, second = Swap(function, share=0.0), Counting(), Counting()
    older, newer = verified_of(number=1), verified_of(number=2)
    swap.adopt(older, first)
    entered = swap.now  # as a thread that has looked it up, and is late
    swap.adopt(newer, second)
    swap.now(**arguments())
    entered(**arguments())
    assert WATCHER.drain()
    assert (first.calls, second.calls) == (1, 1)
    assert swap.active is newer
    swap.now(**arguments())
    assert (first.calls, second.calls) == (1, 2)


def test_a_forked_child_goes_on(swapped):
    kernel = Counting()
    swap = swapped(kernel, share=1.0)
    x, w = arguments().values()
    child = os.fork()
    if not child:  # no assertion here may reach pytest
        good = torch.equal(swap.now(x, w), x * w * 2) and WATCHER.drain(10)
        os._exit(0 if good and swap.report().checked == 2 else 1)
    assert os.waitpid(child, 0)[1] == 0
