"""Answers in the manner of published kernels: Triton's tutorials and libraries of kernels."""

from __future__ import annotations

from triton_gym.audit.victims import HEAD

_TUTORIAL_SOFTMAX = (
    HEAD
    + """from triton.runtime import driver

DEVICE = triton.runtime.driver.active.get_active_torch_device()
properties = driver.active.utils.get_device_properties(DEVICE.index or 0)
NUM_SM = properties["multiprocessor_count"]
NUM_REGS = properties["max_num_regs"]
WARP_SIZE = properties["warpSize"]


@triton.jit
def softmax_kernel(output_ptr, input_ptr, input_row_stride, output_row_stride, n_rows, n_cols,
                   BLOCK_SIZE: tl.constexpr, num_stages: tl.constexpr):
    row_start = tl.program_id(0)
    row_step = tl.num_programs(0)
    for row_idx in tl.range(row_start, n_rows, row_step, num_stages=num_stages):
        col_offsets = tl.arange(0, BLOCK_SIZE)
        mask = col_offsets < n_cols
        input_ptrs = input_ptr + row_idx * input_row_stride + col_offsets
        row = tl.load(input_ptrs, mask=mask, other=-float("inf")).to(tl.float32)
        numerator = tl.exp(row - tl.max(row, axis=0))
        out = numerator / tl.sum(numerator, axis=0)
        output_ptrs = output_ptr + row_idx * output_row_stride + col_offsets
        tl.store(output_ptrs, out.to(output_ptr.dtype.element_ty), mask=mask)


def softmax(x):
    n_rows, n_cols = x.shape
    BLOCK_SIZE = triton.next_power_of_2(n_cols)
    num_warps = 8
    y = torch.empty_like(x)
    occupancy = NUM_REGS // (32 * WARP_SIZE * num_warps)
    num_programs = min(NUM_SM * occupancy, n_rows)
    softmax_kernel[(num_programs, 1, 1)](y, x, x.stride(0), y.stride(0), n_rows, n_cols,
                                         BLOCK_SIZE, 2, num_warps=num_warps)
    return y
"""
)

_TUTORIAL_MATMUL = (
    HEAD
    + '''

def get_autotune_config():
    return [
        triton.Config({"BLOCK_M": 64, "BLOCK_N": 64, "BLOCK_K": 32, "GROUP_M": 8}, num_stages=3,
                      num_warps=4),
        triton.Config({"BLOCK_M": 128, "BLOCK_N": 64, "BLOCK_K": 32, "GROUP_M": 8}, num_stages=3,
                      num_warps=8),
    ]


@triton.autotune(configs=get_autotune_config(), key=["M", "N", "K"])
@triton.jit
def matmul_kernel(a_ptr, b_ptr, c_ptr, M, N, K, stride_am, stride_ak, stride_bk, stride_bn,
                  stride_cm, stride_cn, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr,
                  BLOCK_K: tl.constexpr, GROUP_M: tl.constexpr, ACTIVATION: tl.constexpr):
    """A tile of C, programs ordered in groups."""
    pid = tl.program_id(axis=0)
    num_pid_m = tl.cdiv(M, BLOCK_M)
    num_pid_n = tl.cdiv(N, BLOCK_N)
    in_group = GROUP_M * num_pid_n
    first_m = (pid // in_group) * GROUP_M
    size_m = min(num_pid_m - first_m, GROUP_M)
    pid_m = first_m + ((pid % in_group) % size_m)
    pid_n = (pid % in_group) // size_m
    tl.assume(pid_m >= 0)
    offs_am = (pid_m * BLOCK_M + tl.arange(0, BLOCK_M)) % M
    offs_bn = (pid_n * BLOCK_N + tl.arange(0, BLOCK_N)) % N
    offs_k = tl.arange(0, BLOCK_K)
    a_ptrs = a_ptr + (offs_am[:, None] * stride_am + offs_k[None, :] * stride_ak)
    b_ptrs = b_ptr + (offs_k[:, None] * stride_bk + offs_bn[None, :] * stride_bn)
    accumulator = tl.zeros((BLOCK_M, BLOCK_N), dtype=tl.float32)
    for k in range(0, tl.cdiv(K, BLOCK_K)):
        a = tl.load(a_ptrs, mask=offs_k[None, :] < K - k * BLOCK_K, other=0.0)
        b = tl.load(b_ptrs, mask=offs_k[:, None] < K - k * BLOCK_K, other=0.0)
        accumulator = tl.dot(a, b, accumulator)
        a_ptrs += BLOCK_K * stride_ak
        b_ptrs += BLOCK_K * stride_bk
    if ACTIVATION == "leaky_relu":
        accumulator = leaky_relu(accumulator)
    c = accumulator.to(c_ptr.dtype.element_ty)
    offs_cm = pid_m * BLOCK_M + tl.arange(0, BLOCK_M)
    offs_cn = pid_n * BLOCK_N + tl.arange(0, BLOCK_N)
    c_ptrs = c_ptr + stride_cm * offs_cm[:, None] + stride_cn * offs_cn[None, :]
    tl.store(c_ptrs, c, mask=(offs_cm[:, None] < M) & (offs_cn[None, :] < N))


@triton.jit
def leaky_relu(x):
    return tl.where(x >= 0, x, 0.01 * x)


def matmul(a, b, activation=""):
    assert a.shape[1] == b.shape[0], "Incompatible dimensions"
    assert a.is_contiguous(), "Matrix A must be contiguous"
    M, K = a.shape
    K, N = b.shape
    c = torch.empty((M, N), device=a.device, dtype=a.dtype)
    grid = lambda META: (triton.cdiv(M, META["BLOCK_M"]) * triton.cdiv(N, META["BLOCK_N"]),)
    matmul_kernel[grid](a, b, c, M, N, K, a.stride(0), a.stride(1), b.stride(0), b.stride(1),
                        c.stride(0), c.stride(1), ACTIVATION=activation)
    return c
'''
)

