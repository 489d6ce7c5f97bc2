"""Swapped kernels on a GPU: what may go wrong there does, and calls are answered all the same."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

import triton_gym
from triton_gym.evaluation.check import Timed
from triton_gym.evaluation.trees import flatten
from triton_gym.optimization.binding import Binding, Verified
from triton_gym.optimization.decorator import wrapped
from triton_gym.optimization.guard import ConstantGuard, Guard, TensorGuard
from triton_gym.optimization.pairs import Ratio
from triton_gym.optimization.running import NotCompiledError, compiling, load
from triton_gym.optimization.starts.pieces import piece
from triton_gym.optimization.swap import Swap
from triton_gym.optimization.traced import Result
from triton_gym.optimization.watcher import WATCHER

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.filterwarnings("ignore:triton_gym.optimize.*:RuntimeWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]
KERNEL = """
import torch
import triton
import triton.language as tl


@triton.jit
def _scaled(x, w, y, columns, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    i = tl.arange(0, BLOCK)
    inside = i < columns
    a = tl.load(x + row * columns + i, mask=inside)
    b = tl.load(w + i, mask=inside)
    tl.store(y + row * columns + i, a * b * 2.0, mask=inside)


def scaled(x, w):
    y = torch.empty_like(x)
    _scaled[(x.shape[0],)](x, w, y, x.shape[1], BLOCK=triton.next_power_of_2(x.shape[1]))
    return y
"""


def scaled(x, w, factor=2.0):
    return x * w * factor


def verified(source=KERNEL, **changes):
    import inspect

    guard = Guard(
        signature=inspect.signature(scaled),
        tensors=(
            TensorGuard("x", "float32", "cuda:0", ("n", "d"), (0, 1)),
            TensorGuard("w", "float32", "cuda:0", ("d",), (0,)),
        ),
        constants=(ConstantGuard("factor", 2.0),),
        sizes={"n": ("x", 0), "d": ("x", 1)},
        ranges={"n": (2, None), "d": (2, 4096)},
    )
    binding = Binding(
        guard, (), (), (Result("float32", ("n", "d"), ("d", 1)),),
        flatten(torch.zeros(2, 2))[1], "2" * 64,
    )  # fmt: skip
    even = Ratio(2.0, 1.9, 2.1)
    given = {
        "source": source, "entry": "scaled", "binding": binding, "choices": {},
        "timed": Timed((1e-6,), (0.0,), False, (1e-6,)), "device": even, "wall": even,
        "overall": 2.0, "against": "compile", "number": 1, "pairs": 9, "evalue": 99.0,
        "route": "test",
    }  # fmt: skip
    return Verified(**given | changes)


def arguments(n=64, d=256, **options):
    return torch.randn(n, d, device="cuda", **options), torch.randn(d, device="cuda", **options)


@pytest.fixture
def swapped(tmp_path):
    """Makes a function that a kernel answers."""

    def make(source=KERNEL, *, share=0.0, original=scaled, **options):
        loaded = load(source, "scaled", tmp_path)
        swap = Swap(original, share=share, **options)
        function = wrapped(original, SimpleNamespace(swap=swap))
        swap.adopt(verified(source), loaded.call)
        function(*arguments())
        assert WATCHER.drain()
        return function, swap

    return make


def test_the_kernel_answers_and_is_timed(swapped):
    function, swap = swapped()
    assert swap.report().runs == "kernel", swap.report()
    x, w = arguments()
    torch.testing.assert_close(function(x, w), scaled(x, w))
    from triton_gym.optimization.pairs import cuda_clock

    (times,) = cuda_clock(lambda: function(x, w))
    assert times.device_us > 0
    assert times.wall_us > 0


def test_calls_of_every_kind(swapped):
    function, swap = swapped()
    x, w = arguments()
    wide = torch.randn(256, 64, device="cuda").T
    others = {
        "non-contiguous": (wide, w), "half": (x.half(), w.half()), "zero-size": (x[:0], w),
        "one row": (x[:1], w), "on the CPU": (x.cpu(), w.cpu()), "aliasing": (x, x[0]),
        "expanded": (x[:1].expand(64, 256), w), "too wide": arguments(4, 8192),
        "a slice": (x[::2], w), "misaligned": (x.flatten()[1:-255].view(-1, 256)[:60], w),
    }  # fmt: skip
    with torch.no_grad():
        # Twice: a gate knows calls of a kind again.
        for what, given in [*others.items(), *others.items()]:
            found, expected = function(*given), scaled(*given)
            torch.testing.assert_close(found, expected, msg=what)
            assert found.stride() == expected.stride(), what
    with torch.autocast("cuda", torch.bfloat16):
        torch.testing.assert_close(function(x, w), scaled(x, w))
    with torch.inference_mode():
        torch.testing.assert_close(function(x, w), scaled(x, w))
    assert swap.report().runs == "kernel", swap.report()
    with pytest.raises(RuntimeError, match="must match"):
        function(x, w[:3])


def test_gradients(swapped):
    function, _swap = swapped()
    x, w = arguments(requires_grad=True)
    y, v = (one.detach().clone().requires_grad_() for one in (x, w))
    (function(x, w) ** 2).sum().backward()
    (scaled(y, v) ** 2).sum().backward()
    torch.testing.assert_close((x.grad, w.grad), (y.grad, v.grad))


def test_a_wrong_kernel_never_answers(swapped):
    function, swap = swapped(KERNEL.replace("2.0", "2.01"))
    x, w = arguments()
    torch.testing.assert_close(function(x, w), scaled(x, w))
    assert "first call" in swap.report().reason


def test_a_kernel_wrong_for_some_shapes_is_noticed_by_shadows(swapped):
    """A guard that lets in what the kernel cannot do."""
    source = KERNEL.replace("a * b * 2.0", "a * b * (2.0 + (columns == 240))")
    function, swap = swapped(source, share=1.0)
    assert swap.report().runs == "kernel"
    x, w = arguments(8, 240)  # of a kind that is compiled
    for _ in range(3):
        function(x, w)
    assert WATCHER.drain()
    torch.testing.assert_close(function(x, w), scaled(x, w))
    assert "Wrong result" in swap.report().reason


def test_shadows_do_not_disturb_and_arguments_may_change_at_once(swapped):
    function, swap = swapped(share=1.0)
    x, w = arguments()
    for _ in range(50):
        found = function(x, w)
        expected = scaled(x, w)
        torch.testing.assert_close(found, expected)
        found.zero_()
        x.normal_()
    assert WATCHER.drain()
    report = swap.report()
    assert report.runs == "kernel", report
    assert report.checked >= 50


def test_a_caller_does_not_wait_for_a_compilation(swapped, tmp_path, monkeypatch):
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path / "triton"))
    loaded = load(KERNEL, "scaled", tmp_path / "other")
    with pytest.raises(NotCompiledError):
        loaded.call(*arguments())
    with compiling():
        loaded.call(*arguments())
    again = load(KERNEL, "scaled", tmp_path / "other")
    x, w = arguments()
    torch.testing.assert_close(again.call(x, w), scaled(x, w))  # from the disk
    with pytest.raises(NotCompiledError):
        again.call(*arguments(64, 255))


def test_host_code_that_raises_on_a_later_call(swapped):
    source = KERNEL.replace(
        "    y = torch", "    if x.shape[0] == 65:\n        1 // 0\n    y = torch"
    )
    banned = []
    function, swap = swapped(source, banned=lambda verified, why: banned.append(why))
    x, w = arguments(65)
    torch.testing.assert_close(function(x, w), scaled(x, w))
    assert "ZeroDivisionError" in banned[0]
    assert swap.report().runs == "original"


FAULTS = KERNEL.replace("tl.store(y", "tl.store(y + (tl.load(x) == 777.0).to(tl.int64) * (1 << 37)")
"""Writes where no memory is as soon as it reads a certain value."""


def test_a_kernel_that_faults_on_the_thousandth_call_is_named_and_banned(tmp_path):
    """The context is lost: the error says by which kernel, wherever the loss shows."""
    named = """
        import time
        banned = []
        loaded = t.load(t.FAULTS, "scaled", folder)
        swap = t.Swap(t.scaled, share=0.0, banned=lambda verified, why: banned.append(why))
        swap.adopt(t.verified(t.FAULTS), loaded.call)
        x, w = t.arguments()
        swap.now(x, w)
        assert t.WATCHER.drain()
        assert swap.report().runs == "kernel", swap.report()
        for _ in range(999):
            swap.now(x, w)
        torch.cuda.synchronize()
        x[0, 0] = 777.0
        try:
            for _ in range(100):
                swap.now(x, w)
                time.sleep(0.01)
        except KernelFaultError as error:
            assert "scaled" in str(error) and "_scaled" in str(error)
            assert banned and swap.report().runs == "original"
            print("told")
    """
    elsewhere = """
        from triton_gym.optimization.cache import Cache
        from triton_gym.optimization.handle import Optimization
        from triton_gym.optimization.spec import Spec
        spec = Spec(name="scaled", function=t.scaled, examples=[t.arguments()])
        handle = Optimization(
            t.scaled, spec, share=0.0, backward=None, folder=None, cache=folder / "cache"
        )
        handle._cache = Cache(folder / "cache")
        handle._adopt(t.verified(t.FAULTS))
        x, w = t.arguments()
        handle.swap.now(x, w)
        assert t.WATCHER.drain()
        assert handle.report().runs == "kernel", handle.report()
        x[0, 0] = 777.0
        handle.swap.now(x, w)
        try:
            torch.cuda.synchronize()
        except RuntimeError:
            print("told")
    """
    started = [in_a_process(tmp_path, code) for code in (named, elsewhere)]
    for process in started:
        output, errors = process.communicate(timeout=300)
        assert "told" in output, errors[-3000:]
    from triton_gym.optimization.cache import Cache

    assert Cache(tmp_path / "cache").banned(FAULTS)  # as the second program ended


def in_a_process(folder, code):
    """Code that may lose its GPU's context, with this module as `t`."""
    own = Path(__file__).read_text(encoding="utf-8")
    (folder / "test_of_gpu.py").write_text(own, encoding="utf-8")
    head = f"""
        import sys
        from pathlib import Path
        folder = Path({str(folder)!r})
        sys.path.insert(0, str(folder))
        import torch
        import test_of_gpu as t
        from triton_gym.errors import KernelFaultError
    """
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", textwrap.dedent(head) + textwrap.dedent(code)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def test_torch_compile_and_export_hold_the_operator(swapped):
    function, _swap = swapped()
    torch._dynamo.reset()
    x, w = arguments()
    compiled = torch.compile(lambda x, w: function(x, w) + 1, fullgraph=True)
    with torch.no_grad():
        for n in (64, 32, 48):
            torch.testing.assert_close(compiled(x[:n], w), scaled(x[:n], w) + 1)
        program = torch.export.export(Calls(function), (x, w), strict=True)
        assert "triton_gym.scaled" in str(program.graph)
        torch.testing.assert_close(program.module()(x, w), scaled(x, w))
    y, v = (one.clone().requires_grad_() for one in (x, w))
    compiled(y, v).sum().backward()
    torch.testing.assert_close(y.grad, (2 * v).expand_as(y).detach())


class Calls(torch.nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x, w):
        return self.function(x, w)


def test_cuda_graphs(swapped):
    function, swap = swapped(share=1.0)
    x, w = arguments()
    with torch.no_grad():
        for _ in range(3):
            function(x, w)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            found = function(x, w)
        for _ in range(3):
            x.normal_()
            graph.replay()
            torch.testing.assert_close(found, scaled(x, w))
        # One that no call has compiled for: the original is captured.
        cold, v = arguments(8, 77)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            found = function(cold, v)
        graph.replay()
        torch.testing.assert_close(found, scaled(cold, v))
    assert WATCHER.drain()
    assert swap.report().runs == "kernel", swap.report()


PRODUCT = f"""
import torch
import triton
import triton.language as tl
from triton.tools.tensor_descriptor import TensorDescriptor


{piece("products")}


def gated(a, b, other):
    return activated_product(a, b, None, "silu", other, "mul")
"""


def gated(a, b, other):
    return torch.nn.functional.silu(a @ b) * other


@pytest.mark.parametrize("sizes", [(256, 512, 128), (100, 72, 40)])
def test_calls_of_a_kind_are_replayed_with_descriptors(sizes, tmp_path):
    rows, columns, inner = sizes
    loaded = load(PRODUCT, "gated", tmp_path)
    side = torch.cuda.Stream()

    def given():
        shapes = (rows, inner), (inner, columns), (rows, columns)
        return [torch.randn(*one, device="cuda", dtype=torch.bfloat16) for one in shapes]

    with torch.no_grad(), compiling():
        held = []  # so that the next call's memory lies elsewhere
        for _ in range(6):
            held.append(given())
            torch.testing.assert_close(
                loaded.call(*held[-1]), gated(*held[-1]), rtol=0.02, atol=0.1
            )
        assert loaded.replayed.plans == 1
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):  # the stream of the call, not of what was recorded
            last = given()
            found = loaded.call(*last)
        side.synchronize()
        torch.testing.assert_close(found, gated(*last), rtol=0.02, atol=0.1)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            found = loaded.call(*last)
        for one in last:
            one.normal_()
        graph.replay()
        torch.testing.assert_close(found, gated(*last), rtol=0.02, atol=0.1)


