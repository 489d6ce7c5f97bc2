"""Reads the ELF files that ptxas writes, whoever made them: every offset is checked."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

MOST_BYTES = 64 << 20
"""Largest machine code of one kernel."""
MOST_SECTIONS = 4096
_MAGIC = b"\x7fELF\x02\x01\x01"
_MACHINE = 190
"""EM_CUDA."""
_SYMBOLS, _NO_BITS = 2, 8
_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
_SECTION = struct.Struct("<IIQQQQIIQQ")
_SYMBOL = struct.Struct("<IBBHQQ")


class InvalidBinary(ValueError):
    """Machine code that is not what ptxas makes of one Triton kernel."""


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the file."""

    name: str
    kind: int
    flags: int
    size: int
    data: bytes
    """Empty if it takes no room in the file."""
    link: int
    info: int


@dataclass(frozen=True, slots=True)
class Symbol:
    """A named place."""

    name: str
    kind: int
    """1 for data, 2 for a function."""
    section: int
    """0 if it is defined elsewhere."""
    value: int
    size: int


@dataclass(frozen=True, slots=True)
class Elf:
    """A file's header, sections and symbols."""

    abi: int
    flags: int
    sections: tuple[Section, ...]

    @property
    def architecture(self) -> int:
        """Compute capability times ten that the code is for.

        It is in bits 8 to 15 of the flags from version 8 of the format on, and in bits 0 to 7
        before. Found by comparing cubins of several targets.
        """
        return (self.flags >> 8 if self.abi >= 8 else self.flags) & 0xFF

    def named(self, name: str) -> list[Section]:
        """The sections of a name."""
        return [section for section in self.sections if section.name == name]

    def symbols(self) -> Iterator[Symbol]:
        """All symbols.

        Raises:
            InvalidBinary: a table is broken.
        """
        for section in self.sections:
            if section.kind != _SYMBOLS:
                continue
            if len(section.data) % _SYMBOL.size or section.link >= len(self.sections):
                raise InvalidBinary("a table of symbols is broken")
            names = self.sections[section.link].data
            for name, info, _, home, value, size in _SYMBOL.iter_unpack(section.data):
                yield Symbol(_text(names, name), info & 15, home, value, size)


def read_elf(binary: bytes) -> Elf:
    """The parts of a cubin.

    Raises:
        InvalidBinary: it is none, or an offset leads out of it.
    """
    if not _HEADER.size <= len(binary) <= MOST_BYTES:
        raise InvalidBinary(f"{len(binary)} bytes are no cubin")
    ident, _, machine, _, _, _, at, flags, _, _, _, width, count, names = _HEADER.unpack_from(
        binary
    )
    if ident[:7] != _MAGIC or machine != _MACHINE or width != _SECTION.size:
        raise InvalidBinary("no ELF file for CUDA")
    if count > MOST_SECTIONS or at + count * width > len(binary) or names >= count:
        raise InvalidBinary("the table of sections leads out of the file")
    headers = [_SECTION.unpack_from(binary, at + index * width) for index in range(count)]
    table = _data(binary, headers[names])
    sections = tuple(
        Section(_text(table, name), kind, bits, size, _data(binary, header), link, info)
        for header in headers
        for name, kind, bits, _, _, size, link, info, _, _ in (header,)
    )
    return Elf(ident[8], flags, sections)


def _data(binary: bytes, header: tuple[int, ...]) -> bytes:
    _, kind, _, _, offset, size, *_ = header
    if kind == _NO_BITS:
        return b""
    if offset + size > len(binary):
        raise InvalidBinary("a section reaches beyond the file")
    return binary[offset : offset + size]


def _text(table: bytes, start: int) -> str:
    if start > len(table):
        raise InvalidBinary("a name lies outside its table")
    return table[start:].split(b"\0", 1)[0].decode("latin-1") if start < len(table) else ""
