"""Conversations from what was evaluated, with where each comes from."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import random
from collections.abc import Iterator, Mapping
from typing import Any

from triton_gym.observation import observe
from triton_gym.outcome import Outcome, Status
from triton_gym.prompt import first_turn, module_reply, next_turn, system_prompt

from ..edits import edit_between
from ..sameness import normalised
from .config import DataConfig
from .plan import Answer, Pair, Plan

START = "This is the starting kernel. Submit a faster one."
"""Feedback of an environment that was just reset."""
FAILURES = frozenset(
    {
        Status.INVALID_ACTION,
        Status.REJECTED,
        Status.COMPILE_ERROR,
        Status.RUNTIME_ERROR,
        Status.INCORRECT,
    }
)
"""How a planted fault may end. Other ends say something else about it."""
MEASURES = ("runtime_us", "baseline_us", "speedup", "roofline", "max_error", "tolerance",
            "registers", "spills", "shared_bytes")  # fmt: skip
"""Numbers of an outcome that an example keeps."""

Row = dict[str, Any]


def rows(
    plan: Plan, outcomes: Mapping[str, Outcome], config: DataConfig, origin: Mapping[str, str]
) -> Iterator[Row]:
    """The examples of a task: those of its answers and pairs that turned out as they should.

    Args:
        plan: what was written.
        outcomes: of each of the plan's sources.
        config: what pairs have to gain.
        origin: device and versions.
    """
    rng = random.Random(f"rows {config.seed} {plan.split} {plan.index}")
    for answer in plan.answers:
        outcome = outcomes[answer.source]
        if outcome.correct:
            messages = [*_opening(plan, "kernel"), ("assistant", module_reply(answer.source))]
            yield _row(plan, "answer", messages, answer, "", outcome, "", None, origin)
    for pair in plan.pairs:
        worse, better = outcomes[pair.before], outcomes[pair.after.source]
        told = rng.random() < config.revisions
        fresh = rng.random() < 0.5
        if not holds(pair, worse, better, config.least_gain):
            continue
        for kind, messages in _tellings(plan, pair, worse, told, fresh):
            yield _row(
                plan, kind, messages, pair.after, pair.cause, better, pair.before, worse, origin
            )


def prompt_and_reply(row: Row) -> tuple[list[dict[str, str]], str]:
    """The messages before the answer, and the answer.

    It alone is to be learned: an earlier reply of a conversation is the wrong or the slow one.
    """
    *prompt, last = row["messages"]
    return prompt, last["content"]


def holds(pair: Pair, worse: Outcome, better: Outcome, least_gain: float) -> bool:
    """Whether a pair is what it was meant to be."""
    if not better.correct:
        return False
    if pair.kind == "repair":
        return worse.status in FAILURES
    return worse.correct and worse.runtime_us >= least_gain * better.runtime_us


def _tellings(
    plan: Plan, pair: Pair, worse: Outcome, told: bool, fresh: bool
) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """A pair as an edit, and perhaps as a conversation about modules."""
    feedback = f"{worse.status}: {worse.message}"
    shown = START if fresh and worse.correct else feedback
    edit = edit_between(pair.before, pair.after.source).strip()
    yield (
        f"{pair.kind}_edit",
        [*_opening(plan, "edit", pair.before, shown), ("assistant", edit)],
    )
    if told:
        seen = observe(plan.task, pair.before, feedback, worse, "kernel")
        yield (
            f"{pair.kind}_module",
            [
                *_opening(plan, "kernel"),
                ("assistant", module_reply(pair.before)),
                ("user", next_turn(seen)),
                ("assistant", module_reply(pair.after.source)),
            ],
        )


def _opening(
    plan: Plan, mode: str, kernel: str = "", feedback: str = START
) -> list[tuple[str, str]]:
    seen = observe(plan.task, kernel or plan.task.starter, feedback, None, mode)
    return [("system", system_prompt()), ("user", first_turn(seen))]


def _row(
    plan: Plan, kind: str, messages: list[tuple[str, str]], answer: Answer, cause: str,
    outcome: Outcome, before: str, worse: Outcome | None, origin: Mapping[str, str],
) -> Row:  # fmt: skip
    task = plan.task
    return {
        "messages": [{"role": role, "content": content} for role, content in messages],
        "kind": kind,
        "split": plan.split,
        "seed": plan.seed,
        "graph": plan.graph.canonical(),
        "graph_kind": str(plan.graph.kind),
        "steps": len(plan.graph.steps),
        "dtype": task.dtypes[0],
        "bench": str(task.bench[0]),
        "entry": task.entry.name,
        "style": answer.style,
        "shape": json.dumps(dataclasses.asdict(answer.shape)),
        "cause": cause,
        "module": answer.source,
        "before": before,
        "before_status": str(worse.status) if worse else "",
        "before_runtime_us": _number(worse.runtime_us) if worse else None,
        **{name: _number(getattr(outcome, name)) for name in MEASURES},
        "key": key(kind, before, answer.source),
        **origin,
    }


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def key(kind: str, before: str, after: str) -> str:
    """The same text for examples that differ in names, comments and layout only."""
    text = "\0".join([kind, normalised(before), normalised(after)])
    return hashlib.sha256(text.encode()).hexdigest()[:24]
