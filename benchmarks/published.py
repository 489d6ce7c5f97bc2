"""Published kernels, brought to our tasks as a user would, against the judge of a device.

    python benchmarks/published.py --tutorials DIR --packages DIR [--device simulated] [--only TEXT]

`--tutorials` is `python/tutorials` of a checkout of Triton, `--packages` a folder that holds the
packages `liger_kernel` and `conch` (`pip install --target DIR --no-deps liger-kernel
conch-triton-kernels`). Nothing of them is kept here: each answer is made of the functions named
below, their text as published with everything of their modules that they refer to, and a host
function of a few lines. Edits adapt a text to the task where its author wrote for one dtype.
"""

from __future__ import annotations

import argparse
import ast
import re
from concurrent.futures import as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import record

from triton_gym import Evaluator, load
from triton_gym.evaluation.workers.sandbox import Limits


@dataclass(frozen=True, slots=True)
class Published:
    """A published kernel as an answer to one of our tasks."""

    name: str
    task: str
    path: str
    """File, below the tutorials or the packages."""
    wanted: tuple[str, ...]
    """Functions that the host function calls."""
    host: str
    """The host function, or nothing if one of `wanted` is it."""
    edits: tuple[tuple[str, str], ...] = ()
    """What a user changes in the text for this task: pattern and replacement."""


_T = "{tutorials}/"
_P = "{packages}/"
_HALF = (
    (r"accumulator\.to\(tl\.float16\)", "accumulator.to(c_ptr.dtype.element_ty)"),
    (r"dtype=torch\.float16", "dtype=a.dtype"),
)
_DESC = ((r"dtype = tl\.float8e4nv if FP8_OUTPUT else tl\.float16", "dtype = c_desc.dtype"),)
_PADDED = """def padded(t, rows, cols):
    out = torch.zeros((rows, cols), device=t.device, dtype=t.dtype)
    out[: t.shape[0], : t.shape[1]].copy_(t)
    return out


def matmul(a, b):
    (m, k), n = a.shape, b.shape[1]
    up = lambda size: triton.cdiv(size, 8) * 8
    a, b = padded(a, m, up(k)), padded(b.T, up(n), up(k))
    return {call}[:, :n].contiguous()
"""

