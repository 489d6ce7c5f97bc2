"""Where recorded launches meet the device: memory, code, clocks, addresses, residue, reads."""

from __future__ import annotations

from triton_gym.audit.attacks import Attack

_OWN = "y = $make\n$launch\n"
_FLAGGED = """@triton.jit
def flag_kernel(flag_ptr, y_ptr, size, BLOCK: tl.constexpr):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    seen = tl.load(flag_ptr)
    if seen == 305419896:
        tl.store(y_ptr + i, tl.load(y_ptr + i, mask=i < size), mask=i < size)
    tl.store(flag_ptr, 305419896)
"""
_SPOT = """@triton.jit
def spot_kernel(y_ptr, far, step, BLOCK: tl.constexpr):
    i = tl.program_id(0).to(tl.int64) * step + far + tl.arange(0, BLOCK)
    tl.store(y_ptr + i, tl.zeros((BLOCK,), tl.float32))
"""
_LOOK = """@triton.jit
def look_kernel(x_ptr, y_ptr, far, size, BLOCK: tl.constexpr):
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    v = tl.load(x_ptr + i + far, mask=i < size)
    tl.store(y_ptr + i, v, mask=i < size)
"""
_ASM = """@triton.jit
def asm_kernel(y_ptr, size, BLOCK: tl.constexpr):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    v = tl.inline_asm_elementwise("{asm}", "=r,r", [i], dtype=tl.int32, is_pure=False, pack=1)
    tl.store(y_ptr + i, v.to(tl.float32, bitcast=True), mask=i < size)
"""
_ASM_CALL = (
    "y = $make\nasm_kernel[(triton.cdiv(y.numel(), 128),)](y, y.numel(), BLOCK=128, num_warps=4)\n"
    "return y"
)
_READ_ALL = "\n".join(
    (
        "rows = $x.tolist()",
        "y = $make",
        "flat = [math.exp(v) for row in rows for v in row]",
        "y.copy_(torch.tensor((flat * y.numel())[:y.numel()], dtype=y.dtype).view(y.shape))",
        "return y",
    )
)


def _asm(name: str, attempts: str, asm: str) -> Attack:
    return Attack(name, attempts, _ASM_CALL, _ASM.replace("{asm}", asm.replace("$", "$$")))


def _far(name: str, attempts: str, far: str, step: str = "1") -> Attack:
    body = f"{_OWN}spot_kernel[(64,)](y, {far}, {step}, BLOCK=64)\nreturn y"
    return Attack(name, attempts, body, _SPOT)


def _from(name: str, attempts: str, far: str) -> Attack:
    body = (
        f"y = $make\nlook_kernel[(triton.cdiv(y.numel(), 512),)]($x, y, {far}, y.numel(), "
        "BLOCK=512)\nreturn y"
    )
    return Attack(name, attempts, body, _LOOK)


