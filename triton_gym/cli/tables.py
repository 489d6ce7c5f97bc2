"""Outcomes as tables."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from rich.box import SIMPLE_HEAD
from rich.table import Table

from triton_gym.outcome import Outcome, TimeSource

_COLOURS = {"correct": "green"}


def microseconds(value: float) -> str:
    """A time in the unit that fits it; a dash if it does not exist."""
    if not math.isfinite(value):
        return "–"
    return f"{value / 1000:.3f} ms" if value >= 1000 else f"{value:.2f} µs"


def time_with_spread(outcome: Outcome) -> str:
    """The median time with its interval, and whether it is simulated."""
    if not math.isfinite(outcome.runtime_us):
        return "–"
    text = microseconds(outcome.runtime_us)
    if outcome.time_source is TimeSource.SIMULATED:
        return f"{text} (simulated)"
    if outcome.time_source is TimeSource.RECORDED:
        return f"{text} (recorded)"
    low, high = outcome.runtime_low_us, outcome.runtime_high_us
    if not math.isfinite(low) or not math.isfinite(high):
        return text
    return f"{text} [{microseconds(low)}, {microseconds(high)}]"


def speedup(outcome: Outcome) -> str:
    """The speedup over PyTorch; a dash if it does not exist."""
    return f"{outcome.speedup:.2f}×" if math.isfinite(outcome.speedup) else "–"


def roofline(outcome: Outcome) -> str:
    """The share of the speed of light in per cent; a dash if it does not exist."""
    return f"{100 * outcome.roofline:.1f} %" if math.isfinite(outcome.roofline) else "–"


def _number(value: float, form: str) -> str:
    return format(value, form) if math.isfinite(value) else "–"


ROWS: tuple[tuple[str, Callable[[Outcome], str]], ...] = (
    ("status", lambda o: f"[{_COLOURS.get(o.status, 'red')}]{o.status}[/]"),
    ("time", time_with_spread),
    ("PyTorch", lambda o: microseconds(o.baseline_us)),
    ("speedup", speedup),
    ("roofline", roofline),
    ("GB/s", lambda o: _number(o.gbps, ".0f")),
    ("TFLOP/s", lambda o: _number(o.tflops, ".1f")),
    ("bound by", lambda o: o.bound or "–"),
    ("registers", lambda o: _number(o.registers, ".0f")),
    ("spilled bytes", lambda o: _number(o.spills, ".0f")),
    ("shared memory", lambda o: _number(o.shared_bytes, ",.0f")),
    ("error (allowed)", lambda o: f"{_number(o.max_error, '.1e')} ({_number(o.tolerance, '.1e')})"),
)
"""What is shown of an outcome: a label and its text."""


def outcomes_table(title: str, columns: Mapping[str, Outcome]) -> Table:
    """Outcomes beside each other, a row for each number."""
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD)
    table.add_column("")
    for name in columns:
        table.add_column(name)
    for label, text in ROWS:
        table.add_row(label, *(text(outcome) for outcome in columns.values()))
    return table
