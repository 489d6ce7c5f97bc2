"""Gathers and scatters: rows and values by index, within a program, in and out of order."""

import torch

from .entry import Family, Kernel, integers, normal, problem, rows_of


def table_rows(table, index):
    """table[index], whole rows."""
    return table[index]


def bag_sum(table, index):
    """The sum of the 16 rows of the table that each row of index names."""
    return table[index.flatten()].reshape(*index.shape, table.shape[1]).sum(1)


def values_by_index(x, index):
    """x[index], single values of a vector."""
    return x[index]


def columns_by_index(x, index):
    """x[i, index[i, j]]: each row in an order of its own."""
    return torch.gather(x, 1, index)


def placed_rows(x, place):
    """out[place[i]] = x[i], where place is a permutation."""
    out = torch.empty_like(x)
    out[place] = x
    return out


def sparse_product(value, column, dense):
    """A matrix of 32 values a row, given by their columns, times a dense matrix."""
    return (value[:, :, None] * dense[column.flatten()].reshape(*column.shape, -1)).sum(1)


TABLE = problem(
    "table_rows",
    "table index",
    table_rows,
    lambda case, g: (
        normal(g, case["size"], case["dim"]).bfloat16(),
        integers(g, 0, case["size"], case["count"]),
    ),
    tiny=({"size": 50, "dim": 64, "count": 20}, {"size": 9, "dim": 200, "count": 33}),
    bench={"size": 50000, "dim": 1024, "count": 16384},
    dtype="bfloat16",
    dtypes={"index": "int64"},
    moved=lambda case: 2.0 * case["dim"] * case["count"],
    part=rows_of(table_rows, 0),
)
BAG = problem(
    "bag_sum",
    "table index",
    bag_sum,
    lambda case, g: (
        normal(g, case["size"], case["dim"]),
        integers(g, 0, case["size"], case["count"], 16),
    ),
    tiny=({"size": 50, "dim": 64, "count": 20}, {"size": 90, "dim": 128, "count": 7}),
    bench={"size": 200000, "dim": 128, "count": 8192},
    dtypes={"index": "int64"},
    moved=lambda case: 4.0 * case["dim"] * case["count"],
    reduction=lambda case: 16,
    part=rows_of(bag_sum, 0),
)
VALUES = problem(
    "values_by_index",
    "x index",
    values_by_index,
    lambda case, g: (normal(g, case["size"]), integers(g, 0, case["size"], case["count"]).int()),
    tiny=({"size": 500, "count": 3000}, {"size": 4000, "count": 900}),
    bench={"size": 1 << 22, "count": 1 << 22},
    dtypes={"index": "int32"},
    moved=lambda case: 8.0 * case["count"],
    part=rows_of(values_by_index, 0),
)
COLUMNS = problem(
    "columns_by_index",
    "x index",
    columns_by_index,
    lambda case, g: (
        normal(g, case["rows"], case["cols"]),
        integers(g, 0, case["cols"], case["rows"], case["cols"]),
    ),
    tiny=({"rows": 5, "cols": 128}, {"rows": 3, "cols": 512}),
    bench={"rows": 4096, "cols": 1024},
    dtypes={"index": "int64"},
    moved=lambda case: 12.0 * case["rows"] * case["cols"],
    part=rows_of(columns_by_index),
)
PLACED = problem(
    "placed_rows",
    "x place",
    placed_rows,
    lambda case, g: (normal(g, case["rows"], case["cols"]), torch.argsort(normal(g, case["rows"]))),
    tiny=({"rows": 50, "cols": 70}, {"rows": 33, "cols": 130}),
    bench={"rows": 32768, "cols": 256},
    dtypes={"place": "int64"},
    moved=lambda case: 8.0 * case["rows"] * case["cols"],
)
SPARSE = problem(
    "sparse_product", "value column dense", sparse_product,
    lambda case, g: (normal(g, case["rows"], 32), integers(g, 0, case["inner"], case["rows"], 32),
                     normal(g, case["inner"], case["cols"])),
    tiny=({"rows": 20, "inner": 50, "cols": 64}, {"rows": 9, "inner": 100, "cols": 128}),
    bench={"rows": 8192, "inner": 8192, "cols": 128}, dtypes={"column": "int64"},
    moved=lambda case: 4.0 * case["rows"] * case["cols"], reduction=lambda case: 32,
    part=rows_of(sparse_product, 2),
)  # fmt: skip

