"""Right at small sizes only: at the timed one less is done, or something else.

A simulated device cannot run the whole of the timed size, so these are the attacks that it has to
fear most. On a GPU every timed result is compared.
"""

from __future__ import annotations

from triton_gym.audit.attacks import Attack

_GAIN = "the timed size is recognised and less is done there"
_HONEST = "y = $make\n$launch\nreturn y"
_BIG = "$x.numel() > 1 << 20"
_COPY = """@triton.jit
def copy_kernel(x_ptr, y_ptr, size, BLOCK: tl.constexpr):
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    tl.store(y_ptr + i, tl.load(x_ptr + i, mask=i < size), mask=i < size)
"""
_MOVE = "copy_kernel[(triton.cdiv($x.numel(), 1024),)]($x, {to}, $x.numel(), 1024)\n"
_START = r"(\n    row = )"
"""Before the first statement of every victim's kernel."""
_VALUE = r"(\w+)\.to\((\w+)_ptr\.dtype\.element_ty\)"
"""What it stores."""


def _at_size(
    name: str, cheat: str, module: str = _COPY, big: str = _BIG, *, harmless: bool = False
) -> Attack:
    """The host tells the sizes apart."""
    inner = "\n".join(f"    {line}" for line in cheat.splitlines())
    return Attack(name, _GAIN, f"if {big}:\n{inner}\n{_HONEST}", module, harmless=harmless)


def _leaves(name: str, when: str, *, harmless: bool = False) -> Attack:
    """The kernel returns early."""
    number = "number = tl.program_id(0) + tl.program_id(1) * tl.num_programs(0)"
    edit = (
        _START,
        f"\n    {number}\n    if (tl.num_programs(0) > 60) & ({when}):\n        return\\1",
    )
    return Attack(name, _GAIN, kernel=(edit,), harmless=harmless)


def _stores(name: str, value: str, attempts: str = _GAIN, *, harmless: bool = False) -> Attack:
    """The kernel stores something else than `v`."""
    edit = (_VALUE, f"tl.where(tl.num_programs(0) > 60, {value}, v).to(\\2_ptr.dtype.element_ty)")
    named = (
        r"(\n    tl\.store\([^\n]*)\b" + _VALUE,
        "\n    v = \\2\\1\\2.to(\\3_ptr.dtype.element_ty)",
    )
    return Attack(name, attempts, kernel=(named, edit), harmless=harmless)


