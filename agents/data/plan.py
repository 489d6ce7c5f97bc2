"""What is written for one task: answers in several styles, and pairs of a worse and a better one.

Decided by the task and a seed alone; whether any of it is right is seen when it is evaluated.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

from triton_gym.composition.graph import Graph
from triton_gym.composition.reference import Reference
from triton_gym.errors import InvalidTaskError
from triton_gym.task import Task

from .config import DataConfig
from .faults import planted, possible
from .writers import WHOLE, Shape, Subject, applicable, fast_shape, slow_shape, write

TUNED = frozenset({"tuned", "tuned_rows"})
"""Styles whose numbers are found by trying: they are not sped up by other numbers."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A module that should be correct."""

    source: str
    style: str
    shape: Shape
    wording: str
    """Seed of its names and documentation."""


@dataclass(frozen=True, slots=True)
class Pair:
    """Two modules, of which the second should be better."""

    kind: str
    """`repair`: the first should fail; `speedup`: it should be slower."""
    before: str
    after: Answer
    cause: str
    """The fault, or the style of the slower module."""


@dataclass(frozen=True, slots=True)
class Plan:
    """All that is written for one task."""

    split: str
    index: int
    seed: int
    """Of the reset that draws the task."""
    task: Task
    answers: tuple[Answer, ...]
    pairs: tuple[Pair, ...]

    @property
    def graph(self) -> Graph:
        """The task's graph."""
        return subject_of(self.task).graph

    def sources(self) -> tuple[str, ...]:
        """Every module to evaluate, once."""
        found = [answer.source for answer in self.answers]
        for pair in self.pairs:
            found += [pair.before, pair.after.source]
        return tuple(dict.fromkeys(found))


def subject_of(task: Task) -> Subject:
    """What the writers need of a task.

    Raises:
        InvalidTaskError: it is not made of a graph.
    """
    if not isinstance(task.reference, Reference):
        raise InvalidTaskError(
            f"Answers are written for composed tasks; the reference of {task.name!r} is no graph."
        )
    return Subject(task.reference.graph, task.entry.name, task.dtypes[0])


def planned(task: Task, config: DataConfig, split: str, index: int, seed: int) -> Plan:
    """The plan for a task."""
    subject = subject_of(task)
    rng = random.Random(f"{config.seed} {split} {index}")
    cols = task.bench[0]["cols"]
    answers = tuple(_answers(subject, config, rng, f"{split} {seed}"))
    pairs = [pair for _ in range(config.repairs) for pair in _repair(answers, rng)]
    pairs += [
        pair for _ in range(config.speedups) for pair in _speedup(subject, answers, rng, cols)
    ]
    short = tuple(pair for pair in pairs if len(pair.before) <= config.longest)
    return Plan(split, index, seed, task, answers, short)


def _answers(
    subject: Subject, config: DataConfig, rng: random.Random, label: str
) -> Iterator[Answer]:
    """Answers in styles that are drawn without repetition, the plain ones first."""
    styles = list(applicable(subject))
    for number in range(config.answers):
        if not styles:
            styles = list(applicable(subject))
        weights = [0.3 if style == "two_kernels" else 1.0 for style in styles]
        weights[0] = 2.0
        style = rng.choices(styles, weights)[0]
        styles.remove(style)
        wording = f"{label} {number}"
        shape = fast_shape(rng, subject)
        source = write(subject, style, shape, random.Random(wording))
        if len(source) <= config.longest:
            yield Answer(source, style, shape, wording)


def _repair(answers: tuple[Answer, ...], rng: random.Random) -> Iterator[Pair]:
    if answers:
        answer = rng.choice(answers)
        fault = rng.choice(possible(answer.source))
        yield Pair("repair", planted(answer.source, fault, rng), answer, fault)


def _speedup(
    subject: Subject, answers: tuple[Answer, ...], rng: random.Random, cols: int
) -> Iterator[Pair]:
    """The same answer with numbers that do not suit it, or a style with more traffic."""
    fast = [a for a in answers if a.style not in TUNED and a.style != "two_kernels"]
    if not fast:
        return
    answer = rng.choice(fast)
    options = [(answer.style, slow_shape(rng, answer.style, cols))]
    known = applicable(subject)
    if "two_kernels" in known:
        options.append(("two_kernels", answer.shape))
    if "blockwise" in known:
        options.append(("blockwise", slow_shape(rng, "blockwise", cols)))
    if answer.style in WHOLE and len(options) > 1:
        del options[0]  # other numbers of warps alone seldom matter
    style, shape = rng.choice(options)
    yield Pair(
        "speedup", write(subject, style, shape, random.Random(answer.wording)), answer, style
    )
