"""Elementwise kernels: streams, strided streams, few programs, special functions."""

import torch

from .entry import Family, Kernel, normal, problem, rows_of


def axpy(x, y):
    """2.5 x + y of two vectors."""
    return 2.5 * x + y


def glu(x):
    """silu(a) * b, where a and b are the left and the right half of the columns of x."""
    a, b = x.chunk(2, dim=-1)
    return torch.nn.functional.silu(a) * b


def gelu_exact(x):
    """GELU with the error function."""
    return torch.nn.functional.gelu(x)


def waves(x):
    """The sum of sin(i x) / i for i from 1 to 12."""
    return sum(torch.sin(x * i) / i for i in range(1, 13))


def rotary(x, cos, sin):
    """Pairs (x[.., i], x[.., i + d / 2]) of (tokens, heads, d), turned by each token's angles."""
    a, b = x.chunk(2, dim=-1)
    c, s = cos[:, None, :], sin[:, None, :]
    return torch.cat([a * c - b * s, b * c + a * s], dim=-1)


VECTORS = problem(
    "axpy",
    "x y",
    axpy,
    lambda case, g: (normal(g, case["n"]), normal(g, case["n"])),
    tiny=({"n": 1000}, {"n": 4097}, {"n": 70}),
    bench={"n": 1 << 23},
    moved=lambda case: 12.0 * case["n"],
    part=rows_of(axpy),
)
GLU = problem(
    "glu",
    "x",
    glu,
    lambda case, g: (normal(g, case["rows"], 2 * case["cols"]).bfloat16(),),
    tiny=({"rows": 3, "cols": 200}, {"rows": 5, "cols": 64}),
    bench={"rows": 4096, "cols": 4096},
    dtype="bfloat16",
    moved=lambda case: 6.0 * case["rows"] * case["cols"],
    part=rows_of(glu),
)
GELU = problem(
    "gelu_exact",
    "x",
    gelu_exact,
    lambda case, g: (normal(g, case["n"], scale=2.0).half(),),
    tiny=({"n": 1000}, {"n": 4097}),
    bench={"n": 3 << 23},
    dtype="float16",
    moved=lambda case: 4.0 * case["n"],
    part=rows_of(gelu_exact),
)
WAVES = problem(
    "waves",
    "x",
    waves,
    lambda case, g: (normal(g, case["n"], scale=3.0),),
    tiny=({"n": 1000}, {"n": 2100}),
    bench={"n": 1 << 22},
    moved=lambda case: 8.0 * case["n"],
    part=rows_of(waves),
)
ROTARY = problem(
    "rotary",
    "x cos sin",
    rotary,
    lambda case, g: (
        normal(g, case["tokens"], case["heads"], 128).bfloat16(),
        normal(g, case["tokens"], 64).bfloat16(),
        normal(g, case["tokens"], 64).bfloat16(),
    ),
    tiny=({"tokens": 3, "heads": 2}, {"tokens": 5, "heads": 8}),
    bench={"tokens": 4096, "heads": 32},
    dtype="bfloat16",
    moved=lambda case: 4.0 * 128 * case["tokens"] * case["heads"],
    part=rows_of(rotary),
)

