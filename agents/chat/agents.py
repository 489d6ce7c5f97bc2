"""Chat agents for `triton-gym run`: `best-of-n:MODEL`, `chat:MODEL` and `grpo:CHECKPOINT`.

All take a model's name after the colon (see `chat_model`; a run folder stands for its last
checkpoint), and `smollm2` without one.
"""

from __future__ import annotations

from typing import Any

from triton_gym.prompt import next_turn, opening

from ..protocol import Environment
from .models import ChatModel, chat_model


class BestOfN:
    """Asks for n independent replies to the task, and submits them one after the other.

    The run's best kernel is the best of n. Replies are asked for together, `ahead` at a time.
    """

    def __init__(
        self,
        env: Environment,
        *,
        seed: int,
        model: str | ChatModel = "smollm2",
        ahead: int = 8,
        **options: Any,
    ) -> None:
        self._model = chat_model(model, **options) if isinstance(model, str) else model
        self._seed = seed
        self._ahead = ahead
        self._asked = 0
        self._replies: list[str] = []
        self._messages: list[dict[str, str]] = []

    def act(self, observation: Any, info: dict[str, Any]) -> Any:
        """The next reply."""
        if not self._messages:
            self._messages = opening(observation)
        if not self._replies:
            asked = [self._messages] * self._ahead
            self._replies = self._model.reply(asked, self._seed + self._asked)[::-1]
            self._asked += self._ahead
        return self._replies.pop()

    def recall(self, observation: Any, info: dict[str, Any], action: Any) -> None:
        """A reply of before the interruption: the next ones get other seeds."""
        if not self._messages:
            self._messages = opening(observation)
        self._asked += 1


class Chat:
    """One conversation an episode: a reply, what became of it, a better reply.

    It is resumed without asking the model again: the conversation is rebuilt from the actions.
    """

    def __init__(
        self,
        env: Environment,
        *,
        seed: int,
        model: str | ChatModel = "smollm2",
        remembered: int = 4,
        **options: Any,
    ) -> None:
        self._model = chat_model(model, **options) if isinstance(model, str) else model
        self._seed = seed
        self._remembered = remembered
        """Replies that stay in the conversation, the latest; the task always does."""
        self._asked = 0
        self._messages: list[dict[str, str]] = []

    def act(self, observation: Any, info: dict[str, Any]) -> Any:
        """The reply to what became of the last one."""
        self._listen(observation, info)
        reply = self._model.reply([self._messages], self._seed + self._asked)[0]
        self._say(reply)
        return reply

    def recall(self, observation: Any, info: dict[str, Any], action: Any) -> None:
        """A turn of before the interruption."""
        self._listen(observation, info)
        self._say(str(action))

    def _listen(self, observation: Any, info: dict[str, Any]) -> None:
        if not self._messages or "status" not in info:  # a reset has no outcome
            self._messages = opening(observation)
            return
        self._messages.append({"role": "user", "content": next_turn(observation)})
        extra = len(self._messages) - 2 - 2 * self._remembered
        if extra > 0:
            del self._messages[2 : 2 + extra + extra % 2]

    def _say(self, reply: str) -> None:
        self._messages.append({"role": "assistant", "content": reply})
        self._asked += 1
