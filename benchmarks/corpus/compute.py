"""Kernels that memory hardly bounds: double precision, spills, long loops, few programs, branches."""

import torch

from .entry import Family, Kernel, integers, normal, problem, rows_of


def poly64(x):
    """A polynomial of degree 24 in double precision, by Horner's rule."""
    y = torch.zeros_like(x)
    for i in range(25):
        y = y * x + (i + 1) / 25
    return y


def softmax64(x):
    """Softmax of every row in double precision."""
    return torch.softmax(x, dim=-1)


def product64(a, b):
    """a @ b in double precision."""
    return a @ b


def iterate(x):
    """200 steps of x = 0.995 x + 0.002 x^2 - 0.001."""
    for _ in range(200):
        x = 0.995 * x + 0.002 * x * x - 0.001
    return x


def mixtures(x):
    """Four times over: half of every value plus the mean of 1 / (1 + (i x / 10)^2), i to 16."""
    for _ in range(4):
        x = 0.5 * x + sum(1 / (1 + (x * (i / 10)) ** 2) for i in range(1, 17)) / 16
    return x


def powers(x, count):
    """Every row to a power of its own, from 0 to 97."""
    return torch.pow(x, count[:, None])


def pairs(x):
    """For points (n, 3) the sum over all others of 1 / (1 + distance^2)."""
    square = (x * x).sum(-1)
    return (1 / (1 + square[:, None] + square[None, :] - 2 * x @ x.T)).sum(-1)


def pairs_part(ranges, cast, x):
    """Some points' sums."""
    every, some = cast(x), cast(x[ranges[0]])
    far = (every * every).sum(-1)[None, :] + (some * some).sum(-1)[:, None] - 2 * some @ every.T
    return (1 / (1 + far)).sum(-1)


def vector(case, g):
    """Normal values in the case's dtype."""
    return (normal(g, case["n"], scale=0.5).to(case.torch_dtype),)


