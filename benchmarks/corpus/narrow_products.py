"""Products of int8 and fp8 matrices, and of weights that are kept in int8."""

import torch

from .entry import Family, Kernel, integers, normal, problem


def whole_product(a, b):
    """a @ b of int8 matrices, in int32."""
    if a.dtype.is_floating_point:
        return a @ b
    return torch._int_mm(a, b)


def eighth_product(a, b):
    """a @ b of float8_e4m3fn matrices, summed in float32, in bfloat16."""
    wide = torch.float64 if a.dtype == torch.float64 else torch.float32
    out = a.to(wide) @ b.to(wide)
    return out if wide == torch.float64 else out.bfloat16()


def weights_product(a, b, scale):
    """a @ (b * scale): bfloat16 values, int8 weights, a scale for each column."""
    wide = torch.promote_types(a.dtype, torch.float32)
    return ((a.to(wide) @ b.to(wide)) * scale.to(wide)).to(a.dtype)


def flops(case):
    """Of a product."""
    return 2.0 * case["m"] * case["n"] * case["k"]


SMALL = (
    {"m": 64, "n": 128, "k": 128},
    {"m": 128, "n": 64, "k": 256},
    {"m": 192, "n": 128, "k": 64},
)
WHOLE = problem(
    "whole_product",
    "a b",
    whole_product,
    lambda case, g: (
        integers(g, -40, 41, case["m"], case["k"]).to(torch.int8),
        integers(g, -40, 41, case["k"], case["n"]).to(torch.int8),
    ),
    tiny=SMALL,
    bench={"m": 2048, "n": 2048, "k": 4096},
    dtype="int8",
    matrix=True,
    flops=flops,
    moved=lambda case: 1.0 * case["k"] * (case["m"] + case["n"]) + 4.0 * case["m"] * case["n"],
    part=lambda ranges, cast, a, b: (a[ranges[0]].double() @ b[:, ranges[1]].double()).int(),
)
EIGHTH = problem(
    "eighth_product",
    "a b",
    eighth_product,
    lambda case, g: (
        normal(g, case["m"], case["k"]).to(torch.float8_e4m3fn),
        normal(g, case["k"], case["n"]).to(torch.float8_e4m3fn),
    ),
    tiny=SMALL,
    bench={"m": 4096, "n": 2048, "k": 2048},
    dtype="float8_e4m3fn",
    matrix=True,
    flops=flops,
    moved=lambda case: 1.0 * case["k"] * (case["m"] + case["n"]) + 2.0 * case["m"] * case["n"],
    reduction=lambda case: case["k"],
    part=lambda ranges, cast, a, b: eighth_product(cast(a[ranges[0]]), cast(b[:, ranges[1]])),
)
WEIGHTS = problem(
    "weights_product", "a b scale", weights_product,
    lambda case, g: (normal(g, case["m"], case["k"]).bfloat16(),
                     integers(g, -127, 128, case["k"], case["n"]).to(torch.int8),
                     (normal(g, case["n"]).abs() + 0.1).bfloat16()),
    tiny=SMALL, bench={"m": 512, "n": 4096, "k": 4096}, dtype="bfloat16", dtypes={"b": "int8"},
    matrix=True, flops=flops, reduction=lambda case: case["k"],
    moved=lambda case: case["k"] * (2.0 * case["m"] + case["n"]),
    part=lambda ranges, cast, a, b, scale: weights_product(
        cast(a[ranges[0]]), cast(b[:, ranges[1]]), cast(scale[ranges[1]])),
)  # fmt: skip

