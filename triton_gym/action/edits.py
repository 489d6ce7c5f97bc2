"""Edits of a kernel: SEARCH/REPLACE blocks or a unified diff.

Lines end with `\\n` or `\\r\\n`, and with nothing else: a line separator or a form feed inside a
line is a character of it. Lines that no edit names keep every character.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from triton_gym.action.diffs import hunks
from triton_gym.action.replacement import Replacement
from triton_gym.action.text import LIMIT, InvalidAction, plain

_SEARCH = re.compile(r"(<{5,})[ \t]*SEARCH[ \t]*")
_DIVIDER = re.compile(r"={5,}[ \t]*")
_REPLACE = re.compile(r">{5,}[ \t]*REPLACE[ \t]*")
_LINE = re.compile(r"[^\n]*\n|[^\n]+")
_SHOWN = 5
"""Places that a message lists of a search text that occurs several times."""


def edited(kernel: str, action: str) -> str:
    """The kernel after the edits of an action: SEARCH/REPLACE blocks or a unified diff.

    Edits apply all or not at all. A search text must occur exactly once. A hunk whose lines occur
    more than once applies where its line number says, and nowhere else.

    Raises:
        InvalidAction: there is no edit, or one does not apply, or applies at several places.
    """
    text = plain(action)
    replacements = _blocks(text) or hunks(text)
    if not replacements:
        raise InvalidAction(
            "The action holds no edit. Expected blocks of the form\n<<<<<<< SEARCH\n(lines of the "
            "current kernel)\n=======\n(their replacement)\n>>>>>>> REPLACE\nor a unified diff."
        )
    lines = _Lines(kernel)
    for replacement in replacements:
        lines.replace(replacement)
    result = lines.text()
    if len(result) > LIMIT:
        raise InvalidAction(f"The edited kernel has {len(result)} characters; {LIMIT} are allowed.")
    return result


def _blocks(text: str) -> list[Replacement]:
    """The SEARCH/REPLACE blocks of a text, in order."""
    found: list[Replacement] = []
    inside: list[str] | None = None
    length = 0
    for line in text.split("\n"):
        label = f"SEARCH block {len(found) + 1}"
        head = _SEARCH.fullmatch(line)
        if inside is None:
            if head:
                inside, length = [], len(head[1])
        elif head:
            raise InvalidAction(
                f"{label} has another SEARCH line in it; end it with >>>>>>> REPLACE."
            )
        elif _REPLACE.fullmatch(line):
            found.append(_block(inside, length, label))
            inside = None
        else:
            inside.append(line)
    if inside is not None:
        raise InvalidAction(
            f"SEARCH block {len(found) + 1} is not closed; end it with a line >>>>>>> REPLACE."
        )
    return found


def _block(lines: list[str], length: int, label: str) -> Replacement:
    """A block, divided at the first divider as long as its head, or else at the first one."""
    dividers = [number for number, line in enumerate(lines) if _DIVIDER.fullmatch(line)]
    alike = [number for number in dividers if len(lines[number].rstrip()) == length]
    if not dividers:
        raise InvalidAction(
            f"{label} has no line ======= between the lines it searches and their replacement."
        )
    middle = (alike or dividers)[0]
    return Replacement(tuple(lines[:middle]), tuple(lines[middle + 1 :]), label)


class _Lines:
    """The lines of a kernel while edits are made.

    Beside the lines themselves it holds, for each form in which lines are compared, one text of all
    of them, each between two line ends: finding lines is then finding a text in a text, which
    Python does in linear time.
    """

    def __init__(self, kernel: str) -> None:
        self._lines: list[str] = _LINE.findall(kernel)
        self._forms = [(form, _joined(map(form, self._lines))) for form in (_exact, _loose)]
        self._shift = 0
        """Lines that the edits so far have added."""

    def text(self) -> str:
        """The kernel as it is now."""
        return "".join(self._lines)

    def replace(self, edit: Replacement) -> None:
        """Make one edit.

        Raises:
            InvalidAction: its lines do not occur, or occur several times.
        """
        if not edit.old:
            raise InvalidAction(f"{edit.label} searches for nothing; quote the lines to replace.")
        start = self._place(edit)
        end = start + len(edit.old)
        ending = "\r\n" if self._lines[start].endswith("\r\n") else "\n"
        for number, (form, text) in enumerate(self._forms):
            first = _offset(text, start)
            last = first + sum(len(form(line)) + 1 for line in self._lines[start:end])
            new = "".join(f"{form(line)}\n" for line in edit.new)
            self._forms[number] = (form, text[:first] + new + text[last:])
        self._lines[start:end] = [line + ending for line in edit.new]
        self._shift += len(edit.new) - len(edit.old)

    def _place(self, edit: Replacement) -> int:
        """Index of the first line to replace."""
        for form, text in self._forms:  # white space at line ends is not worth a failure
            places = _places(text, _joined(map(form, edit.old)))
            if places:
                break
        else:
            first = next((line for line in edit.old if line.strip()), "").strip()
            raise InvalidAction(
                f"{edit.label} does not apply: its lines, starting with {first[:200]!r}, are "
                "not in the current kernel. Quote them exactly, indentation included."
            )
        hint = edit.line - 1 + self._shift
        if len(places) > 1 and edit.line and hint >= 0:
            wanted = _joined(map(form, edit.old))
            if text.startswith(wanted, _offset(text, hint) - 1):
                return hint
        if len(places) > 1:
            count = f"{len(places)}" if len(places) <= _SHOWN else f"more than {_SHOWN}"
            numbers = ", ".join(str(place + 1) for place in places[:_SHOWN])
            raise InvalidAction(
                f"{edit.label} applies {count} times (at lines {numbers}); quote more lines so "
                "that it is unique."
            )
        return places[0]


def _exact(line: str) -> str:
    return line.removesuffix("\n").removesuffix("\r")


def _loose(line: str) -> str:
    return line.rstrip(" \t\r\n")


def _joined(lines: Iterable[str]) -> str:
    """Lines as one text in which each stands between two line ends."""
    return "\n" + "".join(f"{line}\n" for line in lines)


def _places(text: str, wanted: str) -> list[int]:
    """Indices of the lines at which some lines begin: the first few."""
    found: list[int] = []
    position = text.find(wanted)
    while position >= 0 and len(found) <= _SHOWN:
        found.append(text.count("\n", 0, position))
        position = text.find(wanted, position + 1)
    return found


def _offset(text: str, line: int) -> int:
    """Where a line begins in a joined text; the text's end if there are fewer.

    The line is searched by halves, each half the size of the last: linear, at the speed of `count`.
    """
    wanted, low, high = line + 1, 0, len(text)
    while high - low > 1:
        middle = (low + high) // 2
        before = text.count("\n", low, middle)
        if before >= wanted:
            high = middle
        else:
            wanted, low = wanted - before, middle
    return low + 1 if wanted == 1 and text[low] == "\n" else len(text)
