"""Twenty honest answers to problems of KernelBench's levels 1 to 3, made of four kernels.

None is tuned: they are what verdicts and times of two evaluators are compared on.
"""

from __future__ import annotations

_HEAD = """import torch
import torch.nn as nn
import triton
import triton.language as tl
"""
_POINTWISE = (
    _HEAD
    + """

@triton.jit
def pointwise_kernel(x_ptr, y_ptr, n, {constants}BLOCK: tl.constexpr):
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    x = tl.load(x_ptr + at, mask=at < n)
    tl.store(y_ptr + at, {expression}, mask=at < n)


class ModelNew(nn.Module):
    def __init__(self{init}):
        super().__init__()
        {keep}

    def forward(self, x{more}):
        y = torch.empty_like(x)
        n = x.numel()
        pointwise_kernel[(triton.cdiv(n, 4096),)](x, y, n, {values}BLOCK=4096, num_warps=8)
        return y
"""
)
_ROWS = (
    _HEAD
    + """

@triton.jit
def row_kernel(x_ptr, y_ptr, cols, BLOCK: tl.constexpr):
    start = tl.program_id(0).to(tl.int64) * cols
    highest = tl.full((BLOCK,), float("-inf"), tl.float32)
    total = tl.zeros((BLOCK,), tl.float32)
    for first in range(0, cols, BLOCK):
        at = first + tl.arange(0, BLOCK)
        x = tl.load(x_ptr + start + at, mask=at < cols, other=float("-inf"))
        higher = tl.maximum(highest, x)
        safe = tl.where(higher == float("-inf"), 0.0, higher)
        total = total * tl.exp(highest - safe) + tl.exp(x - safe)
        highest = higher
    top = tl.max(highest, 0)
    whole = tl.sum(total * tl.exp(highest - top), 0)
    for first in range(0, cols, BLOCK):
        at = first + tl.arange(0, BLOCK)
        x = tl.load(x_ptr + start + at, mask=at < cols)
        tl.store(y_ptr + start + at, {expression}, mask=at < cols)


class ModelNew(nn.Module):
    def __init__(self{init}):
        super().__init__()

    def forward(self, x):
        y = torch.empty_like(x)
        row_kernel[(x.shape[0],)](x, y, x.shape[1], BLOCK=2048, num_warps=8)
        return y
"""
)
_COLUMNS = (
    _HEAD
    + """

@triton.jit
def column_kernel(x_ptr, y_ptr, rows, cols, eps, BLOCK: tl.constexpr):
    c = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    start = tl.program_id(1).to(tl.int64) * rows * cols
    total = tl.zeros((BLOCK,), tl.float32)
    row_ptr = x_ptr + start
    for _ in range(rows):
        x = tl.load(row_ptr + c, mask=c < cols, other=0.0)
        total += {summand}
        row_ptr += cols
    {finish}


class ModelNew(nn.Module):
    def __init__(self, {init}):
        super().__init__()
        {keep}

    def forward(self, x):
        outer, rows = x.shape[0], x.shape[1]
        cols = x.numel() // (outer * rows)
        y = {result}
        grid = (triton.cdiv(cols, 512), outer)
        column_kernel[grid](x, y, rows, cols, {eps}, BLOCK=512, num_warps=4)
        return y
"""
)
_PRODUCT = """

@triton.jit
def product_kernel(x_ptr, w_ptr, b_ptr, y_ptr, M, N, K, w_k, w_n, scale, slope,
                   BIAS: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr):
    m = tl.program_id(0) * BM + tl.arange(0, BM)
    n = tl.program_id(1) * BN + tl.arange(0, BN)
    total = tl.zeros((BM, BN), tl.float32)
    for first in range(0, K, BK):
        k = first + tl.arange(0, BK)
        x = tl.load(x_ptr + m[:, None].to(tl.int64) * K + k[None, :],
                    mask=(m[:, None] < M) & (k[None, :] < K), other=0.0)
        w = tl.load(w_ptr + k[:, None].to(tl.int64) * w_k + n[None, :].to(tl.int64) * w_n,
                    mask=(k[:, None] < K) & (n[None, :] < N), other=0.0)
        total = tl.dot(x, w, total, input_precision="ieee")
    if BIAS:
        total += tl.load(b_ptr + n, mask=n < N, other=0.0)[None, :]
    {epilogue}
    tl.store(y_ptr + m[:, None].to(tl.int64) * N + n[None, :], total,
             mask=(m[:, None] < M) & (n[None, :] < N))


def product(x, w, b, scale=1.0, slope=0.0, transposed=True):
    M, K = x.shape
    N = w.shape[0] if transposed else w.shape[1]
    y = torch.empty((M, N), device=x.device, dtype=x.dtype)
    w_k, w_n = (w.stride(1), w.stride(0)) if transposed else (w.stride(0), w.stride(1))
    grid = (triton.cdiv(M, 64), triton.cdiv(N, 64))
    product_kernel[grid](x, w, w if b is None else b, y, M, N, K, w_k, w_n, scale, slope,
                         BIAS=b is not None, BM=64, BN=64, BK=32, num_warps=4)
    return y
"""
_LINEAR = (
    _HEAD
    + _PRODUCT
    + """

class ModelNew(nn.Module):
    def __init__(self, inputs, outputs{init}):
        super().__init__()
        self.{layer} = nn.Linear(inputs, outputs{bias})
        {keep}

    def forward(self, x):
        return product(x, self.{layer}.weight, {b}, {arguments})
"""
)
_SIGMOID = "1.0 / (1.0 + tl.exp(-total))"