PLAIN = """
@triton.jit
def kernel(a, b, EXTRA c, M, N, K):
    m = tl.program_id(0) * _TM + tl.arange(0, _TM)[:, None]
    n = tl.program_id(1) * _TN + tl.arange(0, _TN)[None, :]
    acc = tl.zeros((_TM, _TN), ACC)
    for start in range(0, K, _TK):
        k = start + tl.arange(0, _TK)
        x = tl.load(a + m * K + k[None, :], mask=(m < M) & (k[None, :] < K), other=OTHER)
        y = tl.load(b + k[:, None] * N + n, mask=(k[:, None] < K) & (n < N), other=OTHER)
        acc = tl.dot(x, YTYPE, acc, out_dtype=ACC)
    tl.store(c + m * N + n, RESULT, mask=(m < M) & (n < N))

def NAME(a, b, EXTRA_ARGS):
    (M, K), N = a.shape, b.shape[1]
    c = torch.empty((M, N), dtype=DTYPE, device=a.device)
    kernel[(triton.cdiv(M, TM), triton.cdiv(N, TN))](a, b, EXTRA c, M, N, K, num_warps=WARPS, num_stages=STAGES)
    return c
"""


def plain(name, acc, dtype, y="y", result="acc", extra=""):
    """A product of tiles; what the sum is kept in, what the result is, and how y is read."""
    changes = {"NAME": name, "ACC": acc, "DTYPE": dtype, "YTYPE": y, "RESULT": result,
               "OTHER": "0" if acc == "tl.int32" or extra else "0.0",
               ", EXTRA_ARGS": f", {extra}" if extra else "", "EXTRA": f"{extra}," if extra else ""}  # fmt: skip
    text = PLAIN
    for old, new in changes.items():
        text = text.replace(old, new)
    return text


SIZES = {
    "TM": (128, 64),
    "TN": (128, 64),
    "TK": (64, 128, 32),
    "WARPS": (8, 4),
    "STAGES": (3, 4, 2),
}
DESCRIPTORS = """
from triton.tools.tensor_descriptor import TensorDescriptor

@triton.jit
def kernel(a, b, c, K):
    m, n = tl.program_id(0) * _TM, tl.program_id(1) * _TN
    acc = tl.zeros((_TM, _TN), ACC)
    for k in range(0, K, _TK):
        acc = tl.dot(a.load([m, k]), b.load([n, k]).T, acc, out_dtype=ACC)
    c.store([m, n], acc.to(c.dtype))

def NAME(a, b):
    (M, K), N = a.shape, b.shape[1]
    c = torch.empty((M, N), dtype=DTYPE, device=a.device)
    make = TensorDescriptor.from_tensor
    kernel[(triton.cdiv(M, TM), triton.cdiv(N, TN))](
        make(a, [TM, TK]), make(b.t().contiguous(), [TN, TK]), make(c, [TM, TN]), K,
        num_warps=WARPS, num_stages=STAGES)
    return c
"""

KERNELS = (
    Kernel("int8_plain", WHOLE, plain("whole_product", "tl.int32", "torch.int32"), SIZES, 8),
    Kernel("int8_turned_descriptors", WHOLE,
           DESCRIPTORS.replace("NAME", "whole_product").replace("ACC", "tl.int32").replace("DTYPE", "torch.int32"),
           {**SIZES, "TK": (128, 64)}, 5),
    Kernel("fp8_plain", EIGHTH,
           plain("eighth_product", "tl.float32", "torch.bfloat16", result="acc.to(tl.bfloat16)"), SIZES, 7),
    Kernel("fp8_turned_descriptors", EIGHTH,
           DESCRIPTORS.replace("NAME", "eighth_product").replace("ACC", "tl.float32").replace("DTYPE", "torch.bfloat16"),
           {**SIZES, "TK": (128, 64)}, 5),
    Kernel("fp8_made_bf16", EIGHTH,
           plain("eighth_product", "tl.float32", "torch.bfloat16", result="acc.to(tl.bfloat16)",
                 y="y.to(tl.bfloat16)").replace("tl.dot(x,", "tl.dot(x.to(tl.bfloat16),"),
           SIZES, 5),
    Kernel("int8_weights", WEIGHTS,
           plain("weights_product", "tl.float32", "torch.bfloat16", y="y.to(tl.bfloat16)", extra="scale",
                 result="(acc * tl.load(scale + n, mask=n < N).to(tl.float32)).to(tl.bfloat16)"),
           SIZES, 7),
)  # fmt: skip

FAMILY = Family("int8 and fp8 products", False, KERNELS)
