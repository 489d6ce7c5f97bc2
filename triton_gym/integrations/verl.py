"""verl (0.9): an agent loop of several turns, and a reward function for its own loops.

The loop, in the configuration of a rollout:

    actor_rollout_ref.rollout.agent.default_agent_loop=triton_kernel
    actor_rollout_ref.rollout.agent.agent_loop_config_path=...   # a file that imports this module

The reward function, for `single_turn_agent`:

    reward.custom_reward_function.path=.../triton_gym/integrations/verl.py
    reward.custom_reward_function.name=compute_score

A row names its task in `extra_info["task"]`.
"""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import uuid4

from verl.experimental.agent_loop.agent_loop import (
    AgentLoopBase,
    AgentLoopMetrics,
    AgentLoopOutput,
    register,
)

from triton_gym.errors import InvalidOptionError
from triton_gym.evaluation.service.pool import evaluator_for
from triton_gym.integrations.conversation import Conversation
from triton_gym.integrations.replies import evaluate_replies
from triton_gym.reward import finite, reward_named


@register("triton_kernel")
class KernelAgentLoop(AgentLoopBase):  # type: ignore[misc]
    """An episode: each reply is evaluated, and its feedback is the next message.

    The reward of the trajectory is its best reply's.

    Args:
        args, kernel_options: of `AgentLoopBase`; `kernel_options` are those of `KernelEnv`.
    """

    def __init__(
        self, *args: Any, kernel_options: dict[str, Any] | None = None, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self._options = dict(kernel_options or {})
        self._longest = int(self.rollout_config.response_length)

    async def run(self, sampling_params: dict[str, Any], **row: Any) -> AgentLoopOutput:
        """Play an episode for a row of the data."""
        # In a thread: the first episode starts the device's judges.
        episode = await asyncio.to_thread(Conversation, task_named(row), **self._options)
        try:
            return await self._play(episode, sampling_params, row)
        finally:
            episode.close()

    async def _play(
        self, episode: Conversation, sampling_params: dict[str, Any], row: dict[str, Any]
    ) -> AgentLoopOutput:
        seed = (row.get("extra_info") or {}).get("seed")
        opened = await asyncio.to_thread(episode.open, seed)
        messages: list[dict[str, Any]] = list(row.get("raw_prompt") or opened)
        tokens = await self.ct_build_initial_tokens(messages)
        prompt = len(tokens)
        mask: list[int] = []
        logprobs: list[float] = []
        rewards, request = [], uuid4().hex
        while True:
            output = await self.server_manager.generate(
                request_id=request, prompt_ids=tokens, sampling_params=sampling_params
            )
            merged, mask, found = await self.ct_merge_assistant_token(
                tokens, output.token_ids, mask, logprobs if output.log_probs else None,
                assistant_logprobs=output.log_probs or None,
            )  # fmt: skip
            tokens, logprobs = merged.token_ids, found or []
            text = await self.loop.run_in_executor(
                None, lambda ids=output.token_ids: self.tokenizer.decode(
                    ids, skip_special_tokens=True
                ),
            )  # fmt: skip
            turn = await episode.areply(text)
            rewards.append(turn.reward)
            if turn.done or len(tokens) - prompt >= self._longest:
                break
            said = [*messages, {"role": "assistant", "content": text}]
            messages = [*said, {"role": "user", "content": turn.message}]
            merged, mask, found = await self.ct_merge_context_msg(
                said, messages, tokens, mask, logprobs or None
            )
            tokens, logprobs = merged.token_ids, found or []
            if len(tokens) - prompt >= self._longest:
                break
        return AgentLoopOutput(
            prompt_ids=tokens[: len(tokens) - len(mask)],
            response_ids=tokens[len(tokens) - len(mask) :][: self._longest],
            response_mask=mask[: self._longest],
            response_logprobs=logprobs[: self._longest] or None,
            reward_score=max(rewards),
            num_turns=2 * len(rewards),
            metrics=AgentLoopMetrics(),
            extra_fields={"turn_scores": rewards, "tool_rewards": []},
        )


def task_named(row: dict[str, Any]) -> str:
    """The name of a row's task.

    Raises:
        InvalidOptionError: the row has none.
    """
    extra = row.get("extra_info") or {}
    if "task" not in extra:
        raise InvalidOptionError(
            "A row must name its task: extra_info={'task': 'softmax'}. Given: "
            f"{', '.join(sorted(map(str, extra))) or 'nothing'}."
        )
    return str(extra["task"])


def compute_score(
    data_source: str,
    solution_str: str,
    ground_truth: Any,
    extra_info: dict[str, Any] | None = None,
    *,
    reward: str = "kevin",
    device: str = "auto",
    **options: Any,
) -> dict[str, Any]:
    """A reply's reward, in the form of verl's `custom_reward_function`.

    Args:
        data_source, ground_truth: not used; the reference is the task's.
        solution_str: the reply.
        extra_info: `task`, its name.
        reward, device: a named reward, and where replies are evaluated.
        options: verl's own further arguments.

    Returns:
        `score`, and for verl's logs `correct` and `speedup` (0 where there is none).
    """
    task = task_named({"extra_info": extra_info})
    (outcome,) = evaluate_replies(evaluator_for(device), [task], [solution_str])
    speedup = outcome.speedup if outcome.correct else 0.0
    return {
        "score": finite(reward_named(reward)(outcome), outcome),
        "correct": float(outcome.correct), "speedup": speedup,
    }  # fmt: skip
