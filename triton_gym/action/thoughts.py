"""What a language model says beside its answer: thoughts in tags, and end-of-turn marks."""

from __future__ import annotations

import re

_NAME = r"(?:think|thinking|thought|reasoning)"
_TAG = re.compile(
    rf"^[ \t]*(?P<open><{_NAME}>|\[THINK\])"
    rf"|(?P<first>^[ \t]*)?(?:</{_NAME}>|\[/THINK\])(?P<last>(?=[ \t]*$))?",
    re.IGNORECASE | re.MULTILINE,
)
_ENDS = ("<|im_end|>", "<|endoftext|>", "<|eot_id|>", "<|eom_id|>", "<|end|>", "<|return|>", "</s>",
         "<end_of_turn>", "<｜end▁of▁sentence｜>")  # fmt: skip
"""Marks that end a turn. Code may quote them: they count where the text or the turn ends."""
_NEXT_TURN = re.compile(
    f"(?:{'|'.join(map(re.escape, _ENDS))})\\s*"
    r"(?:<\|im_start\|>|<\|start_header_id\|>|<\|start\|>|<start_of_turn>)"
)


def without_thoughts(reply: str) -> str:
    """A reply without its thoughts and its end-of-turn marks, and without turns that follow.

    A thought begins with a tag at the start of a line. Chat templates often write that tag
    themselves, so the first closing tag also ends a thought that the reply does not begin, if a
    line begins or ends with it: code that merely quotes a tag is left alone. A thought that was cut
    off before its end leaves nothing of what follows it.
    """
    kept: list[str] = []
    position, thinking, seen = 0, False, False
    for tag in _TAG.finditer(reply):
        if tag["open"]:
            if not thinking:
                kept.append(reply[position : tag.start()])
                thinking = seen = True
            continue
        if thinking or (not seen and (tag["first"] is not None or tag["last"] is not None)):
            kept += ["\n"] if thinking and any(kept) else []
            position, thinking, seen = tag.end(), False, True
    if not thinking:
        kept.append(reply[position:])
    text = "".join(kept)
    following = _NEXT_TURN.search(text)
    return _without_ends(text if following is None else text[: following.start()])


def _without_ends(text: str) -> str:
    """A text without the marks that it ends with."""
    end = len(text)
    while True:
        while end and text[end - 1].isspace():
            end -= 1
        mark = next((mark for mark in _ENDS if text.endswith(mark, 0, end)), "")
        if not mark:
            return text if end == len(text.rstrip()) else text[:end]
        end -= len(mark)
