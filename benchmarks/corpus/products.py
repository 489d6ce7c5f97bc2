"""Matrix products: plain, persistent, by descriptors, batched, thin, in fp32, tf32 and tf32x3."""

import torch

from .entry import Family, Kernel, integers, normal, problem


def product(a, b):
    """a @ b of two matrices, summed in float32."""
    return a @ b


def product_small(a, b):
    """a @ b where b is wide and a has few rows."""
    return a @ b


def product_batched(a, b):
    """a[i] @ b[i] of two batches of matrices."""
    return torch.bmm(a, b)


def product_fp32(a, b):
    """a @ b of float32 matrices of small integers."""
    return a @ b


def product_vector(a, b):
    """a @ b of a matrix and a vector."""
    return a @ b


def product_tail(a, b):
    """a @ b^T, the grid of whose tiles fits the GPU badly."""
    return a @ b.T


def halves(case, g):
    """Two matrices of normal values in the case's dtype."""
    a, b = normal(g, case["m"], case["k"]), normal(g, case["k"], case["n"])
    return a.to(case.torch_dtype), b.to(case.torch_dtype)


def whole(case, g):
    """Two float32 matrices of integers, which tf32 holds exactly."""
    return (integers(g, -8, 9, case["m"], case["k"]).float(),
            integers(g, -8, 9, case["k"], case["n"]).float())  # fmt: skip


def flops(case):
    """Of a product."""
    return 2.0 * case["m"] * case["n"] * case["k"] * case.sizes.get("batch", 1)


def moved(case):
    """Bytes of both factors and of the result."""
    m, n, k = case["m"], case["n"], case["k"]
    size = 4 if case.dtype == "float32" else 2
    return size * (m * k + k * n + m * n) * case.sizes.get("batch", 1)


def rows(ranges, cast, a, b):
    """Some rows and columns of a product."""
    return cast(a[ranges[0]]) @ cast(b[:, ranges[1]])


def product_problem(name, reference, bench, dtype="bfloat16", **more):
    """A task on (m, k) and (k, n)."""
    small = (
        {"m": 64, "n": 80, "k": 96},
        {"m": 16, "n": 136, "k": 32},
        {"m": 200, "n": 144, "k": 64},
    )
    return problem(
        name,
        "a b",
        reference,
        more.pop("inputs", halves),
        tiny=more.pop("tiny", small),
        bench=bench,
        dtype=dtype,
        flops=flops,
        moved=more.pop("moved", moved),
        reduction=lambda case: case["k"],
        matrix=True,
        **{"part": rows, **more},
    )


BIG = product_problem("product", product, {"m": 4096, "n": 2048, "k": 2048})
THIN = product_problem("product_small", product_small, {"m": 16, "n": 8192, "k": 4096}, "float16")
FP32 = product_problem(
    "product_fp32", product_fp32, {"m": 2048, "n": 2048, "k": 1024}, "float32", inputs=whole
)
TAIL = product_problem(
    "product_tail",
    product_tail,
    {"m": 1536, "n": 1536, "k": 4096},
    inputs=lambda case, g: (
        normal(g, case["m"], case["k"]).to(case.torch_dtype),
        normal(g, case["n"], case["k"]).to(case.torch_dtype),
    ),
    part=lambda ranges, cast, a, b: cast(a[ranges[0]]) @ cast(b[ranges[1]]).T,
)
BATCHED = product_problem(
    "product_batched",
    product_batched,
    {"batch": 256, "m": 256, "n": 256, "k": 64},
    tiny=({"batch": 2, "m": 40, "n": 64, "k": 32}, {"batch": 3, "m": 64, "n": 24, "k": 64}),
    inputs=lambda case, g: (
        normal(g, case["batch"], case["m"], case["k"]).to(case.torch_dtype),
        normal(g, case["batch"], case["k"], case["n"]).to(case.torch_dtype),
    ),
    part=lambda ranges, cast, a, b: torch.bmm(
        cast(a[ranges[0], ranges[1]]), cast(b[ranges[0], :, ranges[2]])
    ),
)
VECTOR = product_problem(
    "product_vector",
    product_vector,
    {"m": 16384, "k": 4096, "n": 1},
    "bfloat16",
    tiny=({"m": 30, "k": 300, "n": 1}, {"m": 7, "k": 1030, "n": 1}),
    inputs=lambda case, g: (
        normal(g, case["m"], case["k"]).to(case.torch_dtype),
        normal(g, case["k"]).to(case.torch_dtype),
    ),
    part=lambda ranges, cast, a, b: cast(a[ranges[0]]) @ cast(b),
)

