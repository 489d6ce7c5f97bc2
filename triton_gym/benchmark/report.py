"""A benchmark as one HTML page that needs nothing else: plots, tables, what was compared."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from triton_gym.report import html


def page(
    summary: Mapping[str, Any], title: str, about: Mapping[str, Any], kernels: str = ""
) -> str:
    """The page.

    Args:
        summary: what `summary.summarise` made.
        title: of the page.
        about: what is told of the benchmark: device, versions, date, command.
        kernels: best kernels and episodes; see `episodes.shown`.
    """
    agents: Mapping[str, Any] = summary["agents"]
    parts = []
    if not agents:
        parts.append(html.bad("No run is over yet: there is nothing to show."))
    else:
        if any(agent["seeds"] < 2 for agent in agents.values()):
            parts.append(html.bad("One seed: there are no intervals, and no conclusion."))
        nothing = [name for name, told in agents.items() if not max(told["curve"])]
        if nothing:
            parts.append(html.bad(f"Nothing that {', '.join(nothing)} tried was correct."))
        parts += [_plot(summary), _agents(summary), _better(summary)]
    shapes = "".join(f"<li>{html.text(shape)}</li>" for shape in summary["shapes"])
    parts.append(kernels)
    parts.append(html.folded(f"{len(summary['shapes'])} shapes", f"<ul>{shapes}</ul>"))
    parts.append(html.about(about))
    return html.document(title, parts)


def _plot(summary: Mapping[str, Any]) -> str:
    curves = [html.Curve("random, exactly", _points(summary["random"]), "#888", dashed=True)]
    curves += [
        html.Curve(name, _points(told["curve"]), html.colour(i))
        for i, (name, told) in enumerate(summary["agents"].items())
    ]
    return html.plot(
        "Fraction of the optimum after k unique evaluations", curves, high=1.0, form=".0%",
        label="unique evaluations",
    )  # fmt: skip


def _points(curve: Any) -> list[tuple[float, float]]:
    return [(float(k), float(value)) for k, value in enumerate(curve, start=1)]


def _agents(summary: Mapping[str, Any]) -> str:
    points = list(next(iter(summary["agents"].values()))["fractions"])
    rows = []
    for name, told in summary["agents"].items():
        value, low, high = told["interquartile_mean"]
        span = "" if low is None else f" [{low:.3f}, {high:.3f}]"
        to = told["evaluations_to_95"]
        rows.append([
            name, f"{value:.3f}{span}", *(f"{told['fractions'][k]:.3f}" for k in points),
            "not reached" if to is None else f"{to:g}", f"{told['reached_95']:.0%}",
            html.number(told["methodology"]), told["seeds"],
        ])  # fmt: skip
    head = ["agent", "interquartile mean [95 %]", *(f"k = {k}" for k in points),
            "to 95 %, median", "reached", "methodology score", "seeds"]  # fmt: skip
    return (
        "<h2>Agents</h2>"
        + html.table(head, rows)
        + html.note(
            "Interquartile mean over shapes and seeds of the mean fraction over the budget. "
            "Methodology score: 0 is random search, 1 the optimum at once."
        )
    )


def _better(summary: Mapping[str, Any]) -> str:
    if not summary["better"]:
        return ""
    rows = [
        (pair, f"{value:.2f}", "" if low is None else f"[{low:.2f}, {high:.2f}]")
        for pair, (value, low, high) in summary["better"].items()
    ]
    return "<h2>Probability of improvement</h2>" + html.table(("pair", "chance", "95 %"), rows)
