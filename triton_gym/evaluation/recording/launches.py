"""A launch as a plan holds it, from what Triton hands to its launcher."""

from __future__ import annotations

import operator
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from triton_gym.evaluation.plan.step import (
    GRID_LIMITS,
    WIDTHS,
    Argument,
    Descriptor,
    Im2col,
    Kernel,
    Launch,
    Null,
    Pointer,
    Scalar,
)
from triton_gym.evaluation.recording.recorder import Recorder

TEXT = 4000
"""Longest text of a constant that is told."""


@dataclass(frozen=True, slots=True)
class Specialised:
    """A kernel for one signature, as Triton's `ASTSource` has it."""

    function: Any
    """The `triton.JITFunction`."""
    signature: dict[str, Any]
    """Triton's type of each parameter by name; tuples of types for tuples."""
    constants: dict[tuple[int, ...], Any]
    """Value of each constexpr and specialised argument by path."""
    attrs: dict[tuple[int, ...], Any]
    """Specialisation of arguments by path."""
    options: Any
    """Triton's options of the backend, a dataclass."""


def kernel_of(source: Specialised, artifact: int) -> Kernel:
    """A kernel as plans name it."""
    options = source.options
    code = getattr(source.function, "fn", source.function)
    return Kernel(
        artifact=artifact,
        name=str(getattr(source.function, "__name__", "kernel"))[:200],
        signature=tuple(flat_types(source.signature.values())),
        constants=tuple(
            (_path(path), _text(value)) for path, value in sorted(source.constants.items())
        ),
        attrs=tuple((_path(path), _text(value)) for path, value in sorted(source.attrs.items())),
        num_warps=options.num_warps,
        num_stages=options.num_stages,
        num_ctas=options.num_ctas,
        cooperative=bool(options.launch_cooperative_grid),
        pdl=bool(options.launch_pdl),
        line=code.__code__.co_firstlineno if hasattr(code, "__code__") else 0,
    )


def _path(path: tuple[int, ...]) -> str:
    return ".".join(map(str, path))


def _text(value: Any) -> str:
    """A constant as a text that is the same in every process."""
    name = getattr(value, "__name__", None)
    return str(name if callable(value) and name else value)[:TEXT]


def flat_types(types: Any) -> Iterator[str]:
    """Types of runtime parameters, tuples flattened and constexprs left out."""
    for kind in types:
        if isinstance(kind, tuple):
            yield from flat_types(kind)
        elif kind != "constexpr":
            yield kind


def launch(
    recorder: Recorder, kernel: Kernel, index: int, source: Specialised, grid: Sequence[int],
    values: Sequence[Any], global_scratch: int,
) -> Launch | None:  # fmt: skip
    """The step of a launch, or None if its grid is empty.

    Args:
        recorder: holds the memory that is used.
        kernel: what is launched.
        index: its number among the session's kernels.
        source: the same as Triton has it.
        grid: three sizes.
        values: all arguments in the order of the signature, constexprs included.
        global_scratch: an address, or 0.

    Raises:
        Refused: an argument is what PyTorch was to compute.
        RuntimeError, ValueError, TypeError, OverflowError: as Triton's launcher does.
    """
    sizes = [_size(n) for n in grid]
    if len(sizes) != 3:
        raise ValueError(f"A grid has up to three dimensions; got {len(sizes)}.")
    pairs = _pairs(source.signature.values(), values)
    arguments = tuple(_argument(recorder, kind, value, n) for n, (kind, value) in enumerate(pairs))
    if min(sizes) <= 0:
        return None
    if any(n > most for n, most in zip(sizes, GRID_LIMITS, strict=True)):
        raise RuntimeError(f"Triton Error [CUDA]: invalid argument: no grid is {tuple(sizes)}")
    recorder.use_exposed()
    _written(recorder, source, values)
    return Launch(index, (sizes[0], sizes[1], sizes[2]), arguments, global_scratch, recorder.line())


