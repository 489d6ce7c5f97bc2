"""Actions: from what an agent says to the source of a kernel.

Under `kernel` an action is a full module, or a reply with exactly one fenced code block. Under
`edit` it is SEARCH/REPLACE blocks or a unified diff against the current kernel.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

LIMIT = 60_000
"""Longest action, and longest kernel, in characters."""
MODES = ("kernel", "edit")

_FENCE = re.compile(r"^[ \t]*(```+|~~~+)[^\n`]*\n(.*?)^[ \t]*\1[ \t]*$", re.DOTALL | re.MULTILINE)
_BLOCK = re.compile(
    r"^<{5,}[ \t]*SEARCH[ \t]*\n(.*?)^={5,}[ \t]*\n(.*?)^>{5,}[ \t]*REPLACE[ \t]*$",
    re.DOTALL | re.MULTILINE,
)
_HUNK = re.compile(r"^@@ -(\d+)(?:,\d+)? \+\d+(?:,\d+)? @@.*$", re.MULTILINE)


class InvalidAction(ValueError):
    """No kernel can be read from an action. Becomes an outcome, never reaches the caller."""


def kernel_from(action: str) -> str:
    """The module in an action: the one fenced block of a reply, or the whole text.

    Raises:
        InvalidAction: the action is empty, too long, or holds more than one block.
    """
    text = _plain(action)
    blocks = [match[2] for match in _FENCE.finditer(text)]
    if len(blocks) > 1:
        raise InvalidAction(
            f"The reply holds {len(blocks)} fenced code blocks; exactly one is expected, with the "
            "whole module in it."
        )
    if blocks:
        if not blocks[0].strip():
            raise InvalidAction("The fenced code block is empty.")
        return blocks[0]
    if re.search(r"^[ \t]*```", text, re.MULTILINE):
        raise InvalidAction("The fenced code block is not closed; end it with a line of ```.")
    return text


def edited(kernel: str, action: str) -> str:
    """The kernel after the edits of an action: SEARCH/REPLACE blocks or a unified diff.

    Edits apply all or not at all. A search text must occur exactly once. A hunk whose lines occur
    more than once applies where its line number says, and nowhere else.

    Raises:
        InvalidAction: there is no edit, or one does not apply, or applies at several places.
    """
    text = _plain(action)
    blocks = list(_BLOCK.finditer(text))
    if blocks:
        edits = [_Edit(match[1], match[2], f"SEARCH block {i}") for i, match in _numbered(blocks)]
    elif _HUNK.search(text):
        edits = _hunks(text)
    else:
        raise InvalidAction(
            "The action holds no edit. Expected blocks of the form\n<<<<<<< SEARCH\n(lines of the "
            "current kernel)\n=======\n(their replacement)\n>>>>>>> REPLACE\nor a unified diff."
        )
    for edit in edits:
        kernel = edit.apply(kernel)
    if len(kernel) > LIMIT:
        raise InvalidAction(f"The edited kernel has {len(kernel)} characters; {LIMIT} are allowed.")
    return kernel


@dataclass(frozen=True, slots=True)
class _Edit:
    """One replacement of whole lines."""

    search: str
    replace: str
    label: str
    line: int = 0
    """Where the lines should stand, counted from 1; 0 if the edit does not say."""

    def apply(self, kernel: str) -> str:
        if not self.search.strip():
            raise InvalidAction(f"{self.label} searches for nothing; quote the lines to replace.")
        lines, old = kernel.splitlines(), self.search.splitlines()
        for strip in (str, str.rstrip):  # white space at line ends is not worth a failure
            have, want = [strip(x) for x in lines], [strip(x) for x in old]
            places = [
                i for i in range(len(have) - len(want) + 1) if have[i : i + len(want)] == want
            ]
            if places:
                break
        if not places:
            raise InvalidAction(
                f"{self.label} does not apply: its lines, starting with {old[0].strip()!r}, are "
                "not in the current kernel. Quote them exactly, indentation included."
            )
        if self.line - 1 in places:
            places = [self.line - 1]
        if len(places) > 1:
            numbers = ", ".join(str(i + 1) for i in places[:5])
            raise InvalidAction(
                f"{self.label} applies {len(places)} times (at lines {numbers}); quote more lines "
                "so that it is unique."
            )
        start = places[0]
        lines[start : start + len(old)] = self.replace.splitlines()
        return "\n".join(lines) + "\n"


def _plain(action: str) -> str:
    if not isinstance(action, str):
        raise InvalidAction(f"An action must be text; got {type(action).__name__}.")
    if not action.strip():
        raise InvalidAction("The action is empty.")
    if len(action) > LIMIT:
        raise InvalidAction(
            f"The action has {len(action)} characters; at most {LIMIT} are allowed."
        )
    if "\0" in action:
        raise InvalidAction("The action contains null bytes.")
    return action.replace("\r\n", "\n")


def _numbered(blocks: list[re.Match[str]]) -> list[tuple[int, re.Match[str]]]:
    return list(enumerate(blocks, start=1))


def _hunks(text: str) -> list[_Edit]:
    """The hunks of a unified diff. Line numbers are not trusted, since models miscount."""
    edits: list[_Edit] = []
    heads = list(_HUNK.finditer(text))
    for number, head in enumerate(heads):
        end = heads[number + 1].start() if number + 1 < len(heads) else len(text)
        old: list[str] = []
        new: list[str] = []
        for line in text[head.end() + 1 : end].splitlines():
            mark, rest = line[:1], line[1:]
            if line.startswith(("--- ", "+++ ", "diff ", "index ")) or mark == "\\":
                continue
            if line.startswith("```"):
                break
            if mark in (" ", "-", ""):
                old.append(rest)
            if mark in (" ", "+", ""):
                new.append(rest)
            if mark not in (" ", "-", "+", ""):
                raise InvalidAction(
                    f"Hunk {number + 1} of the diff has the line {line!r}, which starts with "
                    "neither a space nor + nor -."
                )
        while old and new and not old[-1] and not new[-1]:  # blank lines after the diff
            old.pop()
            new.pop()
        edits.append(
            _Edit("\n".join(old), "\n".join(new), f"Hunk {number + 1} of the diff", int(head[1]))
        )
    return edits
