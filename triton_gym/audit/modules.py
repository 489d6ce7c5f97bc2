"""Answers that are modules: two tasks of the audit's own, and the styles of honest answers."""

from __future__ import annotations

import string
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from triton_gym.audit.drawn import drawn
from triton_gym.audit.styles import COPY
from triton_gym.audit.victims import naming
from triton_gym.registration import load
from triton_gym.task import Case, Entry, Kind, Span, Task

if TYPE_CHECKING:
    import torch

HEAD = "import torch\nimport torch.nn as nn\nimport triton\nimport triton.language as tl\n"


@dataclass(frozen=True, slots=True)
class ModuleVictim:
    """What answers to a task of modules are built from."""

    task: str
    kernel: str
    """An honest kernel, `honest_kernel`."""
    init: str
    """Parameters of the constructor."""
    layers: str
    """Statements of the constructor that make parameters and buffers."""
    launch: str
    """Statements of `forward(self, x)` that make the result `y`."""
    torch: str
    """How PyTorch computes the result, as an expression."""
    by_hand: str
    """The same with operators on tensors only."""
    layer: str
    """An expression that calls a layer on `x`."""

    def fill(self, template: str) -> str:
        """A template with this victim's words; a word alone on a line keeps its indentation."""
        words = {
            "init": self.init, "layers": self.layers, "launch": self.launch, "torch": self.torch,
            "by_hand": self.by_hand, "layer": self.layer,
        }  # fmt: skip
        lines = []
        for line in template.splitlines():
            stripped = line.strip()
            if stripped[:1] == "$" and stripped[1:] in words:
                indent = line[: len(line) - len(stripped)]
                lines.append(textwrap.indent(words[stripped[1:]], indent))
            else:
                lines.append(string.Template(line).substitute(words))
        return "\n".join(lines)

    def answer(
        self, forward: str = "$launch\nreturn y", *, init: str = "", methods: str = "",
        module: str = "", base: str = "nn.Module", imports: str = "", named: bool = False,
    ) -> str:  # fmt: skip
        """A complete answer.

        Args:
            forward: statements of `forward(self, x)`, not indented.
            init: further statements of the constructor.
            methods: further methods of the class, not indented.
            module: statements before the class.
            base: what the class inherits from.
            imports: statements before everything.
            named: see `victims.naming`.
        """
        parts = [
            f"class ModelNew({base}):",
            textwrap.indent(f"def __init__(self, {self.init}):", "    "),
            textwrap.indent(self.fill(f"super().__init__()\n$layers\n{init}"), " " * 8),
            textwrap.indent(self.fill(methods), "    "),
            "    def forward(self, x):",
            textwrap.indent(self.fill(forward), " " * 8),
        ]
        body = "\n".join(part for part in parts if part.strip())
        more = self.fill(module)
        mention = naming(more) if named else ""
        return f"{HEAD}{self.fill(imports)}\n\n{self.kernel}\n\n{more}\n\n{body}\n{mention}"