def _size(given: Any) -> int:
    """A size of a grid; Triton's launcher takes no float either, whole or not."""
    try:
        return operator.index(given)
    except TypeError:
        raise TypeError(f"A grid's sizes must be integers; got {given!r:.80}.") from None


def _pairs(types: Any, values: Any) -> Iterator[tuple[str, Any]]:
    for kind, value in zip(types, values, strict=True):
        if isinstance(kind, tuple):
            yield from _pairs(kind, value)
        elif kind != "constexpr":
            yield kind, value


def _argument(recorder: Recorder, kind: str, value: Any, number: int) -> Argument:
    if kind.startswith("*"):
        return _pointer(recorder, value, number)
    if kind.startswith("tensordesc"):
        return _descriptor(recorder, kind, value, number)
    if kind not in WIDTHS:
        raise TypeError(f"Parameters of type {kind} are not supported here.")
    return scalar(kind, value)


def _pointer(recorder: Recorder, value: Any, number: int) -> Argument:
    if value is None:
        return Null()
    address = value if isinstance(value, int) else value.data_ptr()
    if not address:
        return Null()
    host = isinstance(value, torch.Tensor) and not value.is_cuda
    memory = None if host else recorder.at(address)
    if memory is None:
        raise ValueError(
            f"Pointer argument (at {number}) cannot be accessed from Triton (cpu tensor?)"
        )
    recorder.use(memory, "a kernel")
    return Pointer(address)


def _descriptor(recorder: Recorder, kind: str, value: Any, number: int) -> Argument:
    pointer = _pointer(recorder, value.base, number)
    if not isinstance(pointer, Pointer):
        raise ValueError(f"The tensor of a descriptor (at {number}) is empty.")
    corners = None
    if kind.startswith("tensordesc_im2col"):
        corners = Im2col(
            tuple(value.pixel_box_lower_corner), tuple(value.pixel_box_upper_corner),
            tuple(value.element_strides or (1,) * len(value.shape)),
        )  # fmt: skip
    return Descriptor(
        address=pointer.address,
        dtype=kind.partition("<")[2].partition("[")[0],
        shape=tuple(int(n) for n in value.shape),
        strides=tuple(int(n) for n in value.strides),
        block_shape=tuple(int(n) for n in value.block_shape),
        nan_padding=value.padding == "nan",
        tf32=bool(getattr(value, "round_f32_to_tf32", False)),
        im2col=corners,
    )


def scalar(kind: str, value: Any) -> Scalar:
    """A number as the kernel receives it; Triton's launcher packs it the same way.

    Raises:
        OverflowError: it has more bits than its type.
    """
    if kind in ("fp32", "f32"):
        return Scalar(kind, _float32_bits(float(value)))
    if kind == "fp64":
        return Scalar(kind, struct.unpack("<Q", struct.pack("<d", float(value)))[0])
    if kind == "fp16":
        return Scalar(kind, struct.unpack("<H", struct.pack("<e", float(value)))[0])
    if kind == "bf16":  # truncated, not rounded
        return Scalar(kind, _float32_bits(float(value)) >> 16)
    width = WIDTHS[kind]
    number = int(value)
    if not -(1 << (width - 1)) <= number < 1 << width:
        raise OverflowError(f"{number} has more than {width} bits")
    return Scalar(kind, number & ((1 << width) - 1))


def _float32_bits(value: float) -> int:
    """A double as C casts it to float: what is too large becomes infinite."""
    try:
        packed = struct.pack("<f", value)
    except OverflowError:
        packed = struct.pack("<f", float("inf") if value > 0 else float("-inf"))
    return int(struct.unpack("<I", packed)[0])


def _written(recorder: Recorder, source: Specialised, values: Sequence[Any]) -> None:
    """Nobody knows any more what lies where a kernel may write."""
    for kind, value in _pairs(source.signature.values(), values):
        if kind.startswith("*") and value is not None:
            address = value if isinstance(value, int) else value.data_ptr()
        elif kind.startswith("tensordesc"):
            address = value.base.data_ptr()
        else:
            continue
        memory = recorder.at(address) if address else None
        if memory is not None and not kind.startswith("*k"):
            memory.forget()
