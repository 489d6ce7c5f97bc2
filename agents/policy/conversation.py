"""From chat messages to tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from triton_gym.errors import InvalidOptionError

Message = Mapping[str, str]
"""`role` (`system`, `user` or `assistant`) and `content`."""


def render(tokenizer: Any, messages: Sequence[Message], *, reply: bool) -> str:
    """The text of a conversation, as the tokenizer's chat template writes it.

    A template that refuses system messages gets the system's text before the user's first.

    Args:
        tokenizer: has a chat template.
        messages: of the conversation.
        reply: end where the assistant is to go on.

    Raises:
        InvalidOptionError: the template does not take these messages.
    """
    tried = [list(messages)]
    if messages and messages[0]["role"] == "system" and len(messages) > 1:
        first = messages[1]
        joined = {**first, "content": f"{messages[0]['content']}\n\n{first['content']}"}
        tried.append([joined, *messages[2:]])
    problem: Exception | None = None
    for attempt in tried:
        try:
            return str(
                tokenizer.apply_chat_template(attempt, tokenize=False, add_generation_prompt=reply)
            )
        except Exception as error:  # jinja2's own, whatever the template raises
            problem = problem or error
    raise InvalidOptionError(f"The chat template refuses the conversation: {problem}") from problem


def prompt_tokens(tokenizer: Any, messages: Sequence[Message], room: int) -> list[int] | None:
    """The tokens that a reply follows, at most `room` of them.

    Of a conversation that is too long, the oldest exchanges after the first message are left out:
    the task and the latest reply with its feedback stay. None if even that does not fit.
    """
    kept = list(messages)
    opening = next((i for i, m in enumerate(kept) if m["role"] == "user"), -1) + 1
    while True:
        text = render(tokenizer, kept, reply=True)
        tokens: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
        if len(tokens) <= room:
            return tokens
        if len(kept) - opening < 4:  # one exchange, or none, is left
            return None
        del kept[opening : opening + 2]
