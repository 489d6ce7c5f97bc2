"""Tasks whose arguments and results are of every kind, judged on the simulated device."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from triton_gym import Case, Entry, Span, Task

HEAD = """
import torch, triton, triton.language as tl

@triton.jit
def rows(x, s0, s1, index, add, best, at, above, high, N, SCALE, BLOCK: tl.constexpr):
    r = tl.program_id(0)
    c = tl.arange(0, BLOCK)
    v = tl.load(x + tl.load(index + r) * s0 + c * s1, mask=c < N, other=float("-inf")).to(tl.float32)
    v = v * SCALE + tl.load(add + c, mask=c < N, other=0.0)
    tl.store(best + r, tl.max(v, 0))
    tl.store(at + r, tl.argmax(v, 0))
    tl.store(above + r * N + c, v > 0.5, mask=c < N)
    tl.atomic_max(high, tl.max(v, 0))

def pick(x, index, terms, scale, bias=None):
    n, cols = index.shape[0], x.shape[1]
    best = torch.empty(n, dtype=torch.float32, device=x.device)
    at = torch.empty(n, dtype=torch.int64, device=x.device)
    above = torch.empty((n, cols), dtype=torch.bool, device=x.device)
    high = torch.full((), -1e30, device=x.device)
    if n:
        rows[(n,)](x, *x.stride(), index, terms[0], best, at, above, high, cols, scale,
                   BLOCK=triton.next_power_of_2(cols))
    RETURN
"""
RIGHT = 'return {"max": (best, at), "above": above, "high": high, "cols": cols, "none": bias}'


def reference(x, index, terms, scale, bias=None):
    v = x.float()[index] * scale + terms[0] if x.dtype != torch.float64 else (
        x[index] * scale + terms[0]
    )  # fmt: skip
    best, at = v.max(1)
    return {
        "max": (best, at), "above": v > 0.5, "high": v.max(), "cols": x.shape[1], "none": bias,
    }  # fmt: skip


def draw(case, generator):
    cols, n = case["cols"], case["n"]

    def normal(*shape):
        return torch.randn(shape, generator=generator, device=generator.device)

    x = normal(cols, 2 * n).to(case.dtype_of("x")).t()[::2]  # neither contiguous nor dense
    index = torch.randperm(n, generator=generator, device=generator.device)
    return x, index, [normal(1).expand(1)[0] + normal(cols), {"unused": None}], 0.5, None


TASK = Task(
    name="pick", title="Pick", statement="All kinds at once.",
    entry=Entry("pick", ("x", "index", "terms", "scale", "bias")),
    reference=reference, inputs=draw,
    tiny=(Case("float32", {"n": 7, "cols": 30}, {"x": "float16", "index": "int64"}),),
    bench=(Case("float32", {"n": 512, "cols": 300}, {"x": "float16", "index": "int64"}),),
    spans={"n": Span(low=2, high=99, tiny=9), "cols": Span(low=2, high=600, tiny=50)},
    flops=lambda case: 1.0 * case["n"], min_bytes=lambda case: 3.0 * case["n"] * case["cols"],
    reduction=lambda case: 1, starter=HEAD.replace("RETURN", RIGHT), expert="",
)  # fmt: skip


def answer(result, old="", new=""):
    return (
        HEAD.replace("RETURN", result).replace(old, new, 1)
        if old
        else HEAD.replace("RETURN", result)
    )


@pytest.mark.parametrize(
    ("source", "told"),
    [
        (answer(RIGHT), ""),
        (answer(RIGHT.replace("(best, at)", "[best, at]")), ""),
        (answer(RIGHT.replace('"cols": cols', '"cols": cols + 1')), "the value is"),
        (answer(RIGHT.replace("best, at", "best, at.float()")), "dtype float32"),
        (answer(RIGHT.replace('"none": bias', '"none": 0')), "expected None"),
        (answer(RIGHT.replace('"high": high', '"high": 0.5')), "expected a torch.Tensor"),
        (answer(RIGHT, "tl.argmax(v, 0)", "tl.argmax(v, 0) * (r % 2)"), "['max'][1]"),
        (answer(RIGHT, "v > 0.5", "v > 0.4"), "['above']"),
        (answer(RIGHT, "tl.atomic_max(high, tl.max(v, 0))", "tl.store(high, 0.1)"), "output 3, ['high']: the value is 0.1"),
    ],
    ids=["right", "a list", "count", "dtype", "not None", "a number", "index", "boolean", "scalar"],
)  # fmt: skip
def test_every_kind_is_judged(evaluator, source, told):
    outcome = evaluator.evaluate(TASK, source)
    assert told in outcome.message
    assert outcome.status == ("incorrect" if told else "correct"), outcome.message


EXPANDED = dataclasses.replace(
    TASK, name="expanded", entry=Entry("pick", ("x",)),
    reference=lambda x: (x * 2)[:, None, :].expand(-1, 3, -1),
    inputs=lambda case, generator: torch.rand(
        (case["n"], case["cols"]), generator=generator, device=generator.device
    ),
    tiny=(Case("float32", {"n": 7, "cols": 30}),), bench=(Case("float32", {"n": 512, "cols": 300}),),
)  # fmt: skip
DOUBLE = """
import torch, triton, triton.language as tl

