"""Landlock: which files a process may touch, and whom it may reach, by the kernel's own account.

It needs no privilege and binds root as well. What it does not govern (`stat`, `chmod`, `flock`,
sockets with a path, …) is left to `seccomp`. See landlock(7) and the kernel's
userspace-api/landlock.rst, from which the numbers are.
"""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntFlag

from triton_gym.evaluation.confine.kernel import syscall

# The same on every architecture.
_CREATE_RULESET = 444
_ADD_RULE = 445
_RESTRICT_SELF = 446
_ASK_VERSION = 1
_PATH_BENEATH = 1


class Access(IntFlag):
    """What may be done with a file or a folder."""

    EXECUTE = 1 << 0
    WRITE_FILE = 1 << 1
    READ_FILE = 1 << 2
    READ_DIR = 1 << 3
    REMOVE_DIR = 1 << 4
    REMOVE_FILE = 1 << 5
    MAKE_CHAR = 1 << 6
    MAKE_DIR = 1 << 7
    MAKE_REG = 1 << 8
    MAKE_SOCK = 1 << 9
    MAKE_FIFO = 1 << 10
    MAKE_BLOCK = 1 << 11
    MAKE_SYM = 1 << 12
    REFER = 1 << 13
    """Rename between folders; ABI 2."""
    TRUNCATE = 1 << 14
    """ABI 3."""
    IOCTL_DEV = 1 << 15
    """Commands to device nodes; ABI 5."""


_FILE = Access.EXECUTE | Access.WRITE_FILE | Access.READ_FILE | Access.TRUNCATE | Access.IOCTL_DEV
READ = Access.EXECUTE | Access.READ_FILE | Access.READ_DIR
WRITE = (
    Access.READ_FILE | Access.READ_DIR | Access.WRITE_FILE | Access.REMOVE_DIR | Access.REMOVE_FILE
    | Access.MAKE_DIR | Access.MAKE_REG | Access.MAKE_SYM | Access.REFER | Access.TRUNCATE
)  # fmt: skip
"""A folder of one's own: no programs, no devices, no sockets."""
DEVICE = Access.READ_FILE | Access.READ_DIR | Access.WRITE_FILE | Access.TRUNCATE | Access.IOCTL_DEV

ABI_FILES = 2
"""Before it, files cannot be moved between folders, as Triton's cache does."""
ABI_TCP = 4
ABI_SCOPES = 6
_TCP = 0b11  # bind, connect
_SCOPE_ABSTRACT_SOCKETS = 1 << 0
_SCOPE_SIGNALS = 1 << 1


@dataclass(frozen=True, slots=True)
class Domain:
    """What a process is to be held to."""

    files: bool
    """Only what the rules allow can be opened, run or changed."""
    tcp: bool
    """No TCP: neither listen nor connect."""
    peers: bool
    """No abstract UNIX sockets of processes outside."""
    signals: bool
    """No signals to processes outside."""


def abi() -> int:
    """The version that the kernel speaks; 0 if it has no Landlock."""
    try:
        return syscall(_CREATE_RULESET, 0, 0, _ASK_VERSION)
    except OSError:
        return 0


def restrict(version: int, domain: Domain, rules: Iterable[tuple[str, Access]]) -> None:
    """Hold this thread, and all that it starts, to `domain` from now on.

    Args:
        version: what `abi` returned.
        domain: what to restrict; nothing that `version` does not know.
        rules: folders and files with what may be done there. One that is missing is left out.

    Raises:
        OSError: the kernel refused.
    """
    known = _known(version) if domain.files else Access(0)
    # struct landlock_ruleset_attr: files, network, scopes; an old kernel knows the first alone.
    size = 24 if version >= ABI_SCOPES else 16 if version >= ABI_TCP else 8
    scopes = domain.peers * _SCOPE_ABSTRACT_SOCKETS | domain.signals * _SCOPE_SIGNALS
    attributes = struct.pack("=QQQ", known, _TCP if domain.tcp else 0, scopes)[:size]
    ruleset = syscall(_CREATE_RULESET, ctypes.c_char_p(attributes), size, 0)
    try:
        if domain.files:
            for path, access in rules:
                _allow(ruleset, path, access & known)
        syscall(_RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)


def _allow(ruleset: int, path: str, access: Access) -> None:
    try:
        fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return  # it went away, or this user may not go there anyway
    try:
        if not os.path.isdir(fd):
            access &= _FILE
        beneath = struct.pack("=Qi", access, fd)  # struct landlock_path_beneath_attr, packed
        syscall(_ADD_RULE, ruleset, _PATH_BENEATH, ctypes.c_char_p(beneath), 0)
    finally:
        os.close(fd)


def _known(version: int) -> Access:
    newest = {1: Access.MAKE_SYM, 2: Access.REFER, 3: Access.TRUNCATE, 4: Access.TRUNCATE}
    last = newest.get(version, Access.IOCTL_DEV)
    return Access((int(last) << 1) - 1)
