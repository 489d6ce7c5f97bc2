"""Calls of answers that are repeated as they were, launch by launch, on a driver that only notes."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
import triton
from triton.backends.compiler import GPUTarget

from triton_gym.optimization.replay import Replayed, unsteady
from triton_gym.optimization.running import compiling, load

HEAD = """
import torch
import triton
import triton.language as tl
from triton.tools.tensor_descriptor import TensorDescriptor


@triton.jit
def _scaled(x, w, y, n, factor, BLOCK: tl.constexpr):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    a = tl.load(x + i, mask=i < n)
    tl.store(y + i, a * tl.load(w + i % 8) * factor, mask=i < n)


@triton.jit
def _moved(x, y, BLOCK: tl.constexpr):
    y.store([0, 0], x.load([0, 0]))
"""
SCALED = (
    HEAD
    + """

def scaled(x, w):
    y = torch.empty_like(x)
    z = torch.empty((x.shape[0] // 2, 8), dtype=x.dtype, device=x.device)
    _scaled[(triton.cdiv(x.numel(), 64),)](x, w, y, x.numel(), 2.0, BLOCK=64)
    _scaled[lambda meta: (1, 2)](y[2:], w, z.view(-1), x.shape[0], 0.5, BLOCK=128, num_warps=2)
    z.zero_()
    return {"y": y.t(), "z": [z, 3]}
"""
)
MOVED = (
    HEAD
    + """

def scaled(x, w):
    y = torch.empty_like(x)
    steps = list(x.stride())
    _moved[(1,)](
        TensorDescriptor(x, list(x.shape), steps, [16, 16]),
        TensorDescriptor(y, list(y.shape), steps, [16, 16]), BLOCK=16,
    )
    return y
"""
)


class _Noting:
    """Triton's driver of an H100 that is not there: launches are noted."""

    def __init__(self, launches):
        self.launches = launches
        self.launcher_cls = self._launcher
        self.binary_ext = "cubin"
        self.utils = SimpleNamespace(
            get_device_properties=lambda device: {"max_shared_mem": 232448, "max_num_regs": 65536,
                                                  "multiprocessor_count": 132, "warpSize": 32},
            load_binary=lambda name, *_: (object(), name, 0, 0, 1024),
            unload_module=lambda module: None,
        )  # fmt: skip

    def _launcher(self, source, metadata):
        def launch(x, y, z, stream, function, packed, about, enter, leave, *args):
            if enter is not None:  # as Triton's own does
                enter(about)
            self.launches.append((x, y, z, stream, function, [_begin(one) for one in args]))

        return launch

    def get_current_target(self):
        return GPUTarget("cuda", 90, 32)

    def get_current_device(self):
        return 0

    def get_current_stream(self, device):
        return 7


def _begin(value):
    if hasattr(value, "base"):
        return ("descriptor", value.base.data_ptr(), value.shape, value.strides, value.block_shape)
    return value.data_ptr() if hasattr(value, "data_ptr") else value


@pytest.fixture
def launches(monkeypatch):
    """Launches, as they come."""
    monkeypatch.setenv("TRITON_DEFAULT_FP_FUSION", "1")
    found = []
    monkeypatch.setattr(triton.runtime.driver, "_active", _Noting(found))
    return found


def _given(rows=16, columns=16):
    return torch.randn(rows, columns), torch.randn(8)


def _relative(launches, places):
    """Launches with addresses told by what begins there; those of new memory by their order."""
    known = dict(places)
    told = []
    for *head, args in launches:
        row = list(head)
        for value in args:
            address = value[1] if isinstance(value, tuple) else value
            if isinstance(address, int) and address > 1 << 30:
                name = known.setdefault(address, f"made {len(known)}")
                row.append((value[0], name, *map(tuple, value[2:])) if isinstance(value, tuple)
                           else name)  # fmt: skip
            else:
                row.append(value)
        told.append(row)
    return told


@pytest.mark.parametrize("source", [SCALED, MOVED])
def test_the_third_call_of_a_kind_does_what_the_first_did(source, launches, tmp_path):
    loaded = load(source, "scaled", tmp_path)
    seen = []
    with compiling():
        for call in range(4):
            x, w = _given()
            launches.clear()
            result = loaded.call(x, w)
            places = {x.data_ptr(): "x", w.data_ptr(): "w"}
            seen.append((_relative(launches, places), result))
            assert loaded.replayed.plans == (call > 0)
    assert len(seen[0][0]) == (2 if source == SCALED else 1)
    for told, result in seen[1:]:
        assert told == seen[0][0]
        if source == SCALED:
            assert result["y"].shape == (16, 16)
            assert result["y"].stride() == (1, 16)
            assert result["z"][1] == 3
            assert not result["z"][0].any()


def test_a_plan_is_of_one_kind_and_of_aligned_memory(launches, tmp_path):
    loaded = load(SCALED, "scaled", tmp_path)
    with compiling():
        for _ in range(3):
            loaded.call(*_given())
        assert loaded.replayed.plans == 1
        launches.clear()
        loaded.call(*_given(rows=32))
        assert launches[0][5][3] == 32 * 16
        x, w = _given(rows=17)
        loaded.call(x.view(-1)[1:257].view(16, 16), w)  # 4 bytes further: another kernel
        assert loaded.replayed.plans == 1
        loaded.call(x[:16].t(), w)  # other strides
        assert loaded.replayed.plans == 1
        loaded.replayed.stop()
        loaded.call(*_given())
        assert loaded.replayed.plans == 0


@pytest.mark.parametrize(
    "body",
    [
        "y = torch.empty_like(x)\n    _scaled[(1,)](x, CONSTANT, y, 8, 2.0, BLOCK=64)",
        "y = torch.rand_like(x)\n    _scaled[(1,)](x, w, y, 8, 2.0, BLOCK=64)",
        "y = torch.empty_like(x)\n    n = int((x > 0).sum())\n"
        "    _scaled[(1,)](x, w, y, n, 2.0, BLOCK=64)",
        "y = torch.empty_like(x)\n    HIDDEN[0][(1,)](x, w, y, 8, 2.0, BLOCK=64)",
        "y = torch.empty_like(x)\n    _scaled[(1,)](x, w, y, x.data_ptr() % 7, 2.0, BLOCK=64)",
        "y = x * 2",
    ],
)
def test_what_cannot_be_repeated_runs_as_it_stands(body, launches, tmp_path):
    source = HEAD + "\nCONSTANT = torch.ones(8)\n\n\n@triton.jit\ndef _hidden(x, w, y, n, factor, "
    source += "BLOCK: tl.constexpr):\n    tl.store(y, tl.load(x))\n\n\nHIDDEN = (_hidden,)\n"
    source += f"del _hidden\n\n\ndef scaled(x, w):\n    {body}\n    return y\n"
    loaded = load(source, "scaled", tmp_path)
    with compiling():
        found = [loaded.call(*_given()) for _ in range(5)]
    assert loaded.replayed.plans == 0
    assert all(one.shape == (16, 16) for one in found)


def test_the_same_tensor_twice_says_nothing_of_two(launches, tmp_path):
    source = HEAD + "\n\ndef scaled(x, w):\n    y = torch.empty_like(x)\n"
    source += "    _scaled[(1,)](x, w, y, 8, 2.0, BLOCK=64)\n    return y\n"
    loaded = load(source, "scaled", tmp_path)
    x = torch.randn(8)
    with compiling():
        for _ in range(3):
            loaded.call(x, x)
        assert loaded.replayed.plans == 0
        launches.clear()
        w = torch.randn(8)
        loaded.call(x, w)
    assert launches[0][5][:2] == [x.data_ptr(), w.data_ptr()]


@pytest.mark.parametrize("head", ["x, w, factor=2.0", "*given", "x, w=None"])
def test_parameters_with_defaults_are_called_as_they_stand(head, launches, tmp_path):
    body = "    x = given[0]\n" if "given" in head else ""
    body += (
        "    y = torch.empty_like(x)\n    _scaled[(1,)](x, x, y, 8, 2.0, BLOCK=64)\n    return y\n"
    )
    loaded = load(f"{HEAD}\n\ndef scaled({head}):\n{body}", "scaled", tmp_path)
    assert loaded.replayed is None
    assert not loaded.replays
    with compiling():
        for count in (2, 1 if head != "x, w, factor=2.0" else 2):
            loaded.call(*_given()[:count])
    assert len(launches) == 2


def test_who_watches_launches_is_told_of_them(launches, tmp_path):
    loaded = load(SCALED, "scaled", tmp_path)
    with compiling():
        for _ in range(3):
            loaded.call(*_given())
        heard = []
        triton.knobs.runtime.launch_enter_hook.add(heard.append)
        try:
            loaded.call(*_given())
        finally:
            triton.knobs.runtime.launch_enter_hook.remove(heard.append)
    assert len(heard) == 2


def test_what_a_host_function_may_ask():
    assert unsteady("def f(x):\n    return x.data_ptr() % 16 == 0 and x.shape[0]\n") is None
    assert unsteady("def f(x, y=None):\n    return y is None\n") is None
    for wrong in ("x.data_ptr()", "x.data_ptr() % 32", "x.requires_grad", "id(x)", "x is y",
                  "x.tolist()", "torch.cuda.mem_get_info()"):  # fmt: skip
        assert unsteady(f"def f(x, y):\n    return {wrong}\n"), wrong
    kernel = "@triton.jit\ndef k(data):\n    return data.data\n"
    assert unsteady(kernel) is None


def test_plans_are_bounded(launches, tmp_path, monkeypatch):
    monkeypatch.setattr("triton_gym.optimization.replay.MOST_PLANS", 2)
    loaded = load(SCALED, "scaled", tmp_path)
    assert isinstance(loaded.replayed, Replayed)
    with compiling():
        for rows in (16, 32, 48):
            for _ in range(3):
                loaded.call(*_given(rows=rows))
    assert loaded.replayed.plans == 2
