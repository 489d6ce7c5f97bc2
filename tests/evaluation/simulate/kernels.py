"""Kernels that tests of machine code compile; Triton reads their source from this file."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def scaled(x, factor):
    return x * factor


@triton.jit
def copy_kernel(x_ptr, y_ptr, n, factor, BLOCK: tl.constexpr):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(y_ptr + i, scaled(tl.load(x_ptr + i, mask=i < n), factor), mask=i < n)


@triton.jit
def waves_kernel(x_ptr, y_ptr, n, BLOCK: tl.constexpr):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    x = tl.load(x_ptr + i, mask=i < n)
    tl.store(y_ptr + i, tl.sin(x) * tl.cos(2 * x), mask=i < n)


@triton.jit
def matmul_kernel(a_desc, b_desc, c_desc, n, BLOCK: tl.constexpr, STEP: tl.constexpr):
    row, col = tl.program_id(0) * BLOCK, tl.program_id(1) * BLOCK
    acc = tl.zeros((BLOCK, BLOCK), tl.float32)
    for k in range(0, n, STEP):
        acc = tl.dot(a_desc.load([row, k]), b_desc.load([k, col]), acc)
    c_desc.store([row, col], acc.to(tl.bfloat16))


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
