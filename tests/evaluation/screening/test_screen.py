"""Every rule of the screen refuses what it is for, and lets pass what is near it."""

from __future__ import annotations

import ast

import pytest

from triton_gym import Entry, Status
from triton_gym.evaluation.screening import vocabulary
from triton_gym.evaluation.screening.declarations import foreign_names
from triton_gym.evaluation.screening.reach import reachable
from triton_gym.evaluation.screening.screen import screen
from triton_gym.evaluation.screening.source import DEPTH_LIMIT, SOURCE_LIMIT

KERNEL = (
    "import torch\nimport triton\nimport triton.language as tl\n"
    "@triton.jit\ndef kernel(x_ptr):\n    tl.store(x_ptr, 0.0)\n"
)
ENTRY = Entry("f", ("x",))

REFUSED = {
    "a module that is not listed": ("import os", "'os'"),
    "a submodule that is not listed": ("import triton.compiler", "'triton.compiler'"),
    "what a module imports itself": ("from typing import sys", "typing.sys"),
    "the same by attribute": ("import enum\nenum.bltns", "enum.bltns"),
    "the same of the language": ("tl.core.builtins", "'builtins'"),
    "the same of a library": (
        "from triton.language.extra.cuda import libdevice\nlibdevice.core",
        "libdevice.core",
    ),
    "a private member": ("torch._C", "private"),
    "a star": ("from torch import *", "one by one"),
    "a relative import": ("from . import worker", "relative"),
    "one name for two modules": ("import math as tl", "both"),
    "a module's name bound by a parameter": (
        "def g(tl):\n    return tl.softmax(-1)",
        "bound again",
    ),
    "by a lambda": ("g = lambda tl: tl.softmax(-1)", "bound again"),
    "by an exception": ("try:\n    pass\nexcept Exception as tl:\n    pass", "bound again"),
    "by a pattern": ("match 1:\n    case tl:\n        pass", "bound again"),
    "by an assignment": ("tl = 1", "bound again"),
    "by a walrus": ("(tl := 1)", "bound again"),
    "by a loop": ("for tl in range(2):\n    pass", "bound again"),
    "a decorator's name bound": (
        "from triton import jit\ndef jit(f):\n    return f",
        "bound again",
    ),
    "an import over a builtin": ("from torch import float as len", "builtin"),
    "a module as a value": ("t = torch", "may only be used as torch."),
    "a member set": ("torch.softmax = 1", "torch.softmax"),
    "an allowed member set": ("triton.jit = 1", "must not be changed"),
    "an attribute that is not listed": ("def f(x):\n    return x.numpy()", "'numpy'"),
    "an attribute bound as a variable": ("def f(tolist, x):\n    return x.tolist()", "'tolist'"),
    "an attribute by its name in quotes": (
        "def f(x):\n    return getattr(x, 'numpy')()",
        "'numpy'",
    ),
    "a field named as a tensor's": ("class A:\n    numpy = 0", "the field"),
    "a field of a named tuple": (
        "from collections import namedtuple\nA = namedtuple('A', 'tolist')",
        "the field",
    ),
    "a field of a namespace": (
        "from types import SimpleNamespace\nA = SimpleNamespace(tolist=1)",
        "the field",
    ),
    "a named tuple of computed names": (
        "from collections import namedtuple\nA = namedtuple('A', 'to' + 'list')",
        "as they are",
    ),
    "a method of tensors set": ("def g(self):\n    self.copy_ = 0", "the field"),
    "a method of autograd named": (
        "class F(torch.autograd.Function):\n    def backward(ctx, y):\n        pass\n"
        "def f(x):\n    x.backward()",
        "'backward'",
    ),
    "a template that reads attributes": ("def f(x):\n    return '{0.T}'.format(x)", "'format'"),
    "the name of the module": ("__name__ = '__main__'", "__name__"),
    "another way to name it": ("for __name__ in ['__main__']:\n    pass", "__name__"),
    "a field named as a frame's": ("class A:\n    f_back = 0", "the field"),
    "a field named as a kernel's": (
        "class A:\n    def g(self):\n        self.run = 0",
        "the field",
    ),
    "self outside a class": ("def g(self):\n    self.elapsed_time = 0", "the field"),
    "an attribute set on something else": ("def f(x):\n    x.data = x", "setting"),
    "a private attribute": ("def f(x):\n    return x._base", "private"),
    "a double underscore": ("().__class__", "private"),
    "a language's method in host code": ("def f(x):\n    return x.associative_scan(0)", "'assoc"),
    "a kernel's Python function called": ("def f(x):\n    return kernel.fn(x)", "'fn'"),
    "the same as a value": ("g = kernel.fn", "'fn'"),
    "a builtin that is not listed": ("globals()", "'globals'"),
    "an attribute by a computed name": ("getattr(1, 're' + 'al')", "'getattr'"),
    "getattr as a value": ("g = [getattr]", "'getattr'"),
    "a builtin as a value": ("g = [eval]", "'eval'"),
    "a builtin in other letters": ("ｅｖａｌ('1')", "'eval'"),
    "a double underscore name": ("__builtins__", "'__builtins__'"),
    "a product of matrices": ("def f(x):\n    return x @ x", "multiply"),
    "the same in place": ("def f(x):\n    x @= x", "multiply"),
    "the same under a jit of one's own": (
        "def jit(f):\n    return f\n@jit\ndef g(x):\n    return x @ x",
        "multiply",
    ),
    "the same in a kernel's default": ("@triton.jit\ndef k(a, b=[] @ []):\n    pass", "multiply"),
    "three arguments of type": ("type('A', (object,), {})", "compared"),
    "type as a value": ("t = type", "compared"),
    "a metaclass through type": ("def f(x):\n    return type(type(x))", "compared"),
    "an enumeration from text": ("import enum\nenum.Enum('A', {})", "inherited"),
    "a named tuple from text": ("from typing import NamedTuple as N\nN('A', [])", "inherited"),
    "a class decorator as a function": (
        "from dataclasses import dataclass\ndataclass(torch.Tensor)",
        "decorator",
    ),
    "another base": ("class A(torch.Tensor):\n    pass", "inherit"),
    "a metaclass": ("class A(metaclass=print):\n    pass", "metaclass"),
    "a special method": ("class A:\n    def __del__(self):\n        pass", "__del__"),
    "a special method assigned": ("class A:\n    __del__ = print", "__del__"),
    "a function named as a builtin": ("def len(x):\n    return 1", "hide"),
    "another decorator on a kernel": (
        "def d(f):\n    return f\n@d\n@triton.jit\ndef k(x):\n    pass",
        "decorated",
    ),
    "a pattern that reads attributes": (
        "match 1:\n    case int(real=r):\n        pass",
        "MatchClass",
    ),
    "a coroutine": ("async def g():\n    pass", "AsyncFunctionDef"),
    "yield from": ("def g():\n    yield from []", "YieldFrom"),
    "an element deleted": ("d = {}\ndel d[0]", "variables"),
    "super as a value": ("s = super", "called"),
}
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
UNREACHED = {
    "a test": "if __name__ == '__main__':\n    import os\n    os.system('')",
    "a function": "def test():\n    import os\n    return eval('1')",
    "functions that call each other": "def g():\n    h()\ndef h():\n    g(open())",
    "a class": "class Model(torch.nn.Softmax):\n    __del__ = print",
    "an import": "import numpy as np\nfrom os import system",
    "a benchmark": "@triton.testing.perf_report([])\ndef bench():\n    return triton.testing.do_bench()",
}


