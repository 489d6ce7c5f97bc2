"""Checks that run inside Triton's interpreter: `python interpreted.py` prints a JSON of results.

A process of its own, because the interpreter must be chosen before Triton is imported.
"""

from __future__ import annotations

import json
import os
import sys
import time
import traceback
from unittest import mock

os.environ["TRITON_INTERPRET"] = "1"

import numpy as np
import pytest
import torch
import triton
import triton.language as tl
from triton.language import arange, constexpr, store, where
from triton.language.extra import libdevice
from triton.tools.tensor_descriptor import TensorDescriptor

from triton_gym.evaluation.simulate import pretend
from triton_gym.evaluation.simulate.interpreter import footprint, interpret
from triton_gym.evaluation.simulate.interpreter.bounds import OutOfBoundsError
from triton_gym.evaluation.simulate.interpreter.trace import trace
from triton_gym.evaluation.simulate.launches import LaunchTrace

interpret.install()
BF16 = torch.bfloat16


@triton.jit
def pointwise_kernel(x_ptr, y_ptr, out_ptr, n, BLOCK: tl.constexpr):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    x = tl.load(x_ptr + i, mask=i < n)
    y = tl.load(y_ptr + i, mask=i < n)
    z = tl.where(x > y, x * y + x, tl.abs(y) - x)
    tl.store(out_ptr + i, tl.maximum(z, -1.5), mask=i < n)


@triton.jit
def rows_but_the_first_kernel(x_ptr, out_ptr, n, BLOCK: tl.constexpr):
    row, i = tl.program_id(0), tl.arange(0, BLOCK)
    # The first row has nothing before it: a mask of a block and of a number.
    before = tl.load(x_ptr + (row - 1) * n + i, mask=(i < n) & (row > 0), other=7.0)
    tl.store(out_ptr + row * n + i, before, mask=i < n)


@triton.jit
def rows_kernel(x_ptr, sum_ptr, max_ptr, at_ptr, scan_ptr, n, BLOCK: tl.constexpr):
    row, i = tl.program_id(0), tl.arange(0, BLOCK)
    x = tl.load(x_ptr + row * n + i, mask=i < n, other=0.0)
    tl.store(sum_ptr + row, tl.sum(x, 0))
    tl.store(max_ptr + row, tl.max(tl.where(i < n, x, -float("inf")), 0))
    tl.store(at_ptr + row, tl.argmax(tl.where(i < n, x, -float("inf")), 0))
    tl.store(scan_ptr + row * n + i, tl.cumsum(x, 0), mask=i < n)


@triton.jit
def cast_kernel(x_ptr, up_ptr, down_ptr, half_ptr, zero_ptr, BLOCK: tl.constexpr):
    i = tl.arange(0, BLOCK)
    x = tl.load(x_ptr + i)
    tl.store(down_ptr + i, x.to(tl.bfloat16))
    tl.store(zero_ptr + i, x.to(tl.bfloat16, fp_downcast_rounding="rtz"))
    tl.store(up_ptr + i, x.to(tl.bfloat16).to(tl.float32))
    tl.store(half_ptr + i, x.to(tl.bfloat16).to(tl.float16))


@triton.jit
def dot_kernel(a_ptr, b_ptr, c_ptr, M: tl.constexpr, N: tl.constexpr, K: tl.constexpr,
               PRECISION: tl.constexpr):  # fmt: skip
    m, n, k = tl.arange(0, M), tl.arange(0, N), tl.arange(0, K)
    a = tl.load(a_ptr + m[:, None] * K + k[None, :])
    b = tl.load(b_ptr + k[:, None] * N + n[None, :])
    c = tl.dot(a, b, input_precision=PRECISION)
    tl.store(c_ptr + m[:, None] * N + n[None, :], c.to(c_ptr.dtype.element_ty))


@triton.jit
def merge(m, s, n, t):
    top = tl.maximum(m, n)
    return top, s * tl.exp(m - top) + t * tl.exp(n - top)