PUBLISHED = (
    Published(
        "tutorial 02", "softmax", _T + "02-fused-softmax.py", ("softmax",), "",
        ((r"(row = tl\.load\(.*\))", r"\1.to(tl.float32)"),),
    ),
    Published(
        "tutorial 03", "matmul", _T + "03-matrix-multiplication.py", ("matmul",), "", _HALF
    ),
    Published(
        "tutorial 03 with a fused activation", "matmul_bias_gelu",
        _T + "03-matrix-multiplication.py", ("matmul",),
        "@triton.jit\ndef add_bias_gelu(c, bias, N, BLOCK: tl.constexpr):\n"
        "    i = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)\n"
        "    at = c + tl.program_id(0).to(tl.int64) * N + i\n"
        "    x = tl.load(at, mask=i < N) + tl.load(bias + i, mask=i < N).to(tl.float32)\n"
        "    tl.store(at, 0.5 * x * (1 + tl.erf(x * 0.70710678)), mask=i < N)\n\n\n"
        "def matmul_bias_gelu(x, w, bias):\n    c = matmul(x, w)\n    M, N = c.shape\n"
        "    add_bias_gelu[(M, triton.cdiv(N, 1024))](c, bias, N, BLOCK=1024)\n"
        "    return c.to(x.dtype)\n",
        ((r"accumulator\.to\(tl\.float16\)", "accumulator"), ("torch.float16", "torch.float32")),
    ),
    Published(
        "tutorial 05", "layer_norm", _T + "05-layer-norm.py", ("LayerNorm",),
        "def layer_norm(x, weight, bias):\n"
        "    return LayerNorm.apply(x, (x.shape[-1],), weight, bias, 1e-5)\n",
    ),
    Published(
        "tutorial 05, the function assigned", "layer_norm", _T + "05-layer-norm.py",
        ("LayerNorm",),
        "norm = LayerNorm.apply\n\n\ndef layer_norm(x, weight, bias):\n"
        "    return norm(x, weight.shape, weight, bias, 1e-5)\n",
    ),
    Published(
        "tutorial 06", "causal_attention", _T + "06-fused-attention.py", ("_attention",),
        "def up(t):\n    batch, heads, seq, dim = t.shape\n"
        "    out = torch.zeros((batch, heads, triton.cdiv(seq, 128) * 128, dim),\n"
        "                      device=t.device, dtype=t.dtype)\n"
        "    out[:, :, :seq].copy_(t)\n    return out\n\n\n"
        "def causal_attention(q, k, v):\n"
        "    out = _attention.apply(up(q), up(k), up(v), True, q.shape[-1] ** -0.5, False)\n"
        "    return out[:, :, : q.shape[2]].contiguous()\n",
        (
            (
                r"dtype = tl\.float8e5 if FP8_OUTPUT else tl\.float16",
                "dtype: tl.constexpr = DTYPE",
            ),
            (r"IS_HOPPER: tl\.constexpr,  #\n +\):\n    dtype",
             "IS_HOPPER: tl.constexpr, DTYPE: tl.constexpr,\n              ):\n    dtype"),
            (r"IS_HOPPER=is_hopper\(\),",
             "IS_HOPPER=is_hopper(), DTYPE=tl.bfloat16 if q.dtype == torch.bfloat16 "
             "else tl.float16,"),
            (r'(?m)^if "PYTEST_VERSION" in os\.environ:\n(?:    .*\n)+', ""),
            (r"for BN in \[32, 64, 128\]", "for BN in [16, 32, 64]"),
            (r"tl\.static_assert\(BLOCK_N <= HEAD_DIM\)", "pass"),
        ),
    ),
    Published(
        "tutorial 08", "matmul", _T + "08-grouped-gemm.py", ("group_gemm_fn",),
        "def matmul(a, b):\n    return group_gemm_fn([a], [b])[0]\n",
        (
            (r"tl\.pointer_type\(tl\.float16\)", "tl.pointer_type(DTYPE)"),
            (r"accumulator\.to\(tl\.float16\)", "accumulator.to(DTYPE)"),
            (r"NUM_SM: tl\.constexpr,\n", "NUM_SM: tl.constexpr, DTYPE: tl.constexpr,\n"),
            (r"\n(\s+)group_size,\n(\s+)\)",
             r"\n\1group_size, DTYPE=tl.bfloat16 if A.dtype == torch.bfloat16 else tl.float16,"
             r"\n\2)"),
            (r"tl\.load\(a_ptrs\)",
             "tl.load(a_ptrs, mask=(offs_am[:, None] < gm) & (kk * BLOCK_SIZE_K "
             "+ offs_k[None, :] < gk), other=0.0)"),
            (r"tl\.load\(b_ptrs\)",
             "tl.load(b_ptrs, mask=(offs_bn[None, :] < gn) & (kk * BLOCK_SIZE_K "
             "+ offs_k[:, None] < gk), other=0.0)"),
            (r"tl\.store\(c_ptrs, c\)",
             "tl.store(c_ptrs, c, mask=(offs_cm[:, None] < gm) & (offs_cn[None, :] < gn))"),
        ),
    ),
    Published("tutorial 09, plain", "matmul", _T + "09-persistent-matmul.py", ("matmul",), "",
              _HALF[:1]),
    Published(
        "tutorial 09, persistent", "matmul", _T + "09-persistent-matmul.py",
        ("matmul_persistent",), "def matmul(a, b):\n    return matmul_persistent(a, b)\n",
        _HALF[:1],
    ),
    Published(
        "tutorial 09, descriptors", "matmul", _T + "09-persistent-matmul.py", ("matmul_tma",),
        _PADDED.replace("{call}", "matmul_tma(a, b, False)"), _DESC,
    ),
    Published(
        "tutorial 09, persistent with descriptors", "matmul", _T + "09-persistent-matmul.py",
        ("matmul_tma_persistent",),
        _PADDED.replace("{call}", "matmul_tma_persistent(a, b, False)"), _DESC,
    ),
    Published(
        "tutorial 09, descriptors made on the device", "matmul", _T + "09-persistent-matmul.py",
        ("matmul_descriptor_persistent",),
        _PADDED.replace("{call}", "matmul_descriptor_persistent(a, b, False)"),
    ),
    Published(
        "liger softmax", "softmax", _P + "liger_kernel/ops/softmax.py", ("_softmax_forward",),
        "def softmax(x):\n    return _softmax_forward(x)[0]\n",
        ((r"(x(?:blk)? = tl\.load\(.*\))", r"\1.to(tl.float32)"),),
    ),
    Published(
        "liger layer norm", "layer_norm", _P + "liger_kernel/ops/layer_norm.py",
        ("layer_norm_forward",),
        "def layer_norm(x, weight, bias):\n"
        "    return layer_norm_forward(x, weight, bias, 1e-5)[0]\n",
        # A branch for another vendor's devices, which asks for versions of packages.
        ((r'    if X\.device\.type == "xpu":\n        set_large_grf_mode\(kernel_args\)\n', ""),),
    ),
    Published(
        "conch gelu with the exact function", "gelu",
        _P + "conch/kernels/activation/gelu_tanh_and_mul.py", ("gelu_tanh_and_mul_launcher",),
        "def gelu(x):\n    x = x.contiguous()\n    y = torch.empty_like(x)\n"
        "    both = torch.ones((x.shape[0], 2 * x.shape[1]), dtype=x.dtype, device=x.device)\n"
        "    both[:, : x.shape[1]].copy_(x)\n    gelu_tanh_and_mul_launcher(y, both)\n    return y\n",
        (
            (r"(x = tl\.load\(.*\))", r"\1.to(tl.float32)"),
            (r"1 \+ libdevice\.tanh\(inner\)", "1 + libdevice.erf(x * 0.7071067811865476)"),
        ),
    ),
    Published(
        "conch scaled matmul", "matmul", _P + "conch/kernels/quantization/gemm.py",
        ("_swizzle_tile", "_linear_tile"),
        "@triton.jit\ndef tiles(a, b, c, M, N, K, BM: tl.constexpr, BN: tl.constexpr,\n"
        "          BK: tl.constexpr, SWIZZLE: tl.constexpr):\n"
        "    pid = tl.program_id(0)\n    if SWIZZLE:\n"
        "        pm, pn = _swizzle_tile(pid, M, N, BM, BN, 8)\n    else:\n"
        "        pm, pn = _linear_tile(pid, N, BN)\n"
        "    rm = (pm * BM + tl.arange(0, BM))[:, None]\n    rn = (pn * BN + tl.arange(0, BN))[None, :]\n"
        "    acc = tl.zeros((BM, BN), dtype=tl.float32)\n    for k in range(0, K, BK):\n"
        "        rk = k + tl.arange(0, BK)\n"
        "        x = tl.load(a + rm * K + rk[None, :], mask=(rm < M) & (rk[None, :] < K), other=0.0)\n"
        "        y = tl.load(b + rk[:, None] * N + rn, mask=(rk[:, None] < K) & (rn < N), other=0.0)\n"
        "        acc = tl.dot(x, y, acc)\n"
        "    tl.store(c + rm * N + rn, acc.to(c.dtype.element_ty), mask=(rm < M) & (rn < N))\n\n\n"
        "def matmul(a, b):\n    (M, K), N = a.shape, b.shape[1]\n"
        "    c = a.new_empty((M, N))\n"
        "    tiles[(triton.cdiv(M, 64) * triton.cdiv(N, 64),)](\n"
        "        a, b, c, M, N, K, 64, 64, 32, SWIZZLE=True)\n    return c\n",
    ),
)  # fmt: skip


