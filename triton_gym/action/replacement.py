"""One replacement of whole lines, as a SEARCH block or a hunk of a diff asks for it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Replacement:
    """Lines to find and lines to put there, none with its line end."""

    old: tuple[str, ...]
    new: tuple[str, ...]
    label: str
    """What to call it in a message: `SEARCH block 2`."""
    line: int = 0
    """Where the lines stand in the kernel before all edits, from 1; 0 if it is not said."""
