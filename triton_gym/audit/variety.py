"""More styles of honest answers, as libraries and language models write them.

Each is a whole file as somebody would hand it in: with tests, references and benchmarks that never
run, configuration objects, guards, fallbacks for machines without a GPU, and the odd corner of
Triton's language.
"""

from __future__ import annotations

from triton_gym.audit.styles import COPY, MULTIPROCESSORS, RUN, Style, copied

_HELPER = "def run($args):\n    y = $make\n    $launch\n    return y"


def _kernel(
    name: str, body: str, *, imports: str = "", before: str = "", call: str = "", extra: str = ""
) -> Style:
    """A style of kernel: it copies the result, with `body` between load and store."""
    lines = "\n".join(f"    {line}" for line in body.splitlines())
    kernel = (
        f"{before}@triton.jit\ndef styled_kernel(x_ptr, y_ptr, size, {extra}BLOCK: tl.constexpr):\n"
        "    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)\n    mask = i < size\n"
        f"    x = tl.load(x_ptr + i, mask=mask, other=0.0)\n{lines}\n"
        "    tl.store(y_ptr + i, x, mask=mask)\n"
    )
    launch = call or "styled_kernel[(triton.cdiv(y.numel(), 512),)](z, y, y.numel(), BLOCK=512)"
    return Style(name, copied(launch), kernel, imports)


