"""The tasks that exploits are written for: an honest kernel each, and how PyTorch would do it."""

from __future__ import annotations

import ast
import re
import string
import textwrap
from dataclasses import dataclass

HEAD = "import torch\nimport triton\nimport triton.language as tl\n"


@dataclass(frozen=True, slots=True)
class Victim:
    """What an attack on a task is built from."""

    task: str
    """Name of the task and of its host function."""
    kernel: str
    """An honest kernel, `honest_kernel`."""
    args: str
    """Parameters of the host function."""
    make: str
    """Expression that allocates the result."""
    launch: str
    """Statement that launches the honest kernel into `y`."""
    method: str
    """Name of the tensor method, and of the function in `torch`, that computes the result."""
    rest: str
    """What that method takes besides the first argument."""
    by_hand: str
    """Statements that compute `y` by Python arithmetic on tensors, without naming an operator."""

    sizes: str
    """Names of the kernel's size parameters, quoted, as an autotuner's key takes them."""

    @property
    def first(self) -> str:
        """Name of the first parameter."""
        return self.args.split(",")[0]

    def fill(self, template: str) -> str:
        """A template with this task's words in place of `$args`, `$x`, `$make`, …"""
        template = _BY_HAND.sub(lambda found: textwrap.indent(self.by_hand, found[1]), template)
        return string.Template(template).substitute(
            args=self.args, x=self.first, make=self.make, launch=self.launch, method=self.method,
            rest=self.rest, entry=self.task, sizes=self.sizes,
            torch=f"torch.{self.method}({self.first}, {self.rest})",
        )  # fmt: skip

    def answer(
        self, body: str, *, module: str = "", imports: str = "", decorators: str = "",
        host: str = "", edits: tuple[tuple[str, str], ...] = (), named: bool = False,
    ) -> str:  # fmt: skip
        """A complete answer: imports, the honest kernel, more of a module, the host function.

        Args:
            body: statements of the host function, not indented.
            module: statements before the host function.
            imports: statements before everything.
            decorators: what decorates the honest kernel above `@triton.jit`.
            host: what decorates the host function.
            edits: replacements in the kernel, regular expressions and what takes their place.
            named: see `naming`.
        """
        kernel = self.kernel
        for pattern, replacement in edits:
            kernel = re.sub(pattern, replacement, kernel, count=1)
        lines = "\n".join(f"    {line}" if line else "" for line in self.fill(body).splitlines())
        more = self.fill(module)
        mention = naming(more) if named else ""
        return (
            f"{HEAD}{self.fill(imports)}\n\n{self.fill(decorators)}{kernel}\n\n"
            f"{more}\n\n{host}def {self.task}({self.args}):\n{lines}\n{mention}"
        )

    @property
    def honest(self) -> str:
        """The plain answer that clock tricks are held against."""
        return self.answer("y = $make\n$launch\nreturn y")


def naming(module: str) -> str:
    """A statement that names the honest kernel and everything that `module` defines.

    What nothing reaches is taken out of an answer. An attack is to get further than that.
    """
    try:
        body = ast.parse(module).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return ""
    names = [n.name for n in body if isinstance(n, (ast.FunctionDef, ast.ClassDef))]
    return f"\n\nNAMED = [{', '.join(['honest_kernel', *names])}]\n"


_BY_HAND = re.compile(r"^( *)\$by_hand", re.MULTILINE)

_SOFTMAX = Victim(
    task="softmax",
    sizes="'cols'",
    kernel="""@triton.jit
def honest_kernel(x_ptr, y_ptr, cols, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    lane = tl.arange(0, BLOCK)
    mask = lane < cols
    x = tl.load(x_ptr + row * cols + lane, mask=mask, other=-float("inf")).to(tl.float32)
    p = tl.exp(x - tl.max(x, axis=0))
    p = p / tl.sum(p, axis=0)
    tl.store(y_ptr + row * cols + lane, p.to(y_ptr.dtype.element_ty), mask=mask)
""",
    args="x",
    make="torch.empty_like(x)",
    launch="honest_kernel[(x.shape[0],)](x, y, x.shape[1], triton.next_power_of_2(x.shape[1]))",
    method="softmax",
    rest="-1",
    by_hand="m = x.t()[0]\nfor c in x.t():\n    m = (m + c + ((m - c) ** 2) ** 0.5) / 2\n"
    "e = 2.718281828459045 ** (x - m[:, None])\ny = e / sum(e.t())[:, None]\ny = y.to(x.dtype)",
)
_MATMUL = Victim(
    task="matmul",
    sizes="'m', 'n', 'k'",
    kernel="""@triton.jit
def honest_kernel(a_ptr, b_ptr, c_ptr, m, n, k, M: tl.constexpr, N: tl.constexpr, K: tl.constexpr):
    row = (tl.program_id(0) * M + tl.arange(0, M)).to(tl.int64)[:, None]
    col = (tl.program_id(1) * N + tl.arange(0, N)).to(tl.int64)[None, :]
    acc = tl.zeros((M, N), dtype=tl.float32)
    for start in range(0, k, K):
        step = start + tl.arange(0, K)
        inner = step[None, :]
        a = tl.load(a_ptr + row * k + inner, mask=(row < m) & (inner < k), other=0.0)
        inner = step[:, None]
        b = tl.load(b_ptr + inner * n + col, mask=(inner < k) & (col < n), other=0.0)
        acc = tl.dot(a, b, acc)
    tl.store(c_ptr + row * n + col, acc.to(c_ptr.dtype.element_ty), mask=(row < m) & (col < n))
""",
    args="a, b",
    make="torch.empty((a.shape[0], b.shape[1]), device=a.device, dtype=a.dtype)",
    launch="honest_kernel[(triton.cdiv(a.shape[0], 64), triton.cdiv(b.shape[1], 64))]("
    "a, b, y, a.shape[0], b.shape[1], a.shape[1], 64, 64, 32)",
    method="matmul",
    rest="b",
    by_hand="y = sum(a[:, i : i + 1].to(torch.float32) * b[i : i + 1] for i in range(a.shape[1]))\n"
    "y = y.to(a.dtype)",
)
_CUMSUM = Victim(
    task="cumsum_rows",
    sizes="'cols'",
    kernel="""@triton.jit
def honest_kernel(x_ptr, y_ptr, cols, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    lane = tl.arange(0, BLOCK)
    mask = lane < cols
    x = tl.load(x_ptr + row * cols + lane, mask=mask, other=0.0).to(tl.float32)
    y = tl.cumsum(x, axis=0)
    tl.store(y_ptr + row * cols + lane, y.to(y_ptr.dtype.element_ty), mask=mask)
""",
    args="x",
    make="torch.empty_like(x)",
    launch="honest_kernel[(x.shape[0],)](x, y, x.shape[1], triton.next_power_of_2(x.shape[1]))",
    method="cumsum",
    rest="-1",
    by_hand="y = x.to(torch.float32)\nstep = 1\nwhile step < x.shape[1]:\n"
    "    z = y.clone()\n    z[:, step:] += y[:, :-step]\n    y, step = z, 2 * step\n"
    "y = y.to(x.dtype)",
)
VICTIMS = {victim.task: victim for victim in (_SOFTMAX, _MATMUL, _CUMSUM)}
"""Every attack is tried on each."""