def reached(source):
    """The source, and a mention of everything that it defines: what nothing reaches is dropped."""
    names = {"kernel"}
    for node in ast.parse(source).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names |= {(a.asname or a.name).partition(".")[0] for a in node.names} - {"*"}
    return f"{KERNEL}{source}\ndef f_all():\n    {', '.join(names)}\nf_all\n"


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name):
    source, told = REFUSED[name]
    verdict = screen(reached(source), ENTRY)
    assert verdict is not None
    assert verdict[0] is Status.REJECTED
    assert told in verdict[1]


@pytest.mark.parametrize("name", PASSES)
def test_passes(name):
    assert screen(KERNEL + PASSES[name] + "\nkernel\n", ENTRY) is None


@pytest.mark.parametrize("name", UNREACHED)
def test_what_nothing_reaches_is_taken_out(name):
    host = "\ndef f(x):\n    kernel[(1,)](torch.empty(1))\n"
    source = KERNEL + UNREACHED[name] + host
    left = reachable(source, ENTRY)
    assert screen(source, ENTRY) is None
    assert ast.dump(ast.parse(left)) == ast.dump(ast.parse(KERNEL + host))
    assert len(left.splitlines()) == len(source.splitlines())


REACHED = {
    "from another statement": "def g():\n    eval('1')\ng()",
    "from the entry": "def f(x):\n    g()\ndef g():\n    eval('1')",
    "by a decorator of the answer's own": "def keep(h):\n    L.append(h)\nL = []\n@keep\n"
    "def g():\n    eval('1')\nL[0]()",
    "from a kernel": "kernel\n@triton.jit\ndef h():\n    g()\ndef g():\n    eval('1')\nh",
    "from an annotation": "def g():\n    eval('1')\ndef f(x: g()):\n    pass",
    "on the line of another statement": "import os; os.system('')",
    "a main block whose name is bound": "if __name__ == '__main__':\n    eval('1')\n"
    "__name__ = '__main__'",
    "a main block with an else": "if __name__ == '__main__':\n    pass\nelse:\n    eval('1')",
}