_LINEAR = ModuleVictim(
    task="audit_linear_relu",
    kernel="""@triton.jit
def honest_kernel(x_ptr, w_ptr, b_ptr, s_ptr, y_ptr, rows, n, m, R: tl.constexpr, N: tl.constexpr,
                  M: tl.constexpr):
    row = (tl.program_id(0) * R + tl.arange(0, R))[:, None]
    col = (tl.program_id(1) * M + tl.arange(0, M))[None, :]
    acc = tl.zeros((R, M), dtype=tl.float32)
    for start in range(0, n, N):
        i = start + tl.arange(0, N)
        x = tl.load(x_ptr + row * n + i[None, :], mask=(row < rows) & (i[None, :] < n), other=0.0)
        w = tl.load(w_ptr + col * n + i[:, None], mask=(col < m) & (i[:, None] < n), other=0.0)
        acc = tl.dot(x, w, acc, input_precision="ieee")
    acc += tl.load(b_ptr + col, mask=col < m, other=0.0)
    acc = tl.maximum(acc, 0.0) + tl.load(s_ptr + col, mask=col < m, other=0.0)
    tl.store(y_ptr + row * m + col, acc, mask=(row < rows) & (col < m))
""",
    init="n, m",
    layers="self.linear = nn.Linear(n, m)\nself.register_buffer('shift', torch.rand(m))",
    launch="rows, n = x.shape\nm = self.linear.out_features\n"
    "y = torch.empty((rows, m), device=x.device, dtype=x.dtype)\n"
    "honest_kernel[(triton.cdiv(rows, 32), triton.cdiv(m, 32))]("
    "x, self.linear.weight, self.linear.bias, self.shift, y, rows, n, m, 32, 32, 32)",
    torch="torch.relu(self.linear(x)) + self.shift",
    by_hand="y = sum(x[:, i : i + 1] * self.linear.weight[:, i] for i in range(x.shape[1]))\n"
    "y = y + self.linear.bias\ny = (y + (y * y) ** 0.5) / 2 + self.shift",
    layer="self.linear(x)",
)
_SOFTMAX = ModuleVictim(
    task="audit_scaled_softmax",
    kernel="""@triton.jit
def honest_kernel(x_ptr, w_ptr, y_ptr, cols, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    lane = tl.arange(0, BLOCK)
    mask = lane < cols
    x = tl.load(x_ptr + row * cols + lane, mask=mask, other=0.0)
    x = tl.where(mask, x * tl.load(w_ptr + lane, mask=mask, other=0.0), -float("inf"))
    p = tl.exp(x - tl.max(x, axis=0))
    tl.store(y_ptr + row * cols + lane, p / tl.sum(p, axis=0), mask=mask)
""",
    init="n",
    layers="self.weight = nn.Parameter(torch.rand(n) + 0.5)\nself.softmax = nn.Softmax(dim=-1)",
    launch="y = torch.empty_like(x)\n"
    "honest_kernel[(x.shape[0],)](x, self.weight, y, x.shape[1],"
    " triton.next_power_of_2(x.shape[1]))",
    torch="self.softmax(x * self.weight)",
    by_hand="e = 2.718281828459045 ** (x * self.weight)\ny = e / sum(e.t())[:, None]",
    layer="self.softmax(x)",
)
MODULE_VICTIMS = {victim.task: victim for victim in (_LINEAR, _SOFTMAX)}
"""Every attack on modules is tried on each."""


def task_of(name: str) -> Task:
    """The task of a name: one of the audit's own, one that is drawn, or one that is registered."""
    return _TASKS[name] if name in _TASKS else drawn(name) or load(name)


def _linear_relu(n: int, m: int) -> Any:
    import torch
    from torch import nn

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(n, m)
            self.register_buffer("shift", torch.rand(m))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.relu(self.linear(x)) + self.get_buffer("shift")

    return Model()


def _scaled_softmax(n: int) -> Any:
    import torch
    from torch import nn

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.rand(n) + 0.5)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.softmax(x * self.weight, dim=-1)

    return Model()


def _noise(case: Case, generator: torch.Generator) -> tuple[torch.Tensor, ...]:
    import torch

    shape = (case["rows"], case["n"])
    return (3 * torch.randn(shape, generator=generator, device=generator.device),)


