"""What of a cubin for compute capability 9.0 says what its kernel executes."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from triton_gym.evaluation.simulate.machine_code.elf import InvalidBinary, read_elf

_SM_90A = {7: (0xFFFF00FF, 0x5A005A), 8: (0xFFFFFF, 0x005A04)}
"""By version of the format, bits of the header's flags, and what they are for compute capability
9.0. The other bits differ with how ptxas was called."""
_EXECUTABLE = 0x4
_RELOCATIONS = (4, 9)
_FUNCTION = 2


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


def read_cubin(binary: bytes) -> Cubin:
    """The parts of a cubin for compute capability 9.0.

    Raises:
        UnknownCode: the file is laid out in another way than is known.
    """
    try:
        elf = read_elf(binary)
        symbols = list(elf.symbols())
    except (InvalidBinary, struct.error) as error:
        raise UnknownCode(str(error)) from None
    bits, wanted = _SM_90A.get(elf.abi, (0, -1))
    if elf.flags & bits != wanted:
        raise UnknownCode(f"no code for compute capability 9.0 (flags {elf.flags:#x})")
    holding = [n for n, section in enumerate(elf.sections) if section.flags & _EXECUTABLE]
    if len(holding) != 1:
        raise UnknownCode(f"{len(holding)} sections of code")
    (number,) = holding
    code, lines = elf.sections[number].data, elf.named(".debug_line")
    if len(lines) != 1 or len(code) % 16:
        raise UnknownCode("no table of lines, or half an instruction")
    for section in elf.sections:
        if section.kind in _RELOCATIONS and section.info == number and section.data:
            raise UnknownCode("addresses that are filled in later")
    entries = {s.value for s in symbols if s.section == number and s.kind == _FUNCTION}
    return Cubin(code, lines[0].data, frozenset(entries))
