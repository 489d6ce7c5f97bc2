"""What a kernel's machine code is, read from the file itself and held to what is allowed.

A process that compiled a hostile answer's IR is not believed: name, parameters and resources come
from here.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from triton_gym.evaluation.simulate.machine_code.elf import Elf, InvalidBinary, read_elf

_EXECUTABLE = 0x4
_WRITABLE = 0x1
_FUNCTION = 2
_SIZED = 4
"""Format of an attribute whose value has a size."""
_FRAME, _STACK, _PARAMETER, _REGISTERS = 0x11, 0x12, 0x17, 0x2F
"""EIATTR_FRAME_SIZE, MIN_STACK_SIZE, KPARAM_INFO and REGCOUNT. Found by comparing many cubins with
what `cuobjdump -elf` prints of them."""
_INFO = 0x70000000
"""SHT_CUDA_INFO."""
_LIBRARY = frozenset(("vprintf", "__assertfail"))
"""Functions of CUDA's that Triton calls, for `device_print` and `device_assert`."""
_RESERVED = (".nv.reservedSmem.", "__nv_reservedSMEM_")
_CONSTANTS = ".nv.constant0."
_STRINGS = ".nv.global.init"
"""Where ptxas puts the texts of `device_print`, `device_assert` and CUDA's own mathematics."""
MOST_STRING_BYTES = 1 << 16
MOST_PARAMETER_BYTES = 32764
"""Most that a launch can take (CUDA C++ Programming Guide, "Execution space specifiers")."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """Where a kernel looks for one argument."""

    offset: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Binary:
    """One kernel's machine code."""

    name: str
    """The kernel's symbol."""
    registers: int
    """Registers a thread."""
    local_bytes: int
    """Local memory a thread: spilled registers, and arrays."""
    static_shared_bytes: int
    parameters: tuple[Parameter, ...]
    """In the order of the arguments."""
    strings: bool
    """Whether it has texts to print. They lie in memory that it could write: who runs it on several
    inputs loads it anew for each."""


def read_binary(data: bytes, architecture: int) -> Binary:
    """The only kernel of a cubin.

    Args:
        data: the file.
        architecture: compute capability times ten that it must be for.

    Raises:
        InvalidBinary: it is not what ptxas makes of one Triton kernel.
    """
    try:
        return _read(read_elf(data), architecture)
    except (struct.error, UnicodeError) as error:
        raise InvalidBinary(f"the file is cut short ({error})") from None


def _read(elf: Elf, architecture: int) -> Binary:
    if elf.architecture != architecture:
        raise InvalidBinary(f"code for sm_{elf.architecture}, not for sm_{architecture}")
    # Only a kernel has constants of its own: its parameters.
    entries = [s.name for s in elf.sections if s.name.startswith(_CONSTANTS)]
    if len(entries) != 1:
        raise InvalidBinary(f"{len(entries)} kernels, not one")
    name = entries[0].removeprefix(_CONSTANTS)
    if len(elf.named(f".text.{name}")) != 1:
        raise InvalidBinary("the kernel has no code")
    _check_symbols(elf, name)
    _check_memory(elf, name)
    attributes = list(_attributes(elf, ".nv.info"))
    registers = [_second(value) for kind, value in attributes if kind == _REGISTERS]
    if not registers:
        raise InvalidBinary("no count of registers")
    local = [_second(value) for kind, value in attributes if kind in (_FRAME, _STACK)]
    return Binary(
        name=name,
        registers=max(registers),
        local_bytes=max(local, default=0),
        static_shared_bytes=sum(section.size for section in elf.named(f".nv.shared.{name}")),
        parameters=_parameters(elf, name),
        strings=bool(elf.named(_STRINGS)),
    )


def _check_symbols(elf: Elf, name: str) -> None:
    """The kernel is there, and nothing is called beyond it but what Triton calls."""
    symbols = list(elf.symbols())
    if not any(s.name == name and s.kind == _FUNCTION and s.section for s in symbols):
        raise InvalidBinary("the kernel has no symbol")
    for symbol in symbols:
        if symbol.name.startswith(_RESERVED):
            continue
        if not symbol.section and symbol.name and symbol.name not in _LIBRARY:
            raise InvalidBinary(f"it calls {symbol.name!r:.80}, which is not allowed")


def _check_memory(elf: Elf, name: str) -> None:
    """Nothing of it can be written, but shared memory, and texts as Triton makes them."""
    allowed = {_STRINGS, f".nv.shared.{name}"}
    for section in elf.sections:
        other = section.flags & _EXECUTABLE or section.name.startswith(".nv.shared.reserved")
        if section.flags & _WRITABLE and section.name not in allowed and not other:
            raise InvalidBinary(
                f"it holds memory that can be written, {section.name!r:.80}: what a kernel keeps "
                "between its launches must be an argument"
            )
        if section.name == _STRINGS and section.size > MOST_STRING_BYTES:
            raise InvalidBinary(f"it holds {section.size} bytes of texts")


def _parameters(elf: Elf, name: str) -> tuple[Parameter, ...]:
    found: dict[int, Parameter] = {}
    for kind, value in _attributes(elf, f".nv.info.{name}"):
        if kind == _PARAMETER:
            _, ordinal, offset, flags = struct.unpack("<IHHI", value)
            if ordinal in found:
                raise InvalidBinary("two parameters of one number")
            found[ordinal] = Parameter(offset, flags >> 18)
    if sorted(found) != list(range(len(found))):
        raise InvalidBinary("the parameters are not numbered one by one")
    ordered = tuple(found[index] for index in range(len(found)))
    end = 0
    for parameter in ordered:
        if parameter.offset < end:
            raise InvalidBinary("parameters overlap")
        end = parameter.offset + parameter.bytes
    if end > MOST_PARAMETER_BYTES:
        raise InvalidBinary(f"{end} bytes of parameters; {MOST_PARAMETER_BYTES} are possible")
    return ordered


def _attributes(elf: Elf, name: str) -> Iterator[tuple[int, bytes]]:
    """The attributes of a section that have a size."""
    for section in elf.named(name):
        if section.kind != _INFO:
            raise InvalidBinary(f"{name} is of another kind")
        data, place = section.data, 0
        while place < len(data):
            form, attribute, size = struct.unpack_from("<BBH", data, place)
            place += 4
            if form == _SIZED:
                if place + size > len(data):
                    raise InvalidBinary("an attribute leads out of its section")
                yield attribute, data[place : place + size]
                place += size


def _second(value: bytes) -> int:
    """The number of an attribute that names a symbol and a number."""
    return int(struct.unpack("<II", value)[1])