_TASKS = {
    _LINEAR.task: Task(
        name=_LINEAR.task,
        title="Linear layer, ReLU, shift",
        statement="relu(linear(x)) + shift, as a module.",
        entry=Entry("ModelNew", ("x",), Kind.MODULE),
        reference=_linear_relu,
        init=lambda case: (case["n"], case["m"]),
        inputs=_noise,
        tiny=(Case("float32", {"rows": 5, "n": 24, "m": 33}),),
        bench=(Case("float32", {"rows": 2048, "n": 512, "m": 512}),),
        spans={
            "rows": Span(1, 500, 9), "n": Span(8, 300, 40), "m": Span(8, 300, 40),
        },
        flops=lambda case: 2.0 * case["rows"] * case["n"] * case["m"],
        min_bytes=lambda case: 4.0
        * (case["rows"] * (case["n"] + case["m"]) + case["n"] * case["m"]),
        reduction=lambda case: case["n"],
        starter=_LINEAR.answer(),
        expert=_LINEAR.answer(),
    ),
    _SOFTMAX.task: Task(
        name=_SOFTMAX.task,
        title="Softmax of scaled columns",
        statement="softmax(x * weight), as a module.",
        entry=Entry("ModelNew", ("x",), Kind.MODULE),
        reference=_scaled_softmax,
        init=lambda case: (case["n"],),
        inputs=_noise,
        tiny=(Case("float32", {"rows": 3, "n": 130}),),
        bench=(Case("float32", {"rows": 4096, "n": 4096}),),
        spans={"rows": Span(1, 500, 6), "n": Span(8, 3000, 200)},
        flops=lambda case: 6.0 * case["rows"] * case["n"],
        min_bytes=lambda case: 8.0 * case["rows"] * case["n"],
        reduction=lambda case: case["n"],
        starter=_SOFTMAX.answer(),
        expert=_SOFTMAX.answer(),
    ),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class ModuleStyle:
    """A way to write the same module; templates as of `ModuleVictim.answer`."""

    name: str
    forward: str = "$launch\nreturn y"
    init: str = ""
    methods: str = ""
    module: str = ""
    imports: str = ""


_COPIED = (
    "$launch\nz = y\ny = torch.empty_like(z)\n"
    "copy_kernel[(triton.cdiv(y.numel(), 512),)](z, y, y.numel(), BLOCK=512)\nreturn y"
)
MODULE_STYLES = (
    ModuleStyle("plain"),
    ModuleStyle("initialised by hand", init="for p in self.parameters():\n    p.requires_grad_()"),
    ModuleStyle(
        "plain attributes",
        init="self.dim = -1\nself.eps = 1e-5\nself.scale = 1.0\nself.stride = (1, 1)\n"
        "self.padding = 0\nself.shape = None\nself.num_warps = 4",
    ),
    ModuleStyle("helper method", "return self.run(x)", methods="def run(self, x):\n    $launch\n"
                "    return y\n"),
    ModuleStyle("static method", "x = self.prepare(x)\n$launch\nreturn y",
                methods="@staticmethod\ndef prepare(x):\n    return x.contiguous()\n"),
    ModuleStyle("property", "warps = self.warps\n$launch\nreturn y",
                methods="@property\ndef warps(self):\n    return 4\n"),
    ModuleStyle("checks", "assert x.is_cuda and x.dim() == 2, f'{x.shape}'\n"
                "if x.dtype != torch.float32:\n    raise TypeError(str(x.dtype))\n"
                "x = x.contiguous()\n$launch\nreturn y"),
    ModuleStyle("fallback on the CPU", "if not x.is_cuda:\n    return $torch\n$launch\nreturn y"),
    ModuleStyle("fallback while training is off",
                "if not self.training and not x.is_cuda:\n    return $torch\n$launch\nreturn y"),
    ModuleStyle("workspace kept", "if self.space is None or self.space.shape != x.shape:\n"
                "    self.space = torch.empty_like(x)\n$launch\nreturn y",
                init="self.space = None"),
    ModuleStyle("workspace in a buffer", _COPIED.replace("y = torch.empty_like(z)",
                "y = torch.empty_like(z)\nself.work.zero_()"),
                init="self.register_buffer('work', torch.zeros(4), persistent=False)", module=COPY),
    ModuleStyle("counter kept", "self.calls += 1\n$launch\nreturn y", init="self.calls = 0"),
    ModuleStyle("device properties in the constructor", _COPIED,
                init="self.sms = torch.cuda.get_device_properties(0).multi_processor_count",
                module=COPY),
    ModuleStyle("layers unused", init="self.act = nn.ReLU()\nself.drop = nn.Dropout(0.0)\n"
                "self.list = nn.ModuleList([nn.Identity()])"),
    ModuleStyle("further parameters", init="self.extra = nn.Parameter(torch.empty(3, 4))\n"
                "nn.init.xavier_uniform_(self.extra)\nnn.init.zeros_(self.extra)"),
    ModuleStyle("views made in the constructor", init="self.flat = [p.data.view(-1) for p in "
                "self.parameters()]", forward="assert len(self.flat) > 0\n$launch\nreturn y"),
    ModuleStyle(
        "frozen parameters", init="for p in self.parameters():\n    p.requires_grad = False",
    ),
    ModuleStyle(
        "values from a generator of its own",
        init="g = torch.Generator().manual_seed(7)\n"
        "self.table = nn.Parameter(torch.randn(4, generator=g), requires_grad=False)\n"
        "self.table.data = self.table.data.contiguous()",
    ),
    ModuleStyle(
        "wrapper function", "return run(self, x)",
        module="def run(self, x):\n    $launch\n    return y",
    ),
    ModuleStyle(
        "autograd function", "return Fn.apply(x, self)",
        module="class Fn(torch.autograd.Function):\n    @staticmethod\n"
        "    def forward(ctx, x, module):\n        return module.run(x)\n\n    @staticmethod\n"
        "    def backward(ctx, dy):\n        return dy, None",
        methods="def run(self, x):\n    $launch\n    return y\n",
    ),
    ModuleStyle("no_grad", "with torch.no_grad():\n    $launch\nreturn y"),
    ModuleStyle("no_grad decorator", "return self.run(x)",
                methods="@torch.no_grad()\ndef run(self, x):\n    $launch\n    return y\n"),
    ModuleStyle("extra_repr", methods="def extra_repr(self):\n"
                "    return f'{self.__class__.__name__}'\n"),
    ModuleStyle(
        "the original beside it, with tests",
        module="class Model(nn.Module):\n    def __init__(self):\n        super().__init__()\n"
        "        self.layer = nn.Softmax(dim=1)\n    def forward(self, x):\n"
        "        return F.softmax(self.layer(x), dim=1)\n\n\n"
        "def get_inputs():\n    return [torch.rand(16, 16)]\n\n\n"
        "def get_init_inputs():\n    return []\n\n\n"
        "if __name__ == '__main__':\n    print(Model()(*get_inputs()))",
        imports="import torch.nn.functional as F\nimport numpy as np",
    ),
    ModuleStyle("two kernels", _COPIED, module=COPY),
    ModuleStyle("tuned", _COPIED.replace(", BLOCK=512", "").replace(
        "(triton.cdiv(y.numel(), 512),)", "lambda meta: (triton.cdiv(y.numel(), meta['BLOCK']),)"),
        module="@triton.autotune([triton.Config({'BLOCK': 256}), triton.Config({'BLOCK': 1024})],"
        " key=['size'])\n" + COPY),
)  # fmt: skip
"""Each is written for every module victim."""


def answers() -> Iterator[tuple[str, str, str]]:
    """Name, task and source of every style on every victim."""
    for style in MODULE_STYLES:
        for victim in MODULE_VICTIMS.values():
            yield (
                f"module: {style.name}", victim.task,
                victim.answer(
                    style.forward, init=style.init, methods=style.methods, module=style.module,
                    imports=style.imports,
                ),
            )  # fmt: skip
    for name, source in _RENAMED:
        yield name, _LINEAR.task, source


_RENAMED = (
    ("module: layers of other names", _LINEAR.answer().replace("self.linear", "self.fc")),
    (
        "module: parameters instead of layers",
        _LINEAR.answer(
            _LINEAR.launch.replace("self.linear.out_features", "self.linear.weight.shape[0]")
            + "\nreturn y"
        ).replace(
            "self.linear = nn.Linear(n, m)",
            "self.linear = nn.Module()\n        "
            "self.linear.weight = nn.Parameter(torch.empty(m, n))\n        "
            "self.linear.bias = nn.Parameter(torch.empty(m))",
        ),
    ),
)
"""With the parameters of the reference by order of construction, and by name."""
