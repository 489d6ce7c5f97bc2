"""What a language model says beside its answer: thoughts in tags, and end-of-turn marks."""

from __future__ import annotations

import re

_NAME = r"(?:\w{1,20}:)?(?:think|thinking|thoughts?|reasoning|reflection|analysis|scratchpad)"
_TAG = re.compile(
    rf"^[ \t]*(?P<open><{_NAME}>|\[THINK\]|<\|begin_of_thought\|>)"
    rf"|(?P<first>^[ \t]*)?(?:</{_NAME}>|\[/THINK\]|<\|end_of_thought\|>)(?P<last>(?=[ \t]*$))?",
    re.IGNORECASE | re.MULTILINE,
)
_CHANNELS = ("<|channel|>", "<|start|>")
"""How a reply of several channels begins (OpenAI's harmony format), of which the last is final."""
_FINAL = re.compile(r"<\|channel\|>final[^<\n]{0,80}<\|message\|>")
_ANSWER = re.compile(r"\s*(?:<(answer|solution)>|<\|begin_of_(solution)\|>)", re.IGNORECASE)
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
    if reply.lstrip().startswith(_CHANNELS):
        final = list(_FINAL.finditer(reply))
        reply = reply[final[-1].end() :] if final else ""
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
    return _unwrapped(_without_ends(text if following is None else text[: following.start()]))


def _unwrapped(text: str) -> str:
    """A text without the tags of an answer that it begins with; no module begins like that."""
    opening = _ANSWER.match(text)
    if opening is None:
        return text
    name = (opening[1] or opening[2]).lower()
    closing = f"<|end_of_{name}|>" if opening[2] else f"</{name}>"
    end = text.lower().rfind(closing) if len(text.lower()) == len(text) else text.rfind(closing)
    return text[opening.end() :] if end < 0 else text[opening.end() : end]


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
