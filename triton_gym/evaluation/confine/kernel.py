"""System calls for which Python has no function."""

from __future__ import annotations

import ctypes
import os
from typing import Any

_LIBC = ctypes.CDLL(None, use_errno=True)
_LIBC.syscall.restype = ctypes.c_long


def syscall(number: int, *arguments: Any) -> int:
    """Make a system call.

    Args:
        number: of this machine's architecture.
        arguments: integers and ctypes pointers.

    Raises:
        OSError: the kernel refused.
    """
    result = int(_LIBC.syscall(ctypes.c_long(number), *map(_word, arguments)))
    if result < 0:
        raise _refused()
    return result


def prctl(option: int, *arguments: int) -> int:
    """Change or ask something about this process; see prctl(2).

    Raises:
        OSError: the kernel refused, or does not know the option.
    """
    padded = (*arguments, 0, 0, 0, 0)[:4]
    result = int(_LIBC.prctl(option, *map(ctypes.c_ulong, padded)))
    if result < 0:
        raise _refused()
    return result


def capset(header: ctypes.Array[ctypes.c_uint32], sets: ctypes.Array[ctypes.c_uint32]) -> None:
    """Set the capabilities of this thread; see capset(2).

    Raises:
        OSError: the kernel refused.
    """
    if _LIBC.capset(header, sets):
        raise _refused()


def _word(value: Any) -> Any:
    return ctypes.c_long(value) if isinstance(value, int) else value


def _refused() -> OSError:
    code = ctypes.get_errno()
    return OSError(code, os.strerror(code))
