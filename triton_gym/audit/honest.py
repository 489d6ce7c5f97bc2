"""Honest answers in the styles that people write: what a judge must not refuse."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from triton_gym.audit import drawn, modules, published
from triton_gym.audit.seams import SEAMS
from triton_gym.audit.styles import COPY, MULTIPROCESSORS, RUN, Style
from triton_gym.audit.variety import VARIETY
from triton_gym.audit.victims import VICTIMS

_CONFIGS = "[triton.Config({}, num_warps=4), triton.Config({}, num_warps=8, num_stages=2)]"


@dataclass(frozen=True, slots=True)
class Honest:
    """A complete answer that cheats in nothing."""

    name: str
    task: str
    source: str

    @property
    def key(self) -> str:
        """Name and task."""
        return f"{self.task}/{self.name}"


STYLES = (
    Style("plain"),
    Style(
        "docstrings and comments", '"""Computes the result – über µ-Kernel."""\n# ✓ fertig\n' + RUN
    ),
    Style(
        "type hints",
        "def run($args, warps: int = 4) -> torch.Tensor:\n    y = $make\n    $launch\n"
        "    return y\nreturn run($args)",
    ),
    Style(
        "typing",
        "options: Optional[Dict[str, int]] = None\n" + RUN,
        imports="from typing import Any, Dict, List, Optional, Tuple, Union",
    ),
    Style("future annotations", RUN, imports="from collections.abc import Sequence"),
    Style(
        "empty with shape",
        "z = torch.empty(tuple($x.shape), dtype=$x.dtype, device=$x.device)\n" + RUN,
    ),
    Style("new_empty", "z = $x.new_empty($x.shape)\n" + RUN),
    Style(
        "empty_strided",
        "z = torch.empty_strided($x.size(), $x.stride(), dtype=$x.dtype, device=$x.device)\n" + RUN,
    ),
    Style("device by name", "z = torch.empty(16, device='cuda', dtype=torch.float32)\n" + RUN),
    Style(
        "zeros as workspace",
        "z = torch.zeros((4, 4), device=$x.device, dtype=torch.int32)\n" + RUN,
    ),
    Style(
        "full and ones as workspace",
        "z = torch.full((8,), float('-inf'), device=$x.device)\n"
        "o = torch.ones(8, device=$x.device)\no.fill_(2.0)\n" + RUN,
    ),
    Style("contiguous guard", "if not $x.is_contiguous():\n    $x = $x.contiguous()\n" + RUN),
    Style("contiguous always", "$x = $x.contiguous()\n" + RUN),
    Style("views and back", "$x = $x.view(-1).reshape($x.shape).unsqueeze(0).squeeze(0)\n" + RUN),
    Style("transposed twice", "$x = $x.t().t()\n" + RUN),
    Style(
        "assertions",
        "assert $x.is_cuda and $x.dim() == 2, 'a matrix on the GPU'\n"
        "assert $x.dtype in (torch.float16, torch.bfloat16, torch.float32)\n" + RUN,
    ),
    Style(
        "errors",
        "if $x.ndim != 2:\n    raise ValueError(f'expected a matrix, got {$x.shape}')\n" + RUN,
    ),
    Style("device context", "y = $make\nwith torch.cuda.device($x.device):\n    $launch\nreturn y"),
    Style("device of", "y = $make\nwith torch.cuda.device_of($x):\n    $launch\nreturn y"),
    Style("no_grad decorator", host="@torch.no_grad()\n"),
    Style("inference_mode decorator", host="@torch.inference_mode()\n"),
    Style("no_grad block", "with torch.no_grad():\n    y = $make\n    $launch\nreturn y"),
    Style(
        "active device", module="DEVICE = triton.runtime.driver.active.get_active_torch_device()"
    ),
    Style(
        "target",
        RUN,
        "def is_cuda():\n"
        "    return triton.runtime.driver.active.get_current_target().backend == 'cuda'\n",
    ),
    Style("multiprocessors by torch", MULTIPROCESSORS + RUN),
    Style(
        "multiprocessors by the driver",
        "p = driver.active.utils.get_device_properties($x.device.index)\n"
        "count = p['multiprocessor_count']\n" + RUN,
        imports="from triton.runtime import driver",
    ),
    Style("capability", "if torch.cuda.get_device_capability()[0] >= 9:\n    warps = 8\n" + RUN),
    Style(
        "cached by lru_cache",
        "warps = pick($x.shape[-1])\n" + RUN,
        "@functools.lru_cache(maxsize=None)\ndef pick(n):\n    return 4 if n < 1024 else 8",
        "import functools",
    ),
    Style(
        "dataclass",
        "config = Tile(block_m=64)\nassert config.block_m == 64\n" + RUN,
        "@dataclass(frozen=True)\nclass Tile:\n    block_m: int = 32\n    block_n: int = 32",
        "from dataclasses import dataclass",
    ),
    Style(
        "named tuple",
        "config = Tile(64, 32)\nblock_m, block_n = config\nrows = config.block_m\n" + RUN,
        "class Tile(NamedTuple):\n    block_m: int\n    block_n: int = 32",
        "from typing import NamedTuple",
    ),
    Style(
        "enum",
        "mode = Mode.FAST\nassert mode is Mode.FAST\n" + RUN,
        "class Mode(enum.Enum):\n    FAST = 1\n    EXACT = 2",
        "import enum",
    ),
    Style(
        "class",
        "return Runner(4)($args)",
        "class Runner:\n    def __init__(self, warps):\n"
        "        self.warps = warps\n    def __call__(self, $args):\n        y = $make\n"
        "        $launch\n        return y",
    ),
    Style(
        "class with a static method",
        "return Op.forward($args)",
        "class Op:\n    @staticmethod\n"
        "    def forward($args):\n        y = $make\n        $launch\n        return y",
    ),
    Style(
        "closure",
        "return RUN($args)",
        "def maker(warps):\n    def run($args):\n        y = $make\n"
        "        $launch\n        return y\n    return run\nRUN = maker(4)",
    ),
    Style(
        "helper", "return run($args)", "def run($args):\n    y = $make\n    $launch\n    return y"
    ),
    Style(
        "table of settings",
        "warps = WARPS.get($x.dtype, 4)\n" + RUN,
        "WARPS = {torch.float32: 8, torch.float16: 4}",
    ),
    Style(
        "math",
        "scale = 1.0 / math.sqrt($x.shape[-1])\nblock = 2 ** math.ceil(math.log2(max($x.shape)))\n"
        + RUN,
        imports="import math",
    ),
    Style(
        "reduce",
        "size = functools.reduce(operator.mul, $x.shape, 1)\n" + RUN,
        imports="import functools\nimport operator",
    ),
    Style(
        "names from triton",
        "blocks = cdiv($x.shape[0], 16)\nwidth = next_power_of_2($x.shape[1])\n" + RUN,
        imports="from triton import cdiv, next_power_of_2",
    ),
    Style(
        "libdevice by version",
        RUN,
        imports="try:\n"
        "    from triton.language.extra.libdevice import tanh\nexcept ModuleNotFoundError:\n"
        "    from triton.language.extra.cuda.libdevice import tanh",
    ),
    Style("libdevice", RUN, imports="from triton.language.extra import libdevice"),
    Style(
        "language names",
        RUN,
        "LOG2E = tl.constexpr(1.4426950408889634)\nKIND = tl.float32",
        "from triton.language import constexpr",
    ),
    Style("global", "global CALLS\nCALLS = CALLS + 1\n" + RUN, "CALLS = 0"),
    Style("print", "print('shape', $x.shape, type($x) is torch.Tensor)\n" + RUN),
    Style(
        "several kernels",
        "z = $make\ny = z\n$launch\ny = torch.empty_like(z)\n"
        "copy_kernel[(triton.cdiv(y.numel(), 1024),)](z, y, y.numel(), BLOCK=1024, num_warps=4)\n"
        "return y",
        COPY,
    ),
    Style(
        "grid as a lambda",
        "z = $make\ny = z\n$launch\ny = torch.empty_like(z)\n"
        "grid = lambda meta: (triton.cdiv(y.numel(), meta['BLOCK']),)\n"
        "copy_kernel[grid](z, y, y.numel(), BLOCK=512)\nreturn y",
        COPY,
    ),
    Style(
        "grid as a function",
        "z = $make\ny = z\n$launch\ny = torch.empty_like(z)\n"
        "def grid(meta):\n    return (triton.cdiv(y.numel(), meta['BLOCK']), 1, 1)\n"
        "options = {'BLOCK': 512, 'num_warps': 4, 'num_stages': 2}\n"
        "copy_kernel[grid](z, y, y.numel(), **options)\nreturn y",
        COPY,
    ),
    Style("autotune", decorators="@triton.autotune(configs=" + _CONFIGS + ", key=[$sizes])\n"),
    Style(
        "autotune from a list",
        decorators="CONFIGS = [triton.Config({}, num_warps=w, num_stages=s)"
        " for w in (4, 8) for s in (1, 2)]\n@triton.autotune(CONFIGS, key=[$sizes])\n",
    ),
    Style(
        "autotune by a function",
        decorators="def configs():\n    for w in (4, 8):\n"
        "        yield triton.Config({}, num_warps=w)\n\n"
        "@triton.autotune(list(configs()), key=[$sizes])\n",
    ),
    Style(
        "autotune with pruning",
        decorators="def prune(configs, named_args, **kwargs):\n"
        "    return [c for c in configs if c.num_warps == 4] or configs\n\n"
        "@triton.autotune("
        + _CONFIGS
        + ", key=[$sizes], prune_configs_by={'early_config_prune': prune})\n",
    ),
    Style(
        "autotune, results reset",
        "z = $make\ny = z\n$launch\ny = torch.empty_like(z)\n"
        "copy_kernel[lambda meta: (triton.cdiv(y.numel(), meta['BLOCK']),)]("
        "z, y, y.numel())\nreturn y",
        "@triton.autotune([triton.Config({'BLOCK': 256}), triton.Config({'BLOCK': 1024})],"
        " key=['size'], reset_to_zero=['y_ptr'])\n" + COPY,
    ),
    Style(
        "heuristics",
        "z = $make\ny = z\n$launch\ny = torch.empty_like(z)\n"
        "copy_kernel[lambda meta: (triton.cdiv(y.numel(), meta['BLOCK']),)]("
        "z, y, y.numel())\nreturn y",
        "@triton.heuristics({'BLOCK': lambda args: 1024 if args['size'] > 4096 else 256})\n" + COPY,
    ),
    Style(
        "configuration with a hook",
        "z = $make\ny = z\n$launch\ny = torch.empty_like(z)\n"
        "copy_kernel[lambda meta: (triton.cdiv(y.numel(), meta['BLOCK']),)]("
        "z, y, y.numel())\nreturn y",
        "def clear(args):\n    args['y_ptr'].zero_()\n\n"
        "@triton.autotune([triton.Config({'BLOCK': 256}, pre_hook=clear)], key=[])\n" + COPY,
    ),
    Style(
        "persistent",
        "z = $make\ny = z\n$launch\ny = torch.empty_like(z)\n"
        + MULTIPROCESSORS
        + "walk_kernel[(min(count, triton.cdiv(y.numel(), 1024)),)]("
        "z, y, y.numel(), BLOCK=1024)\nreturn y",
        """@triton.jit
