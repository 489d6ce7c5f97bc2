"""Stencils: five points of a plane, seven of a space, wide ones of a line, blurs."""

import torch

from .entry import Family, Kernel, normal, problem


def plane(x):
    """Each inner value of (n, n): 0.5 of itself and 0.125 of its four neighbours; 0 at the edge."""
    out = torch.zeros_like(x)
    near = x[:-2, 1:-1] + x[2:, 1:-1] + x[1:-1, :-2] + x[1:-1, 2:]
    out[1:-1, 1:-1] = 0.5 * x[1:-1, 1:-1] + 0.125 * near
    return out


def space(x):
    """Each inner value of (n, n, n): 0.4 of itself and 0.1 of its six neighbours; 0 at the edge."""
    out = torch.zeros_like(x)
    near = x[:-2, 1:-1, 1:-1] + x[2:, 1:-1, 1:-1] + x[1:-1, :-2, 1:-1]
    near = near + x[1:-1, 2:, 1:-1] + x[1:-1, 1:-1, :-2] + x[1:-1, 1:-1, 2:]
    out[1:-1, 1:-1, 1:-1] = 0.4 * x[1:-1, 1:-1, 1:-1] + 0.1 * near
    return out


def line(x):
    """The mean of each value of every row and its 8 neighbours on both sides, zeros beyond."""
    return torch.nn.functional.avg_pool1d(x[:, None], 17, 1, 8)[:, 0]


def blur(x):
    """The mean over 5 x 5 around each value of (B, H, W), zeros beyond."""
    return torch.nn.functional.avg_pool2d(x[:, None], 5, 1, 2)[:, 0]


def two_steps(x):
    """`plane`, twice."""
    return plane(plane(x))


def plane_rows(reference, reach):
    """`Task.part`: rows with those around them."""

    def part(ranges, cast, x):
        first = max((ranges[0].start or 0) - reach, 0)
        last = min(ranges[0].stop + reach, x.shape[0])
        found = reference(cast(x[first:last]))
        skip = (ranges[0].start or 0) - first
        return found[skip : skip + ranges[0].stop - (ranges[0].start or 0)]

    return part


def square(case, g):
    """Normal values in as many axes as the case has."""
    return (normal(g, *case.sizes.values()),)


def stencil_problem(name, reference, tiny, bench, part=None, reduction=8):
    """A task whose result has the shape of its argument."""

    def moved(case):
        total = 8.0
        for value in case.sizes.values():
            total *= value
        return total

    return problem(name, "x", reference, square, tiny=tiny, bench=bench, moved=moved,
                   reduction=lambda case: reduction, part=part)  # fmt: skip


PLANE = stencil_problem(
    "plane", plane, ({"h": 40, "w": 70}, {"h": 33, "w": 130}), {"h": 4096, "w": 4096}
)
SPACE = stencil_problem(
    "space",
    space,
    ({"a": 9, "b": 12, "c": 33}, {"a": 7, "b": 8, "c": 40}),
    {"a": 256, "b": 256, "c": 256},
)
LINE = stencil_problem("line", line, ({"r": 3, "n": 300}, {"r": 2, "n": 1100}), {"r": 512, "n": 16384},
                       lambda ranges, cast, x: line(cast(x[ranges[0]])), 17)  # fmt: skip
BLUR = stencil_problem("blur", blur, ({"b": 1, "h": 20, "w": 40}, {"b": 2, "h": 17, "w": 70}),
                       {"b": 16, "h": 1024, "w": 1024}, lambda ranges, cast, x: blur(cast(x[ranges[0]]))[:, ranges[1], ranges[2]], 25)  # fmt: skip
TWO = stencil_problem(
    "two_steps", two_steps, ({"h": 40, "w": 70}, {"h": 33, "w": 130}), {"h": 3000, "w": 3000}
)

