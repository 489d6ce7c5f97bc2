"""Transposes, permuted axes, and PyTorch's own copies of transposed tensors."""

from .entry import Family, Kernel, normal, problem


def turned(x):
    """The transpose of a matrix, contiguous."""
    return x.t().contiguous()


def turned_half(x):
    """The transpose of a matrix, contiguous."""
    return x.t().contiguous()


def heads_first(x):
    """(batch, seq, heads, dim) as a contiguous (batch, heads, seq, dim)."""
    return x.transpose(1, 2).contiguous()


def channels_last(x):
    """(batch, channels, pixels) as a contiguous (batch, pixels, channels)."""
    return x.transpose(1, 2).contiguous()


def turned_scaled(x):
    """Twice the transpose plus one, contiguous."""
    return (2 * x.t() + 1).contiguous()


def matrix(case, g):
    """Normal values in the case's dtype."""
    return (normal(g, *case.sizes.values()).to(case.torch_dtype),)


def turn_problem(
    name,
    reference,
    bench,
    dtype="float32",
    tiny=({"rows": 70, "cols": 130}, {"rows": 33, "cols": 31}),
    part=None,
):
    """A task whose result has as many values as its argument."""
    size = 2 if dtype != "float32" else 4

    def moved(case):
        total = 2.0 * size
        for value in case.sizes.values():
            total *= value
        return total

    return problem(name, "x", reference, matrix, tiny=tiny, bench=bench, dtype=dtype, moved=moved,
                   part=part or (lambda ranges, cast, x: reference(cast(x[ranges[1], ranges[0]]))))  # fmt: skip


TURNED = turn_problem("turned", turned, {"rows": 4096, "cols": 8192})
HALF = turn_problem("turned_half", turned_half, {"rows": 8192, "cols": 8192}, "float16")
HEADS = turn_problem(
    "heads_first",
    heads_first,
    {"batch": 4, "seq": 2048, "heads": 32, "dim": 64},
    "bfloat16",
    (
        {"batch": 2, "seq": 30, "heads": 4, "dim": 64},
        {"batch": 1, "seq": 17, "heads": 3, "dim": 64},
    ),
    lambda ranges, cast, x: (
        cast(x[ranges[0], ranges[2], ranges[1], ranges[3]]).transpose(1, 2).contiguous()
    ),
)
CHANNELS = turn_problem(
    "channels_last",
    channels_last,
    {"batch": 32, "channels": 256, "pixels": 3136},
    "float32",
    ({"batch": 2, "channels": 40, "pixels": 50}, {"batch": 1, "channels": 33, "pixels": 130}),
    lambda ranges, cast, x: cast(x[ranges[0], ranges[2], ranges[1]]).transpose(1, 2).contiguous(),
)
SCALED = turn_problem("turned_scaled", turned_scaled, {"rows": 4096, "cols": 4096})

TILES = """
@triton.jit
def kernel(x, out, rows, cols):
    r = tl.program_id(0) * _R + tl.arange(0, _R)[:, None]
    c = tl.program_id(1) * _C + tl.arange(0, _C)[None, :]
    mask = (r < rows) & (c < cols)
    v = tl.load(x + r * cols + c, mask=mask)
    STORE

def NAME(x):
    rows, cols = x.shape
    out = x.new_empty((cols, rows))
    kernel[(triton.cdiv(rows, R), triton.cdiv(cols, C))](x, out, rows, cols, num_warps=WARPS)
    return out
"""
LEFT = "tl.store(out + c * rows + r, v, mask=mask)"
THROUGH_SHARED = """r = tl.program_id(0) * _R + tl.arange(0, _R)[None, :]
    c = tl.program_id(1) * _C + tl.arange(0, _C)[:, None]
    tl.store(out + c * rows + r, tl.trans(v), mask=(r < rows) & (c < cols))"""
SIZES = {"R": (64, 32, 16, 128), "C": (64, 32, 128), "WARPS": (4, 8, 2)}

