"""The folder of a judge: all that is temporary, and gone with it, whoever dies first.

The judge removes it at its end, and so does who started the judge. If both are killed at once it
stays; whoever starts a judge on the machine next finds that nobody holds its lock.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import tempfile

from triton_gym.evaluation.workers.scratch import HELD, PREFIX, remove

_MADE = "made"
"""What it is called until it is locked."""


def make() -> tuple[str, int]:
    """A folder, and the descriptor of its lock, which the judge inherits.

    Raises:
        OSError: there is no room for it.
    """
    folder = tempfile.mkdtemp(prefix=PREFIX)
    try:
        lock = os.open(os.path.join(folder, _MADE), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX)
        os.rename(os.path.join(folder, _MADE), os.path.join(folder, HELD))
    except OSError:
        remove(folder)
        raise
    return folder, lock


def sweep() -> None:
    """Remove the folders of this user's that nobody holds any more."""
    with contextlib.suppress(OSError), os.scandir(tempfile.gettempdir()) as entries:
        for entry in entries:
            if entry.name.startswith(PREFIX) and entry.is_dir(follow_symlinks=False):
                _sweep(entry.path)


def _sweep(folder: str) -> None:
    try:
        lock = os.open(os.path.join(folder, HELD), os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return  # none of a judge, one that is being made, or somebody else's
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return
    else:
        remove(folder)
    finally:
        os.close(lock)
