"""What every action is first of all: a text of bounded length, as plain lines."""

from __future__ import annotations

from triton_gym.action.thoughts import without_thoughts

LIMIT = 60_000
"""Longest kernel, and longest reply without its thoughts, in characters."""
REPLY_LIMIT = 1_000_000
"""Longest reply with its thoughts, in characters."""


class InvalidAction(ValueError):
    """No kernel can be read from an action. Becomes an outcome, never reaches the caller."""


def plain(action: object) -> str:
    """The text of an action: without thoughts and a byte order mark, its lines ended by `\\n`.

    Raises:
        InvalidAction: the action is no text, empty, too long, or holds null bytes or lone
            surrogates.
    """
    if not isinstance(action, str):
        raise InvalidAction(f"An action must be text; got {type(action).__name__}.")
    if len(action) > REPLY_LIMIT:
        raise InvalidAction(
            f"The reply has {len(action)} characters; at most {REPLY_LIMIT} are allowed."
        )
    text = action.removeprefix("\ufeff").replace("\r\n", "\n")
    if not text.strip():
        raise InvalidAction("The action is empty.")
    text = without_thoughts(text)
    if not text.strip():
        raise InvalidAction("The reply holds nothing but thoughts; the code must follow them.")
    if len(text) > LIMIT:
        raise InvalidAction(f"The action has {len(text)} characters; at most {LIMIT} are allowed.")
    if "\0" in text:
        raise InvalidAction("The action contains null bytes.")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InvalidAction(
            f"The action holds the lone surrogate {text[error.start]!r}, which is no character."
        ) from None
    return text
