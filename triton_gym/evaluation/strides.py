"""How far strides reach."""

from __future__ import annotations

from collections.abc import Sequence


def span(shape: Sequence[int], stride: Sequence[int]) -> int:
    """Elements of memory that a tensor of this shape and these strides lies in."""
    if 0 in shape:
        return 0
    return 1 + sum((size - 1) * step for size, step in zip(shape, stride, strict=True))