FIVE = """
    inside = (r > 0) & (r < H - 1) & (c > 0) & (c < W - 1)
    at = x + r * W + c
    near = tl.load(at - W, mask=inside, other=0.0) + tl.load(at + W, mask=inside, other=0.0)
    near += tl.load(at - 1, mask=inside, other=0.0) + tl.load(at + 1, mask=inside, other=0.0)
    v = 0.5 * tl.load(at, mask=inside, other=0.0) + 0.125 * near
    tl.store(out + r * W + c, v, mask=(r < H) & (c < W))
"""
FLAT = (
    """
@triton.jit
def kernel(x, out, H, W):
    i = tl.program_id(0) * _BLOCK + tl.arange(0, _BLOCK)
    r, c = i // W, i % W
"""
    + FIVE
)
TILES = (
    """
@triton.jit
def kernel(x, out, H, W):
    r = tl.program_id(1) * _R + tl.arange(0, _R)[:, None]
    c = tl.program_id(0) * _C + tl.arange(0, _C)[None, :]
"""
    + FIVE
)
CALL_FLAT = "kernel[(triton.cdiv(x.numel(), BLOCK),)](x, out, *x.shape, num_warps=WARPS)"
CALL_TILES = "kernel[(triton.cdiv(x.shape[1], C), triton.cdiv(x.shape[0], R))](x, out, *x.shape, num_warps=WARPS)"
ONCE = "\ndef plane(x):\n    out = torch.empty_like(x)\n    CALL\n    return out\n"
TWICE = """
def two_steps(x):
    for _ in range(2):
        out = torch.empty_like(x)
        CALL
        x = out
    return out
"""
BLOCKS = {"BLOCK": (1024, 256, 4096), "WARPS": (4, 2, 8)}
SHAPES = {"R": (4, 1, 16, 32), "C": (128, 32, 64, 256), "WARPS": (4, 8)}

