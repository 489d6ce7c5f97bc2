"""verifiers and prime-rl (verifiers 0.4): a `Taskset`, and an `Env` of several turns.

    vf-eval triton_kernels --env.taskset.tasks '["softmax"]' --no-push

where `triton_kernels` is a package of two lines (examples/environments/triton_kernels):

    from triton_gym.integrations.verifiers import KernelEnv, KernelTaskset
    __all__ = ["KernelEnv", "KernelTaskset"]

The reward of an episode is that of its best reply; replies of all episodes share one evaluator.
"""

from __future__ import annotations

import asyncio
from typing import Any

import verifiers.v1 as vf
from pydantic import Field

import triton_gym
from triton_gym.integrations.conversation import Conversation
from triton_gym.integrations.replies import evaluate_replies
from triton_gym.outcome import Outcome
from triton_gym.reward import finite, reward_named

RECORD = "kernels"
"""Where a trace's `info` holds its replies' rewards and outcomes."""


class KernelTasksetConfig(vf.TasksetConfig):  # type: ignore[misc]
    """Which kernels are asked for, and how they are judged."""

    tasks: list[str] = Field(default_factory=list)
    """Names of tasks; empty for all with `tag`."""
    tag: str = ""
    """Only tasks with this tag, where `tasks` is empty; empty for the whole catalogue."""
    device: str = "auto"
    """Where replies are evaluated; see `triton_gym.Evaluator`."""
    reward: str = "kevin"
    """A name in `triton_gym.reward.REWARDS`."""
    baseline: str = "eager"
    """What a speedup is against: `eager` or `compile`."""
    max_turns: int = 1
    """Replies in an episode."""


class KernelData(vf.TaskData):  # type: ignore[misc]
    """One row: a kernel to write."""

    kernel: str
    """Name of the task."""
    device: str
    reward: str
    baseline: str
    max_turns: int


class KernelTask(vf.Task[KernelData]):  # type: ignore[misc]
    """Scores what an episode's replies came to; under a single-turn env, its last reply."""

    @vf.reward  # type: ignore[untyped-decorator]
    async def kernel_reward(self, trace: Any) -> float:
        """The best reply's reward."""
        return max((await self._record(trace))["rewards"], default=0.0)

    @vf.metric  # type: ignore[untyped-decorator]
    async def correct(self, trace: Any) -> float:
        """1 if any reply was correct."""
        return float("correct" in (await self._record(trace))["statuses"])

    @vf.metric  # type: ignore[untyped-decorator]
    async def speedup(self, trace: Any) -> float:
        """The largest speedup of a correct reply; 0 if there is none."""
        return max((await self._record(trace))["speedups"], default=0.0)

    async def _record(self, trace: Any) -> dict[str, Any]:
        """What `KernelEnv` noted; where another env played, its last reply is evaluated once."""
        if RECORD not in trace.info:
            data = self.data
            evaluator = _evaluator(data.device)
            (outcome,) = await asyncio.to_thread(
                evaluate_replies, evaluator, [data.kernel], [trace.last_reply],
                baseline=data.baseline,
            )  # fmt: skip
            note(trace, outcome, finite(reward_named(data.reward)(outcome), outcome))
        found: dict[str, Any] = trace.info[RECORD]
        return found


class KernelTaskset(vf.Taskset[KernelTask, KernelTasksetConfig]):  # type: ignore[misc]
    """The catalogue as rows."""

    def load(self) -> list[KernelTask]:
        """One row for each task."""
        config = self.config
        tagged = {"tag": config.tag} if config.tag else {}
        rows = []
        for name in config.tasks or triton_gym.tasks(**tagged):
            system, user = Conversation(name, device=config.device).open()
            data = KernelData(
                id=name, name=name, kernel=name, prompt=user["content"],
                system_prompt=system["content"], device=config.device, reward=config.reward,
                baseline=config.baseline, max_turns=config.max_turns,
            )  # fmt: skip
            rows.append(KernelTask(data, config.task))
        return rows


class KernelEnvConfig(vf.EnvConfig):  # type: ignore[misc]
    """The one seat of an episode."""

    agent: vf.AgentConfig = vf.AgentConfig(harness=vf.HarnessConfig(id="null"))
    """The policy: a chat without tools."""


class KernelEnv(vf.Env[KernelEnvConfig]):  # type: ignore[misc]
    """An episode: every reply is evaluated, and its feedback is the next message."""

    async def run(self, task: KernelTask, agents: Any) -> None:
        """Play an episode."""
        data = task.data
        # In a thread: the first episode starts the device's judges.
        episode = await asyncio.to_thread(
            Conversation, data.kernel, device=data.device, reward=data.reward,
            baseline=data.baseline, max_turns=data.max_turns,
        )  # fmt: skip
        await asyncio.to_thread(episode.open)
        try:
            async with agents.agent.interaction(task) as interaction:
                segment = await interaction.turn()
                while not segment.terminated:
                    turn = await episode.areply(segment.last_reply)
                    _add(interaction.trace, turn.info, turn.reward)
                    if turn.done:
                        break
                    segment = await interaction.turn(turn.message)
        finally:
            episode.close()


def note(trace: Any, outcome: Outcome, reward: float) -> None:
    """Add a reply's outcome to a trace."""
    _add(trace, outcome.info(), reward)


def _add(trace: Any, info: dict[str, Any], reward: float) -> None:
    empty: dict[str, list[Any]] = {"rewards": [], "statuses": [], "speedups": [], "messages": []}
    record = trace.info.setdefault(RECORD, empty)
    record["rewards"].append(reward)
    record["statuses"].append(str(info["status"]))
    record["messages"].append(info["message"])
    if info["status"] == "correct":
        record["speedups"].append(float(info["speedup"]))


def _evaluator(device: str) -> Any:
    from triton_gym.evaluation.service.pool import evaluator_for

    return evaluator_for(device)
