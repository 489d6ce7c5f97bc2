"""Kernels interpreted from their IR, beside what PyTorch makes of the same numbers."""

from __future__ import annotations

import pytest
import torch
import triton
import triton.language as tl
from launching import jit
from triton.language import arange, constexpr, store, where
from triton.language.extra import libdevice
from triton.tools.tensor_descriptor import TensorDescriptor

from triton_gym.evaluation.backends.simulated import execute
from triton_gym.evaluation.simulate.interpreter.bounds import OutOfBoundsError
from triton_gym.evaluation.simulate.interpreter.emit import program_of
from triton_gym.evaluation.simulate.interpreter.hints import MisalignedError
from triton_gym.evaluation.simulate.interpreter.parse import UnknownText
from triton_gym.evaluation.simulate.interpreter.races import RaceError

BF16 = torch.bfloat16


@jit
def pointwise_kernel(x_ptr, y_ptr, out_ptr, n, BLOCK: tl.constexpr):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    x = tl.load(x_ptr + i, mask=i < n)
    y = tl.load(y_ptr + i, mask=i < n)
    z = tl.where(x > y, x * y + x, tl.abs(y) - x)
    tl.store(out_ptr + i, tl.maximum(z, -1.5), mask=i < n)


@jit
def rows_but_the_first_kernel(x_ptr, out_ptr, n, BLOCK: tl.constexpr):
    row, i = tl.program_id(0), tl.arange(0, BLOCK)
    # The first row has nothing before it: a mask of a block and of a number.
    before = tl.load(x_ptr + (row - 1) * n + i, mask=(i < n) & (row > 0), other=7.0)
    tl.store(out_ptr + row * n + i, before, mask=i < n)


@jit
def rows_kernel(x_ptr, sum_ptr, max_ptr, at_ptr, scan_ptr, n, BLOCK: tl.constexpr):
    row, i = tl.program_id(0), tl.arange(0, BLOCK)
    x = tl.load(x_ptr + row * n + i, mask=i < n, other=0.0)
    tl.store(sum_ptr + row, tl.sum(x, 0))
    tl.store(max_ptr + row, tl.max(tl.where(i < n, x, -float("inf")), 0))
    tl.store(at_ptr + row, tl.argmax(tl.where(i < n, x, -float("inf")), 0))
    tl.store(scan_ptr + row * n + i, tl.cumsum(x, 0), mask=i < n)


@jit
def cast_kernel(x_ptr, up_ptr, down_ptr, half_ptr, zero_ptr, BLOCK: tl.constexpr):
    i = tl.arange(0, BLOCK)
    x = tl.load(x_ptr + i)
    tl.store(down_ptr + i, x.to(tl.bfloat16))
    tl.store(zero_ptr + i, x.to(tl.bfloat16, fp_downcast_rounding="rtz"))
    tl.store(up_ptr + i, x.to(tl.bfloat16).to(tl.float32))
    tl.store(half_ptr + i, x.to(tl.bfloat16).to(tl.float16))


@jit
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


@jit
def logsumexp_kernel(x_ptr, out_ptr, BLOCK: tl.constexpr):
    x = tl.load(x_ptr + tl.arange(0, BLOCK))
    top, total = tl.reduce((x, tl.full((BLOCK,), 1.0, tl.float32)), 0, merge)
    tl.store(out_ptr, top + tl.log(total))


@triton.jit
def product(a, b):
    return a * b


@jit
def scan_kernel(x_ptr, out_ptr, BLOCK: tl.constexpr):
    i = tl.arange(0, BLOCK)
    tl.store(out_ptr + i, tl.associative_scan(tl.load(x_ptr + i), 0, product))


@jit
def library_kernel(x_ptr, out_ptr, BLOCK: tl.constexpr):
    i = tl.arange(0, BLOCK)
    x = tl.load(x_ptr + i)
    tl.store(out_ptr + i, libdevice.tanh(x) + tl.erf(x) + libdevice.pow(tl.abs(x), 2.0))


