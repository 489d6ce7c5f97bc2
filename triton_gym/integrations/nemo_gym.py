"""NeMo-Gym (0.7): the two calls of a Gymnasium-style resource server.

NeMo-Gym needs Python 3.13 and is not imported here: `KernelResource` has the calls that its
`GymnasiumServer` expects, `reset(metadata, session_id)` and `step(response, metadata, session_id)`,
and a server is a class of theirs beside ours:

    class TritonKernels(KernelResource, GymnasiumServer): ...

It is tested against that protocol alone, not inside NeMo-Gym.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import Any

from triton_gym.errors import InvalidOptionError
from triton_gym.integrations.conversation import Conversation

SESSIONS = 4096
"""Episodes that are kept; one that is never ended gives way to newer ones."""


class KernelResource:
    """Episodes by session.

    Attributes:
        kernel_options: of `KernelEnv`; a row's metadata may say `task` and `seed`.
    """

    kernel_options: dict[str, Any] = {}  # noqa: RUF012

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._episodes: OrderedDict[str, Conversation] = OrderedDict()

    async def reset(
        self, metadata: dict[str, Any], session_id: str | None = None
    ) -> tuple[str, dict[str, Any]]:
        """Begin a session's episode, in place of any that it has: its first message, and what it
        is about.

        Raises:
            InvalidOptionError: the metadata names no task, or an unknown one.
        """
        if "task" not in metadata:
            raise InvalidOptionError("metadata must name the task, e.g. {'task': 'softmax'}.")
        # In a thread: the first episode starts the device's judges.
        episode = await asyncio.to_thread(Conversation, metadata["task"], **self.kernel_options)
        opened = await asyncio.to_thread(episode.open, metadata.get("seed"))
        if before := self._episodes.pop(session_id or "", None):
            before.close()
        self._episodes[session_id or ""] = episode
        if len(self._episodes) > SESSIONS:
            self._episodes.popitem(last=False)[1].close()
        return opened[-1]["content"], {"task": episode.task.name, "system": opened[0]["content"]}

    async def step(
        self, response: Any, metadata: dict[str, Any], session_id: str | None = None
    ) -> tuple[str, float, bool, bool, dict[str, Any]]:
        """Evaluate a session's reply: observation, reward, terminated, truncated, info.

        Raises:
            InvalidOptionError: the session has no episode.
        """
        key = session_id or ""
        if key not in self._episodes:
            raise InvalidOptionError(f"Session {session_id!r} has no episode; reset comes first.")
        episode = self._episodes[key]
        turn = await episode.areply(text_of(response))
        if turn.done and self._episodes.get(key) is episode:  # unless the session began anew
            self._episodes.pop(key).close()
        return turn.message, turn.reward, False, turn.done, turn.info


def text_of(response: Any) -> str:
    """The text of a response: a string, a chat message, or a Responses API object or dict."""
    if isinstance(response, str):
        return response
    plain = response if isinstance(response, dict) else getattr(response, "__dict__", {})
    if "output_text" in plain:
        return str(plain["output_text"])
    texts: list[str] = []
    for item in plain.get("output") or []:
        inner = item if isinstance(item, dict) else getattr(item, "__dict__", {})
        for part in inner.get("content") or []:
            held = part if isinstance(part, dict) else getattr(part, "__dict__", {})
            texts.append(str(held.get("text") or ""))
    return "".join(texts) or str(plain.get("content") or "")
