"""Several launches, movement by PyTorch, host code that looks at values, small grids."""

import torch

from .entry import Family, Kernel, integers, normal, problem, rows_of


def mean_distance(x):
    """The mean of |x - mean(x)|, a single number."""
    return (x - x.mean()).abs().mean().reshape(1)


def scaled_by_largest(x):
    """x over its largest absolute value."""
    return x / x.abs().max()


def padded_double(x):
    """Twice x, with a border of 8 zeros on each side of both axes."""
    return torch.nn.functional.pad(2 * x, (8, 8, 8, 8))


def chain(x):
    """sqrt(1 + x^2), eight times over."""
    for _ in range(8):
        x = torch.sqrt(1 + x * x)
    return x


def chosen_rows(x, length):
    """The sum of the first length[0] values of every row."""
    seen = torch.arange(x.shape[1], device=x.device) < length
    return (x * seen).sum(-1)


def vector(case, g):
    """Normal values."""
    return (normal(g, case["n"]) + 0.3,)


SMALL = ({"n": 1000}, {"n": 4100}, {"n": 77})
MEAN = problem(
    "mean_distance",
    "x",
    mean_distance,
    vector,
    tiny=SMALL,
    bench={"n": 1 << 22},
    moved=lambda case: 4.0 * case["n"],
    reduction=lambda case: case["n"],
)
SCALED = problem(
    "scaled_by_largest",
    "x",
    scaled_by_largest,
    vector,
    tiny=SMALL,
    bench={"n": 1 << 23},
    moved=lambda case: 8.0 * case["n"],
)
SCALED_SMALL = problem(
    "scaled_small",
    "x",
    scaled_by_largest,
    vector,
    tiny=SMALL,
    bench={"n": 1 << 18},
    moved=lambda case: 8.0 * case["n"],
)
PADDED = problem(
    "padded_double",
    "x",
    padded_double,
    lambda case, g: (normal(g, case["n"], case["n"]),),
    tiny=({"n": 24}, {"n": 61}),
    bench={"n": 2896},
    moved=lambda case: 8.0 * case["n"] ** 2,
)
CHAIN = problem(
    "chain",
    "x",
    chain,
    vector,
    tiny=SMALL,
    bench={"n": 1 << 20},
    moved=lambda case: 8.0 * case["n"],
    part=rows_of(chain),
)
CHOSEN = problem(
    "chosen_rows", "x length", chosen_rows,
    lambda case, g: (normal(g, case["rows"], case["cols"]),
                     integers(g, case["cols"] // 2, case["cols"], 1).int()),
    tiny=({"rows": 5, "cols": 300}, {"rows": 8, "cols": 1000}), bench={"rows": 4096, "cols": 4096},
    dtypes={"length": "int32"}, moved=lambda case: 2.0 * case["rows"] * case["cols"],
    reduction=lambda case: case["cols"], part=rows_of(chosen_rows, 1),
)  # fmt: skip

KERNELS = (
    Kernel("mean_three_launches", MEAN, """
@triton.jit
def sums(x, shift, out, n):
    total = tl.zeros((_BLOCK,), tl.float32)
    mean = tl.load(shift)
    for start in range(tl.program_id(0) * _BLOCK, n, tl.num_programs(0) * _BLOCK):
        i = start + tl.arange(0, _BLOCK)
        v = tl.load(x + i, mask=i < n, other=0.0)
        total += tl.where(i < n, tl.where(mean == 0, v, tl.abs(v - mean)), 0.0)
    tl.store(out + tl.program_id(0), tl.sum(total, axis=0))

@triton.jit
def join(x, out, n, count, BLOCK: tl.constexpr):
    i = tl.arange(0, BLOCK)
    tl.store(out, tl.sum(tl.load(x + i, mask=i < count, other=0.0), axis=0) / n)

def mean_distance(x):
    n, block = x.numel(), triton.next_power_of_2(PROGRAMS)
    some = x.new_empty((PROGRAMS,))
    mean, out = x.new_zeros((1,)), x.new_empty((1,))
    sums[(PROGRAMS,)](x, mean, some, n, num_warps=WARPS)
    join[(1,)](some, mean, n, PROGRAMS, block)
    sums[(PROGRAMS,)](x, mean, some, n, num_warps=WARPS)
    join[(1,)](some, out, n, PROGRAMS, block)
    return out
""", {"PROGRAMS": (528, 132, 1056), "BLOCK": (1024, 4096), "WARPS": (4, 8)}),
    Kernel("largest_then_scale", SCALED, """
@triton.jit
def largest(x, out, n):
    i = tl.program_id(0) * _BLOCK + tl.arange(0, _BLOCK)
    tl.store(out + tl.program_id(0), tl.max(tl.abs(tl.load(x + i, mask=i < n, other=0.0)), axis=0))

@triton.jit
def scale(x, some, out, n, count):
    top = tl.zeros((1024,), tl.float32)
    for start in range(0, count, 1024):
        j = start + tl.arange(0, 1024)
        top = tl.maximum(top, tl.load(some + j, mask=j < count, other=0.0))
    top = tl.max(top, axis=0)
    i = tl.program_id(0) * _BLOCK + tl.arange(0, _BLOCK)
    tl.store(out + i, tl.load(x + i, mask=i < n) / top, mask=i < n)

def scaled_by_largest(x):
    n, programs = x.numel(), triton.cdiv(x.numel(), BLOCK)
    some, out = x.new_empty((programs,)), torch.empty_like(x)
    largest[(programs,)](x, some, n, num_warps=WARPS)
    scale[(programs,)](x, some, out, n, programs, num_warps=WARPS)
    return out
""", {"BLOCK": (4096, 1024, 16384), "WARPS": (8, 4, 16)}),
    Kernel("scale_by_item", SCALED_SMALL, """
@triton.jit
def largest(x, out, n):
    i = tl.program_id(0) * 65536 + tl.arange(0, 65536)
    tl.store(out + tl.program_id(0), tl.max(tl.abs(tl.load(x + i, mask=i < n, other=0.0)), axis=0))

@triton.jit
def scale(x, out, n, top):
    i = tl.program_id(0) * _BLOCK + tl.arange(0, _BLOCK)
    tl.store(out + i, tl.load(x + i, mask=i < n) / top, mask=i < n)

def scaled_small(x):
    n, out = x.numel(), torch.empty_like(x)
    some = x.new_empty((triton.cdiv(n, 65536),))
    largest[(triton.cdiv(n, 65536),)](x, some, n, num_warps=WARPS)
    top = max(some[i].item() for i in range(some.numel()))
    scale[(triton.cdiv(n, BLOCK),)](x, out, n, top, num_warps=WARPS)
    return out
""", {"BLOCK": (2048, 8192), "WARPS": (8, 4)}, 2),
    Kernel("pad_first", PADDED, """
@triton.jit
def kernel(x, out, n):
    i = tl.program_id(0) * _BLOCK + tl.arange(0, _BLOCK)
    tl.store(out + i, 2 * tl.load(x + i, mask=i < n), mask=i < n)

def padded_double(x):
    x = torch.nn.functional.pad(x, (8, 8, 8, 8))
    out = torch.empty_like(x)
    kernel[(triton.cdiv(x.numel(), BLOCK),)](x, out, x.numel(), num_warps=WARPS)
    return out
""", {"BLOCK": (1024, 4096), "WARPS": (4, 8)}, 3),
    Kernel("pad_in_place", PADDED, """
@triton.jit
def kernel(x, out, n):
    row = tl.program_id(0)
    for start in range(0, n + 16, _BLOCK):
        i = start + tl.arange(0, _BLOCK)
        inside = (i >= 8) & (i < n + 8) & (row >= 8) & (row < n + 8)
        v = tl.load(x + (row - 8) * n + i - 8, mask=inside, other=0.0)
        tl.store(out + row * (n + 16) + i, 2 * v, mask=i < n + 16)

def padded_double(x):
    n = x.shape[0]
    out = x.new_empty((n + 16, n + 16))
    kernel[(n + 16,)](x, out, n, num_warps=WARPS)
    return out
""", {"BLOCK": (1024, 256, 4096), "WARPS": (4, 2, 8)}),
    Kernel("chain_of_launches", CHAIN, """
@triton.jit
def kernel(x, out, n):
    i = tl.program_id(0) * _BLOCK + tl.arange(0, _BLOCK)
    v = tl.load(x + i, mask=i < n)
    for _ in tl.static_range(_STEPS):
        v = tl.sqrt(1 + v * v)
    tl.store(out + i, v, mask=i < n)

def chain(x):
    buffers = [torch.empty_like(x), torch.empty_like(x)]
    for step in range(8 // STEPS):
        out = buffers[step % 2]
        kernel[(triton.cdiv(x.numel(), BLOCK),)](x, out, x.numel(), num_warps=WARPS)
        x = out
    return x
""", {"STEPS": (1, 2, 4, 8), "BLOCK": (1024, 256), "WARPS": (4,)}, 6),
    Kernel("chosen_by_item", CHOSEN, """
@triton.jit
def kernel(x, out, cols, length):
    row = tl.program_id(0)
    total = tl.zeros((_BLOCK,), tl.float32)
    for start in range(0, length, _BLOCK):
        i = start + tl.arange(0, _BLOCK)
        total += tl.load(x + row * cols + i, mask=i < length, other=0.0)
    tl.store(out + row, tl.sum(total, axis=0))

def chosen_rows(x, length):
    out = x.new_empty((x.shape[0],))
    kernel[(x.shape[0],)](x, out, x.shape[1], length.item(), num_warps=WARPS)
    return out
""", {"BLOCK": (1024, 256), "WARPS": (4, 2)}, 2),
    Kernel("chosen_on_device", CHOSEN, """
@triton.jit
def kernel(x, length, out, cols):
    row = tl.program_id(0)
    end = tl.load(length)
    total = tl.zeros((_BLOCK,), tl.float32)
    for start in range(0, end, _BLOCK):
        i = start + tl.arange(0, _BLOCK)
        total += tl.load(x + row * cols + i, mask=i < end, other=0.0)
    tl.store(out + row, tl.sum(total, axis=0))

def chosen_rows(x, length):
    out = x.new_empty((x.shape[0],))
    kernel[(x.shape[0],)](x, length, out, x.shape[1], num_warps=WARPS)
    return out
""", {"BLOCK": (1024, 256, 4096), "WARPS": (4, 2, 8)}),
)  # fmt: skip

FAMILY = Family("launches", True, KERNELS)
