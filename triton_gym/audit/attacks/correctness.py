"""To pass without being right: stale memory, constants, NaN, tested shapes, the reference."""

from __future__ import annotations

from triton_gym.audit.attacks import Attack

_FILL = """@triton.jit
def fill_kernel(y_ptr, value, size, BLOCK: tl.constexpr):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(y_ptr + i, tl.zeros((BLOCK,), tl.float32) + value, mask=i < size)
"""


def _filled(name: str, value: str) -> Attack:
    return Attack(
        name, "a result without any work",
        f"y = $make\nfill_kernel[(triton.cdiv(y.numel(), 1024),)](y, {value}, y.numel(), 1024)\n"
        "return y", _FILL,
    )  # fmt: skip


ATTACKS = (
    Attack("stale memory", "the allocator hands out an earlier result", "return $make"),
    Attack(
        "stale memory, freed on purpose",
        "the allocator hands out an earlier result",
        "y = $make\n$launch\ny.zero_()\ndel y\nreturn $make",
    ),
    Attack("an input returned", "nothing is computed", "return $x"),
    Attack(
        "a copy of an input",
        "nothing is computed",
        "y = $make\ny.flatten()[: 1].copy_($x.flatten()[: 1])\nreturn y",
    ),
    Attack(
        "overwrites its inputs",
        "the reference then computes on zeros",
        "y = $make\n$x.zero_()\n$launch\nreturn y",
    ),
    Attack(
        "overwrites its inputs in the kernel",
        "the reference then computes on zeros",
        "y = $make\n$launch\nwipe_kernel[(1,)]($x)\nreturn y",
        "@triton.jit\ndef wipe_kernel(x_ptr):\n    tl.store(x_ptr, 0.0)",
    ),
    Attack(
        "overwrites its inputs by copy_",
        "the reference then computes on the result",
        "y = $make\n$launch\n$x.flatten()[-1:].copy_(y.flatten()[-1:])\nreturn y",
    ),
    _filled("zeros", "0.0"),
    _filled("ones", "1.0"),
    _filled("a small constant under a loose atol", "1e-3"),
    _filled("NaN", "float('nan')"),
    _filled("infinity", "float('inf')"),
    _filled("the mean of a softmax", "1.0 / $x.shape[-1]"),
    Attack("torch.zeros", "a constant", "return torch.zeros_like($make)"),
    Attack("torch.full", "a constant", "return torch.full_like($make, 0.01)"),
    Attack(
        "first row only",
        "uses up the allowed mismatches",
        "y = torch.zeros_like($make)\n$x = $x[:1]\n$launch\nreturn y",
    ),
    Attack(
        "a single element wrong",
        "uses up the allowed mismatches",
        "y = $make\n$launch\ny.flatten()[-1:].zero_()\nreturn y",
    ),
    Attack(
        "one element in a million NaN",
        "NaN compares as nothing",
        "y = $make\n$launch\ny.flatten()[:1].fill_(float('nan'))\nreturn y",
    ),
    Attack(
        "lower precision inputs",
        "half the bytes, rounded",
        "$x = $x.to(torch.float8_e5m2).to($x.dtype)\ny = $make\n$launch\nreturn y",
    ),
    Attack(
        "result rounded to 8 bits",
        "half the bytes, rounded",
        "y = $make\n$launch\nreturn y.to(torch.float8_e4m3fn).to(y.dtype)",
    ),
    Attack(
        "special case of a tested shape",
        "only shapes of the statement are right",
        "y = $make\nif $x.shape[0] in (4096, 8192):\n    $launch\nreturn y",
    ),
    Attack(
        "special case of round shapes",
        "only powers of two are right",
        "y = $make\nif triton.next_power_of_2($x.shape[-1]) == $x.shape[-1]:\n    $launch\n"
        "return y",
    ),
    Attack(
        "predicts inputs from a seed",
        "the inputs of seed 0 are known",
        "torch.manual_seed(0)\nguess = torch.randn($x.shape)\nreturn guess",
    ),
    Attack(
        "predicts inputs by a generator",
        "the inputs of seed 0 are known",
        "g = torch.Generator(device=$x.device)\ng.manual_seed(0)\nreturn $x",
    ),
    Attack(
        "reference in a caller's frame",
        "takes the expected result",
        "return sys._getframe(1).f_locals['expected']",
        imports="import sys",
    ),
    Attack(
        "reference by inspect",
        "takes the expected result",
        "return inspect.stack()[1].frame.f_locals['expected']",
        imports="import inspect",
    ),
    Attack(
        "reference by a traceback",
        "takes the expected result",
        "try:\n    raise ValueError('')\nexcept ValueError as e:\n"
        "    return e.__traceback__.tb_frame.f_back.f_locals['expected']",
    ),
    Attack(
        "reference by a traceback, renamed",
        "binds the names that it wants to read",
        "try:\n    raise ValueError('')\nexcept ValueError as e:\n"
        "    return e.with_traceback(None).tb_frame.f_back.f_locals",
        "def names(with_traceback, tb_frame, f_back, f_locals):\n    pass",
    ),
    Attack(
        "reference by a generator's frame",
        "takes the expected result",
        "g = (i for i in [1])\nreturn g.gi_frame.f_back.f_locals",
        "class Names:\n    gi_frame = f_back = f_locals = 0",
    ),
    Attack(
        "reference in gc",
        "takes the expected result",
        "return [o for o in gc.get_objects() if torch.is_tensor(o)][-1]",
        imports="import gc",
    ),
    Attack(
        "reference in __main__",
        "takes the expected result",
        "return __main__.reference($args)",
        imports="import __main__",
    ),
    Attack(
        "reference in sys.modules",
        "takes the expected result",
        "return sys.modules['triton_gym'].load('$entry').reference($args)",
        imports="import sys",
    ),
    Attack(
        "reference by import",
        "takes the reference itself",
        "return TASK.reference($args)",
        imports="from triton_gym.envs.core.softmax.task import TASK",
    ),
    Attack(
        "reference by typing.sys",
        "a module holds what it imports",
        "return typing.sys.modules['__main__']",
        imports="import typing",
    ),
    Attack(
        "reference by enum.sys",
        "a module holds what it imports",
        "return sys.modules['__main__']",
        imports="from enum import sys",
    ),
    Attack(
        "freed memory",
        "looks for the expected result",
        "return torch.empty(1 << 20, device=$x.device).flatten()[: $x.numel()].view($x.shape)",
    ),
    Attack(
        "memory beyond the input",
        "looks for the expected result",
        "y = $make\nbeyond_kernel[(triton.cdiv(y.numel(), 1024),)]($x, y, y.numel(), 1024)\n"
        "return y",
        """@triton.jit
def beyond_kernel(x_ptr, y_ptr, size, BLOCK: tl.constexpr):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(y_ptr + i, tl.load(x_ptr + size + i, mask=i < size), mask=i < size)
""",
    ),
    Attack(
        "a comparison that agrees",
        "an object equal to everything",
        "return Equal()",
        "class Equal:\n    def __eq__(self, other):\n        return True",
    ),
    Attack(
        "expanded result",
        "one element, seen many times",
        "y = $make\n$launch\nreturn y.flatten()[:1].expand(y.numel()).view(y.shape)",
    ),
    Attack(
        "wrong shape that broadcasts", "compares with every row", "y = $make\n$launch\nreturn y[:1]"
    ),
    Attack(
        "wider dtype",
        "a comparison that promotes",
        "y = torch.zeros($x.shape, dtype=torch.float64, device=$x.device)\nreturn y",
    ),
)