SMALL = ({"n": 1000}, {"n": 2100}, {"n": 64})
POLY = problem(
    "poly64",
    "x",
    poly64,
    vector,
    tiny=SMALL,
    bench={"n": 1 << 22},
    dtype="float64",
    moved=lambda case: 16.0 * case["n"],
    part=rows_of(poly64),
)
SOFTMAX = problem(
    "softmax64",
    "x",
    softmax64,
    lambda case, g: (normal(g, case["rows"], case["cols"], scale=2.0).double(),),
    tiny=({"rows": 3, "cols": 300}, {"rows": 5, "cols": 64}),
    bench={"rows": 2048, "cols": 2048},
    dtype="float64",
    moved=lambda case: 16.0 * case["rows"] * case["cols"],
    reduction=lambda case: case["cols"],
    part=rows_of(softmax64),
)
PRODUCT = problem(
    "product64",
    "a b",
    product64,
    lambda case, g: (
        normal(g, case["n"], case["n"]).double(),
        normal(g, case["n"], case["n"]).double(),
    ),
    tiny=({"n": 48}, {"n": 80}),
    bench={"n": 1024},
    dtype="float64",
    moved=lambda case: 24.0 * case["n"] ** 2,
    reduction=lambda case: case["n"],
    part=lambda ranges, cast, a, b: cast(a[ranges[0]]) @ cast(b[:, ranges[1]]),
)
ITERATE = problem(
    "iterate",
    "x",
    iterate,
    vector,
    tiny=SMALL,
    bench={"n": 1 << 22},
    moved=lambda case: 8.0 * case["n"],
    part=rows_of(iterate),
)
MIXTURES = problem(
    "mixtures",
    "x",
    mixtures,
    lambda case, g: (normal(g, case["n"], 64),),
    tiny=({"n": 16}, {"n": 40}),
    bench={"n": 1 << 15},
    moved=lambda case: 512.0 * case["n"],
    part=rows_of(mixtures),
)
POWERS = problem(
    "powers",
    "x count",
    powers,
    lambda case, g: (
        1 + normal(g, case["n"], 256, scale=0.01),
        (integers(g, 0, 100, case["n"]) ** 3 // 10000).int(),
    ),
    tiny=({"n": 20}, {"n": 41}),
    bench={"n": 1 << 14},
    dtypes={"count": "int32"},
    moved=lambda case: 2048.0 * case["n"],
    part=rows_of(powers),
)
PAIRS = problem(
    "pairs", "x", pairs, lambda case, g: (normal(g, case["n"], 3),), tiny=({"n": 100}, {"n": 257}),
    bench={"n": 16384}, moved=lambda case: 16.0 * case["n"], reduction=lambda case: case["n"],
    part=pairs_part,
)  # fmt: skip

KERNELS = (
    Kernel("poly64_block", POLY, """
@triton.jit
def kernel(x, out, n):
    i = tl.program_id(0) * _BLOCK + tl.arange(0, _BLOCK)
    v = tl.load(x + i, mask=i < n)
    y = tl.zeros((_BLOCK,), tl.float64)
    for k in tl.static_range(25):
        y = y * v + (k + 1) / 25
    tl.store(out + i, y, mask=i < n)

def poly64(x):
    out = torch.empty_like(x)
    kernel[(triton.cdiv(x.numel(), BLOCK),)](x, out, x.numel(), num_warps=WARPS)
    return out
""", {"BLOCK": (512, 128, 2048), "WARPS": (4, 2, 8)}),
    Kernel("softmax64_row", SOFTMAX, """
@triton.jit
def kernel(x, out, cols, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    i = tl.arange(0, BLOCK)
    v = tl.load(x + row * cols + i, mask=i < cols, other=-float("inf"))
    e = tl.exp(v - tl.max(v, axis=0))
    tl.store(out + row * cols + i, e / tl.sum(e, axis=0), mask=i < cols)

def softmax64(x):
    out = torch.empty_like(x)
    kernel[(x.shape[0],)](x, out, x.shape[1], triton.next_power_of_2(x.shape[1]), num_warps=WARPS)
    return out
""", {"WARPS": (8, 2, 4, 16)}, 4),
    Kernel("product64_tiles", PRODUCT, """
@triton.jit
def kernel(a, b, c, N):
    m = tl.program_id(0) * _TM + tl.arange(0, _TM)[:, None]
    n = tl.program_id(1) * _TM + tl.arange(0, _TM)[None, :]
    acc = tl.zeros((_TM, _TM), tl.float64)
    for start in range(0, N, _TK):
        k = start + tl.arange(0, _TK)
        x = tl.load(a + m * N + k[None, :], mask=(m < N) & (k[None, :] < N), other=0.0)
        y = tl.load(b + k[:, None] * N + n, mask=(k[:, None] < N) & (n < N), other=0.0)
        acc = tl.dot(x, y, acc, out_dtype=tl.float64)
    tl.store(c + m * N + n, acc, mask=(m < N) & (n < N))

def product64(a, b):
    N = a.shape[0]
    c = torch.empty_like(a)
    kernel[(triton.cdiv(N, TM), triton.cdiv(N, TM))](a, b, c, N, num_warps=WARPS)
    return c
""", {"TM": (32, 64), "TK": (16, 32), "WARPS": (4, 8)}, 4),
    Kernel("product64_by_sums", PRODUCT, """
@triton.jit
def kernel(a, b, c, N):
    m = tl.program_id(0) * _TM + tl.arange(0, _TM)[:, None]
    n = tl.program_id(1) * _TN + tl.arange(0, _TN)[None, :]
    acc = tl.zeros((_TM, _TN), tl.float64)
    for k in range(N):
        x = tl.load(a + m * N + k, mask=m < N, other=0.0)
        y = tl.load(b + k * N + n, mask=n < N, other=0.0)
        acc += x * y
    tl.store(c + m * N + n, acc, mask=(m < N) & (n < N))

def product64(a, b):
    N = a.shape[0]
    c = torch.empty_like(a)
    kernel[(triton.cdiv(N, TM), triton.cdiv(N, TN))](a, b, c, N, num_warps=WARPS)
    return c
""", {"TM": (32, 16), "TN": (64, 32, 128), "WARPS": (4, 8)}, 4),
    Kernel("iterate_loop", ITERATE, """
@triton.jit
def kernel(x, out, n):
    i = tl.program_id(0) * _BLOCK + tl.arange(0, _BLOCK)
    v = tl.load(x + i, mask=i < n)
    for _ in range(200):
        v = 0.995 * v + 0.002 * v * v - 0.001
    tl.store(out + i, v, mask=i < n)

def iterate(x):
    out = torch.empty_like(x)
    kernel[(triton.cdiv(x.numel(), BLOCK),)](x, out, x.numel(), num_warps=WARPS)
    return out
""", {"BLOCK": (512, 128, 1024, 4096), "WARPS": (4, 1, 2, 8)}, 6),
    Kernel("iterate_while", ITERATE, """
@triton.jit
def kernel(x, out, n):
    i = tl.program_id(0) * _BLOCK + tl.arange(0, _BLOCK)
    v = tl.load(x + i, mask=i < n)
    left = 200
    while left > 0:
        v = 0.995 * v + 0.002 * v * v - 0.001
        left -= 1
    tl.store(out + i, v, mask=i < n)

def iterate(x):
    out = torch.empty_like(x)
    kernel[(triton.cdiv(x.numel(), BLOCK),)](x, out, x.numel(), num_warps=WARPS)
    return out
""", {"BLOCK": (512, 128, 2048), "WARPS": (4, 2)}, 4),
    Kernel("iterate_few_programs", ITERATE, """
@triton.jit
def kernel(x, out, n):
    for start in range(tl.program_id(0) * _BLOCK, n, tl.num_programs(0) * _BLOCK):
        i = start + tl.arange(0, _BLOCK)
        v = tl.load(x + i, mask=i < n)
        for _ in range(200):
            v = 0.995 * v + 0.002 * v * v - 0.001
        tl.store(out + i, v, mask=i < n)

def iterate(x):
    out = torch.empty_like(x)
    kernel[(PROGRAMS,)](x, out, x.numel(), num_warps=WARPS)
    return out
""", {"PROGRAMS": (264, 64, 132, 200, 1056), "BLOCK": (1024, 512), "WARPS": (8, 4)}, 6),
    Kernel("mixtures_spill", MIXTURES, """
@triton.jit
def kernel(x, out, n):
    i = (tl.program_id(0) * _ROWS + tl.arange(0, _ROWS))[:, None] * 64 + tl.arange(0, 64)[None, :]
    y = tl.load(x + i, mask=i < n * 64, other=0.0)
    for _ in range(4):
        total = tl.zeros_like(y)
        for k in range(1, 17):
            part = y * (k / 10)
            total += 1 / (1 + part * part)
        y = 0.5 * y + total / 16
    tl.store(out + i, y, mask=i < n * 64)

def mixtures(x):
    out = torch.empty_like(x)
    kernel[(triton.cdiv(x.shape[0], ROWS),)](x, out, x.shape[0], num_warps=WARPS)
    return out
""", {"ROWS": (64, 32, 128, 256), "WARPS": (1, 2, 4)}, 6),
    Kernel("powers_rows", POWERS, """
@triton.jit
def kernel(x, count, out):
    row = tl.program_id(0)
    i = row * 256 + tl.arange(0, 256)
    v = tl.load(x + i)
    y = tl.full((256,), 1.0, tl.float32)
    for _ in range(tl.load(count + row)):
        y *= v
    tl.store(out + i, y)

def powers(x, count):
    out = torch.empty_like(x)
    kernel[(x.shape[0],)](x, count, out, num_warps=WARPS)
    return out
""", {"WARPS": (4, 1, 2, 8)}, 4),
    Kernel("powers_branch", POWERS, """
@triton.jit
def kernel(x, count, out, n):
    for row in range(tl.program_id(0), n, tl.num_programs(0)):
        i = row * 256 + tl.arange(0, 256)
        v = tl.load(x + i)
        times = tl.load(count + row)
        y = tl.full((256,), 1.0, tl.float32)
        if times > 0:
            for _ in range(times):
                y *= v
        tl.store(out + i, y)

def powers(x, count):
    out = torch.empty_like(x)
    kernel[(min(PROGRAMS, x.shape[0]),)](x, count, out, x.shape[0], num_warps=WARPS)
    return out
""", {"PROGRAMS": (1056, 132, 528), "WARPS": (2, 4)}, 4),
    Kernel("pairs_tiles", PAIRS, """
@triton.jit
def kernel(x, out, n):
    i = tl.program_id(0) * _ROWS + tl.arange(0, _ROWS)
    a = tl.load(x + i * 3, mask=i < n, other=0.0)[:, None]
    b = tl.load(x + i * 3 + 1, mask=i < n, other=0.0)[:, None]
    c = tl.load(x + i * 3 + 2, mask=i < n, other=0.0)[:, None]
    total = tl.zeros((_ROWS,), tl.float32)
    for start in range(0, n, _COLS):
        j = start + tl.arange(0, _COLS)
        u = tl.load(x + j * 3, mask=j < n, other=0.0)[None, :] - a
        v = tl.load(x + j * 3 + 1, mask=j < n, other=0.0)[None, :] - b
        w = tl.load(x + j * 3 + 2, mask=j < n, other=0.0)[None, :] - c
        near = 1 / (1 + u * u + v * v + w * w)
        total += tl.sum(tl.where(j[None, :] < n, near, 0.0), axis=1)
    tl.store(out + i, total, mask=i < n)

def pairs(x):
    out = x.new_empty((x.shape[0],))
    kernel[(triton.cdiv(x.shape[0], ROWS),)](x, out, x.shape[0], num_warps=WARPS)
    return out
""", {"ROWS": (32, 16, 64, 128), "COLS": (128, 32, 64), "WARPS": (4, 2, 8)}, 7),
)  # fmt: skip

FAMILY = Family("compute", True, KERNELS)
