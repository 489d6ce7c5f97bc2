"""A compiled kernel: machine code, and what it takes to launch it."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from triton_gym.evaluation.compiling.binary import Binary

MOST_SHARED_BYTES = 1 << 20
MOST_SCRATCH_BYTES = 1 << 30
MOST_BOX = 5
"""Dimensions of a tensor descriptor."""


class InvalidMetadata(ValueError):
    """What the compiling process says of a kernel cannot be true."""


@dataclass(frozen=True, slots=True)
class Target:
    """What kernels are compiled for."""

    architecture: int
    """Compute capability times ten."""
    lines: bool = False
    """Whether machine code says which lines of the source it came from. Takes ptxas longer."""


@dataclass(frozen=True, slots=True)
class Artifact:
    """A compiled kernel, as the judge holds it: hostile code never had it in its hands."""

    id: str
    """Of what it was made: a hash of IR, options, target and Triton's version."""
    cubin: bytes
    binary: Binary
    metadata: Mapping[str, Any]
    """What Triton notes of a kernel, plain values under Triton's names: the options, and `name`,
    `num_warps`, `shared`, `tmem_size`, `global_scratch_size`, `profile_scratch_size`,
    `tensordesc_meta`, … Checked by `checked_metadata`."""
    texts: Mapping[str, str]
    """Triton's stages between IR and machine code: `ttgir`, `llir`, `ptx`."""

    @property
    def registers(self) -> int:
        """Registers a thread."""
        return self.binary.registers

    @property
    def spill_bytes(self) -> int:
        """Local memory a thread in bytes: four times Triton's `n_spills`."""
        return self.binary.local_bytes

    @property
    def shared_bytes(self) -> int:
        """Shared memory a program, static and dynamic."""
        return max(int(self.metadata["shared"]), self.binary.static_shared_bytes)


def artifact_id(ttir: str, options: Mapping[str, Any], target: Target, version: str) -> str:
    """What names the result of a compilation; see `Artifact.id`."""
    key = [ttir, sorted(options.items()), target.architecture, target.lines, version]
    return hashlib.sha256(json.dumps(key, default=str).encode()).hexdigest()


_COUNTS = {
    "num_warps": 64, "num_ctas": 16, "shared": MOST_SHARED_BYTES, "tmem_size": 1024,
    "global_scratch_size": MOST_SCRATCH_BYTES, "global_scratch_align": 1 << 20,
    "profile_scratch_size": MOST_SCRATCH_BYTES, "profile_scratch_align": 1 << 20,
}  # fmt: skip
"""Numbers of `metadata`, with the most that each may be."""
_DESCRIPTOR = ("swizzle", "elem_size", "elem_type", "fp4_padded", "is_im2col")


def checked_metadata(given: Any, binary: Binary) -> dict[str, Any]:
    """What the compiling process says of a kernel, where it is possible.

    Args:
        given: decoded JSON.
        binary: the machine code, which says some of it itself.

    Raises:
        InvalidMetadata: it is not.
    """
    if not isinstance(given, dict) or given.get("name") != binary.name:
        raise InvalidMetadata("The kernel's name is not that of its machine code.")
    for name, most in _COUNTS.items():
        value = given.get(name)
        if value is None:
            given[name] = 0
        elif isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= most:
            raise InvalidMetadata(f"{name} is {value!r:.40}; 0 to {most} is possible.")
    if given["num_warps"] < 1 or given["num_ctas"] < 1:
        raise InvalidMetadata("A program has one warp at least.")
    descriptors = given.get("tensordesc_meta") or []
    if not isinstance(descriptors, list) or len(descriptors) > 256:
        raise InvalidMetadata("The list of tensor descriptors is none.")
    for descriptor in descriptors:
        _check_descriptor(descriptor)
    return {**given, "tensordesc_meta": descriptors}


def _check_descriptor(given: Any) -> None:
    if given is None:
        return
    if not isinstance(given, dict):
        raise InvalidMetadata("A tensor descriptor is not described.")
    block = given.get("block_size")
    numbers = [given[name] for name in _DESCRIPTOR if name in given]
    if (
        not isinstance(block, list)
        or not 0 < len(block) <= MOST_BOX
        or not all(type(n) is int and 0 < n <= 65536 for n in block)
        or not all(isinstance(n, int) and 0 <= n <= 256 for n in numbers)
        or math.prod(block) > 1 << 24
    ):
        raise InvalidMetadata("A tensor descriptor has a block that is none.")