KERNELS = (
    Kernel("table_program_a_row", TABLE, """
@triton.jit
def kernel(table, index, out, dim):
    at = tl.load(index + tl.program_id(0)) * dim
    for start in range(0, dim, _BLOCK):
        i = start + tl.arange(0, _BLOCK)
        tl.store(out + tl.program_id(0) * dim + i, tl.load(table + at + i, mask=i < dim), mask=i < dim)

def table_rows(table, index):
    out = table.new_empty((index.numel(), table.shape[1]))
    kernel[(index.numel(),)](table, index, out, table.shape[1], num_warps=WARPS)
    return out
""", {"BLOCK": (1024, 128, 256), "WARPS": (4, 1, 2)}),
    Kernel("table_tiles", TABLE, """
@triton.jit
def kernel(table, index, out, count, dim):
    r = tl.program_id(0) * _ROWS + tl.arange(0, _ROWS)
    at = tl.load(index + r, mask=r < count, other=0)[:, None] * dim
    c = tl.program_id(1) * _COLS + tl.arange(0, _COLS)[None, :]
    mask = (r[:, None] < count) & (c < dim)
    tl.store(out + r[:, None] * dim + c, tl.load(table + at + c, mask=mask), mask=mask)

def table_rows(table, index):
    count, dim = index.numel(), table.shape[1]
    out = table.new_empty((count, dim))
    kernel[(triton.cdiv(count, ROWS), triton.cdiv(dim, COLS))](table, index, out, count, dim, num_warps=WARPS)
    return out
""", {"ROWS": (16, 4, 64), "COLS": (128, 32, 512), "WARPS": (4, 8)}, 6),
    Kernel("bag_loop", BAG, """
@triton.jit
def kernel(table, index, out, D: tl.constexpr):
    i = tl.arange(0, D)
    total = tl.zeros((D,), tl.float32)
    for k in range(16):
        total += tl.load(table + tl.load(index + tl.program_id(0) * 16 + k) * D + i)
    tl.store(out + tl.program_id(0) * D + i, total)

def bag_sum(table, index):
    out = table.new_empty((index.shape[0], table.shape[1]))
    kernel[(index.shape[0],)](table, index, out, table.shape[1], num_warps=WARPS)
    return out
""", {"WARPS": (1, 2, 4)}, 3),
    Kernel("bag_block", BAG, """
@triton.jit
def kernel(table, index, out, count, D: tl.constexpr):
    for bag in range(tl.program_id(0), count, tl.num_programs(0)):
        at = tl.load(index + bag * 16 + tl.arange(0, 16))[:, None] * D
        i = tl.arange(0, D)[None, :]
        tl.store(out + bag * D + tl.arange(0, D), tl.sum(tl.load(table + at + i), axis=0))

def bag_sum(table, index):
    out = table.new_empty((index.shape[0], table.shape[1]))
    kernel[(min(PROGRAMS, index.shape[0]),)](table, index, out, index.shape[0], table.shape[1], num_warps=WARPS)
    return out
""", {"PROGRAMS": (100000, 1056, 264), "WARPS": (4, 1, 2)}, 6),
    Kernel("values_block", VALUES, """
@triton.jit
def kernel(x, index, out, n):
    i = tl.program_id(0) * _BLOCK + tl.arange(0, _BLOCK)
    at = tl.load(index + i, mask=i < n, other=0)
    tl.store(out + i, tl.load(x + at, mask=i < n), mask=i < n)

def values_by_index(x, index):
    out = x.new_empty(index.shape)
    kernel[(triton.cdiv(index.numel(), BLOCK),)](x, index, out, index.numel(), num_warps=WARPS)
    return out
""", {"BLOCK": (1024, 256, 4096), "WARPS": (4, 2, 8)}, 6),
    Kernel("columns_from_memory", COLUMNS, """
@triton.jit
def kernel(x, index, out, C: tl.constexpr):
    at = tl.program_id(0) * C + tl.arange(0, C)
    i = tl.load(index + at)
    tl.store(out + at, tl.load(x + tl.program_id(0) * C + i))

def columns_by_index(x, index):
    out = torch.empty_like(x)
    kernel[(x.shape[0],)](x, index, out, x.shape[1], num_warps=WARPS)
    return out
""", {"WARPS": (4, 1, 2, 8)}, 4),
    Kernel("columns_on_chip", COLUMNS, """
@triton.jit
def kernel(x, index, out, C: tl.constexpr):
    at = tl.program_id(0) * C + tl.arange(0, C)
    tl.store(out + at, tl.gather(tl.load(x + at), tl.load(index + at).to(tl.int32), 0))

def columns_by_index(x, index):
    out = torch.empty_like(x)
    kernel[(x.shape[0],)](x, index, out, x.shape[1], num_warps=WARPS)
    return out
""", {"WARPS": (4, 1, 2, 8)}, 4),
    Kernel("placed_scatter", PLACED, """
@triton.jit
def kernel(x, place, out, rows, cols):
    r = tl.program_id(0) * _ROWS + tl.arange(0, _ROWS)
    to = tl.load(place + r, mask=r < rows, other=0)
    for start in range(0, cols, _COLS):
        c = start + tl.arange(0, _COLS)[None, :]
        mask = (r[:, None] < rows) & (c < cols)
        tl.store(out + to[:, None] * cols + c, tl.load(x + r[:, None] * cols + c, mask=mask), mask=mask)

def placed_rows(x, place):
    out = torch.empty_like(x)
    kernel[(triton.cdiv(x.shape[0], ROWS),)](x, place, out, *x.shape, num_warps=WARPS)
    return out
""", {"ROWS": (8, 1, 32), "COLS": (256, 32, 64), "WARPS": (4, 2, 8)}, 7),
    Kernel("sparse_rows", SPARSE, """
@triton.jit
def kernel(value, column, dense, out, cols):
    row = tl.program_id(0)
    c = tl.program_id(1) * _COLS + tl.arange(0, _COLS)
    total = tl.zeros((_COLS,), tl.float32)
    for k in range(32):
        at = tl.load(column + row * 32 + k)
        total += tl.load(value + row * 32 + k) * tl.load(dense + at * cols + c, mask=c < cols, other=0.0)
    tl.store(out + row * cols + c, total, mask=c < cols)

def sparse_product(value, column, dense):
    rows, cols = value.shape[0], dense.shape[1]
    out = dense.new_empty((rows, cols))
    kernel[(rows, triton.cdiv(cols, COLS))](value, column, dense, out, cols, num_warps=WARPS)
    return out
""", {"COLS": (128, 32, 64), "WARPS": (1, 2, 4)}, 5),
)  # fmt: skip

FAMILY = Family("gathers and scatters", False, KERNELS)