def answer(entry: Published, tutorials: str, packages: str) -> str:
    """The source of an answer; raises `FileNotFoundError` where its origin is not there."""
    path = Path(entry.path.format(tutorials=tutorials, packages=packages))
    text = extract(path, set(entry.wanted), Path(packages))
    for pattern, replacement in entry.edits:
        text, count = re.subn(pattern, replacement, text)
        if not count:
            raise ValueError(f"{entry.name}: {pattern!r} does not occur in {path}")
    return f"{text}\n\n{entry.host}"


def extract(path: Path, wanted: set[str], packages: Path) -> str:
    """What of a module some names need: its text, and that of siblings which it imports."""
    source = path.read_text()
    tree = ast.parse(source)
    kept: list[ast.stmt] = []
    wanted = set(wanted)
    while found := [node for node in tree.body if node not in kept and set(binds(node)) & wanted]:
        kept += found
        for node in found:
            wanted |= needs(node)
    parts = []
    for node in tree.body:
        if node in kept:
            parts.append(written(node, source, wanted, path, packages))
    return "\n\n".join(parts)


def needs(node: ast.stmt) -> set[str]:
    """Names of the module that a statement refers to, not those local to its functions."""
    if by_version(node):
        return set().union(*(needs(inner) for inner in node.body))
    local = {n.arg for n in ast.walk(node) if isinstance(n, ast.arg)}
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        local |= {
            n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)
        }
    return {n.id for n in ast.walk(node) if isinstance(n, ast.Name)} - local


