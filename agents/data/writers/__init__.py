"""Writers of correct answers: styles by name, for each kind of graph."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from types import MappingProxyType

from triton_gym.composition.graph import Kind
from triton_gym.composition.plain import Subject

from . import elementwise, matmul, rowwise
from .shape import Shape
from .wording import worded

__all__ = ["STYLES", "WHOLE", "Shape", "Subject", "applicable", "fast_shape", "slow_shape", "write"]

Writer = Callable[[Subject, Shape], str]

STYLES: Mapping[Kind, Mapping[str, Writer]] = MappingProxyType(
    {
        Kind.ELEMENTWISE: MappingProxyType(
            {
                "stretches": elementwise.stretches,
                "tiled": elementwise.tiled,
                "strided": elementwise.strided,
                "tuned": elementwise.tuned,
                "two_kernels": elementwise.two_kernels,
            }
        ),
        Kind.ROWS: MappingProxyType(
            {
                "whole_rows": rowwise.whole_rows,
                "several_rows": rowwise.several_rows,
                "strided_rows": rowwise.strided_rows,
                "blockwise": rowwise.blockwise,
                "tuned_rows": rowwise.tuned_rows,
                "two_kernels": rowwise.two_kernels,
            }
        ),
        Kind.MATMUL: MappingProxyType(
            {
                "tile_grid": matmul.tile_grid,
                "grouped": matmul.grouped,
                "persistent": matmul.persistent,
                "tuned": matmul.tuned,
                "two_kernels": matmul.two_kernels,
            }
        ),
    }
)
"""Styles of each kind, the plainest first and the slowest last."""

_SIZE = Shape(block=512)
WHOLE = frozenset({"whole_rows", "several_rows", "strided_rows"})
"""Styles whose programs hold whole rows."""
_TILES = (((64, 64, 32), 4), ((128, 64, 32), 4), ((64, 128, 32), 4), ((128, 128, 32), 8),
          ((128, 128, 64), 8))  # fmt: skip


def applicable(subject: Subject) -> tuple[str, ...]:
    """Styles in which an answer can be written."""
    styles = STYLES[subject.graph.kind]
    return tuple(name for name, writer in styles.items() if writer(subject, _SIZE))


def fast_shape(rng: random.Random, subject: Subject) -> Shape:
    """Numbers that suit an answer."""
    tile, warps = rng.choice(_TILES)
    if subject.graph.kind is not Kind.MATMUL:
        warps = rng.choice((4, 4, 8))
    return Shape(rng.choice((512, 1024, 2048)), rng.choice((2, 4)), warps, tile, rng.choice((4, 8)))


def slow_shape(rng: random.Random, style: str, cols: int) -> Shape:
    """Numbers that make an answer slow: programs that do too little, or with too few warps.

    Args:
        rng: decides.
        style: of the answer.
        cols: of the problem: a program that keeps long rows in the registers of one warp would
            spill, which is slow to compile above all.
    """
    if style in WHOLE:
        return Shape(rows=1, warps=1 if cols <= 1024 else 32)
    return Shape(rng.choice((32, 64)), 8, 1, (16, 16, 16), 1)


def write(subject: Subject, style: str, shape: Shape, rng: random.Random | None = None) -> str:
    """An answer; correct, but that is for the evaluation to say.

    Args:
        subject: what for.
        style: one of `applicable(subject)`.
        shape: its numbers.
        rng: varies names and documentation; None for the plainest.
    """
    source = STYLES[subject.graph.kind][style](subject, shape)
    return worded(source, subject, rng) if rng else source
