"""What a plan consists of: memory, kernels, and steps in the order of the answer's program.

An answer may use several streams; a plan has one order, that of its host code, which is one that
streams allow.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

from triton_gym.evaluation.plan.codec import (
    Bounds,
    Index,
    Length,
    Line,
    Malformed,
    Name,
    Natural,
    Word,
)
from triton_gym.evaluation.plan.view import Shape, Strides, View

Address = Natural
GRID_LIMITS = (2**31 - 1, 2**16 - 1, 2**16 - 1)
"""Most programs along each axis of a CUDA grid."""


class BufferKind(StrEnum):
    """Whose memory a buffer is."""

    ARGUMENT = "argument"
    """Laid out by the judge: another set of inputs for every call."""
    PARAMETER = "parameter"
    """Laid out by the judge: state of the reference's module, the same in every call."""
    SCRATCH = "scratch"
    """Allocated by the answer. Its contents are undefined when it is born."""


@dataclass(frozen=True, slots=True)
class Buffer:
    """A piece of device memory with a fixed address."""

    id: Index
    address: Address
    nbytes: Annotated[int, Bounds(1, 1 << 40)]
    kind: BufferKind
    born: Annotated[int, Bounds(-1, 1 << 20)] = -1
    """Number of the first step that may use it, see `Plan`; -1 if it is there from the start."""
    freed: Annotated[int, Bounds(-1, 1 << 20)] = -1
    """Number of the first step after its end; -1 if it lives to the end. Its addresses may belong
    to another buffer then, as with PyTorch's caching allocator."""

    @property
    def end(self) -> int:
        """The address after its last byte."""
        return self.address + self.nbytes

    @property
    def told(self) -> str:
        """What it is, for messages."""
        names = {
            BufferKind.ARGUMENT: "an argument", BufferKind.PARAMETER: "a parameter",
            BufferKind.SCRATCH: "a tensor of the answer's",
        }  # fmt: skip
        return f"{names[self.kind]} of {self.nbytes} bytes"


@dataclass(frozen=True, slots=True)
class Kernel:
    """A specialisation of one of the answer's kernels, as host code launches it.

    What machine code needs beyond that (its entry, shared memory, warps after specialisation,
    layout of descriptors, sizes of scratch memory) belongs to the artifact, which never passed
    through the recorder.
    """

    artifact: Index
    """Which of the session's compile requests made it."""
    name: Name
    """Name of the kernel's Python function."""
    signature: Annotated[tuple[Name, ...], Length(1024)]
    """Triton's types of the runtime parameters in order (as `*fp32`, `i32`, `tensordesc<fp16[64,
    64]>`), tuples flattened, constexprs left out."""
    constants: Annotated[tuple[tuple[Name, Annotated[str, Length(4096)]], ...], Length(1024)]
    """Name or path, and value as a text, of every constexpr and specialised argument."""
    attrs: Annotated[tuple[tuple[Name, Name], ...], Length(1024)]
    """Path and specialisation (as `tt.divisibility = 16`) of arguments."""
    num_warps: Annotated[int, Bounds(1, 64)]
    num_stages: Annotated[int, Bounds(0, 1024)]
    num_ctas: Annotated[int, Bounds(1, 16)]
    cooperative: bool
    """Launched as a cooperative grid: all programs are resident at once."""
    pdl: bool
    """Launched with programmatic dependent launch."""
    line: Line
    """Where it is defined."""


@dataclass(frozen=True, slots=True)
class Pointer:
    """An address of device memory."""

    address: Address


@dataclass(frozen=True, slots=True)
class Null:
    """A null pointer."""


WIDTHS = {
    "i1": 8, "i8": 8, "i16": 16, "i32": 32, "i64": 64, "u1": 8, "u8": 8, "u16": 16, "u32": 32,
    "u64": 64, "fp16": 16, "bf16": 16, "fp32": 32, "f32": 32, "fp64": 64,
}  # fmt: skip
"""Bits that a scalar of each of Triton's types takes as a kernel's parameter."""


@dataclass(frozen=True, slots=True)
class Scalar:
    """A number, as the bits that the kernel receives."""

    type: Name
    """Triton's type, see `WIDTHS`."""
    bits: Word

    def __post_init__(self) -> None:
        if self.type not in WIDTHS or self.bits >> WIDTHS[self.type]:
            raise Malformed(f"no scalar of type {self.type[:40]!r} has bits {self.bits:#x}")


