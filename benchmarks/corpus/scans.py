"""Scans: running sums and products, linear recurrences, in one block, in several, in two launches."""

import torch

from .entry import Family, Kernel, normal, problem, rows_of


def running_sum(x):
    """The running sum of every row."""
    return torch.cumsum(x, dim=-1)


def running_sum_columns(x):
    """The running sum of every column."""
    return torch.cumsum(x, dim=0)


def running_largest(x):
    """The largest value so far, of every row."""
    return torch.cummax(x, dim=-1).values


def recurrence(a, b):
    """h[t] = a[t] h[t - 1] + b[t] along every row, from h = 0."""
    size, step = a.shape[-1], 1
    a, b = a.clone(), b.clone()
    while step < size:
        b = torch.cat([b[:, :step], b[:, step:] + a[:, step:] * b[:, :-step]], dim=1)
        a = torch.cat([a[:, :step], a[:, step:] * a[:, :-step]], dim=1)
        step *= 2
    return b


def long_running_sum(x):
    """The running sum of one long vector."""
    return torch.cumsum(x, dim=0)


def matrix(case, g):
    """Normal values."""
    return (normal(g, case["rows"], case["cols"]),)


def columns_part(ranges, cast, x):
    """Some columns, to the last row that is asked for."""
    return torch.cumsum(cast(x[: ranges[0].stop, ranges[1]]), dim=0)[ranges[0].start or 0 :]


def scan_problem(name, reference, bench, parameters="x", inputs=matrix, part=None):
    """A task on (rows, cols)."""
    return problem(
        name,
        parameters,
        reference,
        inputs,
        tiny=({"rows": 3, "cols": 700}, {"rows": 5, "cols": 64}, {"rows": 2, "cols": 2500}),
        bench=bench,
        reduction=lambda case: max(case["rows"], case["cols"]),
        part=part or rows_of(reference),
        moved=lambda case: 4.0 * (1 + len(parameters.split())) * case["rows"] * case["cols"],
    )


ROWS = scan_problem("running_sum", running_sum, {"rows": 8192, "cols": 2048})
COLUMNS = scan_problem(
    "running_sum_columns", running_sum_columns, {"rows": 2048, "cols": 8192}, part=columns_part
)
LARGEST = scan_problem("running_largest", running_largest, {"rows": 4096, "cols": 4096})
RECURRENCE = scan_problem(
    "recurrence",
    recurrence,
    {"rows": 8192, "cols": 1024},
    "a b",
    lambda case, g: (torch.sigmoid(normal(g, case["rows"], case["cols"]) + 1), *matrix(case, g)),
)
LONG = problem(
    "long_running_sum", "x", long_running_sum, lambda case, g: (normal(g, case["n"]) + 0.1,),
    tiny=({"n": 5000}, {"n": 2100}), bench={"n": 1 << 22}, moved=lambda case: 8.0 * case["n"],
    reduction=lambda case: case["n"],
)  # fmt: skip

