"""Answers that the build tests compile; Triton reads a kernel's source from its file."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from triton.tools.tensor_descriptor import TensorDescriptor


@triton.jit
def scaled(x, factor):
    return x * factor


@triton.jit
def copy_kernel(x_ptr, y_ptr, n, factor, BLOCK: tl.constexpr):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(y_ptr + i, scaled(tl.load(x_ptr + i, mask=i < n), factor), mask=i < n)


def copy(x: torch.Tensor) -> torch.Tensor:
    y = torch.empty_like(x)
    n = x.numel()
    copy_kernel[lambda meta: (triton.cdiv(n, meta["BLOCK"]),)](x, y, n, 2.0, BLOCK=1024)
    copy_kernel[(triton.cdiv(n, 256),)](x, y, n=n, factor=1.0, BLOCK=256, num_warps=2)
    return y


@triton.jit
def waves_kernel(x_ptr, y_ptr, n, BLOCK: tl.constexpr):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    x = tl.load(x_ptr + i, mask=i < n)
    tl.store(y_ptr + i, tl.sin(x) * tl.cos(2 * x), mask=i < n)


def waves(x: torch.Tensor) -> torch.Tensor:
    y = torch.empty_like(x)
    waves_kernel[(triton.cdiv(x.numel(), 1024),)](x, y, x.numel(), BLOCK=1024)
    return y


@triton.autotune([triton.Config({"BLOCK": b}, num_warps=4) for b in (256, 512, 1 << 21)], key=["n"])
@triton.heuristics({"EVEN": lambda args: args["n"] % args["BLOCK"] == 0})
@triton.jit
def tuned_kernel(x_ptr, y_ptr, n, BLOCK: tl.constexpr, EVEN: tl.constexpr):
    tl.static_assert(BLOCK <= 1 << 20)
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    if EVEN:
        tl.store(y_ptr + i, tl.load(x_ptr + i))
    else:
        tl.store(y_ptr + i, tl.load(x_ptr + i, mask=i < n), mask=i < n)


@triton.autotune(
    [
        triton.Config({"BLOCK": 256}),
        triton.Config({"BLOCK": 256}),
        triton.Config({"BLOCK": 256}, pre_hook=lambda args: args["y_ptr"].zero_()),
    ],
    key=["n"],
)
@triton.jit
def alike_kernel(x_ptr, y_ptr, n, BLOCK: tl.constexpr):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(y_ptr + i, tl.load(x_ptr + i, mask=i < n), mask=i < n)


def tuned_alike(x: torch.Tensor) -> torch.Tensor:
    y = torch.empty(x.shape, device="cuda")
    alike_kernel[lambda meta: (triton.cdiv(x.numel(), meta["BLOCK"]),)](x, y, x.numel())
    return y


def tuned(x: torch.Tensor) -> torch.Tensor:
    y = torch.empty(x.shape, device="cuda")
    tuned_kernel[lambda meta: (triton.cdiv(x.numel(), meta["BLOCK"]),)](x, y, x.numel())
    copy_kernel[(1,)](x, y, 16, 1.0, BLOCK=16)
    return y


def persistent(x: torch.Tensor) -> torch.Tensor:
    """As the persistent softmax of Triton's tutorial asks for the kernel's resources."""
    y = torch.empty_like(x)
    kernel = copy_kernel.warmup(x, y, x.numel(), 1.0, BLOCK=1024, num_warps=8, grid=(1,))
    kernel._init_handles()
    properties = triton.runtime.driver.active.utils.get_device_properties(x.device.index)
    programs = properties["multiprocessor_count"] * min(8, 65536 // (kernel.n_regs * 256))
    assert kernel.metadata.shared == 0
    kernel[(programs, 1, 1)](x, y, x.numel(), 1.0, 1024)
    return y


@triton.jit
def matmul_kernel(a_desc, b_desc, c_desc, n, BLOCK: tl.constexpr, STEP: tl.constexpr):
    row, col = tl.program_id(0) * BLOCK, tl.program_id(1) * BLOCK
    acc = tl.zeros((BLOCK, BLOCK), tl.float32)
    for k in range(0, n, STEP):
        acc = tl.dot(a_desc.load([row, k]), b_desc.load([k, col]), acc)
    c_desc.store([row, col], acc.to(tl.bfloat16))


def matmul(a: torch.Tensor, block: int = 128, step: int = 64, stages: int = 3) -> torch.Tensor:
    n, c = a.shape[0], torch.empty_like(a)
    make = TensorDescriptor.from_tensor
    matmul_kernel[(n // block, n // block)](
        make(a, [block, step]), make(a, [step, block]), make(c, [block, block]), n, block, step,
        num_stages=stages, num_warps=4,
    )  # fmt: skip
    return c


@triton.jit
def broken_kernel(x_ptr, BLOCK: tl.constexpr):
    i = tl.arange(0, BLOCK)
    tl.store(x_ptr + i, undefined_name)  # noqa: F821


def broken(x: torch.Tensor) -> torch.Tensor:
    broken_kernel[(1,)](x, 64)
    return x


@triton.jit
def softmax_kernel(x_ptr, y_ptr, cols, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64) * cols
    i = tl.arange(0, BLOCK)
    top = tl.full((BLOCK,), float("-inf"), tl.float32)
    for start in range(0, cols, BLOCK):
        mask = start + i < cols
        x = tl.load(x_ptr + row + start + i, mask=mask, other=float("-inf"))
        top = tl.maximum(top, x.to(tl.float32))
    peak = tl.max(top, axis=0)
    total = tl.zeros((BLOCK,), tl.float32)
    for start in range(0, cols, BLOCK):
        mask = start + i < cols
        x = tl.load(x_ptr + row + start + i, mask=mask, other=float("-inf")).to(tl.float32)
        total += tl.exp(x - peak)
    scale = 1.0 / tl.sum(total, axis=0)
    for start in range(0, cols, BLOCK):
        mask = start + i < cols
        x = tl.load(x_ptr + row + start + i, mask=mask).to(tl.float32)
        tl.store(y_ptr + row + start + i, tl.exp(x - peak) * scale, mask=mask)


def softmax(x: torch.Tensor) -> torch.Tensor:
    y = torch.empty_like(x)
    softmax_kernel[(x.shape[0],)](x, y, x.shape[1], BLOCK=256)
    return y


@triton.jit
def product_kernel(a_ptr, c_ptr, n, BLOCK: tl.constexpr, STEP: tl.constexpr):
    row = (tl.program_id(0) * BLOCK + tl.arange(0, BLOCK))[:, None]
    col = (tl.program_id(1) * BLOCK + tl.arange(0, BLOCK))[None, :]
    acc = tl.zeros((BLOCK, BLOCK), tl.float32)
    for k in range(0, n, STEP):
        i = k + tl.arange(0, STEP)
        a = tl.load(a_ptr + row * n + i[None, :], mask=i[None, :] < n, other=0.0)
        b = tl.load(a_ptr + i[:, None] * n + col, mask=i[:, None] < n, other=0.0)
        acc = tl.dot(a, b, acc)
    tl.store(c_ptr + row * n + col, acc.to(c_ptr.dtype.element_ty))


def product(a: torch.Tensor, block: int, warps: int) -> torch.Tensor:
    n, c = a.shape[0], torch.empty_like(a)
    product_kernel[(n // block, n // block)](a, c, n, block, 32, num_warps=warps)
    return c
