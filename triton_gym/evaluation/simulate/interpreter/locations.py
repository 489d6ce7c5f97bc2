"""Where in the answer an operation of TTIR comes from."""

from __future__ import annotations

import re

_FILE = re.compile(r'^loc\("([^"]*)":(\d+):\d+(?: to [^)]*)?\)$')
_NAMED = re.compile(r'^loc\("[^"]*"\((.*)\)\)$')
_CALLED = re.compile(r"^loc\(callsite\((.*) at (.*)\)\)$")
_DEFINED = re.compile(r"^(#loc\d*) = (loc\(.*\))$", re.MULTILINE)
_LIBRARY = ("/triton/language/", "/triton/tools/")


class Locations:
    """The table at a text's end."""

    def __init__(self, text: str) -> None:
        self._known = dict(_DEFINED.findall(text))
        self._lines: dict[str, int] = {}

    def line(self, place: str, depth: int = 0) -> int:
        """Line of the answer that a place stands for; 0 if there is none.

        Of a function of Triton's that was called it is the line of the call.
        """
        if place in self._lines:
            return self._lines[place]
        whole = self._known.get(place, place)
        whole = whole if whole.startswith("loc(") else f"loc({whole})"
        found = 0
        if depth > 40:
            return 0
        if at := _FILE.match(whole):
            found = 0 if any(part in at[1] for part in _LIBRARY) else int(at[2])
        elif named := _NAMED.match(whole):
            found = self.line(named[1], depth + 1)
        elif called := _CALLED.match(whole):
            found = self.line(called[1], depth + 1) or self.line(called[2], depth + 1)
        self._lines[place] = found
        return found

    def strip(self, text: str) -> tuple[str, int]:
        """A line without the place at its end, and the line of the answer."""
        text = text.rstrip()
        start = text.rfind(" loc(")
        if start < 0 or not text.endswith(")"):
            return self.strip_all(text), 0
        place = text[start + 5 : -1]
        return self.strip_all(text[:start]), self.line(place)

    def strip_all(self, text: str) -> str:
        """A line without any places."""
        while (start := text.find(" loc(")) >= 0:
            end, depth = start + 5, 1
            while depth and end < len(text):
                depth += {"(": 1, ")": -1}.get(text[end], 0)
                end += 1
            text = text[:start] + text[end:]
        return text.rstrip()
