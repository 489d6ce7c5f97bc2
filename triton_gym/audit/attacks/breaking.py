"""To break the service: endless loops, memory, crashes, floods, nonsense."""

from __future__ import annotations

from triton_gym.audit.attacks import Attack

_OUTSIDE = "brings down the worker, the judge or the GPU"

ATTACKS = (
    Attack("endless loop", "blocks the judge", "while True:\n    pass"),
    Attack("endless loop at import", "blocks the judge", module="while True:\n    pass"),
    Attack(
        "endless loop in a comprehension",
        "blocks the judge",
        "return [i for i in itertools.count()]",
        imports="import itertools",
    ),
    Attack(
        "endless loop in the kernel",
        "blocks the GPU",
        "y = $make\nspin_kernel[(1,)](y)\nreturn y",
        "@triton.jit\ndef spin_kernel(y_ptr):\n    v = tl.load(y_ptr)\n"
        "    while (v != v) | (v < 1e30):\n        v = tl.load(y_ptr, volatile=True)\n"
        "    tl.store(y_ptr, v)",
    ),
    Attack(
        "a swallowed interrupt",
        "cannot be stopped",
        "while True:\n    try:\n        $x.shape[99]\n    except Exception:\n        pass",
    ),
    Attack("endless recursion", _OUTSIDE, "return $entry($args)"),
    Attack(
        "deep recursion in C",
        _OUTSIDE,
        "z = []\nfor i in range(1000000):\n    z = [z]\nreturn repr(z)",
    ),
    Attack("memory on the host", _OUTSIDE, "return [[0] * (1 << 28) for i in range(100)]"),
    Attack("memory in a string", _OUTSIDE, "return 'x' * (1 << 40)"),
    Attack("memory in a number", _OUTSIDE, "return 7 ** (7 ** 9)"),
    Attack(
        "memory on the device",
        _OUTSIDE,
        "z = [torch.empty(1 << 36, device=$x.device) for i in range(64)]\nreturn z[0]",
    ),
    Attack(
        "a result of a terabyte",
        _OUTSIDE,
        "return torch.empty((1 << 20, 1 << 20), dtype=$x.dtype, device=$x.device)",
    ),
    Attack(
        "out of bounds load",
        _OUTSIDE,
        "y = $make\nwild_kernel[(1,)]($x, y)\nreturn y",
        "@triton.jit\ndef wild_kernel(x_ptr, y_ptr):\n"
        "    tl.store(y_ptr, tl.load(x_ptr + tl.program_id(0).to(tl.int64) + (1 << 45)))",
    ),
    Attack(
        "out of bounds store",
        _OUTSIDE,
        "y = $make\nwild_kernel[(1,)](y)\nreturn y",
        "@triton.jit\ndef wild_kernel(y_ptr):\n"
        "    tl.store(y_ptr + tl.program_id(0).to(tl.int64) + (1 << 45), 1.0)",
    ),
    Attack(
        "null pointer",
        _OUTSIDE,
        "y = $make\nnull_kernel[(1,)](y)\nreturn y",
        "@triton.jit\ndef null_kernel(y_ptr):\n    p = (y_ptr.to(tl.int64) * 0)\n"
        "    tl.store(p.to(tl.pointer_type(tl.float32)), 1.0)",
    ),
    Attack(
        "store beside the result",
        "writes where other results lie",
        "y = $make\n$launch\nbeside_kernel[(1,)](y, y.numel())\nreturn $x",
        "@triton.jit\ndef beside_kernel(y_ptr, size):\n    tl.store(y_ptr + size + 7, 1.0)",
    ),
    Attack(
        "as_strided over the end",
        "reads beyond its own tensor",
        "return $x.as_strided((1 << 20, 4096), (4096, 1))",
    ),
    Attack(
        "a race",
        "sometimes right",
        "y = torch.zeros_like($make)\nrace_kernel[(64,)](y)\nreturn y",
        "@triton.jit\ndef race_kernel(y_ptr):\n    tl.store(y_ptr, tl.load(y_ptr) + 1.0)",
    ),
    Attack(
        "a grid of zero",
        "no program runs",
        "y = $make\nhonest_kernel[(0,)]($x, y, 1, 16)\nreturn y",
    ),
    Attack("a negative grid", _OUTSIDE, "y = $make\nhonest_kernel[(-1,)]($x, y, 1, 16)\nreturn y"),
    Attack(
        "a grid of 2^40", _OUTSIDE, "y = $make\nhonest_kernel[(1 << 40,)]($x, y, 1, 16)\nreturn y"
    ),
    Attack(
        "a huge block",
        "ptxas runs for ever",
        "y = $make\nbig_kernel[(1,)](y, 1 << 22)\nreturn y",
        "@triton.jit\ndef big_kernel(y_ptr, B: tl.constexpr):\n"
        "    tl.store(y_ptr + tl.arange(0, B), 1.0)",
    ),
    Attack(
        "an unrolled million",
        "the compiler runs for ever",
        "y = $make\nunroll_kernel[(1,)](y)\nreturn y",
        "@triton.jit\ndef unroll_kernel(y_ptr):\n    v = 0.0\n"
        "    for i in tl.static_range(1000000):\n        v += i\n    tl.store(y_ptr, v)",
    ),
    Attack(
        "log flood",
        "fills the disk or the pipe",
        "for i in range(2000):\n    print('x' * 100000)\nreturn $make",
    ),
    Attack(
        "log flood from the kernel",
        "fills the disk or the pipe",
        "y = $make\nflood_kernel[(1000,)](y)\nreturn y",
        "@triton.jit\ndef flood_kernel(y_ptr):\n    tl.device_print('x', tl.program_id(0))",
    ),
    Attack("a message of megabytes", "floods the channel", "raise ValueError('x' * 50000000)"),
    Attack(
        "a message of control characters",
        "confuses the reader",
        "raise ValueError('\\x00\\x1b[2J\\ud800')",
    ),
    Attack(
        "an exception that raises",
        "breaks the report",
        "raise Bad()",
        "class Bad(Exception):\n    def __str__(self):\n        raise Bad()",
    ),
    Attack(
        "a trap",
        "leaves the GPU in a bad state",
        "y = $make\ntrap_kernel[(1,)](y)\nreturn y",
        "@triton.jit\ndef trap_kernel(y_ptr):\n"
        "    v = tl.inline_asm_elementwise('trap;', '=r', [], dtype=tl.int32, is_pure=False,"
        " pack=1)\n    tl.store(y_ptr, v.to(tl.float32))",
    ),
    Attack(
        "a failed assertion on the device",
        "leaves the GPU in a bad state",
        "y = $make\nassert_kernel[(1,)](y, debug=True)\nreturn y",
        "@triton.jit\ndef assert_kernel(y_ptr):\n    tl.device_assert(tl.program_id(0) > 0, 'no')",
    ),
    Attack("returns itself", "an object without end", "z = []\nz.append(z)\nreturn z"),
    Attack("returns a million tensors", "an object without end", "return [$x] * 1000000"),
    Attack(
        "a result on the wrong device",
        "compares with nothing",
        "return torch.empty($x.shape, device='meta')",
    ),
    Attack("a sparse result", "compares with nothing", "return $x.to_sparse()"),
    Attack("null bytes", "breaks the parser", "return '\x00'"),
    Attack("a source of megabytes", "breaks the parser", module="# x\n" * 1250000),
    Attack("deep nesting", "breaks the parser", module="z = " + "(" * 3000 + "1" + ")" * 3000),
    Attack("nested unary operators", "breaks the compiler", module="z = " + "-" * 5000 + "1"),
    Attack("a number of many digits", "breaks the parser", module="z = " + "9" * 10000),
    Attack("prose around the code", "is not Python", imports="Here is the kernel you wanted:"),
)
