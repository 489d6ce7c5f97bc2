"""Sizes of tensors, and of the trees that hold them, for processes that do without PyTorch."""

from __future__ import annotations

from collections.abc import Sequence

DEEPEST = 32
"""How deep containers may be nested."""
MOST = 10_000
"""Most leaves of a tree."""
WIDEST = 4096
"""Most items of one container."""
LONGEST_KEY = 512
"""Characters of the longest text that is a key."""


def span(shape: Sequence[int], stride: Sequence[int]) -> int:
    """Elements of memory that a tensor of this shape and these strides lies in."""
    if 0 in shape:
        return 0
    return 1 + sum((size - 1) * step for size, step in zip(shape, stride, strict=True))
