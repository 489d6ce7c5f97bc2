"""What language models are told: the same words in data, fine-tuning, play and adapters.

What they reply is read by `triton_gym.extract`.

Prompts are short, since the smallest policy has 2 to 4 thousand tokens for everything. A first
turn in which a whole module is asked for shows the task alone: the kernel that an episode starts
from is a correct answer, and a model that saw it would learn to copy. Where an edit is asked for,
every turn shows the kernel that it is an edit of.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

FEEDBACK_LIMIT = 600
"""Longest feedback in characters; of a longer one the beginning and the end are kept."""


def system_prompt() -> str:
    """The system message of every conversation."""
    return "You write fast, correct GPU kernels in Triton. Reply with code only."


def first_turn(observation: Mapping[str, Any]) -> str:
    """The user's first message.

    Args:
        observation: what `reset` of a `TritonKernel` environment returned.
    """
    task = str(observation["task"]).strip()
    if not wants_edit(observation):
        return task
    return f"{task}\n\n{_kernel(observation)}\n{_feedback(observation)}"


def opening(observation: Mapping[str, Any]) -> list[dict[str, str]]:
    """The messages that a first reply follows, given what `reset` returned."""
    return [
        {"role": "system", "content": system_prompt()},
        {"role": "user", "content": first_turn(observation)},
    ]


def next_turn(observation: Mapping[str, Any]) -> str:
    """The user's message after a reply was evaluated; the conversation holds what came before.

    Args:
        observation: what `step` returned.
    """
    feedback = _feedback(observation)
    if wants_edit(observation):
        return f"{feedback}\n{_kernel(observation)}\nReply with an edit of this kernel."
    goal = "a faster" if str(observation["feedback"]).startswith("correct") else "a corrected"
    return f"{feedback}\nReply with {goal} module."


def wants_edit(observation: Mapping[str, Any]) -> bool:
    """Whether the environment that this was observed in takes edits (`action_mode="edit"`)."""
    return "SEARCH/REPLACE" in str(observation["task"])


def module_reply(source: str) -> str:
    """The reply that holds a whole module."""
    return f"```python\n{source.strip()}\n```"


def _kernel(observation: Mapping[str, Any]) -> str:
    return f"Current kernel:\n{module_reply(str(observation['kernel']))}"


def _feedback(observation: Mapping[str, Any]) -> str:
    text = str(observation["feedback"]).strip()
    if len(text) > FEEDBACK_LIMIT:
        half = FEEDBACK_LIMIT // 2
        text = f"{text[:half]} … {text[-half:]}"
    return f"Feedback: {text}"