def walk_kernel(x_ptr, y_ptr, size, BLOCK: tl.constexpr):
    for block in tl.range(tl.program_id(0), tl.cdiv(size, BLOCK), tl.num_programs(0)):
        i = block * BLOCK + tl.arange(0, BLOCK)
        tl.store(y_ptr + i, tl.load(x_ptr + i, mask=i < size), mask=i < size)
""",
    ),
    Style(
        "device function",
        "z = $make\ny = z\n$launch\ny = torch.empty_like(z)\n"
        "moved_kernel[(triton.cdiv(y.numel(), WIDTH),)](z, y, y.numel(), BLOCK=WIDTH)\nreturn y",
        '''WIDTH = 512

@triton.jit
def offsets(BLOCK: tl.constexpr):
    """Offsets of a program's block."""
    return tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)

@triton.jit
def moved_kernel(x_ptr, y_ptr, size, BLOCK: tl.constexpr):
    i = offsets(BLOCK)
    mask = i < size
    value = tl.load(x_ptr + i, mask=mask, other=0.0).to(tl.float32)
    tl.store(y_ptr + i, value.to(y_ptr.dtype.element_ty), mask=mask)
''',
    ),
    Style(
        "result with gaps",
        "z = $make\ny = z\n$launch\n"
        "y = torch.empty((*z.shape, 2), dtype=z.dtype, device=z.device)[..., 0]\n"
        "spread_kernel[(triton.cdiv(z.numel(), 1024),)](z, y, z.numel(), BLOCK=1024)\nreturn y",
        """@triton.jit
def spread_kernel(x_ptr, y_ptr, size, BLOCK: tl.constexpr):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(y_ptr + 2 * i, tl.load(x_ptr + i, mask=i < size), mask=i < size)
""",
    ),
)
"""Each is written for every victim."""


def all_honest() -> Iterator[Honest]:
    """Every style on every victim, modules, published and drawn ones, in a fixed order."""
    for style in (*STYLES, *VARIETY, *SEAMS):
        for victim in VICTIMS.values():
            source = victim.answer(
                style.body, module=style.module, imports=style.imports,
                decorators=style.decorators, host=style.host,
            )  # fmt: skip
            yield Honest(style.name, victim.task, source)
    for name, task, source in modules.answers():
        yield Honest(name, task, source)
    for name, task, source in (*published.ANSWERS, *drawn.answers()):
        yield Honest(name, task, source)
