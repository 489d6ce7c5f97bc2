"""Reads cubins: the ELF files that ptxas writes, each with the machine code of one kernel."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

_MACHINE = 190
"""EM_CUDA."""
_SM_90A = {7: (0xFFFF00FF, 0x5A005A), 8: (0xFFFFFF, 0x005A04)}
"""By version of the format, bits of the header's flags, and what they are for compute capability
9.0. The other bits differ with how ptxas was called."""
_EXECUTABLE = 0x4
_SYMBOLS, _NO_BITS, _RELOCATIONS = 2, 8, (4, 9)
_FUNCTION = 2
_HEADER = struct.Struct("<QQIHHHHHH")
_SECTION = struct.Struct("<IIQQQQIIQQ")
_SYMBOL = struct.Struct("<IBBHQQ")


class UnknownCode(Exception):
    """A binary holds something that is not known for certain; the tools of CUDA can tell."""


@dataclass(frozen=True, slots=True)
class Cubin:
    """The parts of a cubin that say what its kernel executes."""

    code: bytes
    """Instructions, 16 bytes each."""
    lines: bytes
    """The program that makes the table of source lines; see `lines`."""
    entries: frozenset[int]
    """Addresses at which functions start."""


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the file."""

    name: bytes
    kind: int
    flags: int
    size: int
    data: bytes
    """Empty if it takes no room in the file."""
    info: int


def read_cubin(binary: bytes) -> Cubin:
    """The parts of a cubin for compute capability 9.0.

    Raises:
        UnknownCode: the file is laid out in another way than is known.
    """
    sections = read_sections(binary)
    number = code_section(sections)
    code = sections[number].data
    lines = [section for section in sections if section.name == b".debug_line"]
    if len(lines) != 1 or len(code) % 16:
        raise UnknownCode("no table of lines, or half an instruction")
    for section in sections:
        if section.kind in _RELOCATIONS and section.info == number and section.data:
            raise UnknownCode("addresses that are filled in later")
    try:
        entries = {
            value
            for section in sections
            if section.kind == _SYMBOLS
            for _, kind, _, home, value, _ in _SYMBOL.iter_unpack(section.data)
            if home == number and kind & 15 == _FUNCTION
        }
    except struct.error:
        raise UnknownCode("half a symbol") from None
    return Cubin(code, lines[0].data, frozenset(entries))


def code_section(sections: Sequence[Section]) -> int:
    """Which section holds the code.

    Raises:
        UnknownCode: none or several do.
    """
    found = [i for i, section in enumerate(sections) if section.flags & _EXECUTABLE]
    if len(found) != 1:
        raise UnknownCode(f"{len(found)} sections of code")
    return found[0]


def read_sections(binary: bytes) -> list[Section]:
    """All parts of a cubin for compute capability 9.0.

    Raises:
        UnknownCode: it is none, or of another format.
    """
    try:
        return _sections(binary)
    except (struct.error, IndexError) as error:
        raise UnknownCode(f"the file is cut short ({error})") from None


def _sections(binary: bytes) -> list[Section]:
    machine, abi = struct.unpack_from("<H", binary, 18)[0], binary[8]
    _, at, flags, _, _, _, width, count, names = _HEADER.unpack_from(binary, 32)
    if binary[:7] != b"\x7fELF\x02\x01\x01" or machine != _MACHINE or abi not in _SM_90A:
        raise UnknownCode("no cubin of this format")
    bits, wanted = _SM_90A[abi]
    if flags & bits != wanted or width != _SECTION.size:
        raise UnknownCode(f"no code for compute capability 9.0 (flags {flags:#x})")
    headers = [_SECTION.unpack_from(binary, at + i * width) for i in range(count)]
    _, _, _, _, start, length, *_ = headers[names]
    table = binary[start : start + length]
    found = []
    for name, kind, flags, _, offset, size, _, info, _, _ in headers:
        data = b"" if kind == _NO_BITS else binary[offset : offset + size]
        if kind != _NO_BITS and len(data) != size:
            raise UnknownCode("a section reaches beyond the file")
        found.append(Section(table[name:].split(b"\0", 1)[0], kind, flags, size, data, info))
    return found