_LIBRARY_LAYER_NORM = (
    HEAD
    + """import functools
import math
from typing import Tuple

try:
    from triton.language.extra.libdevice import rsqrt
except ModuleNotFoundError:
    from triton.language.extra.cuda.libdevice import rsqrt

MAX_FUSED_SIZE = 65536


def calculate_settings(n: int) -> Tuple[int, int]:
    BLOCK_SIZE = triton.next_power_of_2(n)
    if BLOCK_SIZE > MAX_FUSED_SIZE:
        raise RuntimeError(f"Cannot launch, feature dimension = {n} exceeds {MAX_FUSED_SIZE}.")
    num_warps = 4
    if BLOCK_SIZE >= 8192:
        num_warps = 16
    elif BLOCK_SIZE >= 2048:
        num_warps = 8
    return BLOCK_SIZE, num_warps


@triton.jit
def _layer_norm_forward_kernel(Y_ptr, Y_row_stride, X_ptr, X_row_stride, W_ptr, B_ptr, Mean_ptr,
                               RSTD_ptr, n_cols, eps, BLOCK_SIZE: tl.constexpr):
    row_idx = tl.program_id(0).to(tl.int64)
    col_offsets = tl.arange(0, BLOCK_SIZE)
    mask = col_offsets < n_cols
    X = tl.load(X_ptr + row_idx * X_row_stride + col_offsets, mask=mask, other=0).to(tl.float32)
    W = tl.load(W_ptr + col_offsets, mask=mask, other=0).to(tl.float32)
    B = tl.load(B_ptr + col_offsets, mask=mask, other=0).to(tl.float32)
    mean = tl.sum(X, axis=0) / n_cols
    centered = tl.where(mask, X - mean, 0.0)
    rstd = rsqrt(tl.sum(centered * centered, axis=0) / n_cols + eps)
    tl.store(Mean_ptr + row_idx, mean)
    tl.store(RSTD_ptr + row_idx, rstd)
    Y = centered * rstd * W + B
    tl.store(Y_ptr + row_idx * Y_row_stride + col_offsets, Y.to(Y_ptr.dtype.element_ty), mask=mask)


def layer_norm_forward(X, W, B, eps):
    shape = X.shape
    dim = shape[-1]
    X = X.view(-1, dim)
    n_rows, n_cols = X.shape
    BLOCK_SIZE, num_warps = calculate_settings(n_cols)
    Y = torch.empty((n_rows, n_cols), dtype=X.dtype, device=X.device)
    Mean = torch.empty(n_rows, dtype=torch.float32, device=X.device)
    RSTD = torch.empty(n_rows, dtype=torch.float32, device=X.device)
    if X.shape[1] != W.shape[0]:
        raise ValueError(f"Incompatible dimensions: {X.shape[1]} and {W.shape[0]}")
    _layer_norm_forward_kernel[(n_rows,)](Y, Y.stride(0), X, X.stride(0), W, B, Mean, RSTD, n_cols,
                                          eps, BLOCK_SIZE=BLOCK_SIZE, num_warps=num_warps)
    return Y.view(*shape), Mean, RSTD


def layer_norm(x, weight, bias):
    return layer_norm_forward(x, weight, bias, 1e-5)[0]
"""
)

