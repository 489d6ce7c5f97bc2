"""Fenced code blocks of a reply, as CommonMark has them (https://spec.commonmark.org, §4.5)."""

from __future__ import annotations

import re
from dataclasses import dataclass

_OPENING = re.compile(r"([ \t]*(?:(?:[-*+]|\d{1,9}[.)])[ \t]+)?)(`{3,}|~{3,})([^\n]*)")
"""Indentation or the mark of a list's item, the fence, what stands behind it."""


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block."""

    language: str
    """The first word behind the opening fence, in lower case: `python`, `diff`, or nothing."""
    text: str
    line: int
    """Of the opening fence, counted from 1."""


@dataclass(frozen=True, slots=True)
class Fenced:
    """A text taken apart."""

    blocks: tuple[Block, ...]
    outside: str
    """The text without its blocks; whatever follows a fence that is not closed is left out."""
    unclosed: int
    """Line of a fence that is not closed; 0 if all are."""


def fenced(text: str) -> Fenced:
    """The fenced blocks of a text whose lines end with `\\n`.

    A closing fence is as long as its opening one or longer, of the same character, alone on its
    line, and not indented deeper: a fence in an indented docstring closes nothing. If a block would
    stay open by that rule alone, closing fences may be indented.
    """
    found = _scan(text, deeper=False)
    return _scan(text, deeper=True) if found.unclosed else found


def _scan(text: str, *, deeper: bool) -> Fenced:
    blocks: list[Block] = []
    outside: list[str] = []
    inside: list[str] = []
    opened, indent, fence, language = 0, 0, "", ""
    for number, line in enumerate(text.split("\n"), start=1):
        if not opened:
            opening = _OPENING.match(line)
            if opening is None or (opening[2][0] == "`" and "`" in opening[3]):
                outside.append(line)
                continue
            opened, indent, fence = number, len(opening[1]), opening[2]
            language = opening[3].strip(" \t{.").partition(" ")[0].rstrip("}").lower()
            inside = []
            continue
        bare = line.strip(" \t")
        if len(bare) >= len(fence) and not bare.strip(fence[0]):
            if deeper or len(line) - len(line.lstrip(" \t")) <= indent:
                content = "".join(f"{inner}\n" for inner in inside)
                blocks.append(Block(language, content, opened))
                opened = 0
                continue
        inside.append(_dedented(line, indent))
    return Fenced(tuple(blocks), "\n".join(outside), opened)


def _dedented(line: str, width: int) -> str:
    """A line without the indentation of its block's fence, as far as it has that."""
    return line[min(width, len(line) - len(line.lstrip(" \t"))) :] if width else line