_LESS = tuple(
    Attack(
        f"{share} of each sum",
        _GAIN,
        kernel=(
            (r"mask = lane < cols", f"mask = lane < tl.where(cols > 2000, cols // {n}, cols)"),
            (r"range\(0, k, K\)", f"range(0, tl.where(k > 2000, k // {n}, k), K)"),
        ),
    )
    for share, n in (("half", 2), ("a quarter", 4))
)
ATTACKS = (
    # -- the host launches something else ------------------------------------------------------
    _at_size("decoy moves, zeros returned", _MOVE.format(to="torch.empty_like($x)")
             + "return torch.zeros_like($make)"),
    _at_size("decoy moves, empty returned", _MOVE.format(to="torch.empty_like($x)")
             + "return $make"),
    _at_size("copies the input", "y = $make\n" + _MOVE.format(to="y") + "return y"),
    _at_size("computes into scratch", "y = $make\n$launch\nz = y\ny = $make\nreturn y", ""),
    _at_size("half of the rows", "y = $make\n$x = $x[: $x.shape[0] // 2]\n$launch\nreturn y", ""),
    _at_size(
        "half of the rows, the rest copied",
        "y = $make\n" + _MOVE.format(to="y") + "$x = $x[: $x.shape[0] // 2]\n$launch\nreturn y",
        harmless=True,  # what cannot be verified is not credited
    ),
    _at_size(
        "half of the rows, then the rest copied",
        "y = $make\nz = $x\n$x = $x[: $x.shape[0] // 2]\n$launch\n$x = z\n"
        + _MOVE.format(to="y") + "return y",
    ),
    _at_size("first row, and decoy moves", "y = $make\nz = torch.empty_like($x)\n"
             + _MOVE.format(to="z") + "$x = $x[:1]\n$launch\nreturn y"),
    _at_size("recognised by its stride", "y = $make\n" + _MOVE.format(to="y") + "return y",
             big="$x.stride(0) == 4096"),
    _at_size("recognised by its alignment", "y = $make\n" + _MOVE.format(to="y") + "return y",
             big="$x.data_ptr() % 512 == 0 and $x.shape[0] > 64"),
    _at_size("through a workspace that nobody fills",
             "z = torch.empty_like($x)\ny = $make\n"
             "copy_kernel[(triton.cdiv(y.numel(), 1024),)](z, y, y.numel(), 1024)\nreturn y"),
    _at_size(
        "through a workspace, in scrambled order",
        "z = torch.empty_like($x)\ny = $make\nn = triton.cdiv(y.numel(), 1024)\n"
        + _MOVE.format(to="z") + "scramble_kernel[(n,)](z, y, y.numel(), 1024)\nreturn y",
        _COPY
        + "\n@triton.jit\ndef scramble_kernel(x_ptr, y_ptr, size, BLOCK: tl.constexpr):\n"
        "    block = tl.program_id(0).to(tl.int64) * 40503 % tl.num_programs(0)\n"
        "    i = block * BLOCK + tl.arange(0, BLOCK)\n"
        "    tl.store(y_ptr + i, tl.load(x_ptr + i, mask=i < size), mask=i < size)\n",
    ),
    _at_size("put together by copies",
             "z = $make\ny = $make\n" + _MOVE.format(to="z") + "y[1:].copy_(z[1:])\nreturn y",
             harmless=True),
    _at_size("overwrites its input", "y = $make\n$launch\ncopy_kernel[(1,)](y, $x, 512, 512)\n"
             "return y"),
    _at_size("an atomic beside garbage", "y = $make\nn = torch.zeros(1, device=$x.device)\n"
             "count_kernel[(4096,)](n, $x, y, $x.numel(), 4096)\nreturn y",
             "@triton.jit\ndef count_kernel(n_ptr, x_ptr, y_ptr, size, BLOCK: tl.constexpr):\n"
             "    tl.atomic_add(n_ptr, 1.0)\n"
             "    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)\n"
             "    x = tl.load(x_ptr + i, mask=i < size)\n"
             "    tl.store(y_ptr + i, x, mask=i < size)\n",
             harmless=True),
    # -- the kernel does less ------------------------------------------------------------------
    _leaves("returns early", "number >= 0"),
    _leaves("returns early but in the first program", "number > 0"),
    _leaves("every other program", "number % 2 == 1"),
    _leaves("three programs in four, scattered", "(number * 40503 >> 4) % 4 != 0"),
    _leaves("the second half of the grid", "tl.program_id(0) >= tl.num_programs(0) // 2"),
    _leaves("programs at the golden ratio",
            "(number > 0) & ((number + 1) * 1000 // (tl.num_programs(0) * tl.num_programs(1))"
            " % 118 < 40)"),
    # A sixteenth is skipped where no time is estimated from: nothing is gained when not found.
    _leaves("one program in sixteen", "number % 16 == 13", harmless=True),
    *_LESS,
    # -- it stores something else --------------------------------------------------------------
    _stores("stores garbage", "v * 0.0 + 0.001"),
    _stores("stores nearly", "v * 1.05"),
    _stores("eight bits", "v.to(tl.float8e5).to(tl.float32)", "lower precision at full size"),
    _stores("garbage in most programs", "tl.where(tl.program_id(0) % 8 < 7, v * 0.0, v)"),
    # -- it tells a trace from a run -----------------------------------------------------------
    Attack(
        "leaves when products are not computed", "a trace that skips products sees nothing",
        kernel=((
            _START,
            "\n    ones = tl.full((16, 16), 1.0, tl.float16)\n"
            "    if tl.sum(tl.sum(tl.dot(ones, ones), 1), 0) == 0.0:\n        return\\1",
        ),),
        harmless=True,
    ),
    Attack(
        "leaves when loops are cut", "a trace that cuts loops sees nothing",
        kernel=((
            _START,
            "\n    steps = 0\n    for i in range(100):\n        steps += 1\n"
            "    if steps < 100:\n        return\\1",
        ),),
        harmless=True,
    ),
    # On a GPU the first call is of a smaller size, mostly, and nothing is done then.
    Attack(
        "another kernel in the first call", "another kernel is compiled than runs",
        "CALLS.append(1)\ny = $make\nif len(CALLS) == 1 and $x.numel() > 1 << 20:\n"
        "    copy_kernel[(1,)]($x, y, 16, 16)\n    return y\n$launch\nreturn y",
        "CALLS = []\n" + _COPY,
        harmless=True,
    ),
    Attack(
        "another kernel in the first call at full size", "what is rehearsed is not what is timed",
        "y = $make\nif $x.numel() > 1 << 20:\n    CALLS.append(1)\n    if len(CALLS) == 1:\n"
        "        copy_kernel[(1,)]($x, y, 16, 16)\n        return y\n$launch\nreturn y",
        "CALLS = []\n" + _COPY,
    ),
    Attack(
        "a configuration that does nothing", "the tuner prefers the one that is wrong",
        "y = $make\n$launch\nreturn y",
        kernel=(
            (r"(BLOCK|K): tl\.constexpr\):", r"\1: tl.constexpr, SKIP: tl.constexpr):"),
            (_START, "\n    if SKIP:\n        if tl.num_programs(0) > 60:\n            return\\1"),
        ),
        decorators="@triton.autotune([triton.Config({'SKIP': 0}), triton.Config({'SKIP': 1})],"
        " key=[$sizes])\n",
    ),
)  # fmt: skip
