"""Split sums and atomics: split-K products, histograms, scattered sums, counters."""

import torch

from .entry import Family, Kernel, integers, normal, problem


def deep_product(a, b):
    """a @ b of small results and long sums."""
    return a @ b


def total_sum(x):
    """The sum of all values, as one number in a vector."""
    return x.sum().reshape(1)


def counts(x):
    """How often each of 256 values occurs."""
    return torch.zeros(256, dtype=torch.int32, device=x.device).scatter_add_(
        0, x.long(), torch.ones_like(x))  # fmt: skip


def sums_by_key(x, key):
    """For each of 4,096 keys the sum of the rows of x that have it."""
    return torch.zeros(4096, x.shape[1], dtype=x.dtype, device=x.device).index_add_(0, key, x)


def column_totals(x):
    """The sum of every column."""
    return x.sum(dim=0)


def largest_by_key(x, key):
    """For each of 1,024 keys the largest of the integers that have it, or 0."""
    return torch.zeros(1024, dtype=torch.int32, device=x.device).scatter_reduce_(
        0, key, x, "amax")  # fmt: skip


DEEP = problem(
    "deep_product",
    "a b",
    deep_product,
    lambda case, g: (
        normal(g, case["m"], case["k"]).half(),
        normal(g, case["k"], case["n"]).half(),
    ),
    tiny=({"m": 64, "n": 64, "k": 512}, {"m": 128, "n": 64, "k": 256}),
    bench={"m": 256, "n": 512, "k": 16384},
    dtype="float16",
    matrix=True,
    flops=lambda case: 2.0 * case["m"] * case["n"] * case["k"],
    reduction=lambda case: case["k"],
    moved=lambda case: 2.0 * (case["m"] + case["n"]) * case["k"],
)
TOTAL = problem(
    "total_sum",
    "x",
    total_sum,
    lambda case, g: (normal(g, case["n"]) + 0.5,),
    tiny=({"n": 5000}, {"n": 1030}),
    bench={"n": 1 << 24},
    moved=lambda case: 4.0 * case["n"],
    reduction=lambda case: case["n"],
)
COUNTS = problem(
    "counts",
    "x",
    counts,
    lambda case, g: (integers(g, 0, 256, case["n"]).int(),),
    tiny=({"n": 5000}, {"n": 4096}),
    bench={"n": 1 << 22},
    dtype="int32",
    moved=lambda case: 4.0 * case["n"],
)
KEYS = problem(
    "sums_by_key",
    "x key",
    sums_by_key,
    lambda case, g: (normal(g, case["rows"], case["cols"]), integers(g, 0, 4096, case["rows"])),
    tiny=({"rows": 60, "cols": 64}, {"rows": 33, "cols": 128}),
    bench={"rows": 65536, "cols": 64},
    dtypes={"key": "int64"},
    moved=lambda case: 4.0 * case["rows"] * case["cols"],
    reduction=lambda case: 64,
)
COLUMNS = problem(
    "column_totals",
    "x",
    column_totals,
    lambda case, g: (normal(g, case["rows"], case["cols"]),),
    tiny=({"rows": 300, "cols": 64}, {"rows": 129, "cols": 200}),
    bench={"rows": 32768, "cols": 512},
    moved=lambda case: 4.0 * case["rows"] * case["cols"],
    reduction=lambda case: case["rows"],
    part=lambda ranges, cast, x: cast(x[:, ranges[0]]).sum(dim=0),
)
LARGEST = problem(
    "largest_by_key", "x key", largest_by_key,
    lambda case, g: (integers(g, 0, 1 << 20, case["n"]).int(), integers(g, 0, 1024, case["n"])),
    tiny=({"n": 5000}, {"n": 2100}), bench={"n": 1 << 21}, dtype="int32", dtypes={"key": "int64"},
    moved=lambda case: 12.0 * case["n"],
)  # fmt: skip

