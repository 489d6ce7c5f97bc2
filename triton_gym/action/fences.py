"""Fenced code blocks of a reply, as CommonMark has them (https://spec.commonmark.org, §4.5)."""

from __future__ import annotations

import re
from dataclasses import dataclass

_OPENING = re.compile(r"([ \t]*(?:(?:[-*+]|\d{1,9}[.)])[ \t]+)?)(`{3,}|~{3,})([^\n]*)")
"""Indentation or the mark of a list's item, the fence, what stands behind it."""

_PROSE = re.compile(r"[ \t]*(?:python3?|py|triton|diff)[ \t]*", re.IGNORECASE)


_OPENS = re.compile(r"(?:`{3,}|~{3,})[ \t]*[\w+{.-]+[ \t]*\Z")
"""A fence and one word, which names a language."""


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
    closing: str = ""
    """The line that would close it."""


def fenced(text: str) -> Fenced:
    """The fenced blocks of a text whose lines end with `\\n`.

    A closing fence is as long as its opening one or longer, of the same character, alone on its
    line, and not indented deeper: a fence in an indented docstring closes nothing. If a block would
    stay open by these rules alone, models' own are tried: a closing fence may be indented, stand
    behind the last line of code or before more prose, and ```` ```python ```` opens a block behind
    prose.
    """
    found = _scan(text, strict=True)
    if not found.unclosed:
        return found
    lenient = _scan(text, strict=False)
    return found if lenient.unclosed else lenient


def _scan(text: str, *, strict: bool) -> Fenced:
    blocks: list[Block] = []
    outside: list[str] = []
    inside: list[str] = []
    opened, indent, fence, language = 0, 0, "", ""
    for number, line in enumerate(text.split("\n"), start=1):
        if not opened:
            opening = _OPENING.match(line) or (None if strict else _behind_prose(line))
            if opening is None or (opening[2][0] == "`" and "`" in opening[3]):
                outside.append(line)
                continue
            opened, indent, fence = number, len(opening[1]), opening[2]
            language = opening[3].strip(" \t{.").partition(" ")[0].rstrip("}").lower()
            inside = []
            continue
        code = _before_closing(line, fence, indent, strict=strict)
        if code is None:
            inside.append(_dedented(line, indent))
            continue
        inside += [_dedented(code, indent)] if code else []
        blocks.append(Block(language, "".join(f"{inner}\n" for inner in inside), opened))
        opened = 0
    return Fenced(tuple(blocks), "\n".join(outside), opened, fence if opened else "")


def _before_closing(line: str, fence: str, indent: int, *, strict: bool) -> str | None:
    """What stands before the closing fence of a line; None if it has none."""
    bare = line.rstrip(" \t")
    code = bare.rstrip(fence[0])
    if len(bare) - len(code) < len(fence):
        more = line.startswith(fence) and not _OPENS.match(line)
        return "" if more and not strict else None
    if not strict:
        return code if code.strip() else ""
    return "" if not code.strip() and len(code) <= indent else None


def _behind_prose(line: str) -> re.Match[str] | None:
    """An opening fence behind prose, if it names a language that says what it is."""
    at = line.find("```")
    found = _OPENING.match(line, at) if at >= 0 else None
    return found if found and _PROSE.fullmatch(found[3]) else None


def _dedented(line: str, width: int) -> str:
    """A line without the indentation of its block's fence, as far as it has that."""
    return line[min(width, len(line) - len(line.lstrip(" \t"))) :] if width else line
