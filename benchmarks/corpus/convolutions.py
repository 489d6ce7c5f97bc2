"""Convolutions: of images by products and by sums, of sequences, of each channel for itself."""

import torch

from .entry import Family, Kernel, normal, problem

functional = torch.nn.functional


def images(x, w):
    """A 3 x 3 convolution of (B, H, W, C) with (3, 3, C, K), padded with zeros."""
    out = functional.conv2d(x.permute(0, 3, 1, 2), w.permute(3, 2, 0, 1), padding=1)
    return out.permute(0, 2, 3, 1).contiguous()


def channel_images(x, w):
    """A 3 x 3 convolution of every channel of (B, C, H, W) with its own (C, 3, 3), padded."""
    return functional.conv2d(x, w[:, None], padding=1, groups=x.shape[1])


def causal_sequences(x, w):
    """out[b, t, c] = sum over i of w[c, i] x[b, t - 3 + i, c]: (B, T, C), with four taps."""
    turned = functional.pad(x.transpose(1, 2), (3, 0))
    return functional.conv1d(turned, w[:, None], groups=x.shape[2]).transpose(1, 2).contiguous()


def patches(x, w):
    """Non-overlapping patches of 8 x 8 of (B, H, W), each times (64, K)."""
    B, H, W = x.shape
    cut = x.reshape(B, H // 8, 8, W // 8, 8).transpose(2, 3).reshape(-1, 64)
    return cut @ w


IMAGES = problem(
    "images",
    "x w",
    images,
    lambda case, g: (
        normal(g, case["batch"], case["size"], case["size"], case["channels"]).half(),
        normal(g, 3, 3, case["channels"], case["out"], scale=0.1).half(),
    ),
    tiny=(
        {"batch": 1, "size": 9, "channels": 64, "out": 64},
        {"batch": 2, "size": 6, "channels": 64, "out": 128},
    ),
    bench={"batch": 8, "size": 56, "channels": 128, "out": 128},
    dtype="float16",
    matrix=True,
    flops=lambda case: 18.0 * case["batch"] * case["size"] ** 2 * case["channels"] * case["out"],
    moved=lambda case: 2.0 * case["batch"] * case["size"] ** 2 * (case["channels"] + case["out"]),
    reduction=lambda case: 9 * case["channels"],
    part=lambda ranges, cast, x, w: images(cast(x[ranges[0]]), cast(w))[
        :, ranges[1], ranges[2], ranges[3]
    ],
)
CHANNELS = problem(
    "channel_images",
    "x w",
    channel_images,
    lambda case, g: (
        normal(g, case["batch"], case["channels"], case["size"], case["size"]),
        normal(g, case["channels"], 3, 3),
    ),
    tiny=({"batch": 1, "channels": 3, "size": 20}, {"batch": 2, "channels": 2, "size": 37}),
    bench={"batch": 16, "channels": 128, "size": 56},
    reduction=lambda case: 9,
    moved=lambda case: 8.0 * case["batch"] * case["channels"] * case["size"] ** 2,
)
SEQUENCES = problem(
    "causal_sequences",
    "x w",
    causal_sequences,
    lambda case, g: (
        normal(g, case["batch"], case["seq"], case["channels"]).bfloat16(),
        normal(g, case["channels"], 4).bfloat16(),
    ),
    tiny=({"batch": 1, "seq": 50, "channels": 64}, {"batch": 2, "seq": 33, "channels": 130}),
    bench={"batch": 4, "seq": 4096, "channels": 1024},
    dtype="bfloat16",
    reduction=lambda case: 4,
    moved=lambda case: 4.0 * case["batch"] * case["seq"] * case["channels"],
    part=lambda ranges, cast, x, w: causal_sequences(
        cast(x[ranges[0], : ranges[1].stop, ranges[2]]), cast(w[ranges[2]])
    )[:, ranges[1].start or 0 :],
)
PATCHES = problem(
    "patches", "x w", patches,
    lambda case, g: (normal(g, case["batch"], case["size"], case["size"]).bfloat16(),
                     normal(g, 64, case["out"]).bfloat16()),
    tiny=({"batch": 1, "size": 64, "out": 64}, {"batch": 2, "size": 32, "out": 128}),
    bench={"batch": 16, "size": 512, "out": 256}, dtype="bfloat16", matrix=True,
    flops=lambda case: 2.0 * case["batch"] * case["size"] ** 2 * case["out"],
    moved=lambda case: 2.0 * case["batch"] * case["size"] ** 2 * (1 + case["out"] / 64),
    reduction=lambda case: 64,
)  # fmt: skip

KERNELS = (
    Kernel("images_by_products", IMAGES, """
@triton.jit
def kernel(x, w, out, B, S, C, K):
    p = tl.program_id(0) * _TM + tl.arange(0, _TM)
    k = tl.program_id(1) * _TN + tl.arange(0, _TN)
    b, row, col = p // (S * S), p // S % S, p % S
    acc = tl.zeros((_TM, _TN), tl.float32)
    for tap in range(9):
        r, s = row + tap // 3 - 1, col + tap % 3 - 1
        inside = (b < B) & (r >= 0) & (r < S) & (s >= 0) & (s < S)
        for start in range(0, C, _TK):
            c = start + tl.arange(0, _TK)
            v = tl.load(x + (((b * S + r) * S + s) * C)[:, None] + c[None, :], mask=inside[:, None], other=0.0)
            u = tl.load(w + (tap * C + c)[:, None] * K + k[None, :])
            acc = tl.dot(v, u, acc)
    tl.store(out + p[:, None] * K + k[None, :], acc.to(tl.float16), mask=b[:, None] < B)

def images(x, w):
    B, S, _, C = x.shape
    K = w.shape[3]
    out = x.new_empty((B, S, S, K))
    kernel[(triton.cdiv(B * S * S, TM), K // TN)](x, w, out, B, S, C, K, num_warps=WARPS, num_stages=STAGES)
    return out
""", {"TM": (128, 64), "TN": (64, 32), "TK": (64, 32), "WARPS": (4, 8), "STAGES": (3, 2)}, 8),
    Kernel("images_one_loop", IMAGES, """
@triton.jit
def kernel(x, w, out, B, S, C, K):
    p = tl.program_id(0) * _TM + tl.arange(0, _TM)
    k = tl.program_id(1) * _TN + tl.arange(0, _TN)
    b, row, col = p // (S * S), p // S % S, p % S
    acc = tl.zeros((_TM, _TN), tl.float32)
    for start in range(0, 9 * C, _TK):
        at = start + tl.arange(0, _TK)
        tap, c = start // C, at % C
        r, s = row + tap // 3 - 1, col + tap % 3 - 1
        inside = (b < B) & (r >= 0) & (r < S) & (s >= 0) & (s < S)
        v = tl.load(x + (((b * S + r) * S + s) * C)[:, None] + c[None, :], mask=inside[:, None], other=0.0)
        u = tl.load(w + at[:, None] * K + k[None, :])
        acc = tl.dot(v, u, acc)
    tl.store(out + p[:, None] * K + k[None, :], acc.to(tl.float16), mask=b[:, None] < B)

def images(x, w):
    B, S, _, C = x.shape
    K = w.shape[3]
    out = x.new_empty((B, S, S, K))
    kernel[(triton.cdiv(B * S * S, TM), K // TN)](x, w, out, B, S, C, K, num_warps=WARPS, num_stages=STAGES)
    return out
""", {"TM": (128, 64), "TN": (64, 32), "TK": (64, 32), "WARPS": (4, 8), "STAGES": (3, 2, 4)}, 6),
    Kernel("images_by_sums", IMAGES, """
@triton.jit
def kernel(x, w, out, B, S, C, K):
    p = tl.program_id(0) * _TM + tl.arange(0, _TM)
    k = tl.program_id(1) * _TN + tl.arange(0, _TN)
    b, row, col = p // (S * S), p // S % S, p % S
    acc = tl.zeros((_TM, _TN), tl.float32)
    for tap in range(9):
        r, s = row + tap // 3 - 1, col + tap % 3 - 1
        inside = (b < B) & (r >= 0) & (r < S) & (s >= 0) & (s < S)
        for c in range(C):
            v = tl.load(x + ((b * S + r) * S + s) * C + c, mask=inside, other=0.0).to(tl.float32)
            u = tl.load(w + (tap * C + c) * K + k).to(tl.float32)
            acc += v[:, None] * u[None, :]
    tl.store(out + p[:, None] * K + k[None, :], acc.to(tl.float16), mask=b[:, None] < B)

def images(x, w):
    B, S, _, C = x.shape
    K = w.shape[3]
    out = x.new_empty((B, S, S, K))
    kernel[(triton.cdiv(B * S * S, TM), K // TN)](x, w, out, B, S, C, K, num_warps=WARPS)
    return out
""", {"TM": (64, 32), "TN": (64, 32), "WARPS": (4, 8)}, 4),
    Kernel("channels_flat", CHANNELS, """
@triton.jit
def kernel(x, w, out, n, C, S):
    i = tl.program_id(0) * _BLOCK + tl.arange(0, _BLOCK)
    c, row, col = i // (S * S) % C, i // S % S, i % S
    total = tl.zeros((_BLOCK,), tl.float32)
    for tap in tl.static_range(9):
        r, s = row + (tap // 3 - 1), col + (tap % 3 - 1)
        inside = (i < n) & (r >= 0) & (r < S) & (s >= 0) & (s < S)
        v = tl.load(x + i + ((tap // 3 - 1) * S + (tap % 3 - 1)), mask=inside, other=0.0)
        total += v * tl.load(w + c * 9 + tap, mask=i < n, other=0.0)
    tl.store(out + i, total, mask=i < n)

def channel_images(x, w):
    out = torch.empty_like(x)
    kernel[(triton.cdiv(x.numel(), BLOCK),)](x, w, out, x.numel(), x.shape[1], x.shape[2], num_warps=WARPS)
    return out
""", {"BLOCK": (1024, 256, 512, 4096), "WARPS": (4, 2, 8)}, 6),
    Kernel("channels_planes", CHANNELS, """
@triton.jit
def kernel(x, w, out, C, S, COLS: tl.constexpr):
    plane = tl.program_id(0)
    row = tl.program_id(1) * _ROWS + tl.arange(0, _ROWS)[:, None]
    col = tl.arange(0, COLS)[None, :]
    total = tl.zeros((_ROWS, COLS), tl.float32)
    for tap in tl.static_range(9):
        r, s = row + (tap // 3 - 1), col + (tap % 3 - 1)
        inside = (r >= 0) & (r < S) & (s >= 0) & (s < S)
        total += tl.load(x + plane * S * S + r * S + s, mask=inside, other=0.0) * tl.load(w + plane % C * 9 + tap)
    tl.store(out + plane * S * S + row * S + col, total, mask=(row < S) & (col < S))

def channel_images(x, w):
    B, C, S, _ = x.shape
    out = torch.empty_like(x)
    grid = (B * C, triton.cdiv(S, ROWS))
    kernel[grid](x, w, out, C, S, triton.next_power_of_2(S), num_warps=WARPS)
    return out
""", {"ROWS": (16, 4, 8, 64), "WARPS": (4, 1, 2, 8)}, 6),
    Kernel("sequences_flat", SEQUENCES, """
@triton.jit
def kernel(x, w, out, T, C):
    c = tl.program_id(0) * _COLS + tl.arange(0, _COLS)[None, :]
    t = tl.program_id(1) * _ROWS + tl.arange(0, _ROWS)[:, None]
    base = tl.program_id(2) * T * C
    total = tl.zeros((_ROWS, _COLS), tl.float32)
    for i in tl.static_range(4):
        seen = (t - 3 + i >= 0) & (t < T) & (c < C)
        v = tl.load(x + base + (t - 3 + i) * C + c, mask=seen, other=0.0).to(tl.float32)
        total += v * tl.load(w + c * 4 + i, mask=c < C, other=0.0).to(tl.float32)
    tl.store(out + base + t * C + c, total.to(tl.bfloat16), mask=(t < T) & (c < C))

def causal_sequences(x, w):
    B, T, C = x.shape
    out = torch.empty_like(x)
    kernel[(triton.cdiv(C, COLS), triton.cdiv(T, ROWS), B)](x, w, out, T, C, num_warps=WARPS)
    return out
""", {"COLS": (128, 32, 64, 256), "ROWS": (16, 4, 64), "WARPS": (4, 2, 8)}, 7),
    Kernel("patches_by_products", PATCHES, """
@triton.jit
def kernel(x, w, out, H, W, K):
    p = tl.program_id(0) * _TM + tl.arange(0, _TM)
    k = tl.program_id(1) * _TN + tl.arange(0, _TN)
    cols = W // 8
    image, row, col = p // (cols * (H // 8)), p // cols % (H // 8), p % cols
    j = tl.arange(0, 64)
    at = ((image * H + row * 8) * W + col * 8)[:, None] + (j // 8 * W + j % 8)[None, :]
    v = tl.load(x + at)
    u = tl.load(w + j[:, None] * K + k[None, :])
    tl.store(out + p[:, None] * K + k[None, :], tl.dot(v, u).to(tl.bfloat16))

def patches(x, w):
    B, H, W = x.shape
    count, K = B * (H // 8) * (W // 8), w.shape[1]
    out = x.new_empty((count, K))
    kernel[(count // TM, K // TN)](x, w, out, H, W, K, num_warps=WARPS)
    return out
""", {"TM": (32, 16), "TN": (64, 32), "WARPS": (4, 2, 8)}, 5),
)  # fmt: skip

FAMILY = Family("convolution", False, KERNELS)
