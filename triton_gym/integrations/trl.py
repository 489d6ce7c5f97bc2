"""TRL: `GRPOTrainer` (1.16) on kernels, with one reply an episode or with tools.

    from triton_gym.integrations.trl import dataset, reward_function
    trainer = GRPOTrainer(model, reward_function("kevin"), train_dataset=dataset(["softmax"]))

`environment(...)` is for `environment_factory=`: the policy calls `submit_kernel` and
`edit_kernel` as often as `max_turns` says, and the episode's reward is its best submission's. It
needs a chat template that knows tools.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from triton_gym.errors import InvalidOptionError
from triton_gym.evaluation.service.pool import evaluator_for
from triton_gym.evaluation.service.protocol import EvaluatorLike
from triton_gym.integrations.conversation import Conversation, Message
from triton_gym.integrations.replies import evaluate_replies
from triton_gym.reward import Reward, finite, reward_named

RewardFunction = Callable[..., list[float]]


def reward_function(
    reward: str | Reward = "kevin",
    *,
    device: str = "auto",
    evaluator: EvaluatorLike | None = None,
    **options: Any,
) -> RewardFunction:
    """A reward function for `GRPOTrainer(reward_funcs=...)`.

    It reads the column `task` of the data set (`dataset` makes one), and evaluates all
    completions of a batch at once. `log_extra` gets the columns `status` and `speedup`, and
    `log_metric` the shares of correct and of cheating replies, where the trainer offers them.

    Args:
        reward: a name in `triton_gym.reward.REWARDS`, or a function of an `Outcome`.
        device: where replies are evaluated; see `Evaluator`.
        evaluator: used instead of the device's shared one.
        options: of `Evaluator.submit`, e.g. `baseline`, `limits`.

    Raises:
        InvalidOptionError, DeviceError: an argument is wrong.
    """
    score = reward_named(reward)
    judges = evaluator or evaluator_for(device)

    def kernel_reward(
        completions: Sequence[str | list[Message]], task: Sequence[str] | None = None, **more: Any
    ) -> list[float]:
        if task is None:
            raise InvalidOptionError(
                "The data set needs a column `task` with the name of each row's task; "
                "triton_gym.integrations.trl.dataset makes one."
            )
        outcomes = evaluate_replies(judges, list(task), list(map(said, completions)), **options)
        if log_extra := more.get("log_extra"):
            log_extra("status", [str(outcome.status) for outcome in outcomes])
            log_extra("speedup", [float(outcome.speedup) for outcome in outcomes])
        if log_metric := more.get("log_metric"):
            for status in ("correct", "cheating"):
                share = sum(outcome.status == status for outcome in outcomes) / len(outcomes)
                log_metric(f"kernels/{status}", share)
        return [finite(score(outcome), outcome) for outcome in outcomes]

    return kernel_reward


def said(completion: str | Sequence[Message]) -> str:
    """The text of a completion, plain or conversational: of its last message by the assistant."""
    if isinstance(completion, str):
        return completion
    texts = [
        m.get("content") or "" for m in completion if m.get("role", "assistant") == "assistant"
    ]
    return str(texts[-1]) if texts else ""


def dataset(tasks: Iterable[str], *, each: int = 1, **options: Any) -> Any:
    """A `datasets.Dataset` with the columns `prompt` (messages) and `task`.

    Args:
        tasks: names of tasks, e.g. `triton_gym.tasks(tag="core")`.
        each: rows of each.
        options: of `KernelEnv`, as far as they alter the prompt (`action_mode`).

    Raises:
        InvalidOptionError: a task is unknown, or a family: its tasks have no names.
    """
    from datasets import Dataset

    from triton_gym.registration import task_of

    rows = []
    for name in tasks:
        opened = Conversation(task_of(name), device="simulated", **options).open()
        rows += [{"prompt": opened, "task": name}] * each
    return Dataset.from_list(rows)


def environment(**options: Any) -> Callable[[], KernelTools]:
    """A factory for `GRPOTrainer(environment_factory=...)`.

    Args:
        options: of `KernelEnv`: `device`, `reward`, `max_turns`, `baseline`, … A row's columns
            `task` and `seed` choose the task.
    """
    return lambda: KernelTools(**options)


class KernelTools:
    """One episode whose actions are the model's tool calls.

    Public methods are tools; their docstrings are what the model reads of them.
    """

    def __init__(self, **options: Any) -> None:
        self._options = options
        self._episode: Conversation | None = None
        self._best = 0.0
        self._over = False

    def reset(self, task: str = "", seed: int | None = None, **row: Any) -> str:
        """Begin an episode for a row of the data set.

        Returns:
            What is appended to the row's last message: the task's statement, where the row does
            not hold it already.
        """
        if not task:
            raise InvalidOptionError(
                "A row must name its task in the column `task`, e.g. 'softmax'. Given columns: "
                f"{', '.join(sorted(row)) or 'none'}."
            )
        if self._episode is None or self._episode.task.name != task:
            self._close()
            self._episode = Conversation(task, **self._options)
        opened = self._episode.open(seed=seed)
        self._best, self._over = 0.0, False
        stated = str(row.get("prompt", ""))
        statement = opened[-1]["content"]
        return "" if statement.strip()[:200] in stated else f"\n{statement}"

    def submit_kernel(self, kernel: str) -> str:
        """Compile, test and profile a kernel.

        Args:
            kernel: A whole Python module with Triton kernels and the host function.

        Returns:
            What happened: an error with its line, a wrong value, or the time and what bounds it.
        """
        return self._say(f"```python\n{kernel}\n```" if "```" not in kernel else kernel)

    def edit_kernel(self, edit: str) -> str:
        """Change the current kernel, then compile, test and profile it.

        Args:
            edit: SEARCH/REPLACE blocks or a unified diff against the current kernel.

        Returns:
            What happened, as submit_kernel says it.
        """
        from triton_gym.action import InvalidAction, extract

        if self._episode is None:
            raise InvalidOptionError("reset() comes first.")
        try:
            return self.submit_kernel(extract(edit, current=self._episode.kernel))
        except InvalidAction as invalid:
            return f"invalid_action: {invalid}"

    def get_reward(self) -> float:
        """The best submission's reward; 0 if nothing was submitted."""
        return self._best

    def _say(self, reply: str) -> str:
        if self._episode is None:
            raise InvalidOptionError("reset() comes first.")
        if self._over:
            return "The episode is over: no more kernels are evaluated."
        turn = self._episode.reply(reply)
        self._best = max(self._best, turn.reward)
        self._over = turn.done
        return f"{turn.info['status']}: {turn.info['message']}"

    def _close(self) -> None:
        if self._episode is not None:
            self._episode.close()
            self._episode = None
