"""Unified diffs as language models write them.

Models miscount, so the numbers of a hunk's head are believed only where they fit its lines.
"""

from __future__ import annotations

import re

from triton_gym.action.fences import fenced
from triton_gym.action.replacement import Replacement
from triton_gym.action.text import InvalidAction

_HEAD = re.compile(r"@@(?: -(\d{1,9})(?:,(\d{1,9}))? \+\d{1,9}(?:,(\d{1,9}))?(?: @@)?)?")
_NAMES = ("diff ", "index ", "new file ", "deleted file ")
"""How lines between hunks begin that are neither content nor `---` and `+++`."""


def hunks(text: str) -> list[Replacement]:
    """The hunks of a unified diff, from the reply's fenced blocks if they begin there.

    Raises:
        InvalidAction: a line of a hunk is none of a diff.
    """
    found = fenced(text)
    blocks = [block.text for block in found.blocks if _heads(block.text.split("\n"))]
    # A fence among a bare diff's own lines begins no block.
    bare = not blocks or _heads(found.outside.split("\n"))
    lines = (text if bare else "".join(blocks)).split("\n")
    heads = _heads(lines)
    ends = [*heads, len(lines)][1:]
    return [
        _hunk(lines[head], lines[head + 1 : end], number, last=end == len(lines))
        for number, (head, end) in enumerate(zip(heads, ends, strict=True), start=1)
    ]


def _heads(lines: list[str]) -> list[int]:
    return [number for number, line in enumerate(lines) if line.startswith("@@")]


def _hunk(head: str, lines: list[str], number: int, *, last: bool) -> Replacement:
    label = f"Hunk {number} of the diff"
    found = _HEAD.match(head)
    sides = None
    if found and found[1]:
        sides = _counted(lines, int(found[2] or 1), int(found[3] or 1), last=last)
    old, new = sides or _uncounted(lines, label, last=last)
    return Replacement(old, new, label, int(found[1]) if found and found[1] else 0)


def _counted(
    lines: list[str], olds: int, news: int, *, last: bool
) -> tuple[tuple[str, ...], tuple[str, ...]] | None:
    """Both sides of a hunk whose counts fit its lines; None if they do not."""
    old: list[str] = []
    new: list[str] = []
    end = 0
    for end, line in enumerate(lines):  # noqa: B007
        if len(old) >= olds and len(new) >= news:
            break
        if line[:1] in ("", " ", "-"):
            old.append(line[1:])
        if line[:1] in ("", " ", "+"):
            new.append(line[1:])
        if line[:1] not in ("", " ", "-", "+", "\\"):
            return None
    else:
        end = len(lines)
    rest = [line for line in lines[end:] if line.strip() and line[0] != "\\"]
    if (len(old), len(new)) != (olds, news):
        return None
    if rest and rest[0][0] in " -+" and not (not last and _names_files(rest, 0)):
        return None
    return tuple(old), tuple(new)


def _uncounted(
    lines: list[str], label: str, *, last: bool
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Both sides of a hunk, from the marks of its lines alone."""
    old: list[str] = []
    new: list[str] = []
    filled = [line for line in lines if line.strip()]
    names = 0 if last or not _names_files(filled, max(0, len(filled) - 2)) else 2
    left = len(filled) - names
    for line in lines:
        left -= bool(line.strip())
        if left < 0 or line.startswith(("```", "~~~")):
            break
        mark, rest = line[:1], line[1:]
        if line.startswith(_NAMES) or mark == "\\":
            continue
        if mark not in ("", " ", "-", "+"):
            raise InvalidAction(
                f"{label} has the line {line[:200]!r}, which starts with neither a space nor + "
                "nor -."
            )
        if mark != "+":
            old.append(rest)
        if mark != "-":
            new.append(rest)
    while old and new and not old[-1] and not new[-1]:  # blank lines after the diff
        old.pop()
        new.pop()
    return tuple(old), tuple(new)


def _names_files(lines: list[str], start: int) -> bool:
    """Whether two lines name the files of the hunk that follows."""
    pair = [line for line in lines[start:] if not line.startswith(_NAMES)][:2]
    return len(pair) == 2 and pair[0].startswith("--- ") and pair[1].startswith("+++ ")
