"""Every rule of the screen refuses what it is for, and lets pass what is near it."""

from __future__ import annotations

import pytest

from triton_gym import Entry, Status
from triton_gym.evaluation import vocabulary
from triton_gym.evaluation.screen import DEPTH_LIMIT, SOURCE_LIMIT, foreign_names, screen

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
        "from triton.language.extra import libdevice\nlibdevice.core",
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
    "an attribute that is not listed": ("def f(x):\n    return x.softmax(-1)", "'softmax'"),
    "an attribute bound as a variable": (
        "def f(softmax, x):\n    return x.softmax(-1)",
        "'softmax'",
    ),
    "a field named as a tensor's": ("class A:\n    softmax = 0", "the field"),
    "a field named as a frame's": ("class A:\n    f_back = 0", "the field"),
    "a field named as a kernel's": (
        "class A:\n    def g(self):\n        self.run = 0",
        "the field",
    ),
    "self outside a class": ("def g(self):\n    self.elapsed_time = 0", "the field"),
    "an attribute set on something else": ("def f(x):\n    x.data = x", "setting"),
    "a private attribute": ("def f(x):\n    return x._base", "private"),
    "a double underscore": ("().__class__", "private"),
    "a language's method in host code": ("def f(x):\n    return x.cumsum(0)", "'cumsum'"),
    "a kernel's Python function called": ("def f(x):\n    return kernel.fn(x)", "'fn'"),
    "the same as a value": ("g = kernel.fn", "'fn'"),
    "a builtin that is not listed": ("getattr(1, 'real')", "'getattr'"),
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
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name):
    source, told = REFUSED[name]
    verdict = screen(KERNEL + source + "\n", ENTRY)
    assert verdict is not None
    assert verdict[0] is Status.REJECTED
    assert told in verdict[1]


@pytest.mark.parametrize("name", PASSES)
def test_passes(name):
    assert screen(KERNEL + PASSES[name] + "\n", ENTRY) is None


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
    # Whoever adds a field here has to think of what it is on a tensor, a kernel and a frame.
    assert len(vocabulary.FIELDS) == 14
    assert vocabulary.FIELDS & foreign_names()