KERNELS = (
    Kernel("turned_tiles", TURNED, TILES.replace("NAME", "turned").replace("STORE", THROUGH_SHARED), SIZES, 7),
    Kernel("turned_scattered", TURNED, TILES.replace("NAME", "turned").replace("STORE", LEFT), SIZES, 7),
    Kernel("turned_rows", TURNED, """
@triton.jit
def kernel(x, out, rows, cols):
    row = tl.program_id(0)
    for start in range(0, cols, _BLOCK):
        i = start + tl.arange(0, _BLOCK)
        tl.store(out + i * rows + row, tl.load(x + row * cols + i, mask=i < cols), mask=i < cols)

def turned(x):
    rows, cols = x.shape
    out = x.new_empty((cols, rows))
    kernel[(rows,)](x, out, rows, cols, num_warps=WARPS)
    return out
""", {"BLOCK": (1024, 256), "WARPS": (4, 8)}, 3),
    Kernel("turned_columns", TURNED, """
@triton.jit
def kernel(x, out, rows, cols):
    col = tl.program_id(0)
    for start in range(0, rows, _BLOCK):
        i = start + tl.arange(0, _BLOCK)
        tl.store(out + col * rows + i, tl.load(x + i * cols + col, mask=i < rows), mask=i < rows)

def turned(x):
    rows, cols = x.shape
    out = x.new_empty((cols, rows))
    kernel[(cols,)](x, out, rows, cols, num_warps=WARPS)
    return out
""", {"BLOCK": (1024, 256), "WARPS": (4, 8)}, 3),
    Kernel("half_tiles", HALF, TILES.replace("NAME", "turned_half").replace("STORE", THROUGH_SHARED), SIZES, 6),
    Kernel("half_scattered", HALF, TILES.replace("NAME", "turned_half").replace("STORE", LEFT), SIZES, 4),
    Kernel("heads_rows", HEADS, """
@triton.jit
def kernel(x, out, S, H):
    s = tl.program_id(0) * _SEQ + tl.arange(0, _SEQ)[:, None]
    head, batch = tl.program_id(1), tl.program_id(2)
    d = tl.arange(0, 64)[None, :]
    v = tl.load(x + ((batch * S + s) * H + head) * 64 + d, mask=s < S)
    tl.store(out + ((batch * H + head) * S + s) * 64 + d, v, mask=s < S)

def heads_first(x):
    B, S, H, D = x.shape
    out = x.new_empty((B, H, S, D))
    kernel[(triton.cdiv(S, SEQ), H, B)](x, out, S, H, num_warps=WARPS)
    return out
""", {"SEQ": (32, 8, 64, 256), "WARPS": (4, 1, 8)}),
    Kernel("channels_tiles", CHANNELS, """
@triton.jit
def kernel(x, out, C, P):
    c = tl.program_id(1) * _C + tl.arange(0, _C)
    p = tl.program_id(0) * _P + tl.arange(0, _P)
    base = tl.program_id(2).to(tl.int64) * C * P
    v = tl.load(x + base + c[:, None] * P + p[None, :], mask=(c[:, None] < C) & (p[None, :] < P))
    tl.store(out + base + p[:, None] * C + c[None, :], tl.trans(v), mask=(p[:, None] < P) & (c[None, :] < C))

def channels_last(x):
    B, channels, pixels = x.shape
    out = x.new_empty((B, pixels, channels))
    kernel[(triton.cdiv(pixels, P), triton.cdiv(channels, C), B)](x, out, channels, pixels, num_warps=WARPS)
    return out
""", {"C": (32, 64, 16), "P": (32, 64, 128), "WARPS": (4, 2, 8)}),
    Kernel("scaled_after_copy", SCALED, """
@triton.jit
def kernel(x, out, n):
    i = tl.program_id(0) * _BLOCK + tl.arange(0, _BLOCK)
    tl.store(out + i, 2 * tl.load(x + i, mask=i < n) + 1, mask=i < n)

def turned_scaled(x):
    x = x.t().contiguous()
    out = torch.empty_like(x)
    kernel[(triton.cdiv(x.numel(), BLOCK),)](x, out, x.numel(), num_warps=WARPS)
    return out
""", {"BLOCK": (1024,), "WARPS": (4, 8)}, 2),
    Kernel("scaled_before_copy", SCALED, """
@triton.jit
def kernel(x, out, n):
    i = tl.program_id(0) * _BLOCK + tl.arange(0, _BLOCK)
    tl.store(out + i, 2 * tl.load(x + i, mask=i < n) + 1, mask=i < n)

def turned_scaled(x):
    out = torch.empty_like(x)
    kernel[(triton.cdiv(x.numel(), BLOCK),)](x, out, x.numel(), num_warps=WARPS)
    return out.t().contiguous()
""", {"BLOCK": (2048,), "WARPS": (8,)}, 1),
    Kernel("scaled_strides", SCALED, """
@triton.jit
def kernel(x, out, rows, cols, row_stride, col_stride):
    r = tl.program_id(0) * _R + tl.arange(0, _R)[:, None]
    c = tl.program_id(1) * _C + tl.arange(0, _C)[None, :]
    mask = (r < rows) & (c < cols)
    v = tl.load(x + r * row_stride + c * col_stride, mask=mask)
    tl.store(out + r * cols + c, 2 * v + 1, mask=mask)

def turned_scaled(x):
    x = x.t()
    rows, cols = x.shape
    out = x.new_empty((rows, cols))
    kernel[(triton.cdiv(rows, R), triton.cdiv(cols, C))](
        x, out, rows, cols, x.stride(0), x.stride(1), num_warps=WARPS)
    return out
""", SIZES, 6),
)  # fmt: skip

FAMILY = Family("transposes", False, KERNELS)
