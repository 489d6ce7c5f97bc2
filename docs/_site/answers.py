"""The answers of a page, evaluated: what it says became of them is what becomes of them.

A page shows an answer as a change of a task's starter, in a block `diff`, or as a whole reply, in a
block `markdown`. The block `text` that follows holds the outcome. An HTML comment before the two,
`<!-- task: transpose -->`, names another task than softmax.

    python docs/_site/answers.py        # writes the outcomes of docs/why.md anew
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import triton_gym

PAGE = Path(__file__).parents[1] / "why.md"
SECONDS = 5.0
"""What an answer may take: one of them never ends."""
_SHOWN = re.compile(
    r"(?:^<!-- task: (?P<task>\w+) -->\n)?^(?P<fence>`{3,})(?P<kind>diff|markdown)\n(?P<answer>.*?)"
    r"^(?P=fence)$\n\n```text\n(?P<outcome>.*?)^```$",
    re.DOTALL | re.MULTILINE,
)


@dataclass(frozen=True, slots=True)
class Shown:
    """An answer and what a page says became of it."""

    task: str
    kind: str
    """`diff` or `markdown`."""
    answer: str
    outcome: str
    line: int
    span: tuple[int, int]
    """Where the outcome stands in the page."""


def shown(page: str) -> Iterator[Shown]:
    """The answers of a page, in order."""
    for found in _SHOWN.finditer(page):
        line = page.count("\n", 0, found.start()) + 1
        yield Shown(
            found["task"] or "softmax", found["kind"], found["answer"], found["outcome"], line,
            found.span("outcome"),
        )  # fmt: skip


def outcome(evaluator: triton_gym.Evaluator, answer: Shown) -> str:
    """What becomes of an answer: status and message, as pages show them."""
    task = triton_gym.load(answer.task)
    try:
        current = task.starter if answer.kind == "diff" else None
        source = triton_gym.extract(answer.answer, task, current=current)
    except triton_gym.InvalidAction as invalid:
        return f"invalid_action: {invalid}\n"
    limits = triton_gym.Limits(seconds=SECONDS)
    found = evaluator.evaluate(task, source, seed=0, limits=limits)
    return f"{found.status}: {found.message}\n"


def main() -> None:
    """Write the outcomes of the page anew."""
    page = PAGE.read_text(encoding="utf-8")
    with triton_gym.Evaluator("simulated", workers=2) as evaluator:
        for answer in reversed(list(shown(page))):
            start, end = answer.span
            page = page[:start] + outcome(evaluator, answer) + page[end:]
    PAGE.write_text(page, encoding="utf-8")
    sys.stdout.write(f"{PAGE.name}: {sum(1 for _ in shown(page))} answers\n")


if __name__ == "__main__":
    main()