HOST = (
    Style(
        "tests under __main__",
        module=_HELPER + "\n\n\nif __name__ == '__main__':\n    import numpy as np\n"
        "    x = torch.randn(4, 4, device='cuda')\n    y = run(x)\n"
        "    np.testing.assert_allclose(y.cpu().numpy(), torch.softmax(x, -1).cpu().numpy())\n"
        "    print(triton.testing.do_bench(lambda: run(x)))",
        body="return run($args)",
    ),
    Style(
        "a test function never called",
        module="def test_it():\n    torch.manual_seed(0)\n    x = torch.randn(7, 9)\n"
        "    assert torch.allclose(x.exp().sum(-1), x.exp().sum(dim=-1))\n"
        "    torch.testing.assert_close(x, x)",
    ),
    Style("a reference beside it", module="def reference($args):\n    return $torch"),
    Style(
        "a benchmark beside it",
        module="@triton.testing.perf_report(triton.testing.Benchmark(x_names=['N'], x_vals=[1],"
        " line_arg='p', line_vals=['a'], line_names=['A'], plot_name='p', args={}))\n"
        "def benchmark(N, p):\n    return triton.testing.do_bench(lambda: None)",
    ),
    Style(
        "get_inputs beside it",
        module="def get_inputs():\n    return [torch.rand(16, 16, device='cuda')]\n\n\n"
        "def get_init_inputs():\n    return []",
    ),
    Style(
        "the original model beside it",
        module="class Model(nn.Module):\n    def __init__(self):\n        super().__init__()\n"
        "        self.layer = nn.Softmax(dim=-1)\n    def forward(self, x):\n"
        "        return self.layer(x)",
        imports="import torch.nn as nn\nimport torch.nn.functional as F",
    ),
    Style(
        "unused imports",
        imports="import os\nimport sys\nimport time\nimport numpy as np\n"
        "from torch.utils.cpp_extension import load_inline",
    ),
    Style(
        "an optional package",
        imports="try:\n    import apex\n    HAS_APEX = True\nexcept ModuleNotFoundError:\n"
        "    HAS_APEX = False",
        body="assert not HAS_APEX\n" + RUN,
    ),
    Style("a fallback on the CPU", "if not $x.is_cuda:\n    return $torch\n" + RUN),
    Style(
        "a fallback for what is not supported",
        "if $x.dtype == torch.float64 or $x.numel() == 0:\n    return $torch\n" + RUN,
    ),
    Style(
        "future annotations and optionals",
        "return run($args, out=None)",
        "def run($args, *, out: Optional[torch.Tensor] = None) -> torch.Tensor:\n"
        "    y = $make if out is None else out\n    $launch\n    return y",
        "from typing import Optional, Sequence",
    ),
    Style(
        "a dataclass with everyday fields",
        "config = Config()\nassert config.shape == () and config.grid == 1\n" + RUN,
        "@dataclass\nclass Config:\n    shape: tuple = ()\n    size: int = 1\n    dim: int = -1\n"
        "    scale: float = 1.0\n    mean: float = 0.0\n    grid: int = 1\n    stride: int = 1\n"
        "    index: int = 0\n    count: int = 0",
        "from dataclasses import dataclass",
    ),
    Style(
        "a named tuple with everyday fields",
        "tile = Tile(1, 2)\nassert tile.shape == 1 and tile.stride == 2\n" + RUN,
        "class Tile(NamedTuple):\n    shape: int\n    stride: int\n    mean: float = 0.0",
        "from typing import NamedTuple",
    ),
    Style(
        "namedtuple()",
        "tile = Tile(64, rows=32)\nassert tile.cols == 64 and tile.rows == 32\n" + RUN,
        "Tile = namedtuple('Tile', ['cols', 'rows'])",
        "from collections import namedtuple",
    ),
    Style(
        "a simple namespace",
        "assert CONFIG.block_size == 64\n" + RUN,
        "CONFIG = SimpleNamespace(block_size=64, warps=4)",
        "from types import SimpleNamespace",
    ),
    Style(
        "integer enum in a match",
        "match Mode(1):\n    case Mode.FAST:\n        warps = 4\n    case _:\n        warps = 8\n"
        + RUN,
        "class Mode(IntEnum):\n    FAST = 1\n    EXACT = 2",
        "from enum import IntEnum",
    ),
    Style(
        "a table of constants",
        "table = torch.tensor([1.0, 2.0, 3.0], device=$x.device, dtype=torch.float32)\n"
        "index = torch.arange(16, device=$x.device)\n" + RUN,
    ),
    Style("a scalar read", "first = SCALE.item()\nassert first == 1.0\n" + RUN,
          "SCALE = torch.ones(())"),
    Style(
        "options read by name",
        "hip = getattr(torch.version, 'hip', None)\nassert hasattr(triton, 'set_allocator')\n"
        "kind = getattr(torch, 'float8_e4m3fn', None)\n" + RUN,
    ),
    Style("a message by format", "message = '{} of {:>4}'.format($x.shape, 1)\n" + RUN),
    Style("the name of a type", "name = f'{type($x).__name__} {$x.dtype}'\n" + RUN),
    Style(
        "flags of PyTorch",
        module="torch.backends.cuda.matmul.allow_tf32 = True\n"
        "torch.backends.cudnn.allow_tf32 = True\ntorch.set_float32_matmul_precision('high')",
    ),
    Style("current device", "torch.cuda.set_device($x.device)\n"
          "assert torch.cuda.current_device() == ($x.device.index or 0)\n" + RUN),
    Style("memory format", "z = torch.empty_like($x, memory_format=torch.contiguous_format)\n"
          + RUN),
    Style(
        "views of all kinds",
        "v = $x[None].expand(2, -1, -1)[0].transpose(0, 1).permute(1, 0)\n"
        "v = v.unsqueeze(-1).squeeze(-1)\n"
        "w = v.flatten().view(v.shape).movedim(0, 1).T.narrow(0, 0, 1)\n"
        "kind = torch.promote_types($x.dtype, torch.float32)\n" + RUN,
    ),
    Style("bits of a float", "bits = $x.view(torch.int16)\nassert bits.dtype == torch.int16\n"
          + RUN),
    Style("walrus", "if (n := $x.shape[-1]) > 1 << 20:\n    raise ValueError(n)\n" + RUN),
    Style(
        "helpers named as builtins",
        "block = max(4, round(5))\n" + RUN,
        "def max(a, b):\n    return a if a > b else b\n\n\n"
        "def round(n):\n    return -(-n // 8) * 8",
    ),
    Style(
        "an imported name as a variable",
        "for device in [$x.device]:\n    product = 1\n" + RUN,
        imports="from itertools import product\nfrom torch import device",
    ),
    Style(
        "class with a launcher",
        "return Runner().run($args)",
        "class Runner:\n    def __init__(self):\n        self.dim = -1\n        self.shape = None\n"
        "        self.scale = 1.0\n    def run(self, $args):\n        self.shape = $x.shape\n"
        "        y = $make\n        $launch\n        return y",
    ),
    Style(
        "autograd function",
        "return Fn.apply($args)",
        "class Fn(torch.autograd.Function):\n    @staticmethod\n    def forward(ctx, $args):\n"
        "        y = $make\n        $launch\n        ctx.save_for_backward(y)\n"
        "        ctx.scale = 1.0\n        return y\n\n    @staticmethod\n"
        "    def backward(ctx, dy):\n        (y,) = ctx.saved_tensors\n"
        "        return (dy - (dy * y).sum(-1, keepdim=True)) * y, None",
    ),
    Style(
        "context manager of one's own",
        "with guard($x):\n    y = $make\n    $launch\nreturn y",
        "@contextmanager\ndef guard(x):\n    with torch.cuda.device(x.device):\n        yield",
        "from contextlib import contextmanager",
    ),
    Style(
        "cached property",
        "assert Info().limit > 0\n" + RUN,
        "class Info:\n    @functools.cached_property\n    def limit(self):\n"
        "        return torch.cuda.get_device_properties(0).multi_processor_count",
        "import functools",
    ),
    Style(
        "configurations by product",
        decorators="@triton.autotune(configs=[triton.Config({}, num_warps=w, num_stages=s)"
        " for w, s in itertools.product((4, 8), (1, 2))], key=[$sizes])\n",
        imports="import itertools",
    ),
    Style(
        "equal configurations",
        decorators="@triton.autotune([triton.Config({}, num_warps=4), triton.Config({},"
        " num_warps=4), triton.Config({}, num_warps=4, pre_hook=lambda args: None)],"
        " key=[$sizes])\n",
    ),
    Style(
        "asks a compiled kernel",
        "y = $make\nz = y\n$launch\ny = torch.empty_like(z)\n"
        "compiled = copy_kernel.warmup(z, y, y.numel(), BLOCK=512, grid=(1,))\n"
        "compiled._init_handles()\nper = 65536 // max(compiled.n_regs * 128, 1)\n"
        "assert per > 0 and compiled.metadata.shared >= 0\n"
        + MULTIPROCESSORS
        + "copy_kernel[(triton.cdiv(y.numel(), 512),)](z, y, y.numel(), BLOCK=512)\nreturn y",
        COPY,
    ),
    Style(
        "a kernel made by a call",
        copied("made_kernel[(triton.cdiv(y.numel(), 512),)](z, y, y.numel(), BLOCK=512)"),
        COPY.replace("@triton.jit\n", "") + "\n\nmade_kernel = triton.jit(copy_kernel)",
    ),
    Style("launched by run", copied(
        "copy_kernel.run(z, y, y.numel(), BLOCK=512, grid=(triton.cdiv(y.numel(), 512),),"
        " warmup=False)"), COPY),
    Style(
        "recovers from a lack of resources",
        "y = $make\ntry:\n    $launch\nexcept OutOfResources:\n    raise\nreturn y",
        imports="from triton.runtime.errors import OutOfResources",
    ),
)  # fmt: skip
"""Styles of host code and of files."""

