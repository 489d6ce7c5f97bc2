"""A benchmark as one HTML page that needs nothing else: plot, tables, what was compared."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Any

COLOURS = ("#3366cc", "#dc3912", "#109618", "#ff9900", "#990099", "#0099c6", "#dd4477", "#66aa00")
WIDTH, HEIGHT, LEFT, BELOW = 640, 320, 48, 36
STYLE = """
body{font:16px/1.5 system-ui,sans-serif;margin:0 auto;max-width:60rem;padding:1rem;color:#222}
svg{width:100%;height:auto}table{border-collapse:collapse;width:100%}
th,td{padding:.3rem .6rem;text-align:right;border-bottom:1px solid #ddd}
th:first-child,td:first-child{text-align:left}.scroll{overflow-x:auto}
.note{color:#666;font-size:.9rem}.bad{color:#b00020}
"""


def page(summary: Mapping[str, Any], title: str, about: Mapping[str, Any]) -> str:
    """The page.

    Args:
        summary: what `summary.summarise` made.
        title: of the page.
        about: what is told of the benchmark: device, versions, date, command.
    """
    agents: Mapping[str, Any] = summary["agents"]
    parts = [f"<h1>{_text(title)}</h1>"]
    if not agents:
        parts.append('<p class="bad">No run is over yet: there is nothing to show.</p>')
    else:
        if any(agent["seeds"] < 2 for agent in agents.values()):
            parts.append('<p class="bad">One seed: there are no intervals, and no conclusion.</p>')
        parts += [_plot(summary), _legend(summary), _agents(summary), _better(summary)]
    parts += [_shapes(summary), _about(about)]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{_text(title)}</title><style>{STYLE}</style></head><body>"
        + "".join(parts)
        + "</body></html>\n"
    )


def _plot(summary: Mapping[str, Any]) -> str:
    curves = {**{n: a["curve"] for n, a in summary["agents"].items()}}
    lines = [_line(summary["random"], "#888", dashed=True)]
    lines += [_line(curve, _colour(i)) for i, curve in enumerate(curves.values())]
    budget = summary["budget"]
    marks = []
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        y = _y(share)
        marks.append(f'<line x1="{LEFT}" x2="{WIDTH}" y1="{y}" y2="{y}" stroke="#eee"/>')
        marks.append(f'<text x="4" y="{y + 4}" font-size="12">{share:.0%}</text>')
    for at in (1, max(1, budget // 2), budget):
        x = _x(at, budget)
        marks.append(
            f'<text x="{x}" y="{HEIGHT - 8}" font-size="12" text-anchor="middle">{at}</text>'
        )
    return (
        "<h2>Fraction of the optimum after k unique evaluations</h2>"
        f'<svg viewBox="0 0 {WIDTH + 16} {HEIGHT}" role="img" '
        'aria-label="Fraction of the optimum against evaluations">' + "".join(marks + lines)
        + "</svg>"
    )  # fmt: skip


def _line(curve: Sequence[float], colour: str, *, dashed: bool = False) -> str:
    budget = len(curve)
    points = " ".join(f"{_x(k, budget):.1f},{_y(v):.1f}" for k, v in enumerate(curve, start=1))
    dash = ' stroke-dasharray="5 4"' if dashed else ""
    return f'<polyline fill="none" stroke="{colour}" stroke-width="2"{dash} points="{points}"/>'


def _x(at: int, budget: int) -> float:
    return LEFT + (WIDTH - LEFT) * (at - 1) / max(budget - 1, 1)


def _y(share: float) -> float:
    return (HEIGHT - BELOW) * (1 - share) + 8


def _legend(summary: Mapping[str, Any]) -> str:
    names = [f'<span style="color:{_colour(i)}">■ {_text(name)}</span>'
             for i, name in enumerate(summary["agents"])]  # fmt: skip
    names.append('<span style="color:#888">- - random, exactly</span>')
    return f"<p>{' &nbsp; '.join(names)}</p>"


def _agents(summary: Mapping[str, Any]) -> str:
    points = list(next(iter(summary["agents"].values()))["fractions"])
    head = "".join(f"<th>k = {_text(k)}</th>" for k in points)
    rows = []
    for name, told in summary["agents"].items():
        value, low, high = told["interquartile_mean"]
        span = "" if low is None else f" [{low:.3f}, {high:.3f}]"
        to = told["evaluations_to_95"]
        cells = "".join(f"<td>{told['fractions'][k]:.3f}</td>" for k in points)
        rows.append(
            f"<tr><td>{_text(name)}</td><td>{value:.3f}{span}</td>{cells}"
            f"<td>{'not reached' if to is None else f'{to:g}'}</td>"
            f"<td>{told['reached_95']:.0%}</td><td>{_number(told['methodology'])}</td>"
            f"<td>{told['seeds']}</td></tr>"
        )
    return (
        '<h2>Agents</h2><div class="scroll"><table><tr><th>agent</th>'
        f"<th>interquartile mean [95 %]</th>{head}<th>to 95 %, median</th><th>reached</th>"
        f"<th>methodology score</th><th>seeds</th></tr>{''.join(rows)}</table></div>"
        '<p class="note">Interquartile mean over shapes and seeds of the mean fraction over the '
        "budget. Methodology score: 0 is random search, 1 the optimum at once.</p>"
    )


def _better(summary: Mapping[str, Any]) -> str:
    if not summary["better"]:
        return ""
    rows = "".join(
        f"<tr><td>{_text(pair)}</td><td>{value:.2f}</td>"
        f"<td>{'' if low is None else f'[{low:.2f}, {high:.2f}]'}</td></tr>"
        for pair, (value, low, high) in summary["better"].items()
    )
    return (
        '<h2>Probability of improvement</h2><div class="scroll"><table><tr><th>pair</th>'
        f"<th>chance</th><th>95 %</th></tr>{rows}</table></div>"
    )


def _shapes(summary: Mapping[str, Any]) -> str:
    listed = "".join(f"<li>{_text(shape)}</li>" for shape in summary["shapes"])
    return f"<details><summary>{len(summary['shapes'])} shapes</summary><ul>{listed}</ul></details>"


def _about(about: Mapping[str, Any]) -> str:
    rows = "".join(f"<tr><td>{_text(k)}</td><td>{_text(v)}</td></tr>" for k, v in about.items())
    return f'<h2>About</h2><div class="scroll"><table>{rows}</table></div>'


def _colour(index: int) -> str:
    return COLOURS[index % len(COLOURS)]


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _text(value: object) -> str:
    return html.escape(str(value))