@triton.jit
def logsumexp_kernel(x_ptr, out_ptr, BLOCK: tl.constexpr):
    x = tl.load(x_ptr + tl.arange(0, BLOCK))
    top, total = tl.reduce((x, tl.full((BLOCK,), 1.0, tl.float32)), 0, merge)
    tl.store(out_ptr, top + tl.log(total))


@triton.jit
def product(a, b):
    return a * b


@triton.jit
def scan_kernel(x_ptr, out_ptr, BLOCK: tl.constexpr):
    i = tl.arange(0, BLOCK)
    tl.store(out_ptr + i, tl.associative_scan(tl.load(x_ptr + i), 0, product))


@triton.jit
def library_kernel(x_ptr, out_ptr, BLOCK: tl.constexpr):
    i = tl.arange(0, BLOCK)
    x = tl.load(x_ptr + i)
    tl.store(out_ptr + i, libdevice.tanh(x) + tl.erf(x) + libdevice.pow(tl.abs(x), 2.0))


@triton.jit
def unmasked_kernel(x_ptr, out_ptr, n, BLOCK: tl.constexpr):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    x = tl.load(x_ptr + i)
    tl.store(out_ptr + i, x, mask=i < n)


@triton.jit
def wild_store_kernel(x_ptr, BLOCK: tl.constexpr):
    tl.store(x_ptr - 4096 + tl.arange(0, BLOCK), 1.0)


@triton.jit
def wild_atomic_kernel(x_ptr, n):
    tl.atomic_add(x_ptr + n, 1.0)


@triton.jit
def table_kernel(table_ptr, out_ptr, BLOCK: tl.constexpr):
    i = tl.arange(0, BLOCK)
    source = tl.load(table_ptr + tl.program_id(0)).to(tl.pointer_type(tl.float32))
    tl.store(out_ptr + tl.program_id(0) * BLOCK + i, tl.load(source + i))


@triton.jit
def descriptor_kernel(x_desc, y_desc, n, BLOCK: tl.constexpr):
    y_desc.store([0, n], x_desc.load([0, n]) * 2)


@triton.jit
def atomic_kernel(x_ptr, total_ptr, BLOCK: tl.constexpr):
    x = tl.load(x_ptr + tl.program_id(0) * BLOCK + tl.arange(0, BLOCK))
    tl.atomic_add(total_ptr + tl.arange(0, BLOCK) % 4, x)


@triton.autotune(
    [triton.Config({"BLOCK": b}, num_warps=w) for b, w in ((64, 2), (128, 4), (256, 8))],
    key=["n"],
)
@triton.heuristics({"EVEN": lambda args: args["n"] % args["BLOCK"] == 0})
@triton.jit
def tuned_kernel(x_ptr, out_ptr, n, BLOCK: tl.constexpr, EVEN: tl.constexpr):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    x = tl.load(x_ptr + i) if EVEN else tl.load(x_ptr + i, mask=i < n)
    tl.store(out_ptr + i, x + 1, mask=i < n)


@triton.jit
def column_kernel(x_ptr, out_ptr, rows, cols, BLOCK: tl.constexpr):
    col, i = tl.program_id(0), tl.arange(0, BLOCK)
    x = tl.load(x_ptr + i * cols + col, mask=i < rows)
    tl.store(out_ptr + col, tl.sum(x, 0))


@triton.jit
def matmul_kernel(a_ptr, b_ptr, c_ptr, n, BLOCK: tl.constexpr, STEP: tl.constexpr):
    rows = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)[:, None]
    cols = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)[None, :]
    inner = tl.arange(0, STEP)
    acc = tl.zeros((BLOCK, BLOCK), tl.float32)
    for k in range(0, n, STEP):
        a = tl.load(a_ptr + rows * n + (k + inner)[None, :])
        b = tl.load(b_ptr + (k + inner)[:, None] * n + cols)
        acc = tl.dot(a, b, acc)
    tl.store(c_ptr + rows * n + cols, acc.to(tl.bfloat16))