KERNELS = (
    Kernel("axpy_block", VECTORS, """
@triton.jit
def kernel(x, y, out, n):
    i = tl.program_id(0) * _BLOCK + tl.arange(0, _BLOCK)
    tl.store(out + i, 2.5 * tl.load(x + i, mask=i < n) + tl.load(y + i, mask=i < n), mask=i < n)

def axpy(x, y):
    out = torch.empty_like(x)
    kernel[(triton.cdiv(x.numel(), BLOCK),)](x, y, out, x.numel(), num_warps=WARPS)
    return out
""", {"BLOCK": (1024, 128, 512, 4096, 16384), "WARPS": (4, 1, 8)}),
    Kernel("axpy_few_programs", VECTORS, """
@triton.jit
def kernel(x, y, out, n):
    for start in range(tl.program_id(0) * _BLOCK, n, tl.num_programs(0) * _BLOCK):
        i = start + tl.arange(0, _BLOCK)
        tl.store(out + i, 2.5 * tl.load(x + i, mask=i < n) + tl.load(y + i, mask=i < n), mask=i < n)

def axpy(x, y):
    out = torch.empty_like(x)
    kernel[(PROGRAMS,)](x, y, out, x.numel(), num_warps=WARPS)
    return out
""", {"PROGRAMS": (528, 33, 132, 1056), "BLOCK": (2048, 512, 8192), "WARPS": (8, 4)}),
    Kernel("axpy_strided", VECTORS, """
@triton.jit
def kernel(x, y, out, n, step):
    i = tl.program_id(0) + tl.arange(0, _BLOCK) * step
    tl.store(out + i, 2.5 * tl.load(x + i, mask=i < n) + tl.load(y + i, mask=i < n), mask=i < n)

def axpy(x, y):
    out = torch.empty_like(x)
    programs = triton.cdiv(x.numel(), BLOCK)
    kernel[(programs,)](x, y, out, x.numel(), programs, num_warps=WARPS)
    return out
""", {"BLOCK": (256, 1024, 4096), "WARPS": (4, 8)}, 4),
    Kernel("glu_rows", GLU, """
@triton.jit
def kernel(x, out, cols):
    row = tl.program_id(0)
    for start in range(0, cols, _BLOCK):
        i = start + tl.arange(0, _BLOCK)
        a = tl.load(x + row * 2 * cols + i, mask=i < cols).to(tl.float32)
        b = tl.load(x + row * 2 * cols + cols + i, mask=i < cols).to(tl.float32)
        a = (a / (1.0 + tl.exp(-a))).to(tl.bfloat16).to(tl.float32)
        tl.store(out + row * cols + i, (a * b).to(tl.bfloat16), mask=i < cols)

def glu(x):
    rows, cols = x.shape[0], x.shape[1] // 2
    out = x.new_empty((rows, cols))
    kernel[(rows,)](x, out, cols, num_warps=WARPS)
    return out
""", {"BLOCK": (1024, 256, 4096), "WARPS": (4, 2, 8)}),
    Kernel("glu_tiles", GLU, """
@triton.jit
def kernel(x, out, rows, cols):
    r = tl.program_id(0) * _ROWS + tl.arange(0, _ROWS)[:, None]
    c = tl.program_id(1) * _COLS + tl.arange(0, _COLS)[None, :]
    mask = (r < rows) & (c < cols)
    a = tl.load(x + r * 2 * cols + c, mask=mask).to(tl.float32)
    b = tl.load(x + r * 2 * cols + cols + c, mask=mask).to(tl.float32)
    a = (a * tl.sigmoid(a)).to(tl.bfloat16).to(tl.float32)
    tl.store(out + r * cols + c, (a * b).to(tl.bfloat16), mask=mask)

def glu(x):
    rows, cols = x.shape[0], x.shape[1] // 2
    out = x.new_empty((rows, cols))
    kernel[(triton.cdiv(rows, ROWS), triton.cdiv(cols, COLS))](x, out, rows, cols, num_warps=WARPS)
    return out
""", {"ROWS": (8, 1, 32, 128), "COLS": (128, 8, 32, 512), "WARPS": (4, 8)}),
    Kernel("gelu_erf", GELU, """
@triton.jit
def kernel(x, out, n):
    i = tl.program_id(0) * _BLOCK + tl.arange(0, _BLOCK)
    v = tl.load(x + i, mask=i < n).to(tl.float32)
    tl.store(out + i, (0.5 * v * (1.0 + tl.erf(v * 0.7071067811865476))).to(tl.float16), mask=i < n)

def gelu_exact(x):
    out = torch.empty_like(x)
    kernel[(triton.cdiv(x.numel(), BLOCK),)](x, out, x.numel(), num_warps=WARPS)
    return out
""", {"BLOCK": (1024, 256, 4096, 16384), "WARPS": (4, 1, 8)}),
    Kernel("waves_loop", WAVES, """
@triton.jit
def kernel(x, out, n):
    i = tl.program_id(0) * _BLOCK + tl.arange(0, _BLOCK)
    v = tl.load(x + i, mask=i < n)
    total = tl.zeros((_BLOCK,), tl.float32)
    for k in range(1, 13):
        total += tl.sin(v * k) / k
    tl.store(out + i, total, mask=i < n)

def waves(x):
    out = torch.empty_like(x)
    kernel[(triton.cdiv(x.numel(), BLOCK),)](x, out, x.numel(), num_warps=WARPS)
    return out
""", {"BLOCK": (512, 128, 2048), "WARPS": (4, 2, 8)}),
    Kernel("waves_unrolled", WAVES, """
@triton.jit
def kernel(x, out, n):
    i = tl.program_id(0) * _BLOCK + tl.arange(0, _BLOCK)
    v = tl.load(x + i, mask=i < n)
    total = tl.zeros((_BLOCK,), tl.float32)
    for k in tl.static_range(1, 13):
        total += tl.sin(v * k) * (1.0 / k)
    tl.store(out + i, total, mask=i < n)

def waves(x):
    out = torch.empty_like(x)
    kernel[(triton.cdiv(x.numel(), BLOCK),)](x, out, x.numel(), num_warps=WARPS)
    return out
""", {"BLOCK": (512, 128, 2048), "WARPS": (4, 2, 8)}, 3),
    Kernel("rotary_heads", ROTARY, """
@triton.jit
def kernel(x, cos, sin, out, heads):
    token = tl.program_id(0)
    i = tl.arange(0, 64)[None, :]
    c = tl.load(cos + token * 64 + i).to(tl.float32)
    s = tl.load(sin + token * 64 + i).to(tl.float32)
    for first in range(0, heads, _HEADS):
        h = first + tl.arange(0, _HEADS)[:, None]
        at = (token * heads + h) * 128 + i
        a = tl.load(x + at, mask=h < heads).to(tl.float32)
        b = tl.load(x + at + 64, mask=h < heads).to(tl.float32)
        tl.store(out + at, (a * c - b * s).to(tl.bfloat16), mask=h < heads)
        tl.store(out + at + 64, (b * c + a * s).to(tl.bfloat16), mask=h < heads)

def rotary(x, cos, sin):
    out = torch.empty_like(x)
    kernel[(x.shape[0],)](x, cos, sin, out, x.shape[1], num_warps=WARPS)
    return out
""", {"HEADS": (8, 1, 32), "WARPS": (4, 1, 8)}),
)  # fmt: skip

FAMILY = Family("elementwise", True, KERNELS)