@pytest.mark.parametrize("name", REACHED)
def test_what_something_reaches_is_screened(name):
    assert screen(KERNEL + REACHED[name] + "\nkernel\n", ENTRY) is not None


def test_an_import_that_may_fail_fails():
    source = "try:\n    import apex, os\nexcept ImportError:\n    apex = None\nprint(apex)\n"
    left = reachable(source, ENTRY)
    assert left.splitlines()[1] == "    raise ModuleNotFoundError('not part of an answer')"


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


def test_every_module_has_a_closed_list():
    assert all(isinstance(members, frozenset) for members in vocabulary.MEMBERS.values())


def test_fields_that_are_excepted_open_nothing():
    # What the evaluation calls on objects that an answer can name must not be set on them.
    assert vocabulary.FIELDS & foreign_names()
    used = {
        "copy_", "zero_", "fill_", "view", "numel", "element_size", "data_ptr", "run", "fn",
        "elapsed_time", "record", "synchronize", "query", "load_binary", "launch_metadata",
    }  # fmt: skip
    assert not vocabulary.FIELDS & (used | vocabulary.TRITON_FIELDS - {"configs", "grid"})


def test_nothing_is_named_that_the_watch_does_not_see():
    unseen = {
        "numpy", "tolist", "apply_", "map_", "map2_", "backward", "register_hook", "storage",
        "untyped_storage", "set_", "resize_", "share_memory_", "pin_memory", "record_stream",
        "register_forward_hook", "register_forward_pre_hook", "compile", "to_sparse", "dlpack",
        "const_data_ptr", "grad_fn", "module_load", "as_subclass", "resolve_neg", "conj", "imag",
    }  # fmt: skip
    assert not vocabulary.ATTRIBUTES & unseen
    named = {n for k, v in vocabulary.MEMBERS.items() if k.startswith("torch") for n in v}
    assert not named & {
        "compile", "script", "load", "save", "from_file", "from_numpy", "frombuffer", "ops",
        "DataParallel", "LazyLinear", "graph", "CUDAGraph", "Stream", "Event", "stream", "fork",
        "library", "utils", "multiprocessing", "distributed", "vmap", "func", "hub", "package",
    }  # fmt: skip