@triton.jit
def double(x, y, N, BLOCK: tl.constexpr):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(y + at, tl.load(x + at, mask=at < N) * 2, mask=at < N)

def pick(x):
    y = torch.empty_like(x)
    double[(triton.cdiv(x.numel(), 128),)](x, y, x.numel(), BLOCK=128)
    return RETURN
"""


@pytest.mark.parametrize("held", [False, True])
def test_strides_are_held_where_the_task_says_so(evaluator, held):
    task = dataclasses.replace(EXPANDED, same_strides=held)
    view, copied = "y[:, None, :].expand(-1, 3, -1)", "y[:, None, :].expand(-1, 3, -1).contiguous()"
    assert evaluator.evaluate(task, DOUBLE.replace("RETURN", view)).correct
    outcome = evaluator.evaluate(task, DOUBLE.replace("RETURN", copied))
    assert outcome.correct != held, outcome.message
    assert not held or "expected those of the reference's result" in outcome.message


def written(x):
    x += 1
    return x, (x * 2)[:, :1]


@pytest.mark.parametrize(
    ("result", "status"),
    [("x + 1, y[:, :1]", "rejected"), ("y, z[:, :1]", "correct"), ("x, z[:, :1]", "incorrect"),
     ("y, y[:, :1]", "incorrect")],
)  # fmt: skip
def test_a_reference_may_write_to_its_arguments(evaluator, result, status):
    """It is called on copies: an answer gets what was drawn, and leaves it as it is."""
    task = dataclasses.replace(EXPANDED, reference=written)
    source = DOUBLE.replace("RETURN", result).replace("* 2, mask", "* SCALE + SHIFT, mask")
    source = source.replace("N, BLOCK: tl", "N, SCALE, SHIFT, BLOCK: tl")
    calls = "".join(
        f"    {name} = torch.empty_like(x)\n"
        f"    double[(triton.cdiv(x.numel(), 128),)](x, {name}, x.numel(), {scale}, BLOCK=128)\n"
        for name, scale in (("y", "1.0, 1.0"), ("z", "2.0, 2.0"))
    )
    head, _, tail = source.partition("    y = torch")
    outcome = evaluator.evaluate(task, head + calls + "    return" + tail.partition("return")[2])
    assert outcome.status == status, outcome.message


@pytest.mark.parametrize(
    ("reference", "draws", "result", "status"),
    [
        (lambda x: (x * 2, x[:0]), torch.float32, "y, torch.empty((0, x.shape[1]), device=x.device)",
         "correct"),
        (lambda x: (x * 2, x[:0] * 2), torch.float32, "y, torch.empty((0, x.shape[1]), device=x.device)",
         "correct"),
        (lambda x: (x * 2, torch.arange(5), torch.ones_like(x)), torch.float32,
         "y, torch.arange(5, device=x.device), torch.ones_like(x)", "correct"),
        (lambda x: (x * 2, torch.arange(5)), torch.float32, "y, torch.zeros(5, device=x.device).long()",
         "incorrect"),
        (lambda x: (x * 2, x * 3), torch.float32, "y, torch.zeros_like(x)", "incorrect"),
        (lambda x: x * 2, torch.float32, "y[torch.arange(len(y), device=x.device)].roll(3, 1).roll(-3, 1)",
         "correct"),
        (lambda x: x * 2, torch.float32, "y[torch.arange(len(y), device=x.device).flip(0)]", "incorrect"),
        (lambda x: {1: x * 2, "1": 1j}, torch.float32, '{"1": 1j, 1: y}', "correct"),
        (lambda x: x * 2, torch.float32, "[y] * 5000", "incorrect"),
        (lambda x: x * 2, torch.uint16, "y", "correct"),
        (lambda x: x[x > 0.1], torch.float32, "y", "incorrect"),
        (lambda x: x * 2, torch.float64, "y", "incorrect"),
    ],
    ids=["no elements", "none of its own", "constants", "another constant", "a fill for a result",
         "moved", "moved elsewhere", "keys and complex numbers", "far too many", "uint16", "a shape that depends on values", "float64 through float32"],
)  # fmt: skip
def test_results_that_pytorch_itself_hardly_bears(evaluator, reference, draws, result, status):
    def inputs(case, generator):
        shape = (case["n"], case["cols"])
        drawn = torch.rand(shape, generator=generator, device=generator.device)
        return (drawn * 200).to(draws) if draws == torch.uint16 else drawn.to(draws) / 3

    task = dataclasses.replace(EXPANDED, reference=reference, inputs=inputs)
    source = DOUBLE.replace("RETURN", result)
    if draws == torch.float64:
        source = DOUBLE.replace("RETURN", "y").replace(
            "mask=at < N) * 2", "mask=at < N).to(tl.float32) * 2"
        )
    outcome = evaluator.evaluate(task, source)
    assert outcome.status == status, outcome.message