TILE = """
    m = tl.program_id(0) * _TM + tl.arange(0, _TM)[:, None]
    n = tl.program_id(1) * _TN + tl.arange(0, _TN)[None, :]
    acc = tl.zeros((_TM, _TN), tl.float32)
    for start in range(tl.program_id(2) * _TK, K, _SPLIT * _TK):
        k = start + tl.arange(0, _TK)
        x = tl.load(a + m * K + k[None, :], mask=(m < M) & (k[None, :] < K), other=0.0)
        y = tl.load(b + k[:, None] * N + n, mask=(k[:, None] < K) & (n < N), other=0.0)
        acc = tl.dot(x, y, acc)
"""
SIZES = {
    "TM": (64, 128),
    "TN": (64, 128),
    "TK": (64, 32, 128),
    "SPLIT": (8, 2, 4, 16),
    "WARPS": (4, 8),
}

KERNELS = (
    Kernel("deep_by_atomics", DEEP, """
@triton.jit
def kernel(a, b, c, M, N, K):""" + TILE + """
    tl.atomic_add(c + m * N + n, acc, mask=(m < M) & (n < N), sem="relaxed")

@triton.jit
def narrow(x, out, n):
    i = tl.program_id(0) * 1024 + tl.arange(0, 1024)
    tl.store(out + i, tl.load(x + i, mask=i < n).to(tl.float16), mask=i < n)

def deep_product(a, b):
    (M, K), N = a.shape, b.shape[1]
    c = torch.zeros((M, N), dtype=torch.float32, device=a.device)
    out = a.new_empty((M, N))
    kernel[(triton.cdiv(M, TM), triton.cdiv(N, TN), SPLIT)](a, b, c, M, N, K, num_warps=WARPS)
    narrow[(triton.cdiv(M * N, 1024),)](c, out, M * N)
    return out
""", SIZES, 8),
    Kernel("deep_two_launches", DEEP, """
@triton.jit
def kernel(a, b, c, M, N, K):""" + TILE + """
    tl.store(c + (tl.program_id(2) * M + m) * N + n, acc, mask=(m < M) & (n < N))

@triton.jit
def join(x, out, n):
    i = tl.program_id(0) * 256 + tl.arange(0, 256)
    total = tl.zeros((256,), tl.float32)
    for s in range(_SPLIT):
        total += tl.load(x + s * n + i, mask=i < n, other=0.0)
    tl.store(out + i, total.to(tl.float16), mask=i < n)

def deep_product(a, b):
    (M, K), N = a.shape, b.shape[1]
    c = torch.empty((SPLIT, M, N), dtype=torch.float32, device=a.device)
    out = a.new_empty((M, N))
    kernel[(triton.cdiv(M, TM), triton.cdiv(N, TN), SPLIT)](a, b, c, M, N, K, num_warps=WARPS)
    join[(triton.cdiv(M * N, 256),)](c, out, M * N)
    return out
""", SIZES, 8),
    Kernel("sum_by_atomics", TOTAL, """
@triton.jit
def kernel(x, out, n):
    i = tl.program_id(0) * _BLOCK + tl.arange(0, _BLOCK)
    tl.atomic_add(out, tl.sum(tl.load(x + i, mask=i < n, other=0.0), axis=0))

def total_sum(x):
    out = x.new_zeros((1,))
    kernel[(triton.cdiv(x.numel(), BLOCK),)](x, out, x.numel(), num_warps=WARPS)
    return out
""", {"BLOCK": (4096, 1024, 2048, 16384), "WARPS": (4, 8)}, 6),
    Kernel("sum_few_atomics", TOTAL, """
@triton.jit
def kernel(x, out, n):
    total = tl.zeros((_BLOCK,), tl.float32)
    for start in range(tl.program_id(0) * _BLOCK, n, tl.num_programs(0) * _BLOCK):
        i = start + tl.arange(0, _BLOCK)
        total += tl.load(x + i, mask=i < n, other=0.0)
    tl.atomic_add(out, tl.sum(total, axis=0))

def total_sum(x):
    out = x.new_zeros((1,))
    kernel[(PROGRAMS,)](x, out, x.numel(), num_warps=WARPS)
    return out
""", {"PROGRAMS": (528, 132, 1056), "BLOCK": (4096, 1024), "WARPS": (8, 4)}, 5),
    Kernel("counts_by_atomics", COUNTS, """
@triton.jit
def kernel(x, out, n):
    i = tl.program_id(0) * _BLOCK + tl.arange(0, _BLOCK)
    tl.atomic_add(out + tl.load(x + i, mask=i < n, other=0), 1, mask=i < n, sem="relaxed")

def counts(x):
    out = torch.zeros((256,), dtype=torch.int32, device=x.device)
    kernel[(triton.cdiv(x.numel(), BLOCK),)](x, out, x.numel(), num_warps=WARPS)
    return out
""", {"BLOCK": (1024, 4096), "WARPS": (4, 8)}, 3),
    Kernel("counts_by_histograms", COUNTS, """
@triton.jit
def kernel(x, out, n):
    total = tl.zeros((256,), tl.int32)
    for start in range(tl.program_id(0) * _BLOCK, n, tl.num_programs(0) * _BLOCK):
        i = start + tl.arange(0, _BLOCK)
        total += tl.histogram(tl.load(x + i, mask=i < n, other=0), 256, mask=i < n)
    tl.atomic_add(out + tl.arange(0, 256), total, sem="relaxed")

def counts(x):
    out = torch.zeros((256,), dtype=torch.int32, device=x.device)
    kernel[(PROGRAMS,)](x, out, x.numel(), num_warps=WARPS)
    return out
""", {"PROGRAMS": (528, 132, 2112), "BLOCK": (2048, 1024), "WARPS": (4, 8)}, 5),
    Kernel("keys_scattered", KEYS, """
@triton.jit
def kernel(x, key, out, rows, C: tl.constexpr):
    r = tl.program_id(0) * _ROWS + tl.arange(0, _ROWS)
    to = tl.load(key + r, mask=r < rows, other=0)[:, None] * C
    i = tl.arange(0, C)[None, :]
    v = tl.load(x + r[:, None] * C + i, mask=r[:, None] < rows, other=0.0)
    tl.atomic_add(out + to + i, v, mask=r[:, None] < rows, sem="relaxed")

def sums_by_key(x, key):
    rows, cols = x.shape
    out = x.new_zeros((4096, cols))
    kernel[(triton.cdiv(rows, ROWS),)](x, key, out, rows, cols, num_warps=WARPS)
    return out
""", {"ROWS": (16, 4, 64), "WARPS": (4, 2, 8)}, 6),
    Kernel("totals_by_atomics", COLUMNS, """
@triton.jit
def kernel(x, out, rows, cols):
    r = tl.program_id(0) * _ROWS + tl.arange(0, _ROWS)[:, None]
    c = tl.program_id(1) * _COLS + tl.arange(0, _COLS)[None, :]
    v = tl.load(x + r * cols + c, mask=(r < rows) & (c < cols), other=0.0)
    c = tl.program_id(1) * _COLS + tl.arange(0, _COLS)
    tl.atomic_add(out + c, tl.sum(v, axis=0), mask=c < cols, sem="relaxed")

def column_totals(x):
    rows, cols = x.shape
    out = x.new_zeros((cols,))
    kernel[(triton.cdiv(rows, ROWS), triton.cdiv(cols, COLS))](x, out, rows, cols, num_warps=WARPS)
    return out
""", {"ROWS": (64, 16, 32, 128), "COLS": (64, 32, 128), "WARPS": (4, 8)}, 7),
    Kernel("largest_atomics", LARGEST, """
@triton.jit
def kernel(x, key, out, n):
    i = tl.program_id(0) * _BLOCK + tl.arange(0, _BLOCK)
    k = tl.load(key + i, mask=i < n, other=0)
    tl.atomic_max(out + k, tl.load(x + i, mask=i < n, other=0), mask=i < n, sem="relaxed")

def largest_by_key(x, key):
    out = torch.zeros((1024,), dtype=torch.int32, device=x.device)
    kernel[(triton.cdiv(x.numel(), BLOCK),)](x, key, out, x.numel(), num_warps=WARPS)
    return out
""", {"BLOCK": (1024, 256, 4096), "WARPS": (4, 8)}, 4),
)  # fmt: skip

FAMILY = Family("split-K and atomics", False, KERNELS)