TILE = """
@triton.jit
def kernel(a, b, c, M, N, K):
    tiles = tl.cdiv(N, _TN)
    m = tl.program_id(0) // tiles * _TM + tl.arange(0, _TM)[:, None]
    n = tl.program_id(0) % tiles * _TN + tl.arange(0, _TN)[None, :]
    acc = tl.zeros((_TM, _TN), tl.float32)
    for start in range(0, K, _TK):
        k = start + tl.arange(0, _TK)
        x = tl.load(a + m * K + k[None, :], mask=(m < M) & (k[None, :] < K), other=0.0)
        y = tl.load(b + k[:, None] * N + n, mask=(k[:, None] < K) & (n < N), other=0.0)
        acc = tl.dot(x, y, acc, input_precision=PRECISION)
    tl.store(c + m * N + n, acc.to(c.dtype.element_ty), mask=(m < M) & (n < N))

def NAME(a, b):
    (M, K), N = a.shape, b.shape[1]
    c = a.new_empty((M, N))
    grid = (triton.cdiv(M, TM) * triton.cdiv(N, TN),)
    kernel[grid](a, b, c, M, N, K, num_warps=WARPS, num_stages=STAGES)
    return c
"""


def tile(name, precision="tf32"):
    """A plain product of tiles for a task."""
    return TILE.replace("NAME", name).replace("PRECISION", repr(precision))


SIZES = {
    "TM": (128, 64, 32, 128),
    "TN": (128, 64, 256),
    "TK": (64, 32, 128),
    "WARPS": (8, 4),
    "STAGES": (3, 2, 4),
}

