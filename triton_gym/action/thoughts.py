"""What a language model says beside its answer: thoughts in tags, and end-of-turn marks."""

from __future__ import annotations

import re

_NAME = r"(?:think|thinking|thought|reasoning)"
_TAG = re.compile(
    rf"^[ \t]*(?P<open><{_NAME}>|\[THINK\])"
    rf"|(?P<first>^[ \t]*)?(?:</{_NAME}>|\[/THINK\])(?P<last>(?=[ \t]*$))?",
    re.IGNORECASE | re.MULTILINE,
)
_MARK = re.compile(
    r"(?:<\|(?:im_end|endoftext|eot_id|eom_id|end|return)\|>|</s>|<end_of_turn>"
    r"|<｜end▁of▁sentence｜>)[ \t]*$",
    re.MULTILINE,
)


def without_thoughts(reply: str) -> str:
    """A reply without its thoughts, and without what follows an end-of-turn mark.

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
    mark = _MARK.search(text)
    return text if mark is None else text[: mark.start()]
