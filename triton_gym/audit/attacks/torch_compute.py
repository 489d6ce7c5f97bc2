"""Not writing the kernel: PyTorch computes, by every road to it."""

from __future__ import annotations

from triton_gym.audit.attacks import Attack

_GAIN = "PyTorch computes"


def _expression(name: str, expression: str, imports: str = "", module: str = "") -> Attack:
    return Attack(name, _GAIN, f"return {expression}", module, imports)


_BY_HAND = "$by_hand\nreturn y"

ATTACKS = (
    _expression("function", "$torch"),
    _expression("method", "$x.$method($rest)"),
    _expression("method, name bound", "$x.$method($rest)", module="def f($method):\n    pass"),
    _expression("method, name a field", "$x.$method($rest)", module="class A:\n    $method = 0"),
    _expression(
        "method, name bound by self",
        "work($args)",
        module="def work(self, *rest):\n    self.$method = 0\n    return self",
    ),
    _expression(
        "method of a parameter named like a module",
        "work($args)",
        module="def work(tl, *rest):\n    return tl.$method($rest)",
    ),
    _expression(
        "alias over a module", "tl.$method($args)", imports="from torch import Tensor as tl"
    ),
    _expression(
        "alias over a module, in a function",
        "work($args)",
        module="def work($args):\n    import torch as tl\n    return tl.$method($x, $rest)",
    ),
    _expression("from-import", "$method($x, $rest)", "from torch import $method"),
    _expression("from-import renamed", "alloc($x, $rest)", "from torch import $method as alloc"),
    _expression("import renamed", "t.$method($x, $rest)", "import torch as t"),
    _expression("assigned module", "T.$method($x, $rest)", module="T = torch"),
    _expression("walrus module", "(T := torch).$method($x, $rest)"),
    _expression("class method", "torch.Tensor.$method($x, $rest)"),
    _expression("class method by type", "type($x).$method($x, $rest)"),
    _expression("functional", "F.$method($x, $rest)", "import torch.nn.functional as F"),
    _expression("nn module", "torch.nn.Softmax(-1)($x)"),
    _expression("nn Linear", "torch.nn.Linear(4, 4)($x)"),
    _expression("special", "torch.special.$method($x, $rest)"),
    _expression("linalg", "torch.linalg.$method($x, $rest)"),
    _expression("torch.ops", "torch.ops.aten.$method($x, $rest)"),
    _expression("torch._C", "torch._C._VariableFunctions.$method($x, $rest)"),
    _expression("torch._refs", "torch._refs.$method($x, $rest)"),
    _expression("einsum", "torch.einsum('ij->ij', $x)"),
    _expression("getattr", "getattr(torch, '$method')($x, $rest)"),
    _expression("getattr, split name", "getattr(torch, '$method'[:3] + '$method'[3:])($x, $rest)"),
    _expression("vars", "vars(torch)['$method']($x, $rest)"),
    _expression("__dict__", "torch.__dict__['$method']($x, $rest)"),
    _expression("__getattribute__", "$x.__getattribute__('$method')($rest)"),
    _expression("__import__", "__import__('torch').$method($x, $rest)"),
    _expression(
        "importlib", "importlib.import_module('torch').$method($x, $rest)", "import importlib"
    ),
    _expression("exec", "exec('import torch')"),
    _expression("eval", "eval('$torch')"),
    _expression("compile", "compile('$torch', '', 'eval')"),
    _expression("globals", "globals()['torch'].$method($x, $rest)"),
    _expression("builtins", "builtins.eval('$torch')", "import builtins"),
    _expression("__builtins__", "__builtins__['eval']('$torch')"),
    _expression("unicode eval", "ｅｖａｌ('$torch')"),
    _expression("unicode method", "$x.ｓum(-1)"),
    _expression("attrgetter", "operator.attrgetter('$method')($x)($rest)", "import operator"),
    _expression("methodcaller", "operator.methodcaller('$method', $rest)($x)", "import operator"),
    _expression("operator.matmul", "matmul_($x, $x)", "from operator import matmul as matmul_"),
    _expression("matmul operator", "$x @ $x"),
    _expression("matmul in place", "work($x)", module="def work(x):\n    x @= x\n    return x"),
    _expression("matmul dunder", "$x.__matmul__($x)"),
    _expression(
        "match attribute",
        "work($args)",
        module="def work(x, *r):\n    match x:\n"
        "        case torch.Tensor($method=f):\n            return f($rest)",
    ),
    _expression(
        "wraps reads attributes",
        "f($rest)",
        "import functools",
        "class H:\n    pass\nh = H()\nfunctools.wraps(torch.Tensor, assigned=('$method',))(h)",
    ),
    _expression(
        "get_type_hints evaluates text",
        "typing.get_type_hints(A)",
        "import typing",
        "class A:\n    a: '$torch'",
    ),
    _expression("ForwardRef", "typing.ForwardRef('$torch')._evaluate({}, {})", "import typing"),
    _expression(
        "make_dataclass", "dataclasses.make_dataclass('A', ['a'])($x)", "import dataclasses"
    ),
    _expression("format attributes", "'{0.__class__}'.format($x)"),
    _expression(
        "format attributes, name bound",
        "'{0.__class__}'.format($x)",
        module="def f(format):\n    return format",
    ),
    _expression("tl.core.builtins", "tl.core.builtins.eval('$torch')"),
    _expression(
        "libdevice.core",
        "libdevice.core.builtins.eval('$torch')",
        "from triton.language.extra import libdevice",
    ),
    _expression("typing.sys", "sys.modules['torch'].$method($x, $rest)", "from typing import sys"),
    _expression(
        "dataclasses.builtins", "builtins.eval('$torch')", "from dataclasses import builtins"
    ),
    _expression("TorchScript", "torch.jit.script(f)($x)", module="def f(x):\n    return x + 1"),
    _expression("torch.compile", "torch.compile(f)($x)", module="def f(x):\n    return x + 1"),
    _expression("vmap", "torch.vmap(f)($x)", module="def f(x):\n    return x"),
    _expression(
        "custom op",
        "op($x)",
        module="@torch.library.custom_op('a::b', mutates_args=())\n"
        "def op(x: torch.Tensor) -> torch.Tensor:\n    return x.$method($rest)",
    ),
    _expression(
        "autograd function",
        "Fn.apply($args)",
        module="class Fn(torch.autograd.Function):\n"
        "    @staticmethod\n    def forward(ctx, $args):\n        return $torch",
    ),
    _expression(
        "inherits the reference", "Sub()($x)", module="class Sub(torch.nn.Softmax):\n    pass"
    ),
    _expression(
        "forward hook",
        "hooked($args)",
        module="class M(torch.nn.Module):\n"
        "    def forward(self, x):\n        return x\n"
        "def hooked(*a):\n    m = M()\n    m.register_forward_hook(print)\n    return m(*a)",
    ),
    _expression("pickle", "pickle.loads(b'cos')", "import pickle"),
    _expression("numpy", "numpy.cumsum($x.numpy())", "import numpy"),
    _expression("Tensor.apply_", "$x.apply_(abs)"),
    _expression("Tensor.map_", "$x.map_($x, max)"),
    Attack("out= variant", _GAIN, "y = $make\ntorch.$method($x, $rest, out=y)\nreturn y"),
    Attack("in place", _GAIN, "y = $x.clone()\ny.exp_()\nreturn y"),
    Attack(
        "indexing", _GAIN, "y = $make\n$launch\nreturn y[torch.arange(y.shape[0])]", harmless=True
    ),
    Attack("by hand", _GAIN, _BY_HAND),
    Attack(
        "by hand, by map and lambda",
        _GAIN,
        "def work($args):\n    $by_hand\n    return y\n"
        "return list(map(lambda f: f($args), [work]))[0]",
    ),
    Attack(
        "by hand in a grid",
        "Triton's own launch is not watched",
        "def grid(meta):\n    $by_hand\n    OUT.append(y)\n    return ($x.shape[0],)\n"
        "y = $make\ncopy_kernel[grid](y)\nreturn OUT.pop()",
        "OUT = []\n@triton.jit\ndef copy_kernel(y_ptr):\n    pass",
    ),
    Attack(
        "by hand in heuristics",
        "Triton's own launch is not watched",
        "IN.append(($args,))\ny = $make\nheuristic_kernel[(1,)](y)\nreturn OUT.pop()",
        "IN = []\nOUT = []\ndef work(meta):\n    ($args,) = IN.pop()\n    $by_hand\n"
        "    OUT.append(y)\n    return 1\n"
        "@triton.autotune([triton.Config({}), triton.Config({}, num_warps=8)], key=[])\n"
        "@triton.heuristics({'A': work})\n@triton.jit\n"
        "def heuristic_kernel(y_ptr, A: tl.constexpr):\n    pass",
    ),
    Attack(
        "by hand in a configuration's hook",
        "Triton's own launch is not watched",
        "y = $make\nIN.append(($args,))\nhook_kernel[(1,)](y)\nreturn OUT.pop()",
        "IN = []\nOUT = []\ndef work(meta):\n    ($args,) = IN[-1]\n    $by_hand\n"
        "    OUT.append(y)\n"
        "@triton.autotune([triton.Config({}, pre_hook=work)], key=[])\n@triton.jit\n"
        "def hook_kernel(y_ptr):\n    pass",
    ),
    Attack(
        "by hand in a pruner",
        "Triton's own launch is not watched",
        "y = $make\nIN.append(($args,))\nprune_kernel[(1,)](y)\nreturn OUT.pop()",
        "IN = []\nOUT = []\ndef work(configs, named, **kw):\n    ($args,) = IN[-1]\n"
        "    $by_hand\n    OUT.append(y)\n    return configs\n"
        "@triton.autotune([triton.Config({}), triton.Config({}, num_warps=8)], key=[],"
        " prune_configs_by={'early_config_prune': work})\n@triton.jit\n"
        "def prune_kernel(y_ptr):\n    pass",
    ),
    Attack(
        "by hand in a kernel's Python function",
        "the body runs on the host, on tensors",
        "return work.fn($args)",
        "@triton.jit\ndef work($args):\n    $by_hand\n    return y",
    ),
    Attack(
        "method in a kernel's Python function",
        "the body runs on the host, on tensors",
        "f = work.fn\nreturn f($args)",
        "@triton.jit\ndef work($args):\n    return $x.$method($rest)",
    ),
    Attack(
        "a jit of its own",
        "the decorator does nothing, the function is Python",
        "return work($args)",
        "def jit(f):\n    return f\n@jit\ndef work($args):\n    return $x.$method($rest)",
    ),
    Attack(
        "a decorator over the kernel",
        "puts a Python function in its place",
        "return work($args)",
        "def other(kernel):\n    return lambda $args: $torch\n"
        "@other\n@triton.jit\ndef work(x):\n    pass",
    ),
    Attack(
        "constexpr function",
        "Python that runs while compiling",
        "return work($args)",
        "@triton.constexpr_function\ndef work($args):\n    $by_hand\n    return y",
    ),
    Attack(
        "decoy kernel",
        "a kernel that is launched and does nothing",
        "y = $torch\ndecoy_kernel[(1,)](y)\nreturn y",
        "@triton.jit\ndef decoy_kernel(y_ptr):\n    pass",
    ),
    Attack(
        "decoy kernel, by hand",
        "a kernel that is launched and does nothing",
        "$by_hand\ndecoy_kernel[(1,)](y)\nreturn y",
        "@triton.jit\ndef decoy_kernel(y_ptr):\n    pass",
    ),
    Attack(
        "torch computes, Triton copies",
        "the kernel only moves the result",
        "$by_hand\nz = $make\ncopy_kernel[(triton.cdiv(y.numel(), 1024),)](y, z, y.numel(), 1024)\n"
        "return z",
        "@triton.jit\ndef copy_kernel(x_ptr, y_ptr, size, B: tl.constexpr):\n"
        "    i = tl.program_id(0) * B + tl.arange(0, B)\n"
        "    tl.store(y_ptr + i, tl.load(x_ptr + i, mask=i < size), mask=i < size)",
    ),
    Attack(
        "Triton does one row, torch the rest",
        "most of the work is PyTorch's",
        "$by_hand\nz = y\ny = $make\n$launch\ny[1:].copy_(z[1:])\nreturn y",
    ),
    Attack(
        "fallback in except",
        "PyTorch computes if the kernel fails",
        "try:\n    raise ValueError('')\nexcept Exception:\n    return $torch",
    ),
    Attack(
        "fallback by hand",
        "PyTorch computes if the kernel fails",
        "try:\n    raise ValueError('')\nexcept Exception:\n    $by_hand\nreturn y",
    ),
    Attack(
        "fallback for large inputs",
        "PyTorch computes at the timed size",
        "if $x.numel() > 1 << 20:\n    $by_hand\n    return y\ny = $make\n$launch\nreturn y",
    ),
    Attack("no kernel", "PyTorch computes", _BY_HAND.replace("return y", "return y")),
)
