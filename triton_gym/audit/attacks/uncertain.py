"""Work whose cost a simulated device can hardly know, in the hope that it passes for free.

At the timed size something long is launched beside the honest kernel. A simulated time must hold
it, or say by its interval that it may be far longer: then a `DeferringEvaluator` has it measured.
On a GPU all of it is timed anyway.
"""

from __future__ import annotations

from triton_gym.audit.attacks import Attack

_GAIN = "work that the time model cannot count is free"
_HEAD = (
    "@triton.jit\ndef busy_kernel(n_ptr, y_ptr, LANES: tl.constexpr):\n    pid = tl.program_id(0)\n"
)
_STEP = "h = h * 1664525 + 1013904223"
"""A step that no compiler can take many of at once (Numerical Recipes' generator)."""
_DONE = "    if h == 305419896:\n        tl.store(n_ptr + pid, h)\n"
_SET = """@triton.jit
def set_kernel(n_ptr, value, BLOCK: tl.constexpr):
    i = tl.arange(0, BLOCK)
    tl.store(n_ptr + i, i * 0 + value)
"""


def _beside(
    name: str, kernel: str, grid: str = "(1024,)", before: str = "", module: str = ""
) -> Attack:
    """A kernel of a given body is launched besides, at the timed size."""
    extra = [
        "n = torch.zeros(8192, dtype=torch.int32, device=$x.device)",
        *before.splitlines(),
        f"busy_kernel[{grid}](n, y, 256)",
    ]
    lines = "\n".join(f"    {line}" for line in extra)
    return Attack(
        name, _GAIN, f"y = $make\nif $x.numel() > 1 << 20:\n{lines}\n$launch\nreturn y",
        f"{module}\n{_HEAD}{kernel}", harmless=True, doubtful=True,
    )  # fmt: skip


def _while(condition: str, start: str = "") -> str:
    """A loop of unknown length on scalars."""
    return (
        f"    h = pid\n    rounds = 0\n{start}    while {condition}:\n"
        f"        {_STEP}\n        rounds += 1\n{_DONE}"
    )


ATTACKS = (
    # -- loops whose length is not written down ------------------------------------------------
    _beside("a while loop of many rounds", _while("rounds < 50000")),
    _beside("a while loop that data may end", _while("(rounds < 50000) & (h != 7)")),
    _beside("a while loop as long as memory says", _while("rounds < limit",
            "    limit = tl.load(n_ptr + pid % 256)\n"),
            before="set_kernel[(1,)](n, 50000, 256)", module=_SET),
    _beside("a for loop as long as memory says",
            "    h = pid\n    for i in range(tl.load(n_ptr + pid % 256)):\n"
            f"        {_STEP}\n{_DONE}",
            before="set_kernel[(1,)](n, 50000, 256)", module=_SET),
    _beside("while loops inside each other",
            "    h = pid\n    outer = 0\n    while outer < 250:\n        inner = 0\n"
            f"        while inner < 250:\n            {_STEP}\n            inner += 1\n"
            f"        outer += 1\n{_DONE}"),
    _beside("a while loop on products",
            "    ones = tl.full((16, 16), 1.0, tl.float16)\n    s = 0.0\n"
            "    while s < 4096.0 * 20000:\n"
            "        s += tl.sum(tl.sum(tl.dot(ones, ones), 1), 0)\n"
            "    if s == 305.0:\n        tl.store(n_ptr + pid, 1)\n"),
    _beside("a tail of one program",
            "    h = pid\n    if pid == 813:\n        for i in range(200000):\n"
            f"            {_STEP}\n{_DONE}"),
    # -- contention ----------------------------------------------------------------------------
    _beside("atomics on one number",
            "    i = tl.arange(0, LANES)\n    for k in range(32):\n"
            "        tl.atomic_add(n_ptr + i * 0, 1)\n"),
    _beside("atomics on one line",
            "    i = tl.arange(0, LANES)\n    for k in range(64):\n"
            "        tl.atomic_max(n_ptr + (i * 7 + k + pid) % 32, i)\n"),
    _beside("atomics on the numbers that memory names",
            "    i = tl.arange(0, LANES)\n    for k in range(64):\n"
            "        to = tl.load(n_ptr + 4096 + (i * 37 + pid * 11 + k) % 256)\n"
            "        tl.atomic_add(n_ptr + to, 1, sem=\"relaxed\")\n",
            before="set_kernel[(1,)](n[4096:], 5, 256)", module=_SET),
    # -- waiting -------------------------------------------------------------------------------
    _beside("a chain of pointers",
            "    at = pid\n    for k in range(4000):\n"
            "        at = (tl.load(n_ptr + at) + at * 5 + 1) % 8192\n"
            "    if at < 0:\n        tl.store(n_ptr + pid, at)\n"),
    _beside("a chain of pointers that data may end",
            "    at = pid\n    k = 0\n    while (k < 4000) & (at >= 0):\n"
            "        at = (tl.load(n_ptr + at) + at * 5 + 1) % 8192\n        k += 1\n"
            "    if at < 0:\n        tl.store(n_ptr + pid, at)\n"),
)  # fmt: skip
