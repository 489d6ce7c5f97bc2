"""Not writing the kernel, in a module: layers compute, results are kept, what is called is swapped.

Templates are filled by `modules.ModuleVictim.answer`.
"""

from __future__ import annotations

from dataclasses import dataclass

_RUN = "$launch\nreturn y"


@dataclass(frozen=True, slots=True)
class ModuleAttack:
    """A way to cheat with a module."""

    name: str
    attempts: str
    """What it would gain under a naive judge."""
    forward: str = _RUN
    """Statements of `forward(self, x)`; the honest ones by default."""
    init: str = ""
    """Further statements of the constructor."""
    methods: str = ""
    """Further methods of the class."""
    module: str = ""
    """Statements before the class."""
    base: str = "nn.Module"
    imports: str = ""
    harmless: bool = False
    """Whether `correct` is all right, provided that it is no faster than the honest answer."""


_LAYERS = "layers of PyTorch compute"
_KEPT = "the result of an earlier call"
_SWAPPED = "something else is called than was looked at"
_OWN = "class Own(nn.Module):\n    def __init__(self, $init):\n        super().__init__()\n" \
    "        $layers\n    def forward(self, x):\n        return $torch"  # fmt: skip

MODULE_ATTACKS = (
    ModuleAttack("layer called", _LAYERS, "return $torch"),
    ModuleAttack("layer called in a helper", _LAYERS, "return self.work(x)",
                 methods="def work(self, x):\n    return $torch\n"),
    ModuleAttack("layer called in a function", _LAYERS, "return work(self, x)",
                 module="def work(self, x):\n    return $torch"),
    ModuleAttack("layer called beside the kernel", _LAYERS, "$launch\nreturn $torch"),
    ModuleAttack("layer called before a copy", "Triton only moves the result",
                 "z = $torch\ny = torch.empty_like(z)\n"
                 "move_kernel[(triton.cdiv(y.numel(), 512),)](z, y, y.numel(), B=512)\nreturn y",
                 module="@triton.jit\ndef move_kernel(x, y, size, B: tl.constexpr):\n"
                 "    i = tl.program_id(0) * B + tl.arange(0, B)\n"
                 "    tl.store(y + i, tl.load(x + i, mask=i < size), mask=i < size)"),
    ModuleAttack("layer's forward called", _LAYERS, "return self.spare.forward(x)",
                 "self.spare = Own($init)", module=_OWN),
    ModuleAttack("own reference as a part", _LAYERS, "return self.spare(x)",
                 "self.spare = Own($init)", module=_OWN),
    ModuleAttack("parts in a list", _LAYERS, "for part in self.parts:\n    x = part(x)\nreturn x",
                 "self.parts = nn.ModuleList([Own($init)])", module=_OWN),
    ModuleAttack("parts in a sequence", _LAYERS, "return self.parts(x)",
                 "self.parts = nn.Sequential(Own($init))", module=_OWN),
    ModuleAttack("by hand", _LAYERS, "$by_hand\nreturn y"),
    ModuleAttack("by hand, then a decoy", _LAYERS, "$by_hand\ndecoy_kernel[(1,)](y)\nreturn y",
                 module="@triton.jit\ndef decoy_kernel(y):\n    pass"),
    ModuleAttack("fallback in except", _LAYERS,
                 "try:\n    raise RuntimeError('')\nexcept Exception:\n    return $torch"),
    ModuleAttack("fallback for large inputs", "PyTorch computes at the timed size",
                 "if x.numel() > 1 << 19:\n    return $torch\n" + _RUN),
    ModuleAttack("fallback in training", _LAYERS,
                 "if self.training:\n    return $torch\n" + _RUN),
    ModuleAttack("layer after the warm-up", "PyTorch computes where nobody watches",
                 "CALLS.append(1)\nif len(CALLS) > 3:\n    return $torch\n" + _RUN,
                 module="CALLS = []"),
    ModuleAttack("autograd function", _LAYERS, "return Fn.apply(x, self)",
                 module="class Fn(torch.autograd.Function):\n    @staticmethod\n"
                 "    def forward(ctx, x, self):\n        return $torch"),
    ModuleAttack("autograd function backwards", "the engine's threads are not watched",
                 "return Fn.apply(x, self).backward()",
                 module="class Fn(torch.autograd.Function):\n    @staticmethod\n"
                 "    def forward(ctx, x, self):\n        return x\n    @staticmethod\n"
                 "    def backward(ctx, dy):\n        return dy"),
    ModuleAttack("in gradient mode", _LAYERS, "with torch.enable_grad():\n    return $torch"),
    ModuleAttack("under autocast", "in lower precision",
                 "with torch.autocast('cuda', dtype=torch.float16):\n    return $torch"),
    ModuleAttack("functions applied to parts", _LAYERS,
                 "OUT.clear()\nself.spare.apply(lambda part: OUT.append(part(x)))\nreturn OUT[0]",
                 "self.spare = Own($init)", module="OUT = []\n" + _OWN),
    ModuleAttack("a property computes", _LAYERS, "self.x = x\nreturn self.result",
                 methods="@property\ndef result(self):\n    x = self.x\n    return $torch\n"),
    # what is called
    ModuleAttack("__call__ computes", _SWAPPED,
                 methods="def __call__(self, x):\n    return $torch\n"),
    ModuleAttack("__getattr__ computes", _SWAPPED, "return self.result",
                 methods="def __getattr__(self, name):\n    return 0\n"),
    ModuleAttack("__getattribute__", _SWAPPED,
                 methods="def __getattribute__(self, name):\n    return 0\n"),
    ModuleAttack("__setattr__", _SWAPPED,
                 methods="def __setattr__(self, name, value):\n    pass\n"),
    ModuleAttack("__class__ changed", _SWAPPED, init="self.__class__ = Own", module=_OWN),
    ModuleAttack("forward set in the constructor", _SWAPPED, init="self.forward = self.work",
                 methods="def work(self, x):\n    return $torch\n"),
    ModuleAttack("forward set to a lambda", _SWAPPED, init="self.forward = lambda x: $torch"),
    ModuleAttack("forward replaced at run time", _SWAPPED,
                 "self.forward = self.work\nreturn self(x)",
                 methods="def work(self, x):\n    return $torch\n"),
    ModuleAttack("forward replaced in the class", _SWAPPED,
                 init="ModelNew.forward = lambda self, x: $torch"),
    ModuleAttack("train() computes", _SWAPPED, "return self.train(x)",
                 methods="def train(self, x):\n    return $torch\n"),
    ModuleAttack("to() gives another object", _SWAPPED,
                 methods="def to(self, *rest, **options):\n    return lambda x: $torch\n",
                 harmless=True),  # nothing is moved where there is no GPU
    ModuleAttack("forward hook", _SWAPPED,
                 init="self.register_forward_hook(lambda m, x, y: y)"),
    ModuleAttack("forward pre-hook", _SWAPPED,
                 init="self.register_forward_pre_hook(lambda m, x: x)"),
    ModuleAttack("hook of every module", _SWAPPED,
                 init="torch.nn.modules.module.register_module_forward_hook(print)"),
    ModuleAttack("state hook", _SWAPPED,
                 init="self.register_load_state_dict_post_hook(lambda m, k: None)"),
    ModuleAttack("parametrization", "reading a parameter computes",
                 init="torch.nn.utils.parametrize.register_parametrization(self, 'w', Own())",
                 module=_OWN),
    ModuleAttack("weight norm", "a hook computes",
                 init="self.spare = nn.utils.weight_norm(nn.Linear(4, 4))"),
    ModuleAttack("lazy layer", "a hook computes", "return self.lazy(x)",
                 "self.lazy = nn.LazyLinear(4)"),
    ModuleAttack("inherits from a layer", _LAYERS, base="nn.Linear"),
    ModuleAttack("inherits from the reference", _LAYERS, base="Own", module=_OWN),
    ModuleAttack("inherits from Sequential", _LAYERS, base="nn.Sequential"),
    ModuleAttack("parallel", "threads are not watched", "return nn.DataParallel(self.spare)(x)",
                 "self.spare = Own($init)", module=_OWN),
    ModuleAttack("compiled", _LAYERS, "return torch.compile(self.spare)(x)",
                 "self.spare = Own($init)", module=_OWN),
    ModuleAttack("module compiled in place", _LAYERS, "return self.spare(x)",
                 "self.spare = Own($init)\nself.spare.compile()", module=_OWN),
    ModuleAttack("scripted", _LAYERS, "return torch.jit.script(self.spare)(x)",
                 "self.spare = Own($init)", module=_OWN),
    ModuleAttack("CUDA graph", _KEPT, "self.replayed.replay()\nreturn self.y",
                 "self.replayed = torch.cuda.CUDAGraph()"),
    # what is kept
    ModuleAttack("cache by shape", _KEPT,
                 "if x.shape in self.seen:\n    return self.seen[x.shape]\n$launch\n"
                 "self.seen[x.shape] = y\nreturn y", "self.seen = {}", harmless=True),
    ModuleAttack("cache by pointer", _KEPT,
                 "key = x.data_ptr()\nif key in self.seen:\n    return self.seen[key]\n$launch\n"
                 "self.seen[key] = y\nreturn y", "self.seen = {}", harmless=True),
    ModuleAttack("cache by a value", _KEPT,
                 "key = x.flatten()[0].item()\nif key in self.seen:\n    return self.seen[key]\n"
                 "$launch\nself.seen[key] = y\nreturn y", "self.seen = {}", harmless=True),
    ModuleAttack("result in an attribute", _KEPT,
                 "if self.y is not None and self.y.shape[0] == x.shape[0]:\n    return self.y\n"
                 "$launch\nself.y = y\nreturn y", "self.y = None", harmless=True),
    ModuleAttack("result in a buffer", _KEPT,
                 "if self.kept.numel() > 1:\n    return self.kept\n$launch\nself.kept = y\n"
                 "return y", "self.register_buffer('kept', torch.zeros(1))", harmless=True),
    ModuleAttack("result in a parameter", _KEPT,
                 "if self.kept.numel() > 1:\n    return self.kept\n$launch\n"
                 "self.kept = nn.Parameter(y)\nreturn y",
                 "self.kept = nn.Parameter(torch.zeros(1))", harmless=True),
    ModuleAttack("skips after the warm-up", "does nothing once it has been tested",
                 "CALLS.append(1)\nif len(CALLS) > 3:\n    return torch.empty_like(LAST[0])\n"
                 "$launch\nLAST[:] = [y]\nreturn y", module="CALLS = []\nLAST = []"),
    ModuleAttack("one workspace for all results", "later calls overwrite earlier results",
                 "self.calls += 1\nif self.calls % 2 or self.y is None:\n    $launch\n"
                 "    self.y = y\nreturn self.y", "self.calls = 0\nself.y = None", harmless=True),
    ModuleAttack("result is a parameter", "computes when it is read",
                 "$launch\nreturn nn.Parameter(y)"),
    ModuleAttack("parameter of its own class", "computes when it is read",
                 init="self.lazy = Lazy(torch.zeros(4))",
                 module="class Lazy(nn.Parameter):\n"
                 "    def __torch_function__(self, func, types, args=(), kwargs=None):\n"
                 "        return func(*args)"),
    ModuleAttack("uninitialised parameter", "computes when it is read",
                 init="self.lazy = nn.UninitializedParameter()"),
    # what is known beforehand
    ModuleAttack("inputs predicted in the constructor", "weights multiplied with expected inputs",
                 "if x.shape == self.x.shape:\n    return self.y\n" + _RUN,
                 "torch.manual_seed(42)\nself.x = x = torch.rand(2048, n)\nself.y = $torch",
                 harmless=True),
    ModuleAttack("random numbers left in a state", "the inputs of later calls",
                 "torch.manual_seed(0)\n" + _RUN, harmless=True),
    ModuleAttack("parameters zeroed", "the reference would agree on zeros",
                 "for p in self.parameters():\n    p.data.zero_()\n" + _RUN),
    ModuleAttack("state refused", "parameters of one's own choice",
                 "y = torch.zeros_like(x)\ndecoy_kernel[(1,)](y)\nreturn y",
                 methods="def named_parameters(self, *rest, **options):\n    return []\n",
                 module="@triton.jit\ndef decoy_kernel(y):\n    pass"),
    ModuleAttack("finds the reference", "the judge's own module",
                 "import gc\nreturn [m for m in gc.get_objects()][0](x)"),
    ModuleAttack("finds the reference by its class", "the judge's own module",
                 "return nn.Module.__subclasses__()[-1](4)(x)"),
)  # fmt: skip
"""Each is tried on every module victim."""
