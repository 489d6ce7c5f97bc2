"""Reads the table of source lines of a binary: a program in DWARF's line number language."""

from __future__ import annotations

from triton_gym.evaluation.simulate.machine_code.cubin import UnknownCode

_LENGTHS = bytes((0, 1, 1, 1, 1, 0, 0, 0, 1))
"""Operands of the standard operations 1 to 9."""
_END, _ADDRESS = 1, 2
_VENDOR = 0x80
"""Extended operations from here on are NVIDIA's, and tell of functions that were inlined."""


def source_lines(program: bytes) -> dict[int, int]:
    """The line that applies from each address on, by address.

    Source: DWARF 2.0.0, section 6.2, "Line number information".

    Raises:
        UnknownCode: the program is not one as ptxas writes them.
    """
    try:
        return _run(program)
    except IndexError:
        raise UnknownCode("the table of lines is cut short") from None


def _run(program: bytes) -> dict[int, int]:
    size, version, start = (
        int.from_bytes(program[a:b], "little") for a, b in ((0, 4), (4, 6), (6, 10))
    )
    unit, span, special = program[10], program[13], program[14]
    base = int.from_bytes(program[12:13], "little", signed=True)
    if (size + 4, version, unit, special) != (len(program), 2, 1, 10) or not span:
        raise UnknownCode("a table of lines in another format")
    if program[15:24] != _LENGTHS:
        raise UnknownCode("a table of lines with other operations")
    found: dict[int, int] = {}
    address, line, place = 0, 1, 10 + start
    while place < len(program):
        operation = program[place]
        place += 1
        if operation >= special:
            address += (operation - special) // span
            line += base + (operation - special) % span
            found[address] = line
        elif operation == 0:
            length, place = _number(program, place)
            extended, operand = program[place], program[place + 1 : place + length]
            place += length
            if extended == _END:
                if place != len(program):
                    raise UnknownCode("several tables of lines")
            elif extended < _VENDOR and (extended != _ADDRESS or any(operand) or found):
                raise UnknownCode(f"extended operation {extended} in the table of lines")
        elif operation == 1:
            found[address] = line
        elif operation == 8:
            address += (255 - special) // span
        elif operation == 9:
            address += int.from_bytes(program[place : place + 2], "little")
            place += 2
        elif operation in (2, 3, 4, 5):
            number, place = _number(program, place, signed=operation == 3)
            if operation == 2:
                address += number
            elif operation == 3:
                line += number
        elif operation not in (6, 7):
            raise UnknownCode(f"operation {operation} in the table of lines")
    return found


def _number(program: bytes, place: int, *, signed: bool = False) -> tuple[int, int]:
    """A number of seven bits a byte, and where the next thing is."""
    value = shift = 0
    while True:
        byte = program[place]
        value |= (byte & 127) << shift
        place, shift = place + 1, shift + 7
        if byte < 128:
            return (value - (1 << shift) if signed and byte & 64 else value), place
