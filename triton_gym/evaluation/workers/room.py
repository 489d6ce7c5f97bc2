"""Whether the machine has room for an evaluation: a full disk is not to be taken for bad code."""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import tempfile
from collections.abc import Iterator

from triton_gym.errors import MachineError

NEEDED_BYTES = 4 << 20
"""Of the temporary folder, for one evaluation: its source, and what Triton compiles."""
_LACKING = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE, errno.EROFS})
"""Of the machine's; an answer that brings them about itself has limits of its own."""


def check_room() -> None:
    """Try to have as much of the temporary folder as an evaluation needs.

    Raises:
        MachineError: it is not to be had.
    """
    with machine_errors(), tempfile.TemporaryFile() as file:
        os.posix_fallocate(file.fileno(), 0, NEEDED_BYTES)


@contextlib.contextmanager
def machine_errors() -> Iterator[None]:
    """Raise what the machine lacks as `MachineError`."""
    try:
        yield
    except OSError as error:
        if error.errno not in _LACKING:
            raise
        if error.errno in (errno.EMFILE, errno.ENFILE):
            allowed = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
            raise MachineError(
                f"{os.strerror(error.errno)}: a process may have {allowed} here. Close some, or "
                "allow more (`ulimit -n`)."
            ) from error
        raise MachineError(
            f"{os.strerror(error.errno or 0)} in {tempfile.gettempdir()}, where evaluations need "
            f"{NEEDED_BYTES >> 20} MiB each. Make room there, or set TMPDIR to another folder."
        ) from error


def lacks_room(error: BaseException | None) -> bool:
    """Whether an exception, or one that it came of, tells of a machine that lacks something."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        # Too many open files are too many of the answer's own.
        if isinstance(error, OSError) and error.errno in _LACKING - {errno.EMFILE}:
            return True
        error = error.__cause__ or error.__context__
    return False
