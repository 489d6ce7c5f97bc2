"""Which answers may run in the user's process."""

from __future__ import annotations

import pytest

import triton_gym
from triton_gym.optimization.admissible import objection

REFUSED = {
    "a file": "open('x')", "the shell": "import os", "text as code": "exec('1')",
    "a way around": "getattr(torch, 'load')('x')", "a pickle": "torch.load('x')",
    "an alias": "t = torch", "a part": "from torch import load", "dunder": "x.__class__",
    "a builtin": "__import__('os')", "an extension": "torch.utils.cpp_extension.load('x')",
    "another clock": "triton.runtime.driver", "relative": "from . import x",
    "a module's module": "torch.os.system('x')", "of another": "import enum\nenum.sys.modules",
    "imported from it": "from enum import sys", "all of it": "from torch import *",
    "by its name": "import operator\noperator.attrgetter('os')", "a value": "t = triton",
    "a pattern": "match 1:\n    case int(real=x):\n        pass",
    "bound by a part": "import torch.nn.functional\ntorch.load('x')",
    "a part's module": "import torch.nn.functional as F\nF.importlib",
    "annotations": "import typing\ntyping.get_type_hints(f)",
}  # fmt: skip
KEPT = {
    "a dict of results": "CACHE = {}",
    "made": "CACHE = dict()",
    "a default": "def f(x, seen=[]):\n    return x",
    "a cache": "import functools\n@functools.cache\ndef f(x):\n    return x",
    "global": "N = 0\ndef f(x):\n    global N\n    N += 1\n    return x",
    "an attribute": "def f(x):\n    f.seen = x\n    return x",
}


@pytest.mark.parametrize("what", [*REFUSED, *KEPT])
def test_host_code_that_is_not_plain(what):
    source = f"import torch\nimport triton\n{(REFUSED | KEPT)[what]}\n"
    assert objection(source) is not None, what


def test_every_kernel_of_the_catalogue_is_plain():
    for name in ("softmax", "matmul", "layer_norm", "transpose", "grouped_gemm"):
        task = triton_gym.load(name)
        assert objection(task.starter) is None
        assert objection(task.expert) is None