KERNELS = (
    Style(
        "options of jit",
        copied("copy_kernel[(triton.cdiv(y.numel(), 512),)](z, y, y.numel(), BLOCK=512)"),
        COPY.replace("@triton.jit", "@triton.jit(do_not_specialize=['size'], debug=False)"),
    ),
    Style(
        "a device function kept apart",
        copied("apart_kernel[(triton.cdiv(y.numel(), 512),)](z, y, y.numel(), BLOCK=512)"),
        "@triton.jit(noinline=True)\ndef first(block, step):\n    return block * step\n\n\n"
        + COPY.replace("copy_kernel", "apart_kernel").replace(
            "tl.program_id(0) * BLOCK", "first(tl.program_id(0), BLOCK)"
        ),
    ),
    _kernel("static assertions", "tl.static_assert(BLOCK % 16 == 0, 'multiple of 16')\n"
            "tl.device_assert(size > 0)"),
    _kernel("loops unrolled", "for step in tl.static_range(2):\n    x = x + 0"),
    _kernel("loops with options", "for step in tl.range(0, 2, num_stages=2, "
            "loop_unroll_factor=1):\n    x = x + 0"),
    _kernel(
        "a scan with a function of its own",
        "total = tl.associative_scan(x.to(tl.float32), 0, plus)\n"
        "x = x + (total - total).to(x.dtype)",
        before="@triton.jit\ndef plus(a, b):\n    return a + b\n\n\n",
    ),
    _kernel(
        "a reduction with a function of its own",
        "top = tl.reduce(x.to(tl.float32), 0, larger)\nx = tl.where(top < x, 0.0, x).to(x.dtype)",
        before="@triton.jit\ndef larger(a, b):\n    return tl.maximum(a, b)\n\n\n",
    ),
    _kernel(
        "nested device functions",
        "x = outer(x)",
        before="@triton.jit\ndef inner(x):\n    return x * 1\n\n\n"
        "@triton.jit\ndef outer(x):\n    return inner(inner(x))\n\n\n",
    ),
    _kernel(
        "a constexpr function",
        "x = x * half(2)",
        before="@triton.constexpr_function\ndef half(n):\n    return n // 2\n\n\n",
    ),
    _kernel("float arguments", extra="one, ",
            body="x = (x.to(tl.float32) * one.to(tl.float32) + 0.0).to(x.dtype)",
            call="styled_kernel[(triton.cdiv(y.numel(), 512),)](z, y, y.numel(), 1.0, BLOCK=512)"),
    _kernel("conditions on types", "if x_ptr.dtype.element_ty == tl.float16:\n    x = x + 0\n"
            "elif x.dtype.is_fp32():\n    x = x * 1\nelse:\n    x = x.to(y_ptr.type.element_ty)"),
    _kernel("hints", "tl.assume(size > 0)\ni = tl.max_contiguous(tl.multiple_of(i, 16), 16)\n"
            "x = tl.load(x_ptr + i, mask=mask, other=0.0, eviction_policy='evict_first'"
            ")"),
    _kernel("shapes in the kernel", "x = tl.reshape(x, (2, BLOCK // 2)).trans().trans()\n"
            "x = x.reshape(BLOCK)\nx = tl.ravel(tl.expand_dims(x, 0))"),
    _kernel("split and joined", "a, b = tl.split(tl.reshape(x, (BLOCK // 2, 2)))\n"
            "x = tl.interleave(a, b)"),
    _kernel("libdevice in the kernel", "big = libdevice.exp(x.to(tl.float32))\n"
            "x = tl.where(big < 0, big, x.to(tl.float32)).to(x.dtype)",
            imports="from triton.language.extra import libdevice"),
    _kernel("names from the language", "x = where(mask, x, 0.0)",
            imports="from triton.language import where, float32"),
    Style("names from the language alone", copied(
        "bare_kernel[(triton.cdiv(y.numel(), 512),)](z, y, y.numel(), BLOCK=512)"),
        COPY.replace("copy_kernel", "bare_kernel").replace("tl.", ""),
        "from triton.language import arange, constexpr, load, program_id, store"),
    _kernel("random numbers unused", "noise = tl.rand(7, i)\nx = tl.where(noise < 0, 0.0, x)"
            ".to(x.dtype)"),
    _kernel("sizes as 64-bit", "i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)\n"
            "x = tl.load(x_ptr + i, mask=i < size, other=0.0)"),
    _kernel("a while loop", "step = 0\nwhile step < 2:\n    x = x + 0\n    step += 1"),
    _kernel("atomic counter", extra="count_ptr, ", body="zero = tl.zeros((BLOCK,), tl.float32)\n"
            "tl.atomic_add(count_ptr, tl.sum(zero, 0).to(tl.int32))",
            call="count = torch.zeros(1, dtype=torch.int32, device=y.device)\n"
            "styled_kernel[(triton.cdiv(y.numel(), 512),)](z, y, y.numel(), count, BLOCK=512)"),
)  # fmt: skip
"""Styles of kernels."""
VARIETY = (*HOST, *KERNELS)
"""All of them."""