KERNELS = (
    Kernel("plane_flat", PLANE, FLAT + ONCE.replace("CALL", CALL_FLAT), BLOCKS),
    Kernel("plane_tiles", PLANE, TILES + ONCE.replace("CALL", CALL_TILES), SHAPES, 8),
    Kernel("two_flat", TWO, FLAT + TWICE.replace("CALL", CALL_FLAT), BLOCKS, 4),
    Kernel("two_tiles", TWO, TILES + TWICE.replace("CALL", CALL_TILES), SHAPES, 6),
    Kernel("space_tiles", SPACE, """
@triton.jit
def kernel(x, out, A, B, C):
    a = tl.program_id(2)
    b = tl.program_id(1) * _R + tl.arange(0, _R)[:, None]
    c = tl.program_id(0) * _C + tl.arange(0, _C)[None, :]
    inside = (a > 0) & (a < A - 1) & (b > 0) & (b < B - 1) & (c > 0) & (c < C - 1)
    at = x + (a * B + b) * C + c
    near = tl.load(at - B * C, mask=inside, other=0.0) + tl.load(at + B * C, mask=inside, other=0.0)
    near += tl.load(at - C, mask=inside, other=0.0) + tl.load(at + C, mask=inside, other=0.0)
    near += tl.load(at - 1, mask=inside, other=0.0) + tl.load(at + 1, mask=inside, other=0.0)
    v = 0.4 * tl.load(at, mask=inside, other=0.0) + 0.1 * near
    tl.store(out + (a * B + b) * C + c, v, mask=(b < B) & (c < C))

def space(x):
    depth, height, width = x.shape
    out = torch.empty_like(x)
    kernel[(triton.cdiv(width, C), triton.cdiv(height, R), depth)](x, out, *x.shape, num_warps=WARPS)
    return out
""", SHAPES, 7),
    Kernel("space_columns", SPACE, """
@triton.jit
def kernel(x, out, A, B, C):
    b = tl.program_id(1) * _R + tl.arange(0, _R)[:, None]
    c = tl.program_id(0) * _C + tl.arange(0, _C)[None, :]
    seen = (b < B) & (c < C)
    inside = (b > 0) & (b < B - 1) & (c > 0) & (c < C - 1)
    below = tl.zeros((_R, _C), tl.float32)
    here = tl.load(x + b * C + c, mask=seen, other=0.0)
    for a in range(A):
        at = x + (a * B + b) * C + c
        above = tl.load(at + B * C, mask=seen & (a + 1 < A), other=0.0)
        near = below + above
        near += tl.load(at - C, mask=inside, other=0.0) + tl.load(at + C, mask=inside, other=0.0)
        near += tl.load(at - 1, mask=inside, other=0.0) + tl.load(at + 1, mask=inside, other=0.0)
        v = tl.where(inside & (a > 0) & (a < A - 1), 0.4 * here + 0.1 * near, 0.0)
        tl.store(out + (a * B + b) * C + c, v, mask=seen)
        below = here
        here = above

def space(x):
    depth, height, width = x.shape
    out = torch.empty_like(x)
    kernel[(triton.cdiv(width, C), triton.cdiv(height, R))](x, out, *x.shape, num_warps=WARPS)
    return out
""", {"R": (4, 1, 8), "C": (64, 32, 128), "WARPS": (4, 2, 8)}, 6),
    Kernel("line_taps", LINE, """
@triton.jit
def kernel(x, out, n):
    row = tl.program_id(1)
    i = tl.program_id(0) * _BLOCK + tl.arange(0, _BLOCK)
    total = tl.zeros((_BLOCK,), tl.float32)
    for tap in tl.static_range(17):
        j = i + (tap - 8)
        total += tl.load(x + row * n + j, mask=(j >= 0) & (j < n), other=0.0)
    tl.store(out + row * n + i, total / 17, mask=i < n)

def line(x):
    out = torch.empty_like(x)
    kernel[(triton.cdiv(x.shape[1], BLOCK), x.shape[0])](x, out, x.shape[1], num_warps=WARPS)
    return out
""", {"BLOCK": (1024, 256, 512, 4096), "WARPS": (4, 1, 8)}, 6),
    Kernel("line_loop", LINE, """
@triton.jit
def kernel(x, out, n):
    row = tl.program_id(1)
    i = tl.program_id(0) * _BLOCK + tl.arange(0, _BLOCK)
    total = tl.zeros((_BLOCK,), tl.float32)
    for tap in range(-8, 9):
        j = i + tap
        total += tl.load(x + row * n + j, mask=(j >= 0) & (j < n), other=0.0)
    tl.store(out + row * n + i, total / 17, mask=i < n)

def line(x):
    out = torch.empty_like(x)
    kernel[(triton.cdiv(x.shape[1], BLOCK), x.shape[0])](x, out, x.shape[1], num_warps=WARPS)
    return out
""", {"BLOCK": (1024, 256, 512), "WARPS": (4, 2)}, 4),
    Kernel("line_by_running_sum", LINE, """
@triton.jit
def kernel(x, out, n):
    row = tl.program_id(1)
    start = tl.program_id(0) * (_BLOCK - 32)
    i = tl.arange(0, _BLOCK)
    j = start + i - 16
    v = tl.load(x + row * n + j, mask=(j >= 0) & (j < n), other=0.0)
    total = tl.cumsum(v, axis=0)
    late = tl.gather(total, tl.minimum(i + 8, _BLOCK - 1), 0)
    early = tl.gather(total, tl.maximum(i - 9, 0), 0)
    tl.store(out + row * n + j, (late - early) / 17, mask=(i >= 16) & (i < _BLOCK - 16) & (j < n))

def line(x):
    out = torch.empty_like(x)
    kernel[(triton.cdiv(x.shape[1], BLOCK - 32), x.shape[0])](x, out, x.shape[1], num_warps=WARPS)
    return out
""", {"BLOCK": (512, 256, 1024), "WARPS": (4, 2)}, 4),
    Kernel("blur_tiles", BLUR, """
@triton.jit
def kernel(x, out, H, W):
    base = tl.program_id(2) * H * W
    r = tl.program_id(1) * _R + tl.arange(0, _R)[:, None]
    c = tl.program_id(0) * _C + tl.arange(0, _C)[None, :]
    total = tl.zeros((_R, _C), tl.float32)
    for dr in tl.static_range(-2, 3):
        for dc in tl.static_range(-2, 3):
            seen = (r + dr >= 0) & (r + dr < H) & (c + dc >= 0) & (c + dc < W)
            total += tl.load(x + base + (r + dr) * W + c + dc, mask=seen, other=0.0)
    tl.store(out + base + r * W + c, total / 25, mask=(r < H) & (c < W))

def blur(x):
    B, H, W = x.shape
    out = torch.empty_like(x)
    kernel[(triton.cdiv(W, C), triton.cdiv(H, R), B)](x, out, H, W, num_warps=WARPS)
    return out
""", SHAPES, 7),
)  # fmt: skip

FAMILY = Family("stencils", False, KERNELS)