def _pointwise(expression: str, **parts: str) -> str:
    given = {"constants": "", "init": "", "keep": "pass", "more": "", "values": "", **parts}
    return _POINTWISE.format(expression=expression, **given)


def _linear(layer: str, epilogue: str, **parts: str) -> str:
    given = {"init": "", "keep": "pass", "bias": "", "b": f"self.{layer}.bias", "arguments": "",
             **parts}  # fmt: skip
    return _LINEAR.format(layer=layer, epilogue=epilogue, **given)


def _mlp() -> str:
    """A stack of linear layers with ReLU between them; the sign of `slope` says which is last."""
    return (
        (_HEAD + _PRODUCT).format(
            epilogue="total = tl.where(slope > 0, tl.maximum(total, 0.0), total)"
        )
        + """

class ModelNew(nn.Module):
    def __init__(self, inputs, hidden, outputs):
        super().__init__()
        layers = []
        for width in hidden:
            layers += [nn.Linear(inputs, width), nn.ReLU()]
            inputs = width
        layers.append(nn.Linear(inputs, outputs))
        self.network = nn.Sequential(*layers)

    def forward(self, x):
        linear = [layer for layer in self.network if isinstance(layer, nn.Linear)]
        for index, layer in enumerate(linear):
            last = index == len(linear) - 1
            x = product(x, layer.weight, layer.bias, 1.0, 0.0 if last else 1.0)
        return x
"""
    )


_MISH = (
    "soft = tl.maximum(total, 0.0) + tl.log(1.0 + tl.exp(-tl.abs(total)))\n    "
    "power = tl.exp(-2.0 * soft)\n    total = total * (1.0 - power) / (1.0 + power)"
)
ANSWERS = {
    "level1/1_Square_matrix_multiplication_": (_HEAD + _PRODUCT).format(epilogue="pass") + '''

class ModelNew(nn.Module):
    def forward(self, A, B):
        return product(A, B, None, transposed=False)
''',
    "level1/5_Matrix_scalar_multiplication": _pointwise(
        "x * s", constants="s, ", more=", s", values="s, "
    ),
    "level1/19_ReLU": _pointwise("tl.maximum(x, 0.0)"),
    "level1/20_LeakyReLU": _pointwise(
        "tl.where(x >= 0, x, x * slope)", constants="slope, ", init=", negative_slope=0.01",
        keep="self.slope = negative_slope", values="self.slope, ",
    ),
    "level1/21_Sigmoid": _pointwise("1.0 / (1.0 + tl.exp(-x))"),
    "level1/25_Swish": _pointwise("x / (1.0 + tl.exp(-x))"),
    "level1/30_Softsign": _pointwise("x / (1.0 + tl.abs(x))"),
    "level1/31_ELU": _pointwise(
        "tl.where(x > 0, x, alpha * (tl.exp(x) - 1.0))", constants="alpha, ", init=", alpha=1.0",
        keep="self.alpha = alpha", values="self.alpha, ",
    ),
    "level1/32_HardTanh": _pointwise("tl.minimum(tl.maximum(x, -1.0), 1.0)"),
    "level1/23_Softmax": _ROWS.format(expression="tl.exp(x - top) / whole", init=""),
    "level1/24_LogSoftmax": _ROWS.format(expression="x - top - tl.log(whole)", init=", dim=1"),
    "level1/36_RMSNorm_": _COLUMNS.format(
        summand="x * x", init="num_features, eps=1e-5", keep="self.eps = eps", eps="self.eps",
        result="torch.empty_like(x)",
        finish="scale = 1.0 / tl.sqrt(total / rows + eps)\n"
        "    row_ptr, out_ptr = x_ptr + start, y_ptr + start\n"
        "    for _ in range(rows):\n"
        "        x = tl.load(row_ptr + c, mask=c < cols)\n"
        "        tl.store(out_ptr + c, x * scale, mask=c < cols)\n"
        "        row_ptr += cols\n"
        "        out_ptr += cols",
    ),
    "level1/47_Sum_reduction_over_a_dimension": _COLUMNS.format(
        summand="x", init="dim", keep="self.dim = dim", eps="0.0",
        result="torch.empty((outer, 1, cols), device=x.device, dtype=x.dtype)",
        finish="tl.store(y_ptr + tl.program_id(1).to(tl.int64) * cols + c, total, mask=c < cols)",
    ),
    "level2/12_Gemm_Multiply_LeakyReLU": _linear(
        "gemm", "total = total * scale\n    total = tl.where(total >= 0, total, total * slope)",
        init=", multiplier, negative_slope",
        keep="self.multiplier, self.slope = multiplier, negative_slope",
        arguments="self.multiplier, self.slope",
    ),
    "level2/63_Gemm_ReLU_Divide": _linear(
        "linear", "total = tl.maximum(total, 0.0) / scale", init=", divisor",
        keep="self.divisor = divisor", arguments="self.divisor",
    ),
    "level2/76_Gemm_Add_ReLU": _linear(
        "gemm", "total = tl.maximum(total, 0.0)", init=", bias_shape", bias=", bias=False",
        keep="self.bias = nn.Parameter(torch.randn(bias_shape))", b="self.bias",
    ),
    "level2/29_Matmul_Mish_Mish": _linear("linear", f"{_MISH}\n    {_MISH}"),
    "level2/70_Gemm_Sigmoid_Scaling_ResidualAdd": _linear(
        "gemm", f"total += scale * ({_SIGMOID})", init=", scaling_factor",
        keep="self.factor = scaling_factor", arguments="self.factor",
    ),
    "level3/1_MLP": _mlp(),
    "level3/3_DeepNarrowMLP": _mlp(),
}  # fmt: skip
"""By the suite's key."""
