"""The screen refuses what can be no answer, and lets pass what people write."""

from __future__ import annotations

import ast

import pytest

from triton_gym import Entry, Status
from triton_gym.evaluation.screening.reach import reachable
from triton_gym.evaluation.screening.screen import screen, screened
from triton_gym.evaluation.screening.source import DEPTH_LIMIT, SOURCE_LIMIT

KERNEL = (
    "import torch\nimport triton\nimport triton.language as tl\n"
    "@triton.jit\ndef kernel(x_ptr):\n    tl.store(x_ptr, 0.0)\n"
)
ENTRY = Entry("f", ("x",))

PASSES = {
    "a kernel alone": "",
    "a class of fields": "class A:\n    def __init__(self, height):\n        self.height = height\n"
    "def f(x):\n    return A(1).height",
    "tuning": "@triton.autotune([triton.Config({})], key=[])\n@triton.jit\ndef k(x):\n    pass\n"
    "def f(x):\n    k.fn[(1,)](x)",
    "a language's method in a kernel": "@triton.jit\ndef k(x):\n    y = tl.load(x).sum(0)",
    "what something is": "def f(x):\n    assert type(x) is torch.Tensor, f'{type(x)}'",
    "two homes of one function": "try:\n    from triton.language.extra.libdevice import tanh\n"
    "except ImportError:\n    from triton.language.extra.cuda.libdevice import tanh",
    "a generator": "def g():\n    yield triton.Config({})",
    "a variable named as a builtin": "def f(input):\n    return input",
    "what PyTorch computes": "def f(x):\n    return x if x.is_cuda else torch.softmax(x, -1).sum(0)",
    "a field that tensors have": "class A:\n    shape: int = 0\n    grid: int = 1\nA().grid",
    "an attribute in quotes": "getattr(torch, 'float8_e5m2', None)\nhasattr(tl, 'make_block_ptr')",
    "a function that Triton does not have": "@triton.jit\ndef k(x):\n    tl.gelu(x)",
    "a template": "'{} of {name:>3}'.format(1, name=2)",
    "the name of a class": "def f(x):\n    return type(x).__name__ + x.__class__.__name__",
    "a flag of PyTorch": "torch.backends.cuda.matmul.allow_tf32 = True",
    "an import that may fail": "try:\n    import apex\nexcept ImportError:\n    apex = None",
}
STYLES = {
    "logging": "import logging\nLOG = logging.getLogger('a')\nLOG.info('x')",
    "the environment": "import os\nX = os.environ.get('A', '1')",
    "warnings": "import warnings\nwarnings.warn('x')",
    "a decorator of one's own": "import functools\ndef d(g):\n    return functools.wraps(g)(g)",
    "a custom operator": "@torch.library.custom_op('a::b', mutates_args=())\ndef g(x): ...\ng",
    "a stream": "def f(x):\n    with torch.cuda.stream(torch.cuda.current_stream()):\n        pass",
    "a kernel in a class": "class A:\n    @staticmethod\n    @triton.jit\n    def k(x): pass\nA",
    "fields named as others'": "class A:\n    def __init__(self): self.seed = self.calls = 0\nA",
    "a product that never runs": "class A:\n    def backward(c, g): return g @ g\nA",
    "versions": "import sys\nfrom packaging import version\nsys.version_info; version",
    "random numbers": "import random, numpy\nX = random.random(), numpy.zeros(3)",
    "a test at the bottom": "def f(x): return x\nassert torch.allclose(f(torch.ones(1)), 1)",
    "a kernel that is imported so": "from triton import jit as j\n@j\ndef k(x): pass\nk",
}


@pytest.mark.parametrize("name", [*PASSES, *STYLES])
def test_passes(name):
    source = {**PASSES, **STYLES}[name]
    assert screen(KERNEL + source + "\nkernel\n", ENTRY) is None


UNREACHED = {
    "a test": "if __name__ == '__main__':\n    import os\n    os.system('')",
    "a function": "def test():\n    import pytest\n    return pytest.approx('1')",
    "functions that call each other": "def g():\n    h()\ndef h():\n    g(open())",
    "a class": "class Model(torch.nn.Softmax):\n    __del__ = print",
    "an import": "import numpy as np\nfrom os import system",
    "a benchmark": "@triton.testing.perf_report([])\ndef bench():\n    return triton.testing.do_bench()",
}


@pytest.mark.parametrize("name", UNREACHED)
def test_what_nothing_reaches_is_taken_out(name):
    host = "\ndef f(x):\n    kernel[(1,)](torch.empty(1))\n"
    source = KERNEL + UNREACHED[name] + host
    left = reachable(source, ENTRY)
    assert screened(source, ENTRY) == (None, left)
    assert ast.dump(ast.parse(left)) == ast.dump(ast.parse(KERNEL + host))
    assert len(left.splitlines()) == len(source.splitlines())


REACHED = {
    "from another statement": "def g():\n    here('1')\ng()",
    "from the entry": "def f(x):\n    g()\ndef g():\n    here('1')",
    "by a decorator of the answer's own": "def keep(h):\n    L.append(h)\nL = []\n@keep\n"
    "def g():\n    here('1')\nL[0]()",
    "from a kernel": "kernel\n@triton.jit\ndef h():\n    g()\ndef g():\n    here('1')\nh",
    "from an annotation": "def g():\n    here('1')\ndef f(x: g()):\n    pass",
    "on the line of another statement": "import os; os.here('')",
    "a main block whose name is bound": "if __name__ == '__main__':\n    here('1')\n"
    "__name__ = '__main__'",
    "a main block with an else": "if __name__ == '__main__':\n    pass\nelse:\n    here('1')",
    "by a name in a text": "def g():\n    here()\ndef f(x):\n    return globals()['g']()",
}


@pytest.mark.parametrize("name", REACHED)
def test_what_something_reaches_stays(name):
    assert "here" in reachable(KERNEL + REACHED[name] + "\nkernel\n", ENTRY)


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("", "empty"),
        ("x = (", "SyntaxError"),
        ("x = 1\0", "null"),
        ("#" * (SOURCE_LIMIT + 1), "characters"),
        ("x = " + "(" * 20 * DEPTH_LIMIT + ")" * 20 * DEPTH_LIMIT, "Error"),
        ("x = " + "-" * 50_000 + "1", "Error"),
    ],
)
def test_what_is_not_python_is_no_action(source, told):
    status, message = screen(source, ENTRY)
    assert status is Status.INVALID_ACTION
    assert told in message


def test_an_answer_needs_a_kernel():
    assert screen("def f(x):\n    return x\n", ENTRY)[0] is Status.REJECTED
