"""The harness itself: forged replies, early exits, patched modules, files, processes."""

from __future__ import annotations

from triton_gym.audit.attacks import Attack


def _module(name: str, attempts: str, module: str, imports: str = "") -> Attack:
    return Attack(name, attempts, "return $make", module, imports)


_FORGE = "the judge reads a reply of the answer's own"
_ESCAPE = "runs any code"
_PATCH = "the harness runs the answer's code"

ATTACKS = (
    _module(
        "os.write to descriptors",
        _FORGE,
        "for fd in range(3, 99):\n    os.write(fd, b'{}')",
        "import os",
    ),
    _module(
        "socket from a descriptor", _FORGE, "socket.socket(fileno=3).send(b'{}')", "import socket"
    ),
    _module("open a descriptor", _FORGE, "open(3, 'wb').write(b'{}')"),
    _module("print to a descriptor", _FORGE, "print('{}', file=open(3, 'w'))"),
    _module("print a verdict", _FORGE, 'print(\'{"status": "correct", "times_us": [1e-6]}\')'),
    _module("io", _FORGE, "io.open(3, 'wb')", "import io"),
    _module("exit at import", "an exit code of 0 is success", "raise SystemExit(0)"),
    _module("os._exit", "an exit code of 0 is success", "os._exit(0)", "import os"),
    _module("exit()", "an exit code of 0 is success", "exit(0)"),
    Attack("exit in the call", "an exit code of 0 is success", "raise SystemExit(0)"),
    Attack("KeyboardInterrupt", "passes through `except Exception`", "raise KeyboardInterrupt()"),
    Attack(
        "forged failure",
        "raises what the harness raises",
        "raise Failure('correct')",
        "class Failure:\n    status = 'correct'",
    ),
    _module("atexit", "runs after the verdict", "atexit.register(print)", "import atexit"),
    _module(
        "signal handler",
        "runs while the harness does",
        "signal.signal(signal.SIGALRM, print)",
        "import signal",
    ),
    _module(
        "destructor",
        "runs while the harness does",
        "class D:\n    def __del__(self):\n        print('x')",
    ),
    _module(
        "descriptor",
        "runs while the harness does",
        "class D:\n    def __get__(self, a, b):\n        return 1",
    ),
    _module(
        "__class_getitem__",
        "runs code by syntax",
        "class D:\n    def __class_getitem__(cls, i):\n        return i",
    ),
    _module(
        "__getattr__ of the module",
        "runs while the harness does",
        "def __getattr__(name):\n    return print",
    ),
    _module("metaclass", _ESCAPE, "class M(type):\n    pass"),
    _module("metaclass keyword", _ESCAPE, "class M(metaclass=print):\n    pass"),
    _module(
        "__init_subclass__", _ESCAPE, "class M:\n    def __init_subclass__(cls):\n        pass"
    ),
    _module("subclasses of object", _ESCAPE, "().__class__.__base__.__subclasses__()"),
    _module("mro", _ESCAPE, "type(1).mro()[1]", ""),
    _module("function's globals", _ESCAPE, "(lambda: 0).__globals__['__builtins__']"),
    _module("kernel's globals", _ESCAPE, "honest_kernel.fn.__globals__"),
    _module(
        "attrgetter chain",
        _ESCAPE,
        "operator.attrgetter('__class__.__base__.__subclasses__')(())()",
        "import operator",
    ),
    _module(
        "attrgetter renamed",
        _ESCAPE,
        "get('__class__')(())",
        "from operator import attrgetter as get",
    ),
    _module("three-argument type", _ESCAPE, "type('A', (object,), {'__del__': print})"),
    _module("type as a value", _ESCAPE, "make = [type][0]\nmake('A', (object,), {})"),
    _module("Enum from text", _ESCAPE, "enum.Enum('A', {'__del__': print})", "import enum"),
    _module("Enum renamed", _ESCAPE, "E('A', {'__del__': print})", "from enum import Enum as E"),
    _module(
        "NamedTuple from text",
        _ESCAPE,
        "T('A', [('a', int)])",
        "from typing import NamedTuple as T",
    ),
    _module(
        "namespace of make_dataclass",
        _ESCAPE,
        "make_dataclass('A', [], namespace={'__del__': print})",
        "from dataclasses import make_dataclass",
    ),
    _module(
        "default factory runs text",
        _ESCAPE,
        "@dataclass\nclass A:\n    a: int = field(default_factory=eval)\nA()",
        "from dataclasses import dataclass, field",
    ),
    _module("annotations evaluated", _ESCAPE, "def f(a: eval('1')):\n    pass"),
    _module(
        "get_type_hints renamed",
        _ESCAPE,
        'class A:\n    a: "print(1)"\nhints(A)',
        "from typing import get_type_hints as hints",
    ),
    _module("lambda default", _ESCAPE, "f = lambda e=eval: e('1')\nf()"),
    _module("comprehension scope", _ESCAPE, "[e('1') for e in [eval]]"),
    _module("import in a comprehension", _ESCAPE, "[__import__(n) for n in ['os']]"),
    _module("sys.settrace", _PATCH, "sys.settrace(print)", "import sys"),
    _module("sys.setprofile", _PATCH, "sys.setprofile(print)", "import sys"),
    _module("patched builtins", _PATCH, "builtins.len = lambda x: 1", "import builtins"),
    _module("patched json", _PATCH, "json.dumps = lambda x: '{}'", "import json"),
    _module("patched allclose", _PATCH, "torch.allclose = lambda *a, **k: True"),
    _module("patched torch.equal", _PATCH, "torch.equal = lambda *a: True"),
    _module("patched copy_", _PATCH, "torch.Tensor.copy_ = lambda self, other: self"),
    _module("patched _foreach_copy_", _PATCH, "torch._foreach_copy_ = lambda a, b: None"),
    _module("patched jit", _PATCH, "triton.jit = lambda f: f"),
    _module("patched launch", _PATCH, "triton.runtime.JITFunction.run = lambda *a, **k: None"),
    _module("patched launch of one kernel", _PATCH, "honest_kernel.run = lambda *a, **k: None"),
    _module(
        "patched launch through self",
        _PATCH,
        "def patch(self):\n    self.run = lambda *a, **k: None\npatch(honest_kernel)",
    ),
    _module(
        "patched launch in a method",
        _PATCH,
        "class P:\n    def patch(self):\n        self.run = print\nP.patch(honest_kernel)",
    ),
    _module(
        "patched fn in a method",
        _PATCH,
        "class P:\n    def patch(self):\n        self.fn = print\nP.patch(honest_kernel)",
    ),
    _module("patched language", _PATCH, "tl.sum = lambda x, axis: x"),
    _module("patched driver", _PATCH, "triton.runtime.driver.active.utils = None"),
    _module(
        "patched driver through self",
        _PATCH,
        "class P:\n    def patch(self):\n        self.launcher_cls = print\n"
        "P.patch(triton.runtime.driver.active)",
    ),
    _module("launch hook", _PATCH, "triton.knobs.runtime.launch_enter_hook = print"),
    _module("pre-run hook", _PATCH, "honest_kernel.add_pre_run_hook(print)"),
    _module(
        "driver loads a binary",
        "a kernel that is not Triton's",
        "triton.runtime.driver.active.utils.load_binary('k', b'', 0, 0)",
    ),
    _module(
        "a compiled kernel from text",
        "a kernel that is not Triton's",
        "triton.compile('kernel.ptx')",
    ),
    _module("CUDA source", "a kernel that is not Triton's", "torch.cuda._compile_kernel('', 'k')"),
    _module(
        "C++ extension",
        "a kernel that is not Triton's",
        "load_inline('a', '')",
        "from torch.utils.cpp_extension import load_inline",
    ),
    _module(
        "poisoned cache",
        "the next answer loads this one's kernels",
        "os.environ['TRITON_CACHE_DIR'] = '/tmp/shared'",
        "import os",
    ),
    _module(
        "poisoned linecache",
        "errors show other lines",
        "linecache.cache.clear()",
        "import linecache",
    ),
    _module("ctypes", "writes into memory", "ctypes.string_at(0)", "import ctypes"),
    _module("/proc/self/mem", "writes into memory", "open('/proc/self/mem', 'r+b')"),
    _module(
        "pathlib", "reads files", "Path('/etc/passwd').read_text()", "from pathlib import Path"
    ),
    _module("np.memmap", "reads files", "numpy.memmap('/etc/passwd')", "import numpy"),
    _module("torch.load", "reads files and unpickles", "torch.load('/tmp/x')"),
    _module("torch.hub", "the network", "torch.hub.load('a/b', 'c')"),
    _module("urllib", "the network", "urllib.request.urlopen('http://a')", "import urllib.request"),
    _module("subprocess", "another process", "subprocess.run(['id'])", "import subprocess"),
    _module("os.fork", "another process", "os.fork()", "import os"),
    _module("multiprocessing", "another process", "torch.multiprocessing.spawn(print)"),
    _module("relative import", "the harness's own modules", "", "from . import worker"),
    _module("star import", "names unseen", "", "from torch import *"),
    _module(
        "import after the fact",
        "binds a module over another",
        "try:\n    pass\nexcept Exception as tl:\n    pass",
    ),
    _module(
        "match binds a module",
        "binds a module over another",
        "match 1:\n    case tl:\n        pass",
    ),
    _module("breakpoint", "stops the harness", "breakpoint()"),
    _module("input", "waits for ever", "input('?')"),
    _module("help", "runs a pager", "help('modules')"),
)