@dataclass(frozen=True, slots=True)
class Descriptor:
    """A tensor descriptor that the host made."""

    address: Address
    dtype: Name
    """Triton's type of an element, e.g. `fp16`."""
    shape: Shape
    strides: Strides
    """In elements."""
    block_shape: Shape
    nan_padding: bool
    """Whether elements outside are NaN instead of 0."""
    tf32: bool
    """Whether float32 is rounded to tf32."""
    im2col: Im2col | None = None

    def __post_init__(self) -> None:
        if len(self.shape) != len(self.strides):
            raise Malformed("shape and strides of a descriptor differ in length")
        if any(stride < 0 for stride in self.strides):
            raise Malformed("a descriptor's strides are not negative")


@dataclass(frozen=True, slots=True)
class Im2col:
    """What an im2col descriptor has besides."""

    lower_corner: Strides
    upper_corner: Strides
    element_strides: Strides


Argument = Pointer | Null | Scalar | Descriptor


@dataclass(frozen=True, slots=True)
class Launch:
    """A launch of a kernel."""

    kernel: Index
    """Index into the plan's kernels."""
    grid: tuple[Natural, Natural, Natural]
    """Programs along each axis; blocks are `num_ctas` times as many along the first."""
    arguments: Annotated[tuple[Argument, ...], Length(1024)]
    """One for each type of the kernel's signature."""
    global_scratch: Address
    """What Triton's allocator gave for the kernel's scratch memory; 0 if nothing was asked for."""
    line: Line

    def __post_init__(self) -> None:
        if not all(1 <= n <= most for n, most in zip(self.grid, GRID_LIMITS, strict=True)):
            raise Malformed(f"no grid is {self.grid}")


@dataclass(frozen=True, slots=True)
class Copy:
    """PyTorch's copy of elements, with a conversion if the dtypes differ. Movement."""

    src: View
    """Has the shape of `dst`; strides of 0 repeat."""
    dst: View
    line: Line

    def __post_init__(self) -> None:
        if self.src.shape != self.dst.shape:
            raise Malformed("a copy's source and target differ in shape")

    @property
    def moved_bytes(self) -> int:
        """Bytes read and written."""
        return self.src.distinct_bytes + self.dst.nbytes


@dataclass(frozen=True, slots=True)
class Gather:
    """PyTorch's `index_select`: slices of `src` along an axis, in the order of `index`. Movement.

    Indices below 0 count from the end. One out of range is an error of the answer.
    """

    src: View
    index: View
    """One-dimensional, int32 or int64."""
    axis: Annotated[int, Bounds(0, 31)]
    dst: View
    """Of `src`'s dtype and shape, but as long as `index` along the axis."""
    line: Line

    def __post_init__(self) -> None:
        if len(self.index.shape) != 1 or self.index.dtype not in ("int32", "int64"):
            raise Malformed("an index is a list of int32 or int64")
        if self.axis >= len(self.src.shape) or self.src.dtype != self.dst.dtype:
            raise Malformed("a gather's source has not that axis, or another dtype")
        shape = list(self.src.shape)
        shape[self.axis] = self.index.shape[0]
        if tuple(shape) != self.dst.shape:
            raise Malformed("a gather's target has another shape")

    @property
    def moved_bytes(self) -> int:
        """Bytes read and written."""
        return 2 * self.dst.nbytes + self.index.nbytes


@dataclass(frozen=True, slots=True)
class Fill:
    """Every element gets one value."""

    dst: View
    bits: Annotated[int, Bounds(0, 2**128 - 1)]
    """The element's bytes as a little-endian number."""
    line: Line

    def __post_init__(self) -> None:
        if self.bits >> (8 * self.dst.itemsize):
            raise Malformed("a fill's value is larger than an element")

    @property
    def moved_bytes(self) -> int:
        """Bytes written."""
        return self.dst.nbytes


@dataclass(frozen=True, slots=True)
class Upload:
    """Bytes that the host made go to the device."""

    address: Address
    nbytes: Natural
    offset: Natural
    """Where they lie among the blobs."""
    line: Line

    @property
    def moved_bytes(self) -> int:
        """Bytes written."""
        return self.nbytes


@dataclass(frozen=True, slots=True)
class Read:
    """Host code waits for the device and looks at values, on which the rest depends.

    The plan is good only for inputs with which the same bytes are read.
    """

    address: Address
    nbytes: Natural
    offset: Natural
    """Where the bytes that were read lie among the blobs."""
    line: Line


@dataclass(frozen=True, slots=True)
class Synchronize:
    """Host code waits for the device."""

    line: Line


Step = Launch | Copy | Gather | Fill | Upload | Read | Synchronize