KERNELS = (
    Kernel("product_plain", BIG, tile("product"), SIZES, 8),
    Kernel("product_grouped", BIG, """
@triton.jit
def kernel(a, b, c, M, N, K):
    rows, cols = tl.cdiv(M, _TM), tl.cdiv(N, _TN)
    width = _GROUP * cols
    first = tl.program_id(0) // width * _GROUP
    size = min(rows - first, _GROUP)
    pm = first + tl.program_id(0) % width % size
    pn = tl.program_id(0) % width // size
    m = (pm * _TM + tl.arange(0, _TM)) % M
    n = (pn * _TN + tl.arange(0, _TN)) % N
    k = tl.arange(0, _TK)
    x_at = a + m[:, None] * K + k[None, :]
    y_at = b + k[:, None] * N + n[None, :]
    acc = tl.zeros((_TM, _TN), tl.float32)
    for left in range(K, 0, -_TK):
        x = tl.load(x_at, mask=k[None, :] < left, other=0.0)
        y = tl.load(y_at, mask=k[:, None] < left, other=0.0)
        acc = tl.dot(x, y, acc)
        x_at += _TK
        y_at += _TK * N
    m = pm * _TM + tl.arange(0, _TM)
    n = pn * _TN + tl.arange(0, _TN)
    tl.store(c + m[:, None] * N + n[None, :], acc.to(tl.bfloat16), mask=(m[:, None] < M) & (n[None, :] < N))

def product(a, b):
    (M, K), N = a.shape, b.shape[1]
    c = a.new_empty((M, N))
    kernel[(triton.cdiv(M, TM) * triton.cdiv(N, TN),)](a, b, c, M, N, K, num_warps=WARPS, num_stages=STAGES)
    return c
""", {**SIZES, "GROUP": (8, 1, 4)}, 7),
    Kernel("product_descriptors", BIG, """
from triton.tools.tensor_descriptor import TensorDescriptor

@triton.jit
def kernel(a, b, c, M, N, K):
    tiles = tl.cdiv(N, _TN)
    total = tl.cdiv(M, _TM) * tiles
    for tile in range(tl.program_id(0), total, tl.num_programs(0)):
        m, n = tile // tiles * _TM, tile % tiles * _TN
        acc = tl.zeros((_TM, _TN), tl.float32)
        for k in range(0, K, _TK):
            acc = tl.dot(a.load([m, k]), b.load([k, n]), acc)
        c.store([m, n], acc.to(tl.bfloat16))

def product(a, b):
    (M, K), N = a.shape, b.shape[1]
    c = a.new_empty((M, N))
    make = TensorDescriptor.from_tensor
    total = triton.cdiv(M, TM) * triton.cdiv(N, TN)
    kernel[(min(total, PROGRAMS),)](
        make(a, [TM, TK]), make(b, [TK, TN]), make(c, [TM, TN]), M, N, K,
        num_warps=WARPS, num_stages=STAGES)
    return c
""", {**SIZES, "PROGRAMS": (132, 264, 100000)}, 7),
    Kernel("product_thin", THIN, tile("product_small"),
           {"TM": (16,), "TN": (64, 32, 128), "TK": (128, 64, 256), "WARPS": (4, 2, 8), "STAGES": (3, 5)}, 7),
    Kernel("product_fp32_exact", FP32, tile("product_fp32", "ieee"),
           {"TM": (64, 32, 128), "TN": (64, 128), "TK": (16, 32), "WARPS": (4, 8), "STAGES": (2, 3)}, 6),
    Kernel("product_tf32", FP32, tile("product_fp32"),
           {"TM": (128, 64), "TN": (128, 64), "TK": (32, 16, 64), "WARPS": (4, 8), "STAGES": (3, 2)}, 7),
    Kernel("product_tf32x3", FP32, tile("product_fp32", "tf32x3"),
           {"TM": (64, 128), "TN": (64, 128), "TK": (32, 16), "WARPS": (4, 8), "STAGES": (2, 3)}, 5),
    Kernel("product_transposed_factor", TAIL, """
@triton.jit
def kernel(a, b, c, M, N, K):
    m = tl.program_id(0) * _TM + tl.arange(0, _TM)[:, None]
    n = tl.program_id(1) * _TN + tl.arange(0, _TN)[:, None]
    acc = tl.zeros((_TM, _TN), tl.float32)
    for start in range(0, K, _TK):
        k = start + tl.arange(0, _TK)[None, :]
        x = tl.load(a + m * K + k, mask=(m < M) & (k < K), other=0.0)
        y = tl.load(b + n * K + k, mask=(n < N) & (k < K), other=0.0)
        acc = tl.dot(x, tl.trans(y), acc)
    col = tl.program_id(1) * _TN + tl.arange(0, _TN)[None, :]
    tl.store(c + m * N + col, acc.to(tl.bfloat16), mask=(m < M) & (col < N))

def product_tail(a, b):
    (M, K), N = a.shape, b.shape[0]
    c = a.new_empty((M, N))
    kernel[(triton.cdiv(M, TM), triton.cdiv(N, TN))](a, b, c, M, N, K, num_warps=WARPS, num_stages=STAGES)
    return c
""", SIZES, 7),
    Kernel("product_batch", BATCHED, """
@triton.jit
def kernel(a, b, c, M, N, K):
    batch = tl.program_id(2).to(tl.int64)
    m = tl.program_id(0) * _TM + tl.arange(0, _TM)[:, None]
    n = tl.program_id(1) * _TN + tl.arange(0, _TN)[None, :]
    acc = tl.zeros((_TM, _TN), tl.float32)
    for start in range(0, K, _TK):
        k = start + tl.arange(0, _TK)
        x = tl.load(a + batch * M * K + m * K + k[None, :], mask=(m < M) & (k[None, :] < K), other=0.0)
        y = tl.load(b + batch * K * N + k[:, None] * N + n, mask=(k[:, None] < K) & (n < N), other=0.0)
        acc = tl.dot(x, y, acc)
    tl.store(c + batch * M * N + m * N + n, acc.to(tl.bfloat16), mask=(m < M) & (n < N))

def product_batched(a, b):
    B, M, K = a.shape
    N = b.shape[2]
    c = a.new_empty((B, M, N))
    kernel[(triton.cdiv(M, TM), triton.cdiv(N, TN), B)](a, b, c, M, N, K, num_warps=WARPS, num_stages=2)
    return c
""", {"TM": (64, 128, 32), "TN": (64, 128), "TK": (32, 64), "WARPS": (4, 8)}, 6),
    Kernel("vector_rows", VECTOR, """
@triton.jit
def kernel(a, b, c, M, K):
    m = tl.program_id(0) * _ROWS + tl.arange(0, _ROWS)[:, None]
    total = tl.zeros((_ROWS, _BLOCK), tl.float32)
    for start in range(0, K, _BLOCK):
        k = start + tl.arange(0, _BLOCK)[None, :]
        x = tl.load(a + m * K + k, mask=(m < M) & (k < K), other=0.0).to(tl.float32)
        total += x * tl.load(b + k, mask=k < K, other=0.0).to(tl.float32)
    m = tl.program_id(0) * _ROWS + tl.arange(0, _ROWS)
    tl.store(c + m, tl.sum(total, axis=1).to(tl.bfloat16), mask=m < M)

def product_vector(a, b):
    M, K = a.shape
    c = a.new_empty((M,))
    kernel[(triton.cdiv(M, ROWS),)](a, b, c, M, K, num_warps=WARPS)
    return c
""", {"ROWS": (4, 1, 16), "BLOCK": (512, 256, 1024), "WARPS": (4, 2, 8)}, 6),
    Kernel("vector_by_products", VECTOR, """
@triton.jit
def kernel(a, b, c, M, K):
    m = tl.program_id(0) * _ROWS + tl.arange(0, _ROWS)[:, None]
    acc = tl.zeros((_ROWS, 16), tl.float32)
    for start in range(0, K, _BLOCK):
        k = start + tl.arange(0, _BLOCK)
        x = tl.load(a + m * K + k[None, :], mask=(m < M) & (k[None, :] < K), other=0.0)
        y = tl.load(b + k, mask=k < K, other=0.0)[:, None] + tl.zeros((1, 16), tl.bfloat16)
        acc = tl.dot(x, y, acc)
    col = tl.arange(0, 16)[None, :]
    tl.store(c + m + col, acc.to(tl.bfloat16), mask=(m < M) & (col == 0))

def product_vector(a, b):
    M, K = a.shape
    c = a.new_empty((M,))
    kernel[(triton.cdiv(M, ROWS),)](a, b, c, M, K, num_warps=WARPS)
    return c
""", {"ROWS": (64, 32, 128), "BLOCK": (128, 64, 256), "WARPS": (4, 8)}, 4),
)  # fmt: skip

FAMILY = Family("products", True, KERNELS)
