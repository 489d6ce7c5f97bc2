"""Kernels on the rows of matrices, and on their columns: softmax, norms, sums, extrema."""

import torch

from .entry import Family, Kernel, normal, problem, rows_of


def row_softmax(x):
    """Softmax of every row."""
    return torch.softmax(x, dim=-1)


def row_rms(x, weight):
    """Rows over their root mean square, times a weight for each column."""
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    scale = torch.rsqrt(wide.square().mean(-1, keepdim=True) + 1e-6)
    return (wide * scale * weight).to(x.dtype)


def row_norm(x):
    """Rows without their mean, over their standard deviation."""
    return torch.nn.functional.layer_norm(x, x.shape[-1:])


def row_largest(x):
    """Index of the largest value of every row."""
    return x.argmax(dim=-1)


def column_sum(x):
    """The sum of every column."""
    return x.sum(dim=0)


def row_logsumexp(x):
    """log of the sum of exp of every row."""
    return torch.logsumexp(x, dim=-1)


def matrix(case, g):
    """A matrix of the case's size and dtype."""
    return (normal(g, case["rows"], case["cols"], scale=2.0).to(case.torch_dtype),)


def row_problem(name, reference, bench, dtype="float32", result=1.0, **more):
    """A task on (rows, cols), which are read once; `result` matrices are written."""
    small = tuple({"rows": r, "cols": c} for r, c in ((3, 781), (5, 130), (2, 2500), (9, 64)))
    size = 2 if dtype != "float32" else 4
    return problem(
        name,
        more.pop("parameters", "x"),
        reference,
        more.pop("inputs", matrix),
        tiny=small,
        bench=bench,
        dtype=dtype,
        moved=lambda case: size * (1 + result) * case["rows"] * case["cols"],
        reduction=lambda case: max(case["rows"], case["cols"]),
        **{"part": rows_of(reference), **more},
    )


SOFTMAX = row_problem("row_softmax", row_softmax, {"rows": 8192, "cols": 3000})
RMS = row_problem(
    "row_rms",
    row_rms,
    {"rows": 4096, "cols": 8192},
    "bfloat16",
    parameters="x weight",
    inputs=lambda case, g: (*matrix(case, g), normal(g, case["cols"]).to(case.torch_dtype)),
    part=rows_of(row_rms, 1),
)
NORM = row_problem("row_norm", row_norm, {"rows": 16384, "cols": 1024})
LARGEST = row_problem("row_largest", row_largest, {"rows": 2048, "cols": 16384}, "float16", 0.0)
COLUMNS = row_problem(
    "column_sum",
    column_sum,
    {"rows": 16384, "cols": 2048},
    result=0.0,
    part=lambda ranges, cast, x: cast(x[:, ranges[0]]).sum(dim=0),
)
LOGSUMEXP = row_problem("row_logsumexp", row_logsumexp, {"rows": 512, "cols": 65536}, result=0.0)

