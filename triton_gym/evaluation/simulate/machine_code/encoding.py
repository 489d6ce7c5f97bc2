"""Where the fields of an instruction of compute capability 9.0 lie in its 128 bits.

Found by changing single bits and looking at what `nvdisasm` makes of them.
"""

from __future__ import annotations

from triton_gym.evaluation.simulate.machine_code.cubin import UnknownCode

SIZE = 16
"""Bytes of an instruction."""
_ALWAYS = 7
"""The predicate that is true; the bit above negates."""
_NO_REGISTER = 255
_BRANCH = (0xFF << 16) | (0xFFFF_FFFF_FFFF << 34)
"""The bits of a distance, in words of four bytes from the next instruction on."""
_SCHEDULE = 0x1F_FFFF << 105
"""What the compiler tells the scheduler: stalls, barriers to wait for, registers to reuse."""
_CONDITION = 15 << 87
"""A second predicate of a branch."""


def opcode(low: int) -> int:
    """The bits that tell an operation and the kinds of its operands, from the lower half."""
    return low & 0xFFF


def guarded(low: int) -> bool:
    """Whether a predicate other than the one that is always true decides."""
    return low >> 12 & 15 != _ALWAYS


def place(low: int) -> tuple[int, int] | None:
    """Where a shared access goes: a register, and bytes beyond; None if there is no register."""
    register, far = low >> 24 & 0xFF, low >> 40
    if register == _NO_REGISTER:
        return None
    return register, far - ((far & 1 << 23) << 1)


def goal(word: int, address: int) -> int:
    """Where a branch at an address goes.

    Raises:
        UnknownCode: it is not a plain one.
    """
    if word & ~(_BRANCH | _SCHEDULE | _CONDITION | 15 << 12) != opcode(word):
        raise UnknownCode(f"a branch {word:#034x}")
    far = word >> 34 & 0xFFFF_FFFF_FFFF
    far -= (far & 1 << 47) << 1
    return address + SIZE + ((far << 8) + (word >> 16 & 0xFF)) * 4
