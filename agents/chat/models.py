"""Where replies come from: a model in this process, or an OpenAI-compatible endpoint."""

from __future__ import annotations

import json
import os
import queue
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from triton_gym.errors import InvalidOptionError, RunError

Message = Mapping[str, str]
_RETRIED = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})
"""HTTP answers that may be different the next time."""


class ChatModel(Protocol):
    """Replies to conversations."""

    def reply(self, conversations: Sequence[Sequence[Message]], seed: int) -> list[str]:
        """The assistant's next message in each; empty where the model said nothing."""


def stream(
    model: ChatModel, conversations: Sequence[Sequence[Message]], seeds: Sequence[int]
) -> Iterator[tuple[int, str]]:
    """Replies as they are there: a conversation's number, and the assistant's next message.

    Args:
        model: one without a method `stream` of this kind gives all replies at once.
        conversations: what is replied to.
        seeds: one for each.
    """
    if not conversations:
        return
    if hasattr(model, "stream"):
        yield from model.stream(conversations, seeds)
    else:
        yield from enumerate(model.reply(conversations, seeds[0]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """An endpoint that speaks OpenAI's chat completions: vLLM, SGLang, Ollama, hosted models."""

    url: str
    """Up to and with `/v1`."""
    model: str
    """Name of the model at the endpoint."""
    key: str = ""
    """Sent as a bearer token; `$OPENAI_API_KEY` unless given."""
    temperature: float = 1.0
    longest: int = 4096
    """`max_tokens` of a reply."""
    timeout_s: float = 300.0
    """For one request."""
    tries: int = 5
    """Requests before giving up; the pause doubles from one second, at most a minute."""
    pause_s: float = 1.0
    """The first pause."""
    parallel: int = 8
    """Requests at the same time."""

    def __post_init__(self) -> None:
        if not self.url.startswith(("http://", "https://")):
            raise InvalidOptionError(
                f"An endpoint's url starts with http:// or https://; got {self.url!r}."
            )
        if self.tries < 1 or self.parallel < 1 or self.timeout_s <= 0:
            raise InvalidOptionError(
                "An endpoint's tries and parallel must be 1 or more and timeout_s above 0; got "
                f"{self.tries}, {self.parallel} and {self.timeout_s}."
            )

    def reply(self, conversations: Sequence[Sequence[Message]], seed: int) -> list[str]:
        """The assistant's next message in each, asked for in parallel.

        Raises:
            RunError: a request failed however often it was tried.
        """
        seeds = range(seed, seed + len(conversations))
        found = dict(self.stream(conversations, seeds))
        return [found[number] for number in range(len(conversations))]

    def stream(
        self, conversations: Sequence[Sequence[Message]], seeds: Sequence[int]
    ) -> Iterator[tuple[int, str]]:
        """The same, as they arrive, with a seed for each.

        Who stops reading is not kept waiting for requests that are under way: their threads end
        with the program.
        """
        left = queue.SimpleQueue[int]()
        for number in range(len(conversations)):
            left.put(number)
        arrived = queue.SimpleQueue[tuple[int, str | BaseException]]()
        stop = threading.Event()

        def ask() -> None:
            while not stop.is_set():
                try:
                    number = left.get_nowait()
                except queue.Empty:
                    return
                try:
                    arrived.put((number, self._one(conversations[number], seeds[number])))
                except BaseException as error:
                    arrived.put((number, error))

        for _ in range(min(self.parallel, len(conversations))):
            threading.Thread(target=ask, daemon=True, name="endpoint").start()
        try:
            for _ in conversations:
                number, reply = arrived.get()
                if isinstance(reply, BaseException):
                    raise reply
                yield number, reply
        finally:
            stop.set()

    def _one(self, messages: Sequence[Message], seed: int) -> str:
        body = {
            "model": self.model, "messages": [dict(m) for m in messages], "seed": seed,
            "temperature": self.temperature, "max_tokens": self.longest,
        }  # fmt: skip
        found = self._posted("chat/completions", body)
        try:
            text = found["choices"][0]["message"]["content"]
        except (KeyError, IndexError, TypeError):
            raise RunError(
                f"{self.url} answered something that is not a chat completion: "
                f"{json.dumps(found)[:200]}"
            ) from None
        if isinstance(text, list):  # in parts, of which some are text
            return "".join(str(part.get("text") or "") for part in text if isinstance(part, dict))
        return str(text or "")  # null where a model spent all its tokens on thoughts

    def _posted(self, path: str, body: Mapping[str, Any]) -> Any:
        key = self.key or os.environ.get("OPENAI_API_KEY", "")
        return post(
            f"{self.url.rstrip('/')}/{path}", body, key=key, timeout_s=self.timeout_s,
            tries=self.tries, pause_s=self.pause_s,
        )  # fmt: skip


def post(
    url: str, body: Mapping[str, Any], *, key: str, timeout_s: float, tries: int, pause_s: float
) -> Any:
    """Post JSON and read JSON, again and again where that may help.

    Raises:
        RunError: the endpoint refused, or failed as often as it was tried.
    """
    headers = {"Content-Type": "application/json"}
    if key:
        headers["Authorization"] = f"Bearer {key}"
    request = urllib.request.Request(url, json.dumps(body).encode(), headers)
    reason = ""
    for number in range(tries):
        wait = min(60.0, pause_s * 2**number)
        try:
            with urllib.request.urlopen(request, timeout=timeout_s) as answer:
                raw = answer.read()
            return json.loads(raw) if raw.strip() else {}
        except urllib.error.HTTPError as error:
            with error:
                reason = f"HTTP {error.code}: {error.read(300).decode(errors='replace').strip()}"
            if error.code not in _RETRIED:
                raise RunError(f"{url} refused the request: {reason}") from None
            told = error.headers.get("Retry-After", "")
            wait = min(60.0, float(told)) if told.isdigit() else wait
        except (OSError, ValueError) as error:  # no connection, a time-out, half an answer
            reason = f"{type(error).__name__}: {error}"
        if number + 1 < tries:
            time.sleep(wait)
    raise RunError(f"{url} failed {tries} times, at last with {reason}.")


class LocalModel:
    """A transformers model in this process; see `policy.settings.PolicySettings.model`."""

    def __init__(
        self, model: str, *, temperature: float = 1.0, longest: int = 1024, batch: int = 32
    ) -> None:
        from ..policy.models import load_policy
        from ..policy.sampling import LocalSampler
        from ..policy.settings import PolicySettings, SamplingSettings

        self._policy = load_policy(PolicySettings(model=model))
        self._longest = longest
        settings = SamplingSettings(temperature=temperature, longest=longest, batch=batch)
        self._sampler = LocalSampler(self._policy, settings)
        if self._policy.context <= longest + 32:
            raise InvalidOptionError(
                f"{model!r} has a context of {self._policy.context} tokens; replies of {longest} "
                "leave no room for a prompt. Lower `longest`."
            )

    def reply(self, conversations: Sequence[Sequence[Message]], seed: int) -> list[str]:
        """The assistant's next message in each.

        Raises:
            InvalidOptionError: a conversation is too long for the model.
        """
        found = dict(self.stream(conversations, [seed]))
        return [found[number] for number in range(len(conversations))]

    def stream(
        self, conversations: Sequence[Sequence[Message]], seeds: Sequence[int]
    ) -> Iterator[tuple[int, str]]:
        """The same, as they are done. The first of the seeds is that of all."""
        from ..policy.conversation import prompt_tokens

        room = self._policy.context - self._longest
        prompts = [prompt_tokens(self._policy.tokenizer, c, room) for c in conversations]
        fitting = [prompt for prompt in prompts if prompt is not None]
        if len(fitting) < len(prompts):
            raise InvalidOptionError(
                f"A conversation does not fit the {room} tokens that {self._policy.name!r} has "
                "for a prompt. Lower `longest`, or take a model with a longer context."
            )
        for number, reply in self._sampler.stream(fitting, seeds[0]):
            yield number, reply.text


def chat_model(name: str, **options: Any) -> ChatModel:
    """The model of a name: `https://host/v1#model` is at an endpoint, anything else is local.

    Args:
        name: see there.
        options: of `Endpoint` or `LocalModel`.

    Raises:
        InvalidOptionError: there is no such model, or it does not take these options.
    """
    try:
        if name.startswith(("http://", "https://")):
            url, _, model = name.partition("#")
            if not model:
                raise InvalidOptionError(
                    f"model={name!r} names no model; add it after #, as in "
                    "http://localhost:8000/v1#Qwen/Qwen2.5-Coder-7B-Instruct."
                )
            return Endpoint(url=url, model=model, **options)
        return LocalModel(name, **options)
    except TypeError as error:
        raise InvalidOptionError(f"model={name!r} does not take these options: {error}") from None
