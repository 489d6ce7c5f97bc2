"""TRL: a `rollout_func` for `GRPOTrainer` (1.16) that plays episodes of several turns.

    rows = dataset(["softmax"], each=8)
    GRPOTrainer(model, best_reward, train_dataset=rows, rollout_func=Rollout(rows, max_turns=3))

Where `environment` (in `trl`) needs a chat template that knows tools, this needs none: a reply is
text, and feedback is the user's next message. All episodes of a batch go on together, and so do
their evaluations. Only the policy's own tokens are trained on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from triton_gym.errors import InvalidOptionError
from triton_gym.integrations.conversation import Conversation, Message, Turn


@dataclass(slots=True)
class _Played:
    """An episode as tokens."""

    episode: Conversation
    prompt: list[int]
    said: list[int] = field(default_factory=list)
    """Replies and, between them, feedback."""
    own: list[int] = field(default_factory=list)
    """1 for each token of `said` that is the policy's."""
    best: float = 0.0
    over: bool = False


class Rollout:
    """Plays an episode for each prompt of a batch with the trainer's own model.

    Args:
        rows: the data set, with the columns `prompt` and `task` (`trl.dataset` makes one).
        options: of `KernelEnv`: `device`, `reward`, `max_turns`, `baseline`, …
    """

    def __init__(self, rows: Iterable[Mapping[str, Any]], **options: Any) -> None:
        self._tasks = {row["prompt"][-1]["content"]: str(row["task"]) for row in rows}
        self._options = options

    def __call__(self, prompts: Sequence[list[Message]], trainer: Any) -> dict[str, Any]:
        """What `GRPOTrainer` asks of a `rollout_func`.

        Returns:
            `prompt_ids`, `completion_ids`, `logprobs` (None: the trainer finds them itself),
            `env_mask`, and for `best_reward` the column `episode_reward`.

        Raises:
            InvalidOptionError: a prompt is none of the data set's.
        """
        played = [self._begin(prompt, trainer.processing_class) for prompt in prompts]
        try:
            while going := [one for one in played if not one.over]:
                self._turn(going, trainer)
        finally:
            for one in played:
                one.episode.close()
        return {
            "prompt_ids": [one.prompt for one in played],
            "completion_ids": [one.said for one in played],
            "logprobs": None,
            "env_mask": [one.own for one in played],
            "episode_reward": [one.best for one in played],
        }

    def _begin(self, prompt: list[Message], tokenizer: Any) -> _Played:
        if prompt[-1]["content"] not in self._tasks:
            raise InvalidOptionError("A prompt is none of the rows that Rollout was given.")
        episode = Conversation(self._tasks[prompt[-1]["content"]], **self._options)
        episode.open()
        return _Played(episode, _templated(tokenizer, prompt, add_generation_prompt=True))

    def _turn(self, going: list[_Played], trainer: Any) -> None:
        """A reply of each episode, evaluated together, and its feedback."""
        tokenizer, longest = trainer.processing_class, trainer.max_completion_length
        replies = _generated([one.prompt + one.said for one in going], trainer)
        texts = tokenizer.batch_decode(replies, skip_special_tokens=True)
        turns = asyncio.run(_evaluated(going, texts))
        for one, reply, turn in zip(going, replies, turns, strict=True):
            one.said += reply
            one.own += [1] * len(reply)
            one.best = max(one.best, turn.reward)
            feedback = [] if turn.done else _feedback(tokenizer, turn.message)
            one.over = turn.done or len(one.said) + len(feedback) >= longest
            if not one.over:
                one.said += feedback
                one.own += [0] * len(feedback)


def best_reward(
    completions: Sequence[Any], episode_reward: Sequence[float], **columns: Any
) -> list[float]:
    """The reward function to go with `Rollout`: of each episode its best reply's reward."""
    return [float(reward) for reward in episode_reward]


async def _evaluated(going: list[_Played], texts: list[str]) -> list[Turn]:
    replies = (one.episode.areply(text) for one, text in zip(going, texts, strict=True))
    return list(await asyncio.gather(*replies))


def _generated(begun: list[list[int]], trainer: Any) -> list[list[int]]:
    """The model's reply to each, up to and with its end mark."""
    import torch

    model = trainer.accelerator.unwrap_model(trainer.model)
    pad, width = trainer.processing_class.pad_token_id, max(map(len, begun))
    tokens = torch.tensor([[pad] * (width - len(ids)) + ids for ids in begun])
    real = torch.tensor([[0] * (width - len(ids)) + [1] * len(ids) for ids in begun])
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            found = model.generate(
                input_ids=tokens.to(model.device), attention_mask=real.to(model.device),
                generation_config=trainer.generation_config,
            )  # fmt: skip
    finally:
        model.train(training)
    replies = []
    for row in found[:, width:].tolist():
        ends = [at for at, token in enumerate(row) if token in trainer.eos_token_ids]
        replies.append(row[: ends[0] + 1] if ends else row)
    return replies


def _templated(tokenizer: Any, messages: list[Message], **options: Any) -> list[int]:
    found: list[int] = tokenizer.apply_chat_template(messages, return_dict=True, **options)[
        "input_ids"
    ]
    return found


def _feedback(tokenizer: Any, message: str) -> list[int]:
    """The tokens between a reply's end mark and the next reply: the user's message."""
    before = [{"role": "user", "content": "."}, {"role": "assistant", "content": "."}]
    after = [*before, {"role": "user", "content": message}]
    start = len(_templated(tokenizer, before))
    return _templated(tokenizer, after, add_generation_prompt=True)[start:]