def by_version(node: ast.stmt) -> bool:
    """Whether a statement imports one thing or another by the version of a library."""
    imports = ast.Import | ast.ImportFrom | ast.Try
    return isinstance(node, ast.If) and all(isinstance(n, imports) for n in node.body)


def binds(node: ast.stmt) -> list[str]:
    """Names that a statement of a module binds or changes."""
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return [node.name]
    names = []
    for inner in ast.walk(node):
        if isinstance(inner, ast.Import | ast.ImportFrom):
            names += [(alias.asname or alias.name).partition(".")[0] for alias in inner.names]
        elif isinstance(inner, ast.Name) and isinstance(inner.ctx, ast.Store):
            names.append(inner.id)
    return names


def written(node: ast.stmt, source: str, wanted: set[str], path: Path, packages: Path) -> str:
    """The text of a statement as it goes into an answer."""
    if isinstance(node, ast.ImportFrom) and node.module:
        sibling = packages / (node.module.replace(".", "/") + ".py")
        if sibling.exists() and sibling.is_relative_to(packages):
            return extract(sibling, {a.name for a in node.names} & wanted, packages)
    if by_version(node):
        # An import by the version of a library: a user writes the branch that applies.
        return "\n".join(ast.unparse(inner) for inner in node.body)
    first = min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", ()))])
    return "\n".join(source.splitlines()[first - 1 : node.end_lineno])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tutorials", default="")
    parser.add_argument("--packages", default="")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--only", default="", help="names that hold this text")
    parser.add_argument("--seconds", type=float, default=300.0, help="limit of an evaluation")
    parser.add_argument("--write", type=Path, help="folder for the answers")
    parser.add_argument("--workers", type=int, help="evaluations at the same time")
    parser.add_argument("--json", type=Path, help="file for the outcomes")
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    # Some tune over dozens of configurations, which two cores compile for minutes.
    limits = Limits(seconds=options.seconds)
    with Evaluator(options.device, workers=options.workers) as evaluator:
        waiting = {}
        for entry in PUBLISHED:
            there = options.tutorials if entry.path.startswith(_T) else options.packages
            if not there or options.only not in entry.name:
                continue
            source = answer(entry, options.tutorials, options.packages)
            if options.write:
                options.write.mkdir(parents=True, exist_ok=True)
                (options.write / f"{entry.name.replace(' ', '_')}.py").write_text(source)
            waiting[evaluator.submit(load(entry.task), source, limits=limits)] = entry
        for ended in as_completed(waiting):
            entry, outcome = waiting[ended], ended.result()
            rows.append({"name": entry.name, "task": entry.task, **outcome.info()})
            print(f"{entry.name:45} {entry.task:18} {outcome.status} {outcome.speedup:.2f} "
                  f"{outcome.message[:400]}", flush=True)  # fmt: skip
        good = sum(row["status"] == "correct" for row in rows)
        print(f"{good} of {len(rows)} accepted")
        if options.json:
            record.write(options.json, rows, device=evaluator.describe(), accepted=good)


if __name__ == "__main__":
    main()
