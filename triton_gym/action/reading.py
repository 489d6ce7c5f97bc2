"""From a reply to a source: `extract`."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from triton_gym.action.edits import edited
from triton_gym.action.fences import Block, fenced
from triton_gym.action.text import LIMIT, REPLY_LIMIT, InvalidAction, plain

if TYPE_CHECKING:
    from triton_gym.task import Task

__all__ = ["LIMIT", "MODES", "REPLY_LIMIT", "InvalidAction", "extract", "kernel_from"]

MODES = ("kernel", "edit")
_PYTHON = frozenset({"", "python", "python3", "py", "triton"})
"""Languages of a block that may hold a kernel where nothing else tells which block does."""

_PAGES = frozenset({"markdown", "md"})
"""Languages of a block that holds a whole reply, with blocks of its own."""
_DEEPEST = 3


def extract(reply: str, task: Task | str | None = None, *, current: str | None = None) -> str:
    """The source that a reply stands for. The one way from a reply to a source.

    A reply is a Python module, alone or in a fenced code block with prose around it; with
    `current` it is SEARCH/REPLACE blocks or a unified diff against that kernel. Thoughts
    (`<think>…</think>`), end-of-turn marks, a byte order mark and carriage returns are dropped. Of
    several blocks the one that defines the task's entry point is taken.

    Args:
        reply: of a model or a person, at most `REPLY_LIMIT` characters.
        task: what the answer is for, or the name of the function or class it has to define.
            Without one, a reply with several Python blocks is refused.
        current: the kernel that the reply is an edit of.

    Returns:
        The module's source, at most `LIMIT` characters. It is not parsed here.

    Raises:
        InvalidAction: the reply holds no source, or it is not clear which; the message says why.
    """
    if current is not None:
        return edited(current, reply)
    return kernel_from(reply, task if isinstance(task, str) else task.entry.name if task else "")


def kernel_from(action: str, entry: str = "") -> str:
    """The module in an action: a fenced block of a reply, or the whole text.

    Args:
        action: the reply.
        entry: name of the function or class that the module has to define, if it is known.

    Raises:
        InvalidAction: the action is empty, too long, or does not say which block holds the module.
    """
    text = plain(action)
    found = fenced(text)
    if entry and not any(_defines(block.text, entry) for block in found.blocks):
        # A module may quote fences in its own docstrings and comments.
        if _defines(found.outside, entry) or not (found.blocks or found.unclosed):
            return text.lstrip("\ufeff")
    if not found.blocks:
        if found.unclosed:
            raise InvalidAction(
                "The fenced code block is not closed; end it with a line of ``` (it begins at line "
                f"{found.unclosed})."
            )
        return text.lstrip("\ufeff")
    # Copied text may hold a byte order mark, and thoughts or a fence may precede it.
    return _chosen(found.blocks, entry).lstrip("\ufeff")


def _chosen(blocks: tuple[Block, ...], entry: str, depth: int = 0) -> str:
    """The block that holds the module."""
    filled = [block for block in blocks if block.text.strip()]
    if not filled:
        raise InvalidAction("The fenced code block is empty.")
    making = [block for block in filled if entry and _makes(block.text, entry)]
    defining = making or [block for block in filled if entry and _imports(block.text, entry)]
    likely = defining or [block for block in filled if block.language in _PYTHON] or filled
    if len({block.text.strip() for block in likely}) > 1:
        lines = ", ".join(str(block.line) for block in likely[:5])
        which = f", {len(defining) or 'none'} of which define `{entry}`" if entry else ""
        raise InvalidAction(
            f"The reply holds {len(filled)} fenced code blocks{which} (at lines {lines}); exactly "
            "one is expected, with the whole module in it."
        )
    if likely[0].language in _PAGES and (inner := _inner(likely[0].text)):
        return _chosen(inner, entry, depth + 1) if depth < _DEEPEST else likely[0].text
    return likely[0].text


def _inner(page: str) -> tuple[Block, ...]:
    """The blocks of a page; the page's own fence may have been as short as that of its last block,
    which then closed both."""
    found = fenced(page)
    return fenced(f"{page}{found.closing}\n").blocks if found.unclosed else found.blocks


def _defines(text: str, entry: str) -> bool:
    """Whether a module's text binds a name: it defines or assigns it, or imports it."""
    return _makes(text, entry) or _imports(text, entry)


def _makes(text: str, entry: str) -> bool:
    """Whether a text defines or assigns a name."""
    name = re.escape(entry)
    return bool(
        re.search(rf"^[ \t]*(?:async[ \t]+def|def|class)[ \t]+{name}\b", text, re.MULTILINE)
        or re.search(rf"^{name}[ \t]*(?::[^=\n]*)?=(?!=)", text, re.MULTILINE)
    )


def _imports(text: str, entry: str) -> bool:
    """Whether a text imports a name, as an example of its use does too."""
    return any(
        line.startswith(("from ", "import ")) and entry in re.findall(r"\w+", line)
        for line in text.split("\n")
        if entry in line
    )