KERNELS = (
    Kernel("sum_one_block", ROWS, """
@triton.jit
def kernel(x, out, rows, cols, BLOCK: tl.constexpr):
    r = tl.program_id(0) * _ROWS + tl.arange(0, _ROWS)[:, None]
    i = tl.arange(0, BLOCK)[None, :]
    mask = (r < rows) & (i < cols)
    v = tl.load(x + r * cols + i, mask=mask, other=0.0)
    tl.store(out + r * cols + i, tl.cumsum(v, axis=1), mask=mask)

def running_sum(x):
    rows, cols = x.shape
    out = torch.empty_like(x)
    kernel[(triton.cdiv(rows, ROWS),)](x, out, rows, cols, triton.next_power_of_2(cols), num_warps=WARPS)
    return out
""", {"ROWS": (1, 2, 4), "WARPS": (4, 1, 2, 8, 16)}, 7),
    Kernel("sum_with_carry", ROWS, """
@triton.jit
def kernel(x, out, cols):
    row = tl.program_id(0)
    carry = 0.0
    for start in range(0, cols, _BLOCK):
        i = start + tl.arange(0, _BLOCK)
        v = tl.load(x + row * cols + i, mask=i < cols, other=0.0)
        tl.store(out + row * cols + i, carry + tl.cumsum(v, axis=0), mask=i < cols)
        carry += tl.sum(v, axis=0)

def running_sum(x):
    out = torch.empty_like(x)
    kernel[(x.shape[0],)](x, out, x.shape[1], num_warps=WARPS)
    return out
""", {"BLOCK": (512, 128, 256, 1024), "WARPS": (4, 1, 2)}, 7),
    Kernel("columns_serial", COLUMNS, """
@triton.jit
def kernel(x, out, rows, cols):
    c = tl.program_id(0) * _COLS + tl.arange(0, _COLS)
    total = tl.zeros((_COLS,), tl.float32)
    for r in range(rows):
        total += tl.load(x + r * cols + c, mask=c < cols, other=0.0)
        tl.store(out + r * cols + c, total, mask=c < cols)

def running_sum_columns(x):
    rows, cols = x.shape
    out = torch.empty_like(x)
    kernel[(triton.cdiv(cols, COLS),)](x, out, rows, cols, num_warps=WARPS)
    return out
""", {"COLS": (64, 32, 128, 256), "WARPS": (1, 2, 4)}),
    Kernel("columns_blocks", COLUMNS, """
@triton.jit
def kernel(x, out, rows, cols):
    c = tl.program_id(0) * _COLS + tl.arange(0, _COLS)[None, :]
    carry = tl.zeros((1, _COLS), tl.float32)
    for start in range(0, rows, _ROWS):
        r = start + tl.arange(0, _ROWS)[:, None]
        mask = (r < rows) & (c < cols)
        v = tl.load(x + r * cols + c, mask=mask, other=0.0)
        tl.store(out + r * cols + c, carry + tl.cumsum(v, axis=0), mask=mask)
        carry += tl.sum(v, axis=0)[None, :]

def running_sum_columns(x):
    rows, cols = x.shape
    out = torch.empty_like(x)
    kernel[(triton.cdiv(cols, COLS),)](x, out, rows, cols, num_warps=WARPS)
    return out
""", {"COLS": (32, 16, 64), "ROWS": (64, 32, 128), "WARPS": (4, 8)}, 6),
    Kernel("largest_scan", LARGEST, """
@triton.jit
def larger(a, b):
    return tl.maximum(a, b)

@triton.jit
def kernel(x, out, cols):
    row = tl.program_id(0)
    carry = -float("inf")
    for start in range(0, cols, _BLOCK):
        i = start + tl.arange(0, _BLOCK)
        v = tl.load(x + row * cols + i, mask=i < cols, other=-float("inf"))
        tl.store(out + row * cols + i, tl.maximum(carry, tl.associative_scan(v, 0, larger)), mask=i < cols)
        carry = tl.maximum(carry, tl.max(v, axis=0))

def running_largest(x):
    out = torch.empty_like(x)
    kernel[(x.shape[0],)](x, out, x.shape[1], num_warps=WARPS)
    return out
""", {"BLOCK": (1024, 256, 512, 4096), "WARPS": (4, 2, 8)}, 6),
    Kernel("recurrence_scan", RECURRENCE, """
@triton.jit
def after(a1, b1, a2, b2):
    return a1 * a2, b1 * a2 + b2

@triton.jit
def kernel(a, b, out, rows, cols, BLOCK: tl.constexpr):
    r = tl.program_id(0) * _ROWS + tl.arange(0, _ROWS)[:, None]
    i = tl.arange(0, BLOCK)[None, :]
    mask = (r < rows) & (i < cols)
    u = tl.load(a + r * cols + i, mask=mask, other=1.0)
    v = tl.load(b + r * cols + i, mask=mask, other=0.0)
    _, h = tl.associative_scan((u, v), 1, after)
    tl.store(out + r * cols + i, h, mask=mask)

def recurrence(a, b):
    rows, cols = a.shape
    out = torch.empty_like(a)
    kernel[(triton.cdiv(rows, ROWS),)](a, b, out, rows, cols, triton.next_power_of_2(cols), num_warps=WARPS)
    return out
""", {"ROWS": (1, 2, 4), "WARPS": (4, 1, 2, 8)}, 6),
    Kernel("recurrence_serial", RECURRENCE, """
@triton.jit
def kernel(a, b, out, rows, cols):
    r = tl.program_id(0) * _ROWS + tl.arange(0, _ROWS)
    h = tl.zeros((_ROWS,), tl.float32)
    for i in range(cols):
        u = tl.load(a + r * cols + i, mask=r < rows, other=0.0)
        v = tl.load(b + r * cols + i, mask=r < rows, other=0.0)
        h = u * h + v
        tl.store(out + r * cols + i, h, mask=r < rows)

def recurrence(a, b):
    rows, cols = a.shape
    out = torch.empty_like(a)
    kernel[(triton.cdiv(rows, ROWS),)](a, b, out, rows, cols, num_warps=WARPS)
    return out
""", {"ROWS": (32, 64, 128), "WARPS": (1, 2)}, 4),
    Kernel("long_two_launches", LONG, """
@triton.jit
def sums(x, some, n):
    i = tl.program_id(0) * _BLOCK + tl.arange(0, _BLOCK)
    tl.store(some + tl.program_id(0), tl.sum(tl.load(x + i, mask=i < n, other=0.0), axis=0))

@triton.jit
def scan(x, some, out, n, count, COUNT: tl.constexpr):
    j = tl.arange(0, COUNT)
    before = tl.sum(tl.load(some + j, mask=j < tl.program_id(0), other=0.0), axis=0)
    i = tl.program_id(0) * _BLOCK + tl.arange(0, _BLOCK)
    tl.store(out + i, before + tl.cumsum(tl.load(x + i, mask=i < n, other=0.0), axis=0), mask=i < n)

def long_running_sum(x):
    n, count = x.numel(), triton.cdiv(x.numel(), BLOCK)
    some, out = x.new_empty((count,)), torch.empty_like(x)
    sums[(count,)](x, some, n, num_warps=WARPS)
    scan[(count,)](x, some, out, n, count, triton.next_power_of_2(count), num_warps=WARPS)
    return out
""", {"BLOCK": (4096, 2048, 8192), "WARPS": (8, 4)}, 5),
)  # fmt: skip

FAMILY = Family("scans", False, KERNELS)
