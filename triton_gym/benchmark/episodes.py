"""What a benchmark's runs tried, to look at: each shape's best kernel, and episodes by step."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping, Sequence

from triton_gym import knobs
from triton_gym.errors import InvalidOptionError
from triton_gym.report import html
from triton_gym.tables.table import Table

Key = tuple[str, str, int, int]
"""Agent, task, case and seed; see `running.Run.key`."""

EPISODES = 120
"""Most episodes of a page: those of the first seeds."""
_PROFILE = ("roofline", "speedup", "gbps", "tflops", "registers", "spills", "shared_bytes")


def shown(
    places: Mapping[Key, Sequence[int]], tables: Mapping[str, Table], sources: Mapping[str, str]
) -> str:
    """The part of a page.

    Args:
        places: of each run the places of its unique evaluations in the table, in order.
        tables: of each task, as its runs saw it.
        sources: the source of each task's kernel, whose knobs are set.
    """
    runs = {key: found for key, found in places.items() if found}
    if not runs:
        return ""
    return _best(runs, tables, sources) + _episodes(runs, tables, sources)


def _best(
    runs: Mapping[Key, Sequence[int]], tables: Mapping[str, Table], sources: Mapping[str, str]
) -> str:
    parts = ["<h2>Best kernels</h2>"]
    for task, case in sorted({(task, case) for _, task, case, _ in runs}):
        table = tables[task]
        tried = [
            (float(table.runtime_us[case, place]), place, agent)
            for (agent, name, at, _), found in runs.items() if (name, at) == (task, case)
            for place in found
        ]  # fmt: skip
        time, place, agent = min(tried)
        title = f"{task} {table.cases[case]}"
        if not math.isfinite(time):
            parts.append(html.note(f"{title}: nothing that was tried was correct."))
            continue
        share = table.best_us[case] / time
        parts.append(
            html.folded(
                f"{title}: {time:.2f} µs, {share:.1%} of the optimum, first by {agent}",
                _numbers(table, case, place) + html.code(_source(sources[task], table, place)),
            )
        )
    return "".join(parts)


def _episodes(
    runs: Mapping[Key, Sequence[int]], tables: Mapping[str, Table], sources: Mapping[str, str]
) -> str:
    chosen = sorted(runs, key=lambda key: (key[3], key[1], key[2], key[0]))[:EPISODES]
    parts = ["<h2>Episodes</h2>"]
    if len(chosen) < len(runs):
        parts.append(html.note(f"{len(chosen)} of {len(runs)}: those of the first seeds."))
    for task in sorted({key[1] for key in chosen}):
        title = f"source of {task}: steps say which knobs they change"
        parts.append(html.folded(title, html.code(sources[task])))
    for agent, task, case, seed in chosen:
        table = tables[task]
        steps, before = [], ""
        best = math.inf
        for number, place in enumerate(runs[agent, task, case, seed], start=1):
            best = min(best, float(table.runtime_us[case, place]))
            source = _source(sources[task], table, place)
            steps.append(_step(table, case, place, number, (before, source)))
            before = source
        share = table.best_us[case] / best
        title = f"{agent} on {task} {table.cases[case]}, seed {seed}: {share:.1%} of the optimum"
        parts.append(html.folded(title, "".join(steps)))
    return "".join(parts)


def _step(table: Table, case: int, place: int, number: int, sources: tuple[str, str]) -> str:
    outcome, values = table.outcome(case, place), table.named(table.choices[place])
    told = ", ".join(f"{name}={value}" for name, value in values.items())
    time = f"{outcome.runtime_us:.2f} µs" if outcome.correct else str(outcome.status)
    before, after = (source.splitlines() for source in sources)
    lines = list(difflib.unified_diff(before, after, lineterm="", n=0))[2:]
    body = html.note(", ".join(f"{name} {value}" for name, value in _profile(table, case, place)))
    if sources[0]:
        body += html.diff(line for line in lines if not line.startswith("@@"))
    return html.folded(f"{number}: {time}, {told}", body)


def _source(source: str, table: Table, place: int) -> str:
    """The source with a configuration; only its knobs where the source has others today."""
    values = table.named(table.choices[place])
    try:
        return knobs.render(source, values)
    except InvalidOptionError:
        return "\n".join(f"{name} = {value}" for name, value in values.items())


def _numbers(table: Table, case: int, place: int) -> str:
    values = table.named(table.choices[place])
    return html.table(("", ""), [*values.items(), *_profile(table, case, place)])


def _profile(table: Table, case: int, place: int) -> list[tuple[str, str]]:
    """How a row ended, its time and what else is known of it."""
    outcome = table.outcome(case, place)
    rows = [("status", str(outcome.status))]
    if outcome.correct:
        span = f"{outcome.runtime_low_us:.2f} to {outcome.runtime_high_us:.2f}"
        rows.append(("runtime µs", f"{outcome.runtime_us:.2f} ({span})"))
    found = [(name, float(getattr(outcome, name))) for name in _PROFILE]
    return rows + [(name, f"{value:.4g}") for name, value in found if math.isfinite(value)]