def test_what_is_replayed_is_told_apart_by_kind(swapped):
    function, swap = swapped()
    with torch.no_grad():
        for n, d in [(64, 256), (32, 256), (64, 240), (64, 256), (2, 256)] * 4:
            x, w = arguments(n, d)
            torch.testing.assert_close(function(x, w), scaled(x, w))
        x, w = arguments(65)
        odd = x.flatten()[1:-255].view(-1, 256)  # not aligned: another kernel
        torch.testing.assert_close(function(odd, w), scaled(odd, w))
    with torch.inference_mode():
        x, w = arguments()
        assert function(x, w).is_inference()
    assert swap.report().runs == "kernel", swap.report()


def test_threads_and_streams(swapped):
    function, swap = swapped(share=0.05)
    wrong = []

    def work():
        stream = torch.cuda.Stream()
        with torch.cuda.stream(stream), torch.no_grad():
            for _ in range(200):
                x, w = arguments()
                if not torch.allclose(function(x, w), scaled(x, w)):
                    wrong.append(1)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert WATCHER.drain()
    assert swap.report().runs == "kernel", swap.report()


def rms_norm(x, w, eps=1e-6):
    mean = x.float().pow(2).mean(-1, keepdim=True)
    return (x.float() * torch.rsqrt(mean + eps)).to(x.dtype) * w


def test_from_a_decorator_to_a_kernel_and_from_the_cache(tmp_path):
    x = torch.randn(2048, 4096, device="cuda", dtype=torch.bfloat16)
    w = torch.randn(4096, device="cuda", dtype=torch.bfloat16)
    options = {
        "examples": [(x, w)], "dynamic": {"x": (0,)}, "share": 1.0, "start": "now", "seconds": 90,
        "cache": tmp_path / "cache",
    }  # fmt: skip
    function = triton_gym.optimize(rms_norm, **options)
    with torch.no_grad():
        while function.report().runs != "kernel" and not function.wait(0.2):
            function(x, w)
        function.stop()  # what was verified stays
        report = function.report()
        assert report.runs == "kernel", report
        assert report.device.low > 1
        torch.testing.assert_close(function(x[:100], w), rms_norm(x[:100], w), rtol=2e-2, atol=2e-2)
        again = triton_gym.optimize(rms_norm, **options)
        assert WATCHER.drain()
        again.stop()
        again(x, w)
        assert WATCHER.drain()
        assert again.report().runs == "kernel", again.report()
        assert again.report().run_folder == report.run_folder  # it would have gone on there
