"""The instructions of a cubin, read from its bits in a hundredth of the time of `nvdisasm`.

Only what `sass` goes by is made out, and only where it is known for certain.
"""

from __future__ import annotations

import struct

from triton_gym.evaluation.simulate.machine_code import encoding
from triton_gym.evaluation.simulate.machine_code.cubin import UnknownCode, read_cubin
from triton_gym.evaluation.simulate.machine_code.lines import source_lines
from triton_gym.evaluation.simulate.machine_code.opcodes import BRANCH, NAMES, SHARED, variant
from triton_gym.evaluation.simulate.machine_code.sass import Instruction
from triton_gym.evaluation.simulate.machine_code.schedule import Slot

_HALVES = struct.Struct("<QQ")


def read_listing(binary: bytes) -> list[Instruction]:
    """The instructions of a cubin's kernel in the order of their addresses.

    Raises:
        UnknownCode: something in it is not known for certain.
    """
    cubin = read_cubin(binary)
    lines = source_lines(cubin.lines)
    found = []
    line = 0
    for number, (low, high) in enumerate(_HALVES.iter_unpack(cubin.code)):
        address = number * encoding.SIZE
        line = lines.get(address, line)
        code = encoding.opcode(low)
        goal = None
        if code == BRANCH:
            goal = encoding.goal(low | high << 64, address)
            if goal in cubin.entries or goal % encoding.SIZE or not 0 <= goal < len(cubin.code):
                raise UnknownCode("a branch that leaves its function")
        name = NAMES.get(code) or variant(code, low | high << 64)
        slot, place = Slot.of(high), encoding.place(low) if code in SHARED else None
        found.append(Instruction(address, encoding.guarded(low), name, line, goal, slot, place))
    return found