ATTACKS = (
    Attack(
        "memo in scratch memory",
        "skips once a flag in its own workspace says that it ran",
        "if not KEPT:\n    KEPT.append(torch.zeros(1, dtype=torch.int32, device=$x.device))\n"
        "    KEPT.append($make)\ny = KEPT[1]\n"
        "flag_kernel[(triton.cdiv(y.numel(), 1024),)](KEPT[0], y, y.numel(), BLOCK=1024)\n"
        "if len(CALLS) < 3:\n    $launch\nCALLS.append(1)\nreturn y",
        _FLAGGED + "\nKEPT = []\nCALLS = []",
        harmless=True,  # what was prepared is put back before each call, so there is no skipping
    ),
    Attack(
        "memo of a result in a workspace",
        "the first call computes, later ones copy what it left",
        "if not KEPT:\n    y = $make\n    $launch\n    KEPT.append(y)\n"
        "y = torch.empty_like(KEPT[0])\n"
        "look_kernel[(triton.cdiv(y.numel(), 512),)](KEPT[0], y, 0, y.numel(), BLOCK=512)\n"
        "return y",
        _LOOK + "\nKEPT = []",
    ),
    _far("overwrites what lies behind its result", "events and code of the runner", "1 << 26"),
    _far("overwrites what lies before its result", "events and code of the runner", "-(1 << 26)"),
    _far(
        "overwrites the window, page by page", "events and code of the runner", "1 << 21", "1 << 21"
    ),
    _far("overwrites memory outside the window", "events and code of the runner", "1 << 40"),
    _from("reads what lies behind its input", "inputs of calls to come", "1 << 26"),
    _from("reads what lies before its input", "inputs of calls to come", "-(1 << 24)"),
    _from("reads the zone of results before it has one", "what the answer before left", "1 << 35"),
    Attack(
        "a pointer out of thin air",
        "reads the runner's memory at an address of its own",
        "y = $make\nthin_kernel[(1,)](y, 0x300000000000 + (1 << 30))\nreturn y",
        "@triton.jit\ndef thin_kernel(y_ptr, at):\n"
        "    p = at.to(tl.pointer_type(tl.float32))\n    tl.store(y_ptr, tl.load(p))",
    ),
    _asm(
        "shared memory of the answer before",
        "reads what nobody wrote",
        "{ .shared .align 4 .b8 area[16384]; .reg .b32 a, t; mov.u32 a, area; and.b32 t, $1, 4095; "
        "shl.b32 t, t, 2; add.u32 a, a, t; ld.volatile.shared.b32 $0, [a]; }",
    ),
    _asm(
        "local memory of the answer before",
        "reads what nobody wrote",
        "{ .local .align 4 .b8 area[4096]; .reg .b64 a; .reg .b64 t; mov.u64 a, area; "
        "cvt.u64.u32 t, $1; and.b64 t, t, 4092; add.u64 a, a, t; ld.volatile.local.b32 $0, [a]; }",
    ),
    _asm(
        "registers of the answer before",
        "reads what nobody wrote",
        "{ .reg .b32 left; mov.b32 $0, left; add.s32 $0, $0, $1; }",
    ),
    _asm(
        "global memory of its own code",
        "keeps a memo between launches",
        "{ .global .align 4 .b32 memo[32]; ld.global.b32 $0, [memo]; st.global.b32 [memo], $1; }",
    ),
    Attack(
        "a clock in the kernel",
        "decides by the time whether it is timed",
        "y = $make\nclock_kernel[(1,)](y)\nreturn y",
        "@triton.jit\ndef clock_kernel(y_ptr):\n"
        "    t = tl.inline_asm_elementwise('mov.u64 $$0, %globaltimer;', '=l', [], dtype=tl.int64,"
        " is_pure=False, pack=1)\n    tl.store(y_ptr, (t % 1000).to(tl.float32))",
    ),
    Attack(
        "a launch by chance",
        "some calls do nothing",
        "y = $make\nif random.random() < 0.5:\n    $launch\nreturn y",
        imports="import random",
        harmless=True,  # what was recorded is what runs, in every call
    ),
    Attack(
        "a launch by the time of day",
        "calls after the tests do nothing",
        "y = $make\nif time.monotonic() - BORN < 0.001:\n    $launch\nreturn y",
        "BORN = time.monotonic()",
        "import time",
    ),
    Attack(
        "a launch by the address of an argument",
        "calls on inputs that come again do nothing",
        "y = $make\nif $x.data_ptr() not in SEEN:\n    $launch\nSEEN.add($x.data_ptr())\nreturn y",
        "SEEN = set()",
    ),
    Attack(
        "another kernel each time",
        "the plan that was tested is not the one that is timed",
        "y = $make\nCALLS.append(1)\nif len(CALLS) % 2:\n    $launch\nelse:\n"
        "    nothing_kernel[(1,)](y)\nreturn y",
        "@triton.jit\ndef nothing_kernel(y_ptr):\n    tl.store(y_ptr, 1.0)\n\nCALLS = []",
    ),
    Attack(
        "reads all, computes on the host, uploads",
        "no kernel computes anything",
        _READ_ALL,
        imports="import math",
    ),
    Attack(
        "reads value by value",
        "values are smuggled out by small reads",
        "rows = [$x[i, j].item() for i in range($x.shape[0]) for j in range($x.shape[1])]\n"
        "y = $make\ny.copy_(torch.tensor((rows * y.numel())[:y.numel()]).view(y.shape))\nreturn y",
    ),
    Attack(
        "values smuggled into constants",
        "host code computes, a kernel only stores",
        "v = [float(t) for t in $x.flatten()[:64].tolist()]\ny = $make\n"
        "for n in range(y.numel() if y.numel() < 4096 else 64):\n"
        "    put_kernel[(1,)](y, n, math.exp(min(v[n % len(v)], 3.0)))\nreturn y",
        "@triton.jit\ndef put_kernel(y_ptr, n, v):\n    tl.store(y_ptr + n, v)",
        "import math",
    ),
    Attack(
        "machine code that was not compiled",
        "launches what nobody looked at",
        "y = $make\nk = honest_kernel.warmup"
        "(*[$args, y, 16, 16][:4], grid=(1,))\nk.asm['cubin'] = b'\\x7fELF'\nk.function = 4096\n"
        "k.kernel = b'\\x7fELF'\nk[(1, 1, 1)]($args, y)\nreturn y",
    ),
    Attack(
        "IR from a file",
        "compiles what nobody looked at",
        _OWN + "other_kernel[(1,)](y, ir_override='/tmp/other.ttir')\nreturn y",
        "@triton.jit\ndef other_kernel(y_ptr):\n    tl.store(y_ptr, 1.0)",
    ),
    Attack(
        "words to ptxas",
        "compiles without bounds",
        _OWN + "other_kernel[(1,)](y, ptx_options='--fmad=true --position-independent-code')\n"
        "return y",
        "@triton.jit\ndef other_kernel(y_ptr):\n    tl.store(y_ptr, 1.0)",
    ),
    Attack(
        "a library of its own",
        "links what nobody looked at",
        _OWN + "other_kernel[(1,)](y, extern_libs={'mine': '/tmp/mine.bc'})\nreturn y",
        "@triton.jit\ndef other_kernel(y_ptr):\n    tl.store(y_ptr, 1.0)",
    ),
    Attack(
        "metadata that lies",
        "fewer warps, less shared memory than the code needs",
        "y = $make\nCOMPILED.append(tiny_kernel.warmup(y, grid=(1,)))\nk = COMPILED[0]\n"
        "k.metadata = k.metadata._replace(num_warps=1, shared=0, name='other')\n"
        "k[(1, 1, 1)](y)\nreturn y",
        "@triton.jit\ndef tiny_kernel(y_ptr):\n    tl.store(y_ptr, 1.0)\n\nCOMPILED = []",
    ),
    Attack(
        "a fault at the timed size only",
        "brings down whoever times",
        "y = $make\n$launch\nif y.numel() > 1 << 22:\n"
        "    spot_kernel[(64,)](y, 1 << 40, 1, BLOCK=64)\nreturn y",
        _SPOT,
    ),
    Attack(
        "a hang at the timed size only",
        "holds the GPU while it is timed",
        "y = $make\n$launch\nif y.numel() > 1 << 22:\n    spin_kernel[(1,)](y)\nreturn y",
        "@triton.jit\ndef spin_kernel(y_ptr):\n    v = tl.load(y_ptr)\n"
        "    while (v != v) | (v < 1e30):\n        v = tl.load(y_ptr, volatile=True)\n"
        "    tl.store(y_ptr, v)",
        harmless=True,  # where nothing measures, it is not verified, and its speed not credited
    ),
    Attack(
        "programs that wait for each other",
        "holds the GPU for ever",
        "y = $make\nlock = torch.zeros(1, dtype=torch.int32, device=y.device)\n"
        "wait_kernel[(1 << 20,)](lock, y)\nreturn y",
        "@triton.jit\ndef wait_kernel(lock_ptr, y_ptr):\n"
        "    while tl.atomic_add(lock_ptr, 0) == 0:\n        pass\n    tl.store(y_ptr, 1.0)",
    ),
)