@jit
def unmasked_kernel(x_ptr, out_ptr, n, BLOCK: tl.constexpr):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    x = tl.load(x_ptr + i)
    tl.store(out_ptr + i, x, mask=i < n)


@jit
def wild_store_kernel(x_ptr, BLOCK: tl.constexpr):
    tl.store(x_ptr - 4096 + tl.arange(0, BLOCK), 1.0)


@jit
def wild_atomic_kernel(x_ptr, n):
    tl.atomic_add(x_ptr + n, 1.0)


@jit
def table_kernel(table_ptr, out_ptr, BLOCK: tl.constexpr):
    i = tl.arange(0, BLOCK)
    source = tl.load(table_ptr + tl.program_id(0)).to(tl.pointer_type(tl.float32))
    tl.store(out_ptr + tl.program_id(0) * BLOCK + i, tl.load(source + i))


@jit
def descriptor_kernel(x_desc, y_desc, n, BLOCK: tl.constexpr):
    y_desc.store([0, n], x_desc.load([0, n]) * 2)


@jit
def atomic_kernel(x_ptr, total_ptr, BLOCK: tl.constexpr):
    x = tl.load(x_ptr + tl.program_id(0) * BLOCK + tl.arange(0, BLOCK))
    tl.atomic_add(total_ptr + tl.arange(0, BLOCK) % 4, x)


@jit
def column_kernel(x_ptr, out_ptr, rows, cols, BLOCK: tl.constexpr):
    col, i = tl.program_id(0), tl.arange(0, BLOCK)
    x = tl.load(x_ptr + i * cols + col, mask=i < rows)
    tl.store(out_ptr + col, tl.sum(x, 0))


@jit
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


