"""Factors of 8 bits: both formats, through task, judge and simulated device."""

from __future__ import annotations

import torch

from triton_gym import Case, Entry, Span, Task
from triton_gym.outcome import Status

ANSWER = """
import torch
import triton
import triton.language as tl


@triton.jit
def kernel(a_ptr, b_ptr, c_ptr, m, n, k, BLOCK: tl.constexpr):
    rows = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)[:, None]
    cols = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)[None, :]
    acc = tl.zeros((BLOCK, BLOCK), dtype=tl.float32)
    for start in range(0, k, BLOCK):
        inner = start + tl.arange(0, BLOCK)
        in_a = (rows < m) & (inner[None, :] < k)
        in_b = (cols < n) & (inner[:, None] < k)
        a = tl.load(a_ptr + rows * k + inner[None, :], mask=in_a, other=0.0)
        b = tl.load(b_ptr + cols * k + inner[:, None], mask=in_b, other=0.0)
        acc = tl.dot(a, b, acc)
    tl.store(c_ptr + rows * n + cols, acc.to(tl.bfloat16), mask=(rows < m) & (cols < n))


def fp8_product(a, b):
    (m, k), n = a.shape, b.shape[0]
    c = torch.empty((m, n), device=a.device, dtype=torch.bfloat16)
    grid = (triton.cdiv(m, 64), triton.cdiv(n, 64))
    kernel[grid](a, b, c, m, n, k, BLOCK=64)
    return c
"""


def draw(case, generator):
    """Factors whose rows lie along the sum, as Hopper's units read 8 bits."""
    shapes = (case["m"], case["k"]), (case["n"], case["k"])
    return tuple(
        torch.randn(shape, generator=generator, device=generator.device).to(case.torch_dtype)
        for shape in shapes
    )


TASK = Task(
    name="fp8_product",
    title="Product of 8-bit factors",
    statement="Return a @ b.T in bfloat16.",
    entry=Entry("fp8_product", ("a", "b")),
    reference=lambda a, b: (a.float() @ b.float().T).to(torch.bfloat16),
    inputs=draw,
    tiny=(
        Case("float8_e4m3fn", {"m": 70, "n": 40, "k": 96}),
        Case("float8_e5m2", {"m": 33, "n": 65, "k": 64}),
    ),
    bench=(Case("float8_e4m3fn", {"m": 512, "n": 512, "k": 512}),),
    spans={name: Span(low=2, high=100, tiny=48) for name in ("m", "n", "k")},
    flops=lambda case: 2.0 * case["m"] * case["n"] * case["k"],
    min_bytes=lambda case: float((case["m"] + case["n"]) * case["k"] + 2 * case["m"] * case["n"]),
    reduction=lambda case: case["k"],
    starter=ANSWER,
    expert=ANSWER,
)


def test_products_of_both_formats_are_right(evaluator):
    outcome = evaluator.evaluate(TASK, ANSWER, seed=1)
    assert outcome.status == Status.CORRECT, outcome.message


def test_a_factor_rounded_to_fewer_bits_is_not(evaluator):
    fewer = "{0}.to(tl.float16).to(tl.float8e5)"
    rounded = ANSWER.replace("tl.dot(a, b", f"tl.dot({fewer.format('a')}, {fewer.format('b')}")
    outcome = evaluator.evaluate(TASK, rounded, seed=1)
    assert outcome.status == Status.INCORRECT, outcome.message
