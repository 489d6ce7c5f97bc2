"""Texts that can be shown: on any terminal, in any log.

Messages quote what answers say, and answers are hostile: an escape sequence moves a terminal's
cursor, a lone surrogate makes `print` raise.
"""

from __future__ import annotations

import codecs
import string
import sys
import unicodedata
from typing import TextIO

NEAREST = "triton_gym.nearest"
"""Name of the error handler that writes what an encoding lacks as the nearest thing it has."""
_NEAREST = {"µ": "u", "×": "x", "–": "-", "—": "-", "…": "...", "·": "*", "−": "-", "≤": "<=",
            "≥": ">=", "→": "->", "✓": "+", "✗": "x", "²": "^2", "³": "^3", "≈": "~"}  # fmt: skip


def printable(text: str, kept: str = string.whitespace) -> str:
    """The text with every character that cannot be shown as `?`.

    Args:
        text: any.
        kept: white space that stays as it is.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in kept else "?" for c in text)


def message(text: str) -> str:
    """A text as a message shows it: printable, with line ends and tabs as its only white space."""
    return printable(text.replace("\r\n", "\n"), "\n\t")


def show(text: str) -> None:
    """Print a text that may hold anything, on a terminal that may show little."""
    codecs.register_error(NEAREST, _nearest)
    encoding = sys.stdout.encoding or "utf-8"
    print(printable(text).encode(encoding, NEAREST).decode(encoding))


def show_anywhere(*streams: TextIO) -> None:
    """Have streams write the nearest thing they can where their encoding lacks a character.

    Args:
        streams: standard output and error unless given.
    """
    codecs.register_error(NEAREST, _nearest)
    for stream in streams or (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors=NEAREST)


def _nearest(error: UnicodeError) -> tuple[str, int]:
    """An error handler for `codecs`."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    written = []
    for character in error.object[error.start : error.end]:
        plain = _NEAREST.get(character) or unicodedata.normalize("NFKD", character)
        written.append(plain.encode("ascii", "ignore").decode() or "?")
    return "".join(written), error.end