@jit
def persistent_kernel(x_ptr, n, BLOCK: tl.constexpr):
    for tile in range(tl.program_id(0), n // BLOCK, tl.num_programs(0)):
        i = tile * BLOCK + tl.arange(0, BLOCK)
        tl.store(x_ptr + i, tl.load(x_ptr + i) * 2)


@jit
def period_kernel(x_ptr, w_ptr, out_ptr, period, BLOCK: tl.constexpr):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    same = tl.program_id(0) % period * BLOCK + tl.arange(0, BLOCK)
    tl.store(out_ptr + i, tl.load(x_ptr + i) + tl.load(w_ptr + same))


def normal(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(shape, generator=generator).to(dtype)


def near(got: torch.Tensor, wanted: torch.Tensor, tolerance: float):
    error = ((got.double() - wanted.double()).abs() / wanted.double().abs().clamp(min=1)).max()
    assert error <= tolerance, f"error {error:.3g} > {tolerance:.3g}"


# -- the interpreter ---------------------------------------------------------------------------


@jit
def float_kernel(out_ptr, value, BLOCK: tl.constexpr):
    tl.store(out_ptr + tl.arange(0, BLOCK), tl.zeros((BLOCK,), tl.float32) + value.to(tl.float32))


@jit
def named_kernel(out_ptr, BLOCK: constexpr):
    i = arange(0, BLOCK)
    store(out_ptr + i, where(i > 0, i, -1).to(tl.float32))


@jit
def swap_kernel(x_ptr, old_ptr, BLOCK: tl.constexpr):
    i = tl.arange(0, BLOCK)
    old = tl.load(old_ptr + i)
    tl.atomic_cas(x_ptr + i, old, tl.full((BLOCK,), 7.0, tl.bfloat16))


def test_a_number_and_a_block_make_a_mask():
    x = torch.randn(3, 5)
    out = torch.empty_like(x)
    rows_but_the_first_kernel[(3,)](x, out, 5, BLOCK=8)
    assert torch.equal(out, torch.cat((torch.full((1, 5), 7.0), x[:-1])))


def test_pointwise_bf16():
    x, y = normal(1000, dtype=BF16), normal(1001, dtype=BF16)[1:].contiguous()
    out = torch.empty_like(x)
    pointwise_kernel[(4,)](x, y, out, 1000, 256)
    a, b = x.float(), y.float()
    near(out, torch.where(a > b, a * b + a, b.abs() - a).clamp(min=-1.5), 1 / 64)


def test_rows_bf16():
    x = normal(8, 500, dtype=BF16)
    total, top = torch.empty(8, dtype=BF16), torch.empty(8, dtype=BF16)
    at, scan = torch.empty(8, dtype=torch.int32), torch.empty_like(x)
    rows_kernel[(8,)](x, total, top, at, scan, 500, 512)
    assert (total - x.double().sum(1)).abs().max() < 0.5
    assert torch.equal(top, x.max(1).values)
    assert torch.equal(at.long(), x.float().argmax(1))
    wanted = x.double().cumsum(1)
    assert (scan - wanted).abs().max() < 0.02 * wanted.abs().max()


def test_casts_round_to_nearest():
    x = normal(1024) * 100
    up, down, half = torch.empty(1024), torch.empty(1024, dtype=BF16), torch.empty(1024).half()
    zero = torch.empty(1024, dtype=BF16)
    cast_kernel[(1,)](x, up, down, half, zero, 1024)
    assert torch.equal(down, x.bfloat16())
    assert torch.equal(up, x.bfloat16().float())
    assert torch.equal(half, x.bfloat16().half())
    bits = (x.view(torch.int32) >> 16 << 16).view(torch.float32)
    assert torch.equal(zero.float(), bits)


def test_dot_bf16():
    a, b = normal(32, 64, dtype=BF16), normal(64, 32, dtype=BF16)
    c = torch.empty(32, 32)
    dot_kernel[(1,)](a, b, c, 32, 32, 64, "ieee")
    near(c, a.double() @ b.double(), 1e-5)


def test_dot_int8_is_exact():
    a = torch.randint(-128, 127, (32, 64), dtype=torch.int8)
    b = torch.randint(-128, 127, (64, 32), dtype=torch.int8)
    c = torch.empty((32, 32), dtype=torch.int32)
    dot_kernel[(1,)](a, b, c, 32, 32, 64, "ieee")
    assert torch.equal(c, a.int() @ b.int())


def test_fp32_dot_is_tf32_unless_told():
    a, b, c = normal(32, 64), normal(64, 32), torch.empty(32, 32)
    wanted = a.double() @ b.double()
    dot_kernel[(1,)](a, b, c, 32, 32, 64, "ieee")
    exact = (c - wanted).abs().max()
    dot_kernel[(1,)](a, b, c, 32, 32, 64, "tf32")
    rounded = (c - wanted).abs().max()
    assert exact < 1e-4 < rounded < 0.1, (exact, rounded)


def test_custom_reduction():
    x, out = normal(1024), torch.empty(1)
    logsumexp_kernel[(1,)](x, out, 1024)
    near(out, x.logsumexp(0, keepdim=True), 1e-5)


def test_custom_scan():
    x, out = 1 + normal(256) / 100, torch.empty(256)
    scan_kernel[(1,)](x, out, 256)
    near(out, x.cumprod(0), 1e-5)


def test_libdevice():
    x, out = normal(256), torch.empty(256)
    library_kernel[(1,)](x, out, 256)
    near(out, x.tanh() + x.erf() + x.square(), 1e-5)


def test_atomics_bf16():
    x = torch.ones(256, dtype=BF16)
    for dtype in (BF16, torch.float32):
        total = torch.zeros(4, dtype=dtype)
        atomic_kernel[(4,)](x.to(dtype), total, 64)
        assert total.tolist() == [64.0] * 4


def test_descriptors_bf16():
    x = normal(16, 64, dtype=BF16)
    y = torch.zeros_like(x)
    args = [TensorDescriptor.from_tensor(t, [16, 32]) for t in (x, y)]
    descriptor_kernel[(1,)](*args, 48, 32)  # half of the block lies beyond the edge
    assert torch.equal(y[:, 48:], x[:, 48:] * 2)
    assert not y[:, :48].any()


# -- bounds ------------------------------------------------------------------------------------


def fails(call: object, *words: str):
    with pytest.raises(OutOfBoundsError) as caught:
        call()  # type: ignore[operator]
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_load_past_the_end():
    x, out = normal(1000), torch.empty(1000)
    fails(lambda: unmasked_kernel[(4,)](x, out, 1000, 256), "load", "past the end", "24 of 256")


def test_store_before_the_start():
    fails(lambda: wild_store_kernel[(1,)](torch.empty(64), 64), "store", "before the start")


def test_atomic_past_the_end():
    fails(lambda: wild_atomic_kernel[(1,)](torch.zeros(16), 1 << 30), "atomic")


def test_masked_lanes_may_point_anywhere():
    x, out = normal(1000), torch.empty(1000)
    pointwise_kernel[(8,)](x, x, out, 1000, 256)


def test_views_reach_their_storage():
    x, out = normal(2048), torch.empty(1024)
    unmasked_kernel[(4,)](x[:1000], out, 1000, 256)
    assert torch.equal(out[:1000], x[:1000])


def test_tables_of_pointers():
    parts = [normal(64) + i for i in range(3)]
    table = torch.tensor([p.data_ptr() for p in parts])
    out = torch.empty(3, 64)
    table_kernel[(3,)](table, out, 64, memory=parts)
    assert torch.equal(out, torch.stack(parts))


def test_names_from_the_language():
    out = torch.zeros(4)
    named_kernel[(1,)](out, 4)
    assert torch.equal(out, torch.tensor([-1.0, 1.0, 2.0, 3.0])), out


def test_compare_and_swap_bf16():
    x = torch.tensor([1.5, 2.5], dtype=BF16)
    swap_kernel[(1,)](x, torch.tensor([1.5, 1.5], dtype=BF16), 2)
    assert x.tolist() == [7.0, 2.5], x


@jit
def bytes_kernel(x_ptr, out_ptr, SHIFT: tl.constexpr, BLOCK: tl.constexpr):
    i = tl.arange(0, BLOCK)
    p = (x_ptr + SHIFT + 4 * i).to(tl.pointer_type(tl.int32))
    tl.store(out_ptr + i, tl.load(p, mask=i % 3 != 1, other=7))


def test_loads_off_the_grid_of_elements():
    x = torch.arange(100, dtype=torch.uint8)
    for shift in (0, 1, 4):
        out = torch.zeros(16, dtype=torch.int32)
        bytes_kernel[(1,)](x, out, shift, 16)
        want = torch.frombuffer(bytearray(x.numpy()[shift:].tobytes()[:64]), dtype=torch.int32)
        want = want.clone()
        want[1::3] = 7
        assert torch.equal(out, want)


@jit
def crowd_kernel(x_ptr, out_ptr, M: tl.constexpr, N: tl.constexpr):
    i, j = tl.arange(0, M)[:, None], tl.arange(0, N)[None, :]
    x = tl.load(x_ptr + i * N + j)
    tl.store(out_ptr + (i * N + j) // 3, x, mask=(i + j) % 5 != 0)


def test_of_lanes_that_store_at_one_place_the_last_counts():
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


@jit
def either_kernel(x_ptr, y_ptr, out_ptr, BLOCK: tl.constexpr):
    i = tl.arange(0, BLOCK)
    p = tl.where(i % 2 == 0, (x_ptr + i).to(tl.int64), (y_ptr + i).to(tl.int64))
    p = p.to(tl.pointer_type(tl.float32))
    tl.store(out_ptr + i, tl.load(p))
    tl.store(p, tl.load(p) + 1)


def test_one_access_to_two_tensors():
    x, y, out = torch.arange(32.0), -torch.arange(32.0), torch.zeros(32)
    either_kernel[(1,)](x, y, out, 32)
    even = torch.arange(32) % 2 == 0
    assert torch.equal(out, torch.where(even, torch.arange(32.0), -torch.arange(32.0)))
    assert torch.equal(x, torch.arange(32.0) + even)
    assert torch.equal(y, -torch.arange(32.0) + ~even)


@jit
def tile_kernel(x_desc, out_ptr, row, col, M: tl.constexpr, N: tl.constexpr):
    i, j = tl.arange(0, M)[:, None], tl.arange(0, N)[None, :]
    tl.store(out_ptr + i * N + j, x_desc.load([row, col]))


def test_tiles_across_an_edge_are_filled_with_zeros():
    x = torch.arange(20 * 24.0).view(20, 24)
    padded = torch.nn.functional.pad(x, (8, 40, 8, 40))
    desc = TensorDescriptor.from_tensor(x, [16, 32])
    for row, col in ((0, 0), (-8, -4), (10, 20), (4, 8), (0, 24)):
        out = torch.full((16, 32), 9.0)
        tile_kernel[(1,)](desc, out, row, col, 16, 32)
        assert torch.equal(out, padded[row + 8 : row + 24, col + 8 : col + 40])


# -- the language ------------------------------------------------------------------------------


@jit
def loop_variable_kernel(x_ptr, out_ptr, n, BLOCK: tl.constexpr):
    acc = tl.zeros((BLOCK,), tl.float32)
    for j in range(tl.cdiv(n, BLOCK)):
        i = j.to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
        acc += tl.load(x_ptr + i, mask=i < n, other=0.0) * (j.dtype == tl.int32)
    tl.store(out_ptr, tl.sum(acc, 0))


def test_loop_variables_are_tensors():
    x, out = normal(1000), torch.empty(1)
    loop_variable_kernel[(1,)](x, out, 1000, 256)
    near(out, x.sum(0, keepdim=True), 1e-4)


@jit
def assembly_kernel(x_ptr, out_ptr, half_ptr, BLOCK: tl.constexpr):
    i = tl.arange(0, BLOCK)
    x = tl.load(x_ptr + i)
    y = tl.inline_asm_elementwise(
        "{ .reg .f32 t; ex2.approx.ftz.f32 t, $1; rcp.approx.f32 $0, t; }",
        "=f,f",
        [x],
        dtype=tl.float32,
        is_pure=True,
        pack=1,
    )
    pair = tl.inline_asm_elementwise(
        "cvt.rn.bf16x2.f32 $0, $2, $1;", "=r,f,f", [x], dtype=tl.bfloat16, is_pure=True, pack=2
    )
    tl.store(out_ptr + i, y)
    tl.store(half_ptr + i, pair)


def test_inline_assembly():
    x, out, half = normal(256), torch.empty(256), torch.empty(256, dtype=BF16)
    assembly_kernel[(1,)](x, out, half, 256)
    near(out, 1 / torch.exp2(x), 1e-5)
    assert torch.equal(half, x.to(BF16))


@jit
def barrier_kernel(part_ptr, out_ptr, count_ptr):
    here, programs = tl.program_id(0), tl.num_programs(0)
    tl.store(part_ptr + here, here.to(tl.float32))
    tl.atomic_add(count_ptr, 1, sem="release")
    while tl.atomic_add(count_ptr, 0, sem="acquire") < programs:
        pass
    tl.store(out_ptr + here, tl.load(part_ptr + programs - 1 - here))


def test_programs_wait_for_each_other():
    part, out, count = torch.zeros(8), torch.zeros(8), torch.zeros(1, dtype=torch.int32)
    barrier_kernel[(8,)](part, out, count, launch_cooperative_grid=True)
    assert torch.equal(out, torch.arange(7.0, -1.0, -1.0))


@jit
def early_kernel(out_ptr, n, step, BLOCK: tl.constexpr):
    if tl.program_id(0) >= n:
        return
    total = 0
    while total < 10:
        total += step
    if total > 11:
        total = -total
    tl.store(out_ptr + tl.program_id(0) * BLOCK + tl.arange(0, BLOCK), total)


def test_early_returns_and_loops_without_a_known_end():
    out = torch.zeros(4, 8, dtype=torch.int32)
    early_kernel[(4,)](out, 3, 4, 8)
    assert out.tolist() == [[-12] * 8] * 3 + [[0] * 8]


@jit
def integers_kernel(x_ptr, out_ptr, BLOCK: tl.constexpr):
    i = tl.arange(0, BLOCK)
    x = tl.load(x_ptr + i)
    wrapped = x * 1_000_003  # beyond 32 bits
    shifted = (x.to(tl.uint32, bitcast=True) >> 3).to(tl.int32, bitcast=True)
    tl.store(out_ptr + i, wrapped // 7 + wrapped % 5 + shifted + tl.umulhi(x, x))


def test_integers_wrap_and_round_towards_zero():
    x = torch.arange(-64, 64, dtype=torch.int32) * 1001
    out = torch.empty_like(x)
    integers_kernel[(1,)](x, out, 128)
    wrapped = x * 1_000_003
    wide = x.long() & 0xFFFFFFFF
    wanted = torch.div(wrapped, 7, rounding_mode="trunc") + torch.fmod(wrapped, 5)
    high = ((wide.double() * wide.double()).div(2.0**32)).floor()
    exact = torch.tensor([(int(w) * int(w)) >> 32 for w in wide])
    assert (exact - high).abs().max() <= 1
    wanted = wanted + (wide >> 3).int() + exact.to(torch.int32)
    assert torch.equal(out, wanted.int())


# -- the device's rules ------------------------------------------------------------------------


@jit
def specialised_kernel(out_ptr, one):
    if hasattr(one, "shape"):
        tl.store(out_ptr, 1.0)
    else:
        tl.store(out_ptr, 2.0)


def test_what_runs_is_what_was_compiled():
    out = torch.zeros(1)
    specialised_kernel[(1,)](out, 1)
    assert out.item() == 2.0, "an integer 1 is a constant"


@jit
def reversed_kernel(x_ptr, w_ptr, out_ptr, WAITS: tl.constexpr, BLOCK: tl.constexpr):
    i = tl.arange(0, BLOCK)
    tl.store(w_ptr + i, tl.load(x_ptr + i))
    if WAITS:
        tl.debug_barrier()
    tl.store(out_ptr + i, tl.load(w_ptr + BLOCK - 1 - i))


def test_reads_of_what_other_threads_store_need_a_barrier():
    x, w, out = normal(256), torch.zeros(256), torch.zeros(256)
    reversed_kernel[(1,)](x, w, out, True, 256)
    assert torch.equal(out, x.flip(0))
    reversed_kernel[(1,)](x, w, out, False, 256, num_warps=1)
    with pytest.raises(RaceError, match="no barrier"):
        reversed_kernel[(1,)](x, w, out, False, 256)


@jit
def hinted_kernel(x_ptr, out_ptr, cols, BLOCK: tl.constexpr):
    i = tl.arange(0, BLOCK)
    base = tl.multiple_of(tl.program_id(0) * cols, 16)
    tl.store(out_ptr + tl.program_id(0) * BLOCK + i, tl.load(x_ptr + base + i))


def test_broken_promises_of_alignment_fault():
    x, out = normal(4096), torch.zeros(4, 128)
    hinted_kernel[(4,)](x, out, 160, 128)
    assert torch.equal(out[3], x[480:608])
    with pytest.raises(MisalignedError, match="does not hold"):
        hinted_kernel[(4,)](x, out, 161, 128)


@jit
def spinning_kernel(x_ptr):
    while tl.atomic_add(x_ptr, 0.0) < 1.0:
        pass


def test_a_kernel_that_waits_for_ever_is_ended(monkeypatch):
    monkeypatch.setattr(execute, "SPINS", 50)
    with pytest.raises(execute.Deadlock, match="did not finish"):
        spinning_kernel[(2,)](torch.zeros(1))


@pytest.mark.parametrize(
    "text",
    [
        "module {", "module {\n  tt.func public @f() {\n    %0 = os.system \"x\" : i32\n  }\n}",
        "module {\n  tt.func public @f(%a: i32) {\n    %0 = arith.addi %a, %b : i32\n"
        "    tt.return\n  }\n}",
        "module {\n  tt.func public @f(%a: !tt.ptr<__import__>) {\n    tt.return\n  }\n}",
        "(" * 10_000,
    ],
)  # fmt: skip
def test_a_text_that_is_no_kernel_is_refused(text):
    with pytest.raises(UnknownText):
        program_of(text)
