"""From two versions of a kernel to the SEARCH/REPLACE blocks that lead from one to the other."""

from __future__ import annotations

import difflib

from triton_gym.action import InvalidAction, edited


def edit_between(current: str, wanted: str) -> str:
    """An `action_mode="edit"` action that turns `current` into `wanted`.

    Each block quotes as many lines as it takes to be unique. Where the blocks would disturb each
    other, one block replaces the whole kernel.
    """
    old, new = _lines(current), _lines(wanted)
    blocks = []
    for tag, i1, i2, j1, j2 in difflib.SequenceMatcher(
        None, old, new, autojunk=False
    ).get_opcodes():
        if tag != "equal":
            before, after = _context(old, i1, i2)
            search = old[i1 - before : i2 + after]
            replace = [*old[i1 - before : i1], *new[j1:j2], *old[i2 : i2 + after]]
            blocks.append(_block(search, replace))
    if not blocks:  # an edit must change something; this one changes a line into itself
        line = next(i for i, text in enumerate(old) if text.strip())
        before, after = _context(old, line, line + 1)
        quoted = old[line - before : line + 1 + after]
        return _block(quoted, quoted)
    action = "".join(blocks)
    try:
        if _lines(edited(current, action)) == new:
            return action
    except InvalidAction:
        pass
    return _block(old, new)


def _lines(kernel: str) -> list[str]:
    """A kernel's lines without their ends, as edits count them."""
    lines = kernel.replace("\r\n", "\n").split("\n")
    return lines if lines[-1] else lines[:-1]


def _context(old: list[str], start: int, end: int) -> tuple[int, int]:
    """Lines before and after `old[start:end]` that make the quotation unique and not blank."""
    before = after = 0
    lines = [line.rstrip() for line in old]
    while start - before > 0 or end + after < len(old):
        quoted = lines[start - before : end + after]
        places = sum(
            lines[i : i + len(quoted)] == quoted for i in range(len(lines) - len(quoted) + 1)
        )
        if places == 1 and any(quoted):
            break
        if start - before > 0:
            before += 1
        if end + after < len(old):
            after += 1
    return before, after


def _block(search: list[str], replace: list[str]) -> str:
    parts = ["<<<<<<< SEARCH", *search, "=======", *replace, ">>>>>>> REPLACE"]
    return "\n".join(parts) + "\n"