@triton.jit
def persistent_kernel(x_ptr, n, BLOCK: tl.constexpr):
    for tile in range(tl.program_id(0), n // BLOCK, tl.num_programs(0)):
        i = tile * BLOCK + tl.arange(0, BLOCK)
        tl.store(x_ptr + i, tl.load(x_ptr + i) * 2)


@triton.jit
def period_kernel(x_ptr, w_ptr, out_ptr, period, BLOCK: tl.constexpr):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    same = tl.program_id(0) % period * BLOCK + tl.arange(0, BLOCK)
    tl.store(out_ptr + i, tl.load(x_ptr + i) + tl.load(w_ptr + same))


def normal(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(shape, generator=generator).to(dtype)


def near(got: torch.Tensor, wanted: torch.Tensor, tolerance: float) -> None:
    error = ((got.double() - wanted.double()).abs() / wanted.double().abs().clamp(min=1)).max()
    assert error <= tolerance, f"error {error:.3g} > {tolerance:.3g}"


# -- the interpreter ---------------------------------------------------------------------------


@triton.jit
def float_kernel(out_ptr, value, BLOCK: tl.constexpr):
    tl.store(out_ptr + tl.arange(0, BLOCK), tl.zeros((BLOCK,), tl.float32) + value.to(tl.float32))


@triton.jit
def named_kernel(out_ptr, BLOCK: constexpr):
    i = arange(0, BLOCK)
    store(out_ptr + i, where(i > 0, i, -1).to(tl.float32))


@triton.jit
def swap_kernel(x_ptr, old_ptr, BLOCK: tl.constexpr):
    i = tl.arange(0, BLOCK)
    old = tl.load(old_ptr + i)
    tl.atomic_cas(x_ptr + i, old, tl.full((BLOCK,), 7.0, tl.bfloat16))


def check_a_number_and_a_block_make_a_mask():
    x = torch.randn(3, 5)
    out = torch.empty_like(x)
    rows_but_the_first_kernel[(3,)](x, out, 5, BLOCK=8)
    assert torch.equal(out, torch.cat((torch.full((1, 5), 7.0), x[:-1])))


def check_pointwise_bf16() -> None:
    x, y = normal(1000, dtype=BF16), normal(1001, dtype=BF16)[1:].contiguous()
    out = torch.empty_like(x)
    pointwise_kernel[(4,)](x, y, out, 1000, 256)
    a, b = x.float(), y.float()
    near(out, torch.where(a > b, a * b + a, b.abs() - a).clamp(min=-1.5), 1 / 64)


def check_rows_bf16() -> None:
    x = normal(8, 500, dtype=BF16)
    total, top = torch.empty(8, dtype=BF16), torch.empty(8, dtype=BF16)
    at, scan = torch.empty(8, dtype=torch.int32), torch.empty_like(x)
    rows_kernel[(8,)](x, total, top, at, scan, 500, 512)
    assert (total - x.double().sum(1)).abs().max() < 0.5
    assert torch.equal(top, x.max(1).values)
    assert torch.equal(at.long(), x.float().argmax(1))
    wanted = x.double().cumsum(1)
    assert (scan - wanted).abs().max() < 0.02 * wanted.abs().max()


def check_casts_round_to_nearest() -> None:
    x = normal(1024) * 100
    up, down, half = torch.empty(1024), torch.empty(1024, dtype=BF16), torch.empty(1024).half()
    zero = torch.empty(1024, dtype=BF16)
    cast_kernel[(1,)](x, up, down, half, zero, 1024)
    assert torch.equal(down, x.bfloat16())
    assert torch.equal(up, x.bfloat16().float())
    assert torch.equal(half, x.bfloat16().half())
    bits = (x.view(torch.int32) >> 16 << 16).view(torch.float32)
    assert torch.equal(zero.float(), bits)


def check_dot_bf16() -> None:
    a, b = normal(32, 64, dtype=BF16), normal(64, 32, dtype=BF16)
    c = torch.empty(32, 32)
    dot_kernel[(1,)](a, b, c, 32, 32, 64, "ieee")
    near(c, a.double() @ b.double(), 1e-5)


def check_dot_int8_is_exact() -> None:
    a = torch.randint(-128, 127, (32, 64), dtype=torch.int8)
    b = torch.randint(-128, 127, (64, 32), dtype=torch.int8)
    c = torch.empty((32, 32), dtype=torch.int32)
    dot_kernel[(1,)](a, b, c, 32, 32, 64, "ieee")
    assert torch.equal(c, a.int() @ b.int())


def check_fp32_dot_is_tf32_unless_told() -> None:
    a, b, c = normal(32, 64), normal(64, 32), torch.empty(32, 32)
    wanted = a.double() @ b.double()
    dot_kernel[(1,)](a, b, c, 32, 32, 64, "ieee")
    exact = (c - wanted).abs().max()
    dot_kernel[(1,)](a, b, c, 32, 32, 64, "tf32")
    rounded = (c - wanted).abs().max()
    assert exact < 1e-4 < rounded < 0.1, (exact, rounded)


def check_custom_reduction() -> None:
    x, out = normal(1024), torch.empty(1)
    logsumexp_kernel[(1,)](x, out, 1024)
    near(out, x.logsumexp(0, keepdim=True), 1e-5)


def check_custom_scan() -> None:
    x, out = 1 + normal(256) / 100, torch.empty(256)
    scan_kernel[(1,)](x, out, 256)
    near(out, x.cumprod(0), 1e-5)


def check_libdevice() -> None:
    x, out = normal(256), torch.empty(256)
    library_kernel[(1,)](x, out, 256)
    near(out, x.tanh() + x.erf() + x.square(), 1e-5)


def check_atomics_bf16() -> None:
    x = torch.ones(256, dtype=BF16)
    for dtype in (BF16, torch.float32):
        total = torch.zeros(4, dtype=dtype)
        atomic_kernel[(4,)](x.to(dtype), total, 64)
        assert total.tolist() == [64.0] * 4


def check_descriptors_bf16() -> None:
    x = normal(16, 64, dtype=BF16)
    y = torch.zeros_like(x)
    args = [TensorDescriptor.from_tensor(t, [16, 32]) for t in (x, y)]
    descriptor_kernel[(1,)](*args, 48, 32)  # half of the block lies beyond the edge
    assert torch.equal(y[:, 48:], x[:, 48:] * 2)
    assert not y[:, :48].any()


def check_rows_are_fast() -> None:
    x, out = normal(128, 781), torch.empty(128, 4)
    start = time.perf_counter()
    for _ in range(2):
        rows_kernel[(128,)](x, out, out, torch.empty(128, dtype=torch.int32),
                            torch.empty_like(x), 781, 1024)  # fmt: skip
    assert time.perf_counter() - start < 4


# -- bounds ------------------------------------------------------------------------------------


def fails(call: object, *words: str) -> None:
    with pytest.raises(OutOfBoundsError) as caught:
        call()  # type: ignore[operator]
    assert all(word in str(caught.value) for word in words), str(caught.value)
    frames = traceback.extract_tb(caught.value.__traceback__)
    assert any(f.name.endswith("_kernel") for f in frames), "no line of the kernel"


def check_load_past_the_end() -> None:
    x, out = normal(1000), torch.empty(1000)
    fails(lambda: unmasked_kernel[(4,)](x, out, 1000, 256), "load", "past the end", "24 of 256")


def check_store_before_the_start() -> None:
    fails(lambda: wild_store_kernel[(1,)](torch.empty(64), 64), "store", "before the start")


def check_atomic_past_the_end() -> None:
    fails(lambda: wild_atomic_kernel[(1,)](torch.zeros(16), 1 << 30), "atomic")


def check_masked_lanes_may_point_anywhere() -> None:
    x, out = normal(1000), torch.empty(1000)
    pointwise_kernel[(8,)](x, x, out, 1000, 256)


def check_views_reach_their_storage() -> None:
    x, out = normal(2048), torch.empty(1024)
    unmasked_kernel[(4,)](x[:1000], out, 1000, 256)
    assert torch.equal(out[:1000], x[:1000])


def check_tables_of_pointers() -> None:
    parts = [normal(64) + i for i in range(3)]
    table = torch.tensor([p.data_ptr() for p in parts])
    out = torch.empty(3, 64)
    table_kernel[(3,)](table, out, 64)
    assert torch.equal(out, torch.stack(parts))


# -- host code ---------------------------------------------------------------------------------


def check_float_arguments_are_tensors() -> None:
    out = torch.zeros(4)
    float_kernel[(1,)](out, 0.1, 4)
    assert torch.equal(out, torch.full((4,), 0.1)), out


def check_names_from_the_language() -> None:
    out = torch.zeros(4)
    named_kernel[(1,)](out, 4)
    assert torch.equal(out, torch.tensor([-1.0, 1.0, 2.0, 3.0])), out


def check_a_kernel_can_be_asked_what_it_uses() -> None:
    x, out = torch.randn(100), torch.zeros(100)
    compiled = pointwise_kernel.warmup(x, x, out, 100, BLOCK=128, grid=(1,))
    compiled._init_handles()
    assert compiled.n_regs > 0
    assert compiled.metadata.shared > 0
    assert not out.any()
    compiled[(1,)](x, x, out, 100)
    once = out.clone()
    pointwise_kernel[(1,)](x, x, out.zero_(), 100, BLOCK=128)
    assert torch.equal(out, once)


def check_compare_and_swap_bf16() -> None:
    x = torch.tensor([1.5, 2.5], dtype=BF16)
    swap_kernel[(1,)](x, torch.tensor([1.5, 1.5], dtype=BF16), 2)
    assert x.tolist() == [7.0, 2.5], x


def check_tables_of_pointers_where_a_gpu_is_pretended() -> None:
    with pretend():
        check_tables_of_pointers()


def check_autotuned_kernels_run() -> None:
    x, out = normal(1000), torch.empty(1000)
    with pretend():
        tuned_kernel[lambda meta: (triton.cdiv(1000, meta["BLOCK"]),)](x, out, 1000)
    assert torch.equal(out, x + 1)


def check_host_code_finds_a_gpu() -> None:
    x = normal(4)
    with pretend("h200"):
        assert x.is_cuda
        assert x.device.type == "cuda"
        assert torch.empty(2, device=x.device).sum().cuda().is_cuda
        assert x.to("cuda") is x
        assert torch.cuda.get_device_properties(0).multi_processor_count == 132
        assert torch.cuda.get_device_capability() == (9, 0)
        utils = triton.runtime.driver.active.utils
        assert utils.get_device_properties(0)["max_shared_mem"] == 227 << 10
        torch.cuda.synchronize()
    assert not x.is_cuda


# -- the trace ---------------------------------------------------------------------------------


def traced(call: object) -> LaunchTrace:
    (found,) = trace(call)  # type: ignore[arg-type]
    assert LaunchTrace.read(json.loads(json.dumps(found.record()))) == found
    return found


def check_trace_counts_bytes() -> None:
    x, out = torch.zeros(1 << 20), torch.zeros(1 << 20)
    found = traced(lambda: pointwise_kernel[(1024,)](x, x, out, 1 << 20, 1024))
    assert found.programs == 1024
    assert not found.note
    loads = [s for s in found.sites if s.kind == "load"]
    (store,) = [s for s in found.sites if s.kind == "store"]
    assert [s.bytes for s in loads] == [4096, 4096]
    assert store.bytes == 4096
    assert [s.sectors for s in loads] == [128, 128]
    assert store.owner == 1
    assert found.tensors[0].distinct == 0.5  # x is read twice
    assert loads[0].sharing[-1][1] == 1.0  # neighbours share nothing


def check_trace_sees_uncoalesced_columns() -> None:
    x, out = torch.zeros(1024, 4096), torch.zeros(4096)
    found = traced(lambda: column_kernel[(4096,)](x, out, 1024, 4096, 1024))
    load = next(s for s in found.sites if s.kind == "load")
    assert load.bytes == 4096
    assert load.sectors == 1024
    assert load.sharing[-1][1] < 0.05  # but 32 neighbours share every line


def check_trace_of_some_neighbours_is_that_of_all() -> None:
    x, w, out = torch.zeros(1 << 20), torch.zeros(1 << 20), torch.zeros(1 << 20)
    for period, apart in ((1 << 20, True), (131, False), (100, False), (1, False)):
        for programs in (1, 5, 131, 600):
            grid = (programs,)
            call = lambda: period_kernel[grid](x, w, out, period, 256)  # noqa: B023, E731
            few = traced(call)
            with mock.patch.object(footprint, "ruler", range):
                assert traced(call) == few
            nothing = [s.sharing[-1][1] == 1.0 for s in few.sites if s.kind == "load"]
            assert all(nothing) == (apart or programs <= period), (period, programs)


def check_trace_runs_few_neighbours_that_share_nothing() -> None:
    x, out = torch.zeros(1 << 20), torch.zeros(1 << 20)
    runs = []

    def counting(count: int) -> range:
        runs.append(ruler(count))
        return runs[-1]

    ruler = footprint.ruler
    with mock.patch.object(footprint, "ruler", counting):
        traced(lambda: pointwise_kernel[(1024,)](x, x, out, 1 << 20, 1024))
    assert len(runs[0]) < 30


def check_a_ruler_has_all_distances() -> None:
    for size in range(200):
        marks = footprint.ruler(size)
        assert {b - a for a in marks for b in marks if b >= a} == set(range(size))
        assert set(marks) <= set(range(size))


def check_sharing_nothing_is_what_is_computed_otherwise() -> None:
    lines = [np.arange(10 * i, 10 * i + 7) for i in range(132)]
    assert footprint.disjoint(lines)
    assert footprint.sharing_nothing(lines[:9], 132) == footprint.sharing(lines)
    assert not footprint.disjoint([*lines, np.array([1313])])


def check_trace_counts_dots_and_loops() -> None:
    a, c = torch.zeros(2048, 2048, dtype=BF16), torch.zeros(2048, 2048, dtype=BF16)
    found = traced(lambda: matmul_kernel[(16, 16)](a, a.clone(), c, 2048, 128, 64))
    (dot,) = found.dots
    assert (dot.m, dot.n, dot.k, dot.dtype) == (128, 128, 64, "bf16")
    assert dot.flops * found.programs == 2 * 2048**3
    assert found.iterations == 32
    assert found.rounds == 32
    assert {s.burst for s in found.sites} == {1, 32}
    loads = [s for s in found.sites if s.kind == "load"]
    assert all(s.bytes == 128 * 2048 * 2 for s in loads)
    assert all(s.sharing[-1][1] < 0.2 for s in loads)  # tiles of a row share a, of a column b


def check_trace_scales_persistent_programs() -> None:
    x = torch.zeros(1 << 22)
    found = traced(lambda: persistent_kernel[(132,)](x, 1 << 22, 1024))
    moved = sum(s.bytes for s in found.sites) * found.programs
    assert abs(moved / (2 * 4 << 22) - 1) < 0.05, moved


@triton.jit
def bytes_kernel(x_ptr, out_ptr, SHIFT: tl.constexpr, BLOCK: tl.constexpr):
    i = tl.arange(0, BLOCK)
    p = (x_ptr + SHIFT + 4 * i).to(tl.pointer_type(tl.int32))
    tl.store(out_ptr + i, tl.load(p, mask=i % 3 != 1, other=7))


def check_loads_off_the_grid_of_elements() -> None:
    x = torch.arange(100, dtype=torch.uint8)
    for shift in (0, 1, 4):
        out = torch.zeros(16, dtype=torch.int32)
        bytes_kernel[(1,)](x, out, shift, 16)
        want = torch.frombuffer(bytearray(x.numpy()[shift:].tobytes()[:64]), dtype=torch.int32)
        want = want.clone()
        want[1::3] = 7
        assert torch.equal(out, want)


@triton.jit
def crowd_kernel(x_ptr, out_ptr, M: tl.constexpr, N: tl.constexpr):
    i, j = tl.arange(0, M)[:, None], tl.arange(0, N)[None, :]
    x = tl.load(x_ptr + i * N + j)
    tl.store(out_ptr + (i * N + j) // 3, x, mask=(i + j) % 5 != 0)


def check_of_lanes_that_store_at_one_place_the_last_counts() -> None:
    for dtype in (torch.float32, BF16, torch.int8, torch.float64, torch.bool):
        x, out = (torch.arange(128) % 7 > 2).to(dtype), torch.zeros(43, dtype=dtype)
        if dtype is not torch.bool:
            x = torch.arange(128).to(dtype)
        crowd_kernel[(1,)](x, out, 8, 16)
        want = torch.zeros(43, dtype=dtype)
        for lane in range(128):
            if (lane // 16 + lane % 16) % 5:
                want[lane // 3] = x[lane]
        assert torch.equal(out, want)


@triton.jit
def documented_kernel(out_ptr):
    """Like this:
    def documented_kernel(out_ptr):
        raise ValueError('a string ran')
    """
    tl.store(out_ptr, 7.0)


def check_a_line_of_a_docstring_is_no_kernel() -> None:
    out = torch.zeros(1)
    documented_kernel[(1,)](out)
    assert out.item() == 7.0


@triton.jit
def either_kernel(x_ptr, y_ptr, out_ptr, BLOCK: tl.constexpr):
    i = tl.arange(0, BLOCK)
    p = tl.where(i % 2 == 0, (x_ptr + i).to(tl.int64), (y_ptr + i).to(tl.int64))
    p = p.to(tl.pointer_type(tl.float32))
    tl.store(out_ptr + i, tl.load(p))
    tl.store(p, tl.load(p) + 1)


def check_one_access_to_two_tensors() -> None:
    x, y, out = torch.arange(32.0), -torch.arange(32.0), torch.zeros(32)
    either_kernel[(1,)](x, y, out, 32)
    even = torch.arange(32) % 2 == 0
    assert torch.equal(out, torch.where(even, torch.arange(32.0), -torch.arange(32.0)))
    assert torch.equal(x, torch.arange(32.0) + even)
    assert torch.equal(y, -torch.arange(32.0) + ~even)


@triton.jit
def tile_kernel(x_desc, out_ptr, row, col, M: tl.constexpr, N: tl.constexpr):
    i, j = tl.arange(0, M)[:, None], tl.arange(0, N)[None, :]
    tl.store(out_ptr + i * N + j, x_desc.load([row, col]))


def check_tiles_across_an_edge_are_filled_with_zeros() -> None:
    x = torch.arange(20 * 24.0).view(20, 24)
    padded = torch.nn.functional.pad(x, (8, 40, 8, 40))
    desc = TensorDescriptor.from_tensor(x, [16, 32])
    for row, col in ((0, 0), (-8, -4), (10, 20), (4, 8), (0, 24)):
        out = torch.full((16, 32), 9.0)
        tile_kernel[(1,)](desc, out, row, col, 16, 32)
        assert torch.equal(out, padded[row + 8 : row + 24, col + 8 : col + 40])


def check_trace_lists_alternatives() -> None:
    x, out = torch.zeros(1 << 16), torch.zeros(1 << 16)
    grid = lambda meta: ((1 << 16) // meta["BLOCK"],)  # noqa: E731
    found = trace(lambda: tuned_kernel[grid](x, out, 1 << 16))
    assert [t.index for t in found] == [0, 0, 0]
    assert len({t.config for t in found}) == 3
    assert [t.programs for t in found] == [1024, 512, 256]


def check_trace_is_the_same_twice() -> None:
    def run() -> list[dict[str, object]]:
        a, c = torch.zeros(1024, 1024, dtype=BF16), torch.zeros(1024, 1024, dtype=BF16)
        return [t.record() for t in trace(
            lambda: matmul_kernel[(8, 8)](a, a.clone(), c, 1024, 128, 64))]  # fmt: skip

    first, kept = run(), torch.zeros(12345)
    assert run() == first
    assert kept.numel()


def check_trace_finds_bounds() -> None:
    x, out = torch.zeros(1000), torch.zeros(1000)
    fails(lambda: trace(lambda: unmasked_kernel[(4,)](x, out, 1000, 256)), "load")


def main() -> None:
    results = {}
    for name, check in list(globals().items()):
        if name.startswith("check_"):
            try:
                check()
                results[name] = ""
            except BaseException:
                results[name] = traceback.format_exc()
    json.dump(results, sys.stdout)


if __name__ == "__main__":
    main()