KERNELS = (
    Kernel("softmax_once", SOFTMAX, """
@triton.jit
def kernel(x, out, rows, cols, BLOCK: tl.constexpr):
    for row in range(tl.program_id(0), rows, tl.num_programs(0)):
        i = tl.arange(0, BLOCK)
        v = tl.load(x + row * cols + i, mask=i < cols, other=-float("inf"))
        e = tl.exp(v - tl.max(v, axis=0))
        tl.store(out + row * cols + i, e / tl.sum(e, axis=0), mask=i < cols)

def row_softmax(x):
    rows, cols = x.shape
    out = torch.empty_like(x)
    kernel[(min(rows, PROGRAMS),)](x, out, rows, cols, triton.next_power_of_2(cols), num_warps=WARPS)
    return out
""", {"PROGRAMS": (100000, 132, 528, 2112), "WARPS": (8, 2, 4, 16, 32)}),
    Kernel("softmax_online", SOFTMAX, """
@triton.jit
def kernel(x, out, cols):
    row = tl.program_id(0)
    largest = -float("inf")
    total = 0.0
    for start in range(0, cols, _BLOCK):
        i = start + tl.arange(0, _BLOCK)
        v = tl.load(x + row * cols + i, mask=i < cols, other=-float("inf"))
        more = tl.maximum(largest, tl.max(v, axis=0))
        total = total * tl.exp(largest - more) + tl.sum(tl.exp(v - more), axis=0)
        largest = more
    for start in range(0, cols, _BLOCK):
        i = start + tl.arange(0, _BLOCK)
        v = tl.load(x + row * cols + i, mask=i < cols)
        tl.store(out + row * cols + i, tl.exp(v - largest) / total, mask=i < cols)

def row_softmax(x):
    out = torch.empty_like(x)
    kernel[(x.shape[0],)](x, out, x.shape[1], num_warps=WARPS)
    return out
""", {"BLOCK": (1024, 256, 512, 4096), "WARPS": (4, 1, 2, 8)}),
    Kernel("softmax_warp_rows", SOFTMAX, """
@triton.jit
def kernel(x, out, rows, cols, BLOCK: tl.constexpr):
    row = tl.program_id(0) * _ROWS + tl.arange(0, _ROWS)[:, None]
    i = tl.arange(0, BLOCK)[None, :]
    mask = (row < rows) & (i < cols)
    v = tl.load(x + row * cols + i, mask=mask, other=-1e30)
    e = tl.exp(v - tl.max(v, axis=1)[:, None])
    tl.store(out + row * cols + i, e / tl.sum(e, axis=1)[:, None], mask=mask)

def row_softmax(x):
    rows, cols = x.shape
    out = torch.empty_like(x)
    kernel[(triton.cdiv(rows, ROWS),)](x, out, rows, cols, triton.next_power_of_2(cols), num_warps=WARPS)
    return out
""", {"ROWS": (2, 4, 8), "WARPS": (8, 4, 16)}, 4),
    Kernel("rms_two_passes", RMS, """
@triton.jit
def kernel(x, weight, out, cols):
    row = tl.program_id(0)
    squares = tl.zeros((_BLOCK,), tl.float32)
    for start in range(0, cols, _BLOCK):
        i = start + tl.arange(0, _BLOCK)
        v = tl.load(x + row * cols + i, mask=i < cols, other=0.0).to(tl.float32)
        squares += v * v
    scale = tl.rsqrt(tl.sum(squares, axis=0) / cols + 1e-6)
    for start in range(0, cols, _BLOCK):
        i = start + tl.arange(0, _BLOCK)
        v = tl.load(x + row * cols + i, mask=i < cols, other=0.0).to(tl.float32)
        w = tl.load(weight + i, mask=i < cols, other=0.0).to(tl.float32)
        tl.store(out + row * cols + i, (v * scale * w).to(tl.bfloat16), mask=i < cols)

def row_rms(x, weight):
    out = torch.empty_like(x)
    kernel[(x.shape[0],)](x, weight, out, x.shape[1], num_warps=WARPS)
    return out
""", {"BLOCK": (2048, 512, 1024, 8192), "WARPS": (8, 4, 16)}),
    Kernel("rms_held", RMS, """
@triton.jit
def kernel(x, weight, out, rows, cols, BLOCK: tl.constexpr):
    i = tl.arange(0, BLOCK)
    w = tl.load(weight + i, mask=i < cols, other=0.0).to(tl.float32)
    for row in tl.range(tl.program_id(0), rows, tl.num_programs(0), num_stages=_STAGES):
        v = tl.load(x + row * cols + i, mask=i < cols, other=0.0).to(tl.float32)
        scale = tl.rsqrt(tl.sum(v * v, axis=0) / cols + 1e-6)
        tl.store(out + row * cols + i, (v * scale * w).to(tl.bfloat16), mask=i < cols)

def row_rms(x, weight):
    rows, cols = x.shape
    out = torch.empty_like(x)
    kernel[(min(PROGRAMS, rows),)](x, weight, out, rows, cols, triton.next_power_of_2(cols), num_warps=WARPS)
    return out
""", {"PROGRAMS": (264, 132, 1056), "WARPS": (16, 8, 32), "STAGES": (1, 2, 3)}),
    Kernel("norm_rows", NORM, """
@triton.jit
def kernel(x, out, rows, cols, BLOCK: tl.constexpr):
    row = tl.program_id(0) * _ROWS + tl.arange(0, _ROWS)[:, None]
    i = tl.arange(0, BLOCK)[None, :]
    mask = (row < rows) & (i < cols)
    v = tl.load(x + row * cols + i, mask=mask, other=0.0)
    mean = tl.sum(v, axis=1)[:, None] / cols
    d = tl.where(i < cols, v - mean, 0.0)
    scale = tl.rsqrt(tl.sum(d * d, axis=1)[:, None] / cols + 1e-5)
    tl.store(out + row * cols + i, d * scale, mask=mask)

def row_norm(x):
    rows, cols = x.shape
    out = torch.empty_like(x)
    kernel[(triton.cdiv(rows, ROWS),)](x, out, rows, cols, triton.next_power_of_2(cols), num_warps=WARPS)
    return out
""", {"ROWS": (4, 1, 2, 16), "WARPS": (4, 1, 2, 8)}),
    Kernel("norm_welford", NORM, """
@triton.jit
def join(m1, s1, n1, m2, s2, n2):
    n = n1 + n2
    share = tl.where(n > 0, n2 / n, 0.0)
    d = m2 - m1
    return m1 + d * share, s1 + s2 + d * d * n1 * share, n

@triton.jit
def kernel(x, out, cols):
    row = tl.program_id(0)
    mean = tl.zeros((_BLOCK,), tl.float32)
    square = tl.zeros((_BLOCK,), tl.float32)
    count = tl.zeros((_BLOCK,), tl.float32)
    for start in range(0, cols, _BLOCK):
        i = start + tl.arange(0, _BLOCK)
        v = tl.load(x + row * cols + i, mask=i < cols, other=0.0)
        n = count + 1
        d = v - mean
        better = mean + d / n
        mean, square, count = (tl.where(i < cols, better, mean),
                               tl.where(i < cols, square + d * (v - better), square),
                               tl.where(i < cols, n, count))
    mean, square, count = tl.reduce((mean, square, count), 0, join)
    scale = tl.rsqrt(square / cols + 1e-5)
    for start in range(0, cols, _BLOCK):
        i = start + tl.arange(0, _BLOCK)
        v = tl.load(x + row * cols + i, mask=i < cols, other=0.0)
        tl.store(out + row * cols + i, (v - mean) * scale, mask=i < cols)

def row_norm(x):
    out = torch.empty_like(x)
    kernel[(x.shape[0],)](x, out, x.shape[1], num_warps=WARPS)
    return out
""", {"BLOCK": (512, 128, 256, 1024), "WARPS": (4, 1, 2)}),
    Kernel("largest_loop", LARGEST, """
@triton.jit
def kernel(x, out, cols):
    row = tl.program_id(0)
    best = tl.full((_BLOCK,), -float("inf"), tl.float32)
    place = tl.zeros((_BLOCK,), tl.int32)
    for start in range(0, cols, _BLOCK):
        i = start + tl.arange(0, _BLOCK)
        v = tl.load(x + row * cols + i, mask=i < cols, other=-float("inf")).to(tl.float32)
        place = tl.where(v > best, i, place)
        best = tl.maximum(v, best)
    top = tl.max(best, axis=0)
    tl.store(out + row, tl.min(tl.where(best == top, place, 2147483647), axis=0).to(tl.int64))

def row_largest(x):
    out = torch.empty(x.shape[0], dtype=torch.int64, device=x.device)
    kernel[(x.shape[0],)](x, out, x.shape[1], num_warps=WARPS)
    return out
""", {"BLOCK": (2048, 256, 512, 1024, 8192), "WARPS": (4, 2, 8)}),
    Kernel("columns_loop", COLUMNS, """
@triton.jit
def kernel(x, out, rows, cols):
    c = tl.program_id(0) * _COLS + tl.arange(0, _COLS)[None, :]
    total = tl.zeros((_ROWS, _COLS), tl.float32)
    for start in range(0, rows, _ROWS):
        r = start + tl.arange(0, _ROWS)[:, None]
        total += tl.load(x + r * cols + c, mask=(r < rows) & (c < cols), other=0.0)
    tl.store(out + c, tl.sum(total, axis=0)[None, :], mask=c < cols)

def column_sum(x):
    rows, cols = x.shape
    out = x.new_empty((cols,))
    kernel[(triton.cdiv(cols, COLS),)](x, out, rows, cols, num_warps=WARPS)
    return out
""", {"COLS": (16, 32, 64, 128), "ROWS": (128, 32, 64), "WARPS": (8, 4)}),
    Kernel("columns_two_launches", COLUMNS, """
@triton.jit
def partial(x, out, rows, cols):
    c = tl.program_id(0) * _COLS + tl.arange(0, _COLS)
    total = tl.zeros((_COLS,), tl.float32)
    for r in range(tl.program_id(1), rows, tl.num_programs(1)):
        total += tl.load(x + r * cols + c, mask=c < cols, other=0.0)
    tl.store(out + tl.program_id(1) * cols + c, total, mask=c < cols)

@triton.jit
def join(x, out, rows, cols):
    c = tl.program_id(0) * 32 + tl.arange(0, 32)
    total = tl.zeros((32,), tl.float32)
    for r in range(rows):
        total += tl.load(x + r * cols + c, mask=c < cols, other=0.0)
    tl.store(out + c, total, mask=c < cols)

def column_sum(x):
    rows, cols = x.shape
    some, out = x.new_empty((PARTS, cols)), x.new_empty((cols,))
    partial[(triton.cdiv(cols, COLS), PARTS)](x, some, rows, cols, num_warps=WARPS)
    join[(triton.cdiv(cols, 32),)](some, out, PARTS, cols, num_warps=1)
    return out
""", {"COLS": (256, 128, 1024), "PARTS": (64, 16, 256), "WARPS": (2, 4)}),
    Kernel("logsumexp_row", LOGSUMEXP, """
@triton.jit
def kernel(x, out, cols):
    row = tl.program_id(0)
    largest = tl.full((_BLOCK,), -1e30, tl.float32)
    total = tl.zeros((_BLOCK,), tl.float32)
    for start in tl.range(0, cols, _BLOCK, num_stages=_STAGES):
        i = start + tl.arange(0, _BLOCK)
        v = tl.load(x + row * cols + i, mask=i < cols, other=-1e30)
        more = tl.maximum(largest, v)
        total = total * tl.exp(largest - more) + tl.where(i < cols, tl.exp(v - more), 0.0)
        largest = more
    top = tl.max(largest, axis=0)
    tl.store(out + row, top + tl.log(tl.sum(total * tl.exp(largest - top), axis=0)))

def row_logsumexp(x):
    out = x.new_empty((x.shape[0],))
    kernel[(x.shape[0],)](x, out, x.shape[1], num_warps=WARPS)
    return out
""", {"BLOCK": (2048, 512, 1024, 8192), "WARPS": (8, 4, 16), "STAGES": (1, 3)}),
)  # fmt: skip

FAMILY = Family("rows", True, KERNELS)
