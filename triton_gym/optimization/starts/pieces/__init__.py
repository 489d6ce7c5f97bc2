"""Kernels of the library's own that answers are put together of, each a module to read."""

from __future__ import annotations

from pathlib import Path


def piece(name: str) -> str:
    """The text of a piece, without its docstring and imports."""
    lines = (
        Path(__file__).with_name(f"{name}.py").read_text(encoding="utf-8").splitlines(keepends=True)
    )
    start = next(i for i, line in enumerate(lines) if line.startswith("@triton.jit"))
    return "".join(lines[start:]).strip() + "\n"
