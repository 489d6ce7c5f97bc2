"""What an outcome says is the real cause, with its line: a row for each of docs/judging.md's table."""

from __future__ import annotations

import dataclasses
import re

import pytest

import triton_gym
from triton_gym import Case, Status
from triton_gym.evaluation.compiling.diagnostics import diagnostics

HEAD = "import torch, triton\nimport triton.language as tl\n"
KERNEL = """
@triton.jit
def inner(x):
    return tl.exp(x)

@triton.jit
def middle(x):
    y = x * 2
    return inner(y)

@triton.jit
def kernel(x_ptr, y_ptr, n, B: tl.constexpr):
    i = tl.arange(0, B)
    tl.store(y_ptr + i, middle(tl.load(x_ptr + i, mask=i < n)), mask=i < n)

def softmax(x):
    y = torch.empty_like(x)
    kernel[(1,)](x, y, x.shape[1], B=1024)
    return y
"""
SOFTMAX = triton_gym.load("softmax").starter
BODY = "    kernel[(1,)](x, y, x.shape[1], B=1024)\n"


def edited(old: str, new: str, source: str = HEAD + KERNEL) -> str:
    assert old in source
    return source.replace(old, new, 1)


CAUSES = {
    "no Python": ("Here it is:\n" + SOFTMAX, Status.INVALID_ACTION, r"SyntaxError at line 1"),
    "no kernel": (
        "import torch\ndef softmax(x):\n    return x.softmax(-1)\n", Status.REJECTED,
        r"There is no Triton kernel: expected a function with @triton\.jit",
    ),
    "a kernel that is not called": (
        edited(BODY, "    y = torch.softmax(x, -1)\n"), Status.REJECTED,
        r"'softmax' launches no Triton kernel: .*names inner \(line 5\), .*kernel \(line 14\)",
    ),
    "arithmetic of PyTorch on a result": (
        edited("return y\n", "return y * 1.0\n", SOFTMAX), Status.REJECTED,
        r"PyTorch was to compute \(mul\) .*at line \d+ \(`return y \* 1\.0`\)",
    ),
    "the last helper": (
        edited("return tl.exp(x)", "return tl.exp(x) + nowhere"), Status.COMPILE_ERROR,
        r"at line 20 .*In inner at line 6 \(`return tl\.exp\(x\) \+ nowhere`\), called by middle at "
        r"line 11, called by kernel at line 16: .*nowhere is not defined",
    ),
    "an assertion of a helper": (
        edited("y = x * 2", 'tl.static_assert(1 > 2, "too wide")'), Status.COMPILE_ERROR,
        r"In middle at line 10 .*, called by kernel at line 16: too wide",
    ),
    "a global that is no constexpr": (
        edited("return tl.exp(x)", "return x + WIDTH") + "\nWIDTH: tl.constexpr = 3\n",
        Status.COMPILE_ERROR, r"In inner at line 6 .*Cannot access global variable WIDTH",
    ),
    "what ptxas says": (
        edited("return tl.exp(x)", 'return tl.inline_asm_elementwise("foo.bar $0, $1;", "=r,r", [x],'
               " dtype=tl.float32, is_pure=True, pack=1)"),
        Status.COMPILE_ERROR, r"kernel, line \d+: ptxas: [^/]*\(line \d+ of the PTX\)",
    ),
    "an import that fails": (
        "import flash_fused\n" + edited(BODY, BODY + "    flash_fused.go()\n"),
        Status.COMPILE_ERROR, r"at line 1 \(`import flash_fused`\): No module named",
    ),
    "no entry point": (
        edited("def softmax(", "def run("), Status.COMPILE_ERROR,
        r"must define a function named 'softmax'; it defines .*run",
    ),
    "host code raises": (
        edited(BODY, BODY + "    y.fill(1)\n"), Status.RUNTIME_ERROR,
        r"at line 21 \(`y\.fill\(1\)`\)",
    ),
    "a launch that lacks an argument": (
        edited("x.shape[1], B", "B"), Status.RUNTIME_ERROR, r"at line 20 .*missing .*'n'",
    ),
    "a kernel faults": (
        edited("y_ptr + i, m", "y_ptr + i + (1 << 30), m"), Status.RUNTIME_ERROR,
        r"out-of-bounds store",
    ),
    "a wrong value": (HEAD + KERNEL, Status.INCORRECT, r"at index .* expected"),
    "a wrong shape": (
        edited("return y\n", "return y[:-1]\n", SOFTMAX), Status.INCORRECT, r"returned shape",
    ),
}  # fmt: skip


@pytest.mark.parametrize("cause", CAUSES)
def test_an_outcome_names_the_cause(cause, evaluator):
    source, status, told = CAUSES[cause]
    outcome = evaluator.evaluate(triton_gym.load("softmax"), source, seed=1)
    assert outcome.status is status, outcome.message
    assert re.search(told, outcome.message, re.DOTALL), outcome.message


def test_movement_alone_is_no_answer(evaluator):
    source = HEAD + (
        "@triton.jit\ndef kernel(y_ptr):\n    tl.store(y_ptr, 1.0)\n\ndef transpose(x):\n"
        "    kernel[(1,)](torch.empty(1, device=x.device))\n    return x.t().contiguous()\n"
    )
    outcome = evaluator.evaluate(triton_gym.load("transpose"), source, seed=1)
    assert outcome.status is Status.CHEATING, outcome.message


def test_a_short_kernel_is_bound_by_its_launch(evaluator):
    task = triton_gym.load("softmax")
    small = dataclasses.replace(task, bench=(Case("float32", {"rows": 4, "cols": 64}),))
    assert evaluator.evaluate(small, task.starter, seed=1).bound == "launch"
    assert evaluator.evaluate(task, task.starter, seed=1).bound == "memory"


def test_diagnostics_are_told_once_and_without_paths():
    said = "\n".join(
        f"ptxas /tmp/x/{n}.ptx, line {n}; error   : Unknown modifier '.foo'" for n in range(9)
    )
    assert diagnostics(f"PTXASError: …\n{said}\nptxas fatal : Ptx assembly aborted") == (
        "ptxas: Unknown modifier '.foo' (line 0 of the PTX)"
    )
    mlir = (
        "RuntimeError: PassManager::run failed\n/tmp/a.py:12:8: error: operand #0 must be a tensor"
    )
    assert diagnostics(mlir) == "Triton's compiler: operand #0 must be a tensor (line 12)"
    assert diagnostics("it crashed") == "it crashed"
