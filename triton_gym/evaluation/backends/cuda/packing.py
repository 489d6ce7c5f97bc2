"""A launch's arguments as the words that its machine code expects, held to the code's own list.

Nothing is compiled for that: what Triton's launchers do in C is little (their source:
triton/backends/nvidia/driver.py and driver.c).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from triton_gym.evaluation.compiling.artifact import Artifact
from triton_gym.evaluation.plan.step import (
    WIDTHS,
    Argument,
    Descriptor,
    Launch,
    Null,
    Pointer,
    Scalar,
)

TENSOR_MAP_BYTES = 128
MOST_THREADS = 1024
LOCAL_LIMIT = 4 << 30
"""Most local memory that all threads of a device may take together."""
GRID_LIMIT = 2**31 - 1


class Unlaunchable(Exception):
    """A launch that the device cannot make; the message is for the answer's author."""


@dataclass(frozen=True, slots=True)
class TensorMap:
    """A parameter that the driver encodes: what the tensor memory unit is to fetch."""

    descriptor: Descriptor
    layout: dict[str, Any]
    """How the compiler laid the block out in shared memory; see Triton's `tensordesc_meta`."""


Word = bytes | TensorMap


@dataclass(frozen=True, slots=True)
class PackedLaunch:
    """A launch as the driver takes it."""

    artifact: Artifact
    grid: tuple[int, int, int]
    """Blocks along each axis."""
    threads: int
    cluster: int
    """Blocks of a cluster, 1 for none."""
    shared_bytes: int
    cooperative: bool
    pdl: bool
    words: tuple[Word, ...]
    """The parameters in order."""
    line: int


def pack_launch(launch: Launch, artifact: Artifact) -> PackedLaunch:
    """A launch of a plan, packed for the machine code that it names.

    Raises:
        Unlaunchable: the code takes other arguments, or more than the device has.
    """
    metadata = artifact.metadata
    ctas = int(metadata["num_ctas"])
    threads = 32 * int(metadata["num_warps"])
    if threads > MOST_THREADS:
        raise Unlaunchable(
            f"A program of {artifact.binary.name} has {threads} threads; {MOST_THREADS} are the "
            "most. Lower num_warps."
        )
    x, y, z = launch.grid
    if x * ctas > GRID_LIMIT:
        raise Unlaunchable(f"A grid of {x} × {ctas} blocks is too large.")
    return PackedLaunch(
        artifact=artifact,
        grid=(x * ctas, y, z),
        threads=threads,
        cluster=ctas,
        shared_bytes=int(metadata["shared"]),
        cooperative=bool(metadata.get("launch_cooperative_grid")),
        pdl=bool(metadata.get("launch_pdl")),
        words=_words(launch, artifact),
        line=launch.line,
    )


def check_local_memory(artifact: Artifact, multiprocessors: int, threads: int) -> None:
    """See that local memory for all threads that a device can hold is within bounds.

    Raises:
        Unlaunchable: it is not: the driver would take it from everybody's memory.
    """
    needed = artifact.binary.local_bytes * multiprocessors * threads
    if needed > LOCAL_LIMIT:
        raise Unlaunchable(
            f"A thread of {artifact.binary.name} takes {artifact.binary.local_bytes} bytes of "
            f"local memory, {needed >> 20} MiB on the whole device; {LOCAL_LIMIT >> 20} MiB are "
            "allowed. Reduce the block sizes or raise num_warps."
        )


def _words(launch: Launch, artifact: Artifact) -> tuple[Word, ...]:
    if artifact.metadata["profile_scratch_size"]:
        raise Unlaunchable("Kernels with memory for profiling are not launched.")
    layouts = list(artifact.metadata["tensordesc_meta"])
    count = sum(isinstance(argument, Descriptor) for argument in launch.arguments)
    if layouts and len(layouts) != count:
        raise Unlaunchable(f"{count} tensor descriptors where the kernel takes {len(layouts)}.")
    expected = [parameter.bytes for parameter in artifact.binary.parameters]
    for tf32 in (True, False):  # Triton 3.9 passes a flag that 3.6 does not know
        words: list[Word] = []
        following = iter(layouts)
        for argument in launch.arguments:
            layout = next(following, None) if isinstance(argument, Descriptor) else None
            words += _flattened(argument, layout, tf32=tf32)
        words += [_pointer(launch.global_scratch), _pointer(0)]  # the last is for profiling
        sizes = [len(w) if isinstance(w, bytes) else TENSOR_MAP_BYTES for w in words]
        if sizes == expected:
            return tuple(words)
    raise Unlaunchable(
        f"The kernel {artifact.binary.name} takes parameters of {expected} bytes; the launch at "
        f"line {launch.line} has {sizes}."
    )


def _flattened(argument: Argument, layout: dict[str, Any] | None, *, tf32: bool) -> list[Word]:
    if isinstance(argument, Pointer):
        return [_pointer(argument.address)]
    if isinstance(argument, Null):
        return [_pointer(0)]
    if isinstance(argument, Scalar):
        return [argument.bits.to_bytes(max(1, WIDTHS[argument.type] // 8), "little")]
    shape32 = _integers(argument.shape, 4)
    shape, strides = _integers(argument.shape, 8), _integers(argument.strides, 8)
    if layout is not None:
        return [TensorMap(argument, layout), *shape32, *strides]
    flags = [argument.nan_padding, *([argument.tf32] if tf32 else [])]
    switches: list[Word] = [bytes([flag]) for flag in flags]
    return [_pointer(argument.address), *shape, *strides, *switches, *shape32, *strides]


def _integers(numbers: Sequence[int], size: int) -> list[Word]:
    return [(number % (1 << 8 * size)).to_bytes(size, "little") for number in numbers]


def _pointer(address: int) -> bytes:
    return address.to_bytes(8, "little")
