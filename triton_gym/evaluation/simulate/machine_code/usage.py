"""What a kernel takes of a multiprocessor, as its cubin says."""

from __future__ import annotations

import struct
from collections import defaultdict
from dataclasses import dataclass

from triton_gym.evaluation.simulate.machine_code.cubin import (
    UnknownCode,
    code_section,
    read_sections,
)

_SIZED = 4
"""Format of an attribute whose value has a size."""
_STACK, _REGISTERS = 0x12, 0x2F
"""Attributes that hold a function's symbol and its number: EIATTR_MIN_STACK_SIZE and
EIATTR_REGCOUNT. Found by comparing many cubins with what `cuobjdump` prints of them."""


@dataclass(frozen=True, slots=True)
class Resources:
    """What one thread and one program of a kernel take."""

    registers: int
    stack_bytes: int
    """Local memory a thread, which holds spilled registers."""
    shared_bytes: int
    """Static shared memory of a program."""


def read_usage(binary: bytes) -> Resources:
    """What the only kernel of a cubin takes.

    Raises:
        UnknownCode: there are several, or the file is not one as ptxas writes them.
    """
    sections = read_sections(binary)
    code = sections[code_section(sections)]
    kernel = code.name.removeprefix(b".text.")
    found = defaultdict(list)
    for section in sections:
        if section.name == b".nv.info":
            for attribute, value in _attributes(section.data):
                found[attribute].append(value)
    if [len(found[name]) for name in (_STACK, _REGISTERS)] != [1, 1]:
        raise UnknownCode("resources of several functions, or of none")
    shared = sum(s.size for s in sections if s.name == b".nv.shared." + kernel)
    return Resources(found[_REGISTERS][0], found[_STACK][0], shared)


def _attributes(data: bytes) -> list[tuple[int, int]]:
    """The attributes that hold a symbol and a number."""
    found, place = [], 0
    try:
        while place < len(data):
            form, attribute, size = struct.unpack_from("<BBH", data, place)
            place += 4
            if form == _SIZED:
                if attribute in (_STACK, _REGISTERS):
                    found.append((attribute, struct.unpack("<II", data[place : place + size])[1]))
                place += size
    except struct.error:
        raise UnknownCode("attributes in another format") from None
    return found
