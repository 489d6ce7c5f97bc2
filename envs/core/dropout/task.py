"""Dropout whose mask follows from a seed, so that it can be checked value by value."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from triton_gym.task import Case, Entry, Span, Task

from ...answers import answers
from ...draws import Draw

if TYPE_CHECKING:
    import torch

WORD = 0xFFFFFFFF
"""The bits of 32."""


def bits(index: torch.Tensor, seed: torch.Tensor) -> torch.Tensor:
    """32 random bits for each index, in int64.

    They are `fmix32(index + seed)`, the finalizer of MurmurHash3 (Appleby, public domain), in
    arithmetic modulo 2^32.
    """
    h = (index + seed) & WORD
    h = ((h ^ (h >> 16)) * 0x85EBCA6B) & WORD
    h = ((h ^ (h >> 13)) * 0xC2B2AE35) & WORD
    return h ^ (h >> 16)


def drop(x: torch.Tensor, index: torch.Tensor, p: float, seed: torch.Tensor) -> torch.Tensor:
    """x / (1 - p) where an element's bits are at least p · 2^32, and 0 elsewhere."""
    import torch

    return torch.where(bits(index, seed) >= int(p * 2**32), x * (1.0 / (1.0 - p)), 0.0)


def reference(x: torch.Tensor, p: float, seed: torch.Tensor) -> torch.Tensor:
    """Inverted dropout of Srivastava et al. (2014) with probability p."""
    import torch

    return drop(x, torch.arange(x.numel(), device=x.device), p, seed)


def part(ranges: Any, cast: Any, x: torch.Tensor, p: float, seed: torch.Tensor) -> torch.Tensor:
    """Some elements."""
    import torch

    some = ranges[0]
    return drop(cast(x[some]), torch.arange(some.start, some.stop, device=x.device), p, seed)


def inputs(case: Case, generator: torch.Generator) -> tuple[Any, ...]:
    """Values away from zero, so that what is kept shows, and a seed of 31 bits."""
    draw = Draw(generator)
    x = draw.signs(case["n"]) * draw.uniform(0.5, 2.0, case["n"])
    return x.to(case.torch_dtype), 0.3, draw.integers(1, 1 << 31, 1)


TASK = Task(
    name="dropout",
    title="Dropout from a seed",
    statement=(
        "Compute dropout with a mask that a seed determines. Element i has 32 bits h = "
        "fmix32((i + seed) mod 2^32), where fmix32 is MurmurHash3's finalizer in unsigned 32-bit "
        "arithmetic: h ^= h >> 16; h *= 0x85EBCA6B; h ^= h >> 13; h *= 0xC2B2AE35; h ^= h >> 16. "
        "Return y[i] = x[i] / (1 - p) if h >= int(p * 2^32), else 0. x is [n], contiguous, in "
        "float32, float16 or bfloat16; p is a Python float; seed is an int64 tensor of shape [1] "
        "on the device, from 1 to 2^31 - 1. y has x's shape and dtype. n is less than 2^31."
    ),
    entry=Entry("dropout", ("x", "p", "seed")),
    reference=reference,
    part=part,
    inputs=inputs,
    tiny=(
        Case("float32", {"n": 1000}),
        Case("float16", {"n": 40}),
        Case("bfloat16", {"n": 4097}),
        Case("float32", {"n": 33001}),
    ),
    bench=(Case("bfloat16", {"n": 1 << 27}),),
    untimed=(Case("float32", {"n": 1 << 26}),),
    spans={"n": Span(low=16, high=1 << 22, tiny=9000)},
    flops=lambda case: float(case["n"]),  # the hash is of integers
    min_bytes=lambda case: 2.0 * case.torch_dtype.itemsize * case["n"],
    reduction=lambda case: 1,
    knobs={
        "BLOCK": (1024, 2048, 4096, 8192),
        "NUM_WARPS": (2, 4, 8, 16),
        "PROGRAMS": (0, 528, 1056, 2112),
    },
    tags=("core", "elementwise"),
    **answers(__file__),
)
