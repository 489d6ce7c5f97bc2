"""seccomp: system calls that fail for a worker, decided by a small program in the kernel.

A list of what is refused, not of what is allowed: CUDA's driver, Triton and PyTorch change what
they call with every release, and files are Landlock's matter. Calls newer than the list do not
exist for a worker, so that nothing is allowed by having been invented later. See seccomp(2).
"""

from __future__ import annotations

import ctypes
import errno
import platform
import struct
from collections.abc import Iterable
from dataclasses import dataclass

from triton_gym.evaluation.confine.kernel import syscall
from triton_gym.evaluation.confine.syscalls import ARCHITECTURES, NEWEST, NUMBERS

_SET_MODE_FILTER = 1
_GET_ACTION_AVAIL = 2
_SPEC_ALLOW = 1 << 2
"""Without it, kernels before 5.16 slow down the whole process against Spectre v4."""
_RET_ERRNO = 0x00050000
_RET_ALLOW = 0x7FFF0000
# Instructions of classic BPF, which are 8 bytes each: code, two jumps, a constant.
_LOAD, _AND, _RETURN = 0x20, 0x54, 0x06
_IF_EQUAL, _IF_AT_LEAST = 0x15, 0x35
# Where struct seccomp_data has the number, the architecture and the arguments (low half first).
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16


@dataclass(frozen=True, slots=True)
class Argument:
    """A condition on an argument: `argument & mask` is one of `values`."""

    index: int
    values: tuple[int, ...]
    mask: int = 0xFFFFFFFF
    """The kernel takes these arguments as 32 bits, and so does the filter."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A call that fails."""

    call: str
    unless: tuple[Argument, ...] = ()
    """Conditions under which it is let through, all of them; none if it never is."""
    error: int = errno.EPERM


def available() -> bool:
    """Whether the kernel filters calls, and this architecture's numbers are known."""
    if platform.machine() not in ARCHITECTURES:
        return False
    action = ctypes.c_uint32(_RET_ERRNO)
    try:
        syscall(_number("seccomp"), _GET_ACTION_AVAIL, 0, ctypes.byref(action))
    except OSError:
        return False
    return True


def program(refusals: Iterable[Refusal], machine: str | None = None) -> bytes:
    """The filter as the kernel reads it.

    Args:
        refusals: what to refuse. A call that an architecture does not have is left out.
        machine: an architecture of `syscalls.ARCHITECTURES`; None for this one.
    """
    column, audit = ARCHITECTURES[machine or platform.machine()]
    steps = [
        _step(_LOAD, _ARCHITECTURE),
        _step(_IF_EQUAL, audit, 1, 0),
        _refuse(errno.EPERM),  # another architecture's calls have other numbers
        _step(_LOAD, _NUMBER),
        _step(_IF_AT_LEAST, NEWEST + 1, 0, 1),
        _refuse(errno.ENOSYS),
    ]
    for refusal in refusals:
        number = NUMBERS[refusal.call][column]
        if number is None:
            continue
        body = _body(refusal)
        steps.append(_step(_IF_EQUAL, number, 0, len(body)))
        steps += body
    steps.append(_step(_RETURN, _RET_ALLOW))
    return b"".join(steps)


def install(code: bytes) -> None:
    """Filter the calls of this thread, and of all that it starts, from now on.

    Raises:
        OSError: the kernel refused.
    """
    steps = ctypes.create_string_buffer(code, len(code))
    # struct sock_fprog: how many instructions, and where they are.
    table = struct.pack("@HP", len(code) // 8, ctypes.addressof(steps))
    syscall(_number("seccomp"), _SET_MODE_FILTER, _SPEC_ALLOW, ctypes.c_char_p(table))


def _body(refusal: Refusal) -> list[bytes]:
    """What follows a call's number: every argument is looked at, then the call goes through."""
    refuse = _refuse(refusal.error)
    if not refusal.unless:
        return [refuse]
    steps: list[bytes] = []
    for argument in refusal.unless:
        steps.append(_step(_LOAD, _ARGUMENTS + 8 * argument.index))
        if argument.mask != 0xFFFFFFFF:
            steps.append(_step(_AND, argument.mask))
        last = len(argument.values)
        for place, value in enumerate(argument.values):
            steps.append(_step(_IF_EQUAL, value, last - place, 0))
        steps.append(refuse)
    steps.append(_step(_RETURN, _RET_ALLOW))
    return steps


def _step(code: int, constant: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, if_true, if_false, constant & 0xFFFFFFFF)


def _refuse(error: int) -> bytes:
    return _step(_RETURN, _RET_ERRNO | error)


def _number(call: str) -> int:
    number = NUMBERS[call][ARCHITECTURES[platform.machine()][0]]
    if number is None:
        raise ValueError(f"{platform.machine()} has no system call {call}")
    return number