_LIBRARY_GELU = (
    HEAD
    + '''

@triton.autotune(
    configs=[triton.Config({"BLOCK_SIZE": size}, num_warps=warps)
             for size, warps in ((256, 4), (1024, 8))],
    key=["n_elements"],
)
@triton.heuristics({"EVEN": lambda args: args["n_elements"] % args["BLOCK_SIZE"] == 0})
@triton.jit
def _gelu_kernel(x_ptr, out_ptr, n_elements, BLOCK_SIZE: tl.constexpr, EVEN: tl.constexpr):
    offsets = tl.program_id(0) * BLOCK_SIZE + tl.arange(0, BLOCK_SIZE)
    if EVEN:
        x = tl.load(x_ptr + offsets).to(tl.float32)
    else:
        x = tl.load(x_ptr + offsets, mask=offsets < n_elements, other=0.0).to(tl.float32)
    out = 0.5 * x * (1.0 + tl.math.erf(x * 0.7071067811865476))
    tl.store(out_ptr + offsets, out.to(out_ptr.dtype.element_ty), mask=offsets < n_elements)


def gelu_launcher(output: torch.Tensor, x: torch.Tensor) -> None:
    """Launches the kernel."""
    n_elements = x.numel()
    grid = lambda meta: (triton.cdiv(n_elements, meta["BLOCK_SIZE"]),)  # noqa: E731
    _gelu_kernel[grid](x, output, n_elements)


def gelu(x: torch.Tensor) -> torch.Tensor:
    output = torch.empty_like(x, memory_format=torch.contiguous_format)
    gelu_launcher(output=output, x=x)
    return output
'''
)

_DESCRIPTOR = (
    HEAD
    + """from triton.tools.tensor_descriptor import TensorDescriptor


@triton.jit
def matmul_kernel(a_desc, b_desc, c_desc, k, M: tl.constexpr, N: tl.constexpr, K: tl.constexpr):
    row = tl.program_id(0) * M
    col = tl.program_id(1) * N
    acc = tl.zeros((M, N), dtype=tl.float32)
    for start in range(0, k, K):
        acc = tl.dot(a_desc.load([row, start]), b_desc.load([start, col]), acc)
    c_desc.store([row, col], acc.to(c_desc.dtype))


@triton.jit
def pointer_kernel(a_ptr, b_ptr, c_ptr, m, n, k, M: tl.constexpr, N: tl.constexpr, K: tl.constexpr):
    row = (tl.program_id(0) * M + tl.arange(0, M)).to(tl.int64)[:, None]
    col = (tl.program_id(1) * N + tl.arange(0, N)).to(tl.int64)[None, :]
    acc = tl.zeros((M, N), dtype=tl.float32)
    for start in range(0, k, K):
        step = start + tl.arange(0, K)
        inner = step[None, :]
        a = tl.load(a_ptr + row * k + inner, mask=(row < m) & (inner < k), other=0.0)
        inner = step[:, None]
        b = tl.load(b_ptr + inner * n + col, mask=(inner < k) & (col < n), other=0.0)
        acc += tl.dot(a, b)
    tl.store(c_ptr + row * n + col, acc.to(c_ptr.dtype.element_ty), mask=(row < m) & (col < n))


def matmul(a, b):
    (m, k), n = a.shape, b.shape[1]
    c = torch.empty((m, n), device=a.device, dtype=a.dtype)
    grid = triton.cdiv(m, 64), triton.cdiv(n, 64)
    if k % 8 == 0 and n % 8 == 0:
        descriptors = [TensorDescriptor.from_tensor(t, [64, 64]) for t in (a, b, c)]
        matmul_kernel[grid](*descriptors, k, 64, 64, 64)
    else:
        pointer_kernel[grid](a, b, c, m, n, k, 64, 64, 32)
    return c
"""
)

ANSWERS: tuple[tuple[str, str, str], ...] = (
    ("as Triton's tutorial on softmax", "softmax", _TUTORIAL_SOFTMAX),
    ("as Triton's tutorial on matmul", "matmul", _TUTORIAL_MATMUL),
    ("as a library's layer norm", "layer_norm", _LIBRARY_LAYER_NORM),
    ("as a library's elementwise kernel", "gelu", _LIBRARY_GELU),
    ("host-side descriptors", "matmul", _DESCRIPTOR),
)
"""Name, task and source."""
