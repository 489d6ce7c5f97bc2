"""Sorting of rows, the largest few of them, ranks."""

import torch

from .entry import Family, Kernel, normal, problem, rows_of


def sorted_rows(x):
    """Every row in ascending order."""
    return torch.sort(x, dim=-1).values


def sorted_long(x):
    """Every row in ascending order; rows are long."""
    return torch.sort(x, dim=-1).values


def largest_eight(x):
    """The eight largest values of every row, in descending order."""
    return torch.topk(x, 8, dim=-1).values


def rank_in_row(x):
    """How many values of its row are smaller than each."""
    order = torch.argsort(torch.argsort(x, dim=-1), dim=-1)
    return order.int()


def median_row(x):
    """The lower median of every row."""
    return torch.sort(x, dim=-1).values[:, (x.shape[1] - 1) // 2]


def matrix(case, g):
    """Normal values in the case's dtype."""
    return (normal(g, case["rows"], case["cols"]).to(case.torch_dtype),)


def sort_problem(name, reference, bench, dtype="float32", result=1.0, tiny=(128, 64)):
    """A task on (rows, cols), cols a power of two."""
    size = 4 if dtype == "float32" else 2
    return problem(
        name,
        "x",
        reference,
        matrix,
        tiny=tuple({"rows": 3 + i, "cols": c} for i, c in enumerate(tiny)),
        bench=bench,
        dtype=dtype,
        part=rows_of(reference),
        moved=lambda case: size * (1 + result) * case["rows"] * case["cols"],
    )


ROWS = sort_problem("sorted_rows", sorted_rows, {"rows": 16384, "cols": 256})
LONG = sort_problem(
    "sorted_long", sorted_long, {"rows": 1024, "cols": 4096}, "float32", 1.0, (1024, 512)
)
EIGHT = sort_problem("largest_eight", largest_eight, {"rows": 8192, "cols": 1024}, result=0.0)
RANK = sort_problem("rank_in_row", rank_in_row, {"rows": 4096, "cols": 256})
MEDIAN = sort_problem("median_row", median_row, {"rows": 8192, "cols": 512}, result=0.0)

SORT = """
@triton.jit
def kernel(x, out, rows, C: tl.constexpr):
    r = tl.program_id(0) * _ROWS + tl.arange(0, _ROWS)[:, None]
    i = tl.arange(0, C)[None, :]
    v = tl.load(x + r * C + i, mask=r < rows, other=0.0)
    tl.store(out + r * C + i, tl.sort(v, 1), mask=r < rows)

def NAME(x):
    out = torch.empty_like(x)
    kernel[(triton.cdiv(x.shape[0], ROWS),)](x, out, x.shape[0], x.shape[1], num_warps=WARPS)
    return out
"""

KERNELS = (
    Kernel("sort_block", ROWS, SORT.replace("NAME", "sorted_rows"),
           {"ROWS": (1, 2, 8), "WARPS": (1, 2, 4, 8)}, 8),
    Kernel("sort_long_rows", LONG, SORT.replace("NAME", "sorted_long"),
           {"ROWS": (1,), "WARPS": (8, 4, 16)}, 3),
    Kernel("eight_by_extrema", EIGHT, """
@triton.jit
def kernel(x, out, rows, C: tl.constexpr):
    row = tl.program_id(0)
    i = tl.arange(0, C)
    v = tl.load(x + row * C + i)
    for k in tl.static_range(8):
        top = tl.max(v, axis=0)
        tl.store(out + row * 8 + k, top)
        first = tl.min(tl.where(v == top, i, C), axis=0)
        v = tl.where(i == first, -float("inf"), v)

def largest_eight(x):
    out = x.new_empty((x.shape[0], 8))
    kernel[(x.shape[0],)](x, out, x.shape[0], x.shape[1], num_warps=WARPS)
    return out
""", {"WARPS": (4, 1, 2, 8)}, 4),
    Kernel("eight_by_topk", EIGHT, """
@triton.jit
def kernel(x, out, rows, C: tl.constexpr):
    r = tl.program_id(0) * _ROWS + tl.arange(0, _ROWS)[:, None]
    v = tl.load(x + r * C + tl.arange(0, C)[None, :], mask=r < rows, other=0.0)
    tl.store(out + r * 8 + tl.arange(0, 8)[None, :], tl.topk(v, 8), mask=r < rows)

def largest_eight(x):
    out = x.new_empty((x.shape[0], 8))
    kernel[(triton.cdiv(x.shape[0], ROWS),)](x, out, x.shape[0], x.shape[1], num_warps=WARPS)
    return out
""", {"ROWS": (1, 2, 4), "WARPS": (1, 2, 4)}, 5),
    Kernel("eight_by_sort", EIGHT, """
@triton.jit
def kernel(x, out, rows, C: tl.constexpr):
    row = tl.program_id(0)
    i = tl.arange(0, C)
    v = tl.sort(tl.load(x + row * C + i), 0, True)
    tl.store(out + row * 8 + i, v, mask=i < 8)

def largest_eight(x):
    out = x.new_empty((x.shape[0], 8))
    kernel[(x.shape[0],)](x, out, x.shape[0], x.shape[1], num_warps=WARPS)
    return out
""", {"WARPS": (4, 1, 2, 8)}, 3),
    Kernel("rank_by_counting", RANK, """
@triton.jit
def kernel(x, out, C: tl.constexpr):
    row = tl.program_id(0)
    i = tl.arange(0, C)
    v = tl.load(x + row * C + i)
    count = tl.zeros((C,), tl.int32)
    for start in range(0, C, _BLOCK):
        w = tl.load(x + row * C + start + tl.arange(0, _BLOCK))
        count += tl.sum((w[None, :] < v[:, None]).to(tl.int32), axis=1)
    tl.store(out + row * C + i, count)

def rank_in_row(x):
    out = torch.empty_like(x, dtype=torch.int32)
    kernel[(x.shape[0],)](x, out, x.shape[1], num_warps=WARPS)
    return out
""", {"BLOCK": (32, 16, 64), "WARPS": (4, 2, 8)}, 6),
    Kernel("median_by_sort", MEDIAN, """
@triton.jit
def kernel(x, out, C: tl.constexpr):
    row = tl.program_id(0)
    i = tl.arange(0, C)
    v = tl.sort(tl.load(x + row * C + i), 0)
    tl.store(out + row, tl.sum(tl.where(i == (C - 1) // 2, v, 0.0), axis=0))

def median_row(x):
    out = x.new_empty((x.shape[0],))
    kernel[(x.shape[0],)](x, out, x.shape[1], num_warps=WARPS)
    return out
""", {"WARPS": (2, 1, 4, 8)}, 4),
    Kernel("median_by_halving", MEDIAN, """
@triton.jit
def kernel(x, out, C: tl.constexpr):
    row = tl.program_id(0)
    v = tl.load(x + row * C + tl.arange(0, C))
    bits = v.to(tl.int32, bitcast=True)
    key = tl.where(bits < 0, bits ^ 0x7FFFFFFF, bits)
    low = tl.min(key, axis=0).to(tl.int64)
    high = tl.max(key, axis=0).to(tl.int64)
    while low < high:
        middle = (low + high) >> 1
        count = tl.sum((key.to(tl.int64) <= middle).to(tl.int32), axis=0)
        enough = count * 2 >= C
        high = tl.where(enough, middle, high)
        low = tl.where(enough, low, middle + 1)
    found = low.to(tl.int32)
    found = tl.where(found < 0, found ^ 0x7FFFFFFF, found)
    tl.store(out + row, found.to(tl.float32, bitcast=True))

def median_row(x):
    out = x.new_empty((x.shape[0],))
    kernel[(x.shape[0],)](x, out, x.shape[1], num_warps=WARPS)
    return out
""", {"WARPS": (2, 1, 4)}, 3),
)  # fmt: skip

FAMILY = Family("sort and top-k", False, KERNELS)
