"""Kernels of many kinds, written to be measured: what the time model is held against.

Constants are fitted to families that are marked so, and judged by the others.
"""

from __future__ import annotations

import sys

import cloudpickle

from . import (
    atomics,
    biased_attention,
    causal_attention,
    compute,
    convolutions,
    cross_entropy,
    elementwise,
    gathers,
    launches,
    narrow_products,
    products,
    rows,
    scans,
    sorting,
    stencils,
    transposes,
)
from .entry import Family, Kernel

MODULES = (
    elementwise, rows, products, causal_attention, compute, launches,
    scans, transposes, gathers, sorting, atomics, narrow_products, convolutions, stencils,
    cross_entropy, biased_attention,
)  # fmt: skip
FAMILIES: tuple[Family, ...] = tuple(module.FAMILY for module in MODULES)
"""Those that constants may be fitted to come first."""

# Judges are processes that cannot import this folder: tasks bring their functions along.
cloudpickle.register_pickle_by_value(sys.modules[__name__])

__all__ = ["FAMILIES", "Family", "Kernel"]
