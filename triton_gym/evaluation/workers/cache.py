"""Triton's cache for processes that compile for one evaluation at once: nothing is built twice.

Shapes are compiled side by side, and many of them need the same kernel, or the same host code to
launch it with. Whoever misses something first builds it; others wait and find it there.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from typing import IO, Any, ClassVar

from triton import knobs
from triton.runtime.cache import FileCacheManager


class OneBuilder(FileCacheManager):  # type: ignore[misc]
    """A folder of Triton's cache which one process at a time fills.

    It may until what it missed is there, until it misses something else, or until it ends.
    """

    _held: ClassVar[tuple[str, IO[str]] | None] = None
    """What this process builds, and the lock for it."""

    def get_file(self, filename: str) -> Any:
        """The path of a file; None for who is to make it, and to put it here."""
        found = super().get_file(filename)
        if found is None and self._waited(self._make_path(filename)):
            found = super().get_file(filename)
        return found

    def get_group(self, filename: str) -> Any:
        """The paths of a group of files; None for who is to make them."""
        found = super().get_group(filename)
        if found is None and self._waited(self._make_path(f"__grp__{filename}")):
            found = super().get_group(filename)
        return found

    def put(self, data: str | bytes, filename: str, binary: bool = True) -> Any:
        """Put a file here, which is there at once as a whole."""
        path = super().put(data, filename, binary)
        if OneBuilder._held and OneBuilder._held[0] == path:
            self.let_go()
        return path

    @classmethod
    def let_go(cls) -> None:
        """Let others build: it is done, or given up."""
        if cls._held:
            cls._held[1].close()
            cls._held = None

    def _waited(self, path: str) -> bool:
        """Wait until nobody else builds here. False if this process does already."""
        if OneBuilder._held and os.path.dirname(OneBuilder._held[0]) == self.cache_dir:
            return False
        self.let_go()  # so that nobody waits for somebody who waits
        lock = open(os.path.join(self.cache_dir, "building"), "a")  # noqa: SIM115
        fcntl.flock(lock, fcntl.LOCK_EX)
        OneBuilder._held = path, lock
        return True


@contextlib.contextmanager
def one_builder() -> Iterator[None]:
    """Compile with `OneBuilder` as Triton's cache."""
    before = knobs.cache.manager_class
    knobs.cache.manager_class = OneBuilder
    try:
        yield
    finally:
        knobs.cache.manager_class = before
        OneBuilder.let_go()
