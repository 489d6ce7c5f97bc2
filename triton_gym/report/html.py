"""A page of HTML that needs nothing else: its style, tables, and plots as SVG."""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

COLOURS = ("#3366cc", "#dc3912", "#109618", "#ff9900", "#990099", "#0099c6", "#dd4477", "#66aa00")
WIDTH, HEIGHT, LEFT, BELOW = 640, 320, 56, 36
STYLE = """
:root{color-scheme:light dark}
body{font:16px/1.5 system-ui,sans-serif;margin:0 auto;max-width:60rem;padding:1rem}
h1{font-size:1.5rem;line-height:1.25}h2{font-size:1.15rem;margin-top:1.6rem}
h1,h2,p,td:first-child{overflow-wrap:anywhere}
svg{width:100%;height:auto;background:#fff}
table{border-collapse:collapse;width:100%}
th,td{padding:.3rem .6rem;text-align:right;border-bottom:1px solid #8884;white-space:nowrap}
th:first-child,td:first-child{text-align:left}
.scroll{overflow-x:auto}
.note{opacity:.75;font-size:.9rem}
.bad{color:#d33}
pre{overflow-x:auto;background:#8881;padding:.6rem;font-size:.8rem;line-height:1.35}
details{margin:.4rem 0}summary{cursor:pointer}
.add{color:#1a7f37}.cut{color:#cf222e}
"""


@dataclass(frozen=True, slots=True)
class Curve:
    """A line of a plot, or its points."""

    name: str
    points: Sequence[tuple[float, float]]
    """Those that are not finite are left out."""
    colour: str
    dashed: bool = False
    dots: bool = False
    """Points alone, no line."""


def text(value: object) -> str:
    """Text as HTML shows it."""
    return html.escape(str(value))


def number(value: float | None, form: str = ".3f") -> str:
    """A number, or a dash where there is none."""
    return "–" if value is None or not math.isfinite(value) else format(value, form)


def document(title: str, parts: Iterable[str]) -> str:
    """The whole page."""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{text(title)}</title><style>{STYLE}</style></head><body>"
        f"<h1>{text(title)}</h1>" + "".join(parts) + "</body></html>\n"
    )


def bad(message: str) -> str:
    """A line that says what is wrong with what is shown."""
    return f'<p class="bad">{text(message)}</p>'


def note(message: str) -> str:
    """A line of small print."""
    return f'<p class="note">{text(message)}</p>'


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table that scrolls by itself where the page is narrow."""
    top = "".join(f"<th>{text(cell)}</th>" for cell in head)
    body = "".join(
        "<tr>" + "".join(f"<td>{text(cell)}</td>" for cell in row) + "</tr>" for row in rows
    )
    return f'<div class="scroll"><table><tr>{top}</tr>{body}</table></div>'


def about(found: Mapping[str, object]) -> str:
    """Where it comes from: names and values."""
    return "<h2>About</h2>" + table(("", ""), found.items())


def code(source: str) -> str:
    """A source as it is."""
    return f"<pre>{text(source)}</pre>"


def diff(lines: Iterable[str]) -> str:
    """A unified diff with its lines in colour."""
    shown = []
    for line in lines:
        kind = {"+": "add", "-": "cut"}.get(line[:1])
        shown.append(f'<span class="{kind}">{text(line)}</span>' if kind else text(line))
    return f"<pre>{chr(10).join(shown)}</pre>"


def folded(title: str, body: str) -> str:
    """What is shown on a click."""
    return f"<details><summary>{text(title)}</summary>{body}</details>"


def plot(
    title: str, curves: Sequence[Curve], *, low: float | None = None, high: float | None = None,
    form: str = ".2g", label: str = "",
) -> str:  # fmt: skip
    """Curves over a common range, with a legend; a line of words where there is nothing.

    Args:
        title: above it.
        curves: what is drawn.
        low, high: ends of the vertical axis; what the curves reach by default.
        form: of the numbers on that axis.
        label: of the horizontal axis.
    """
    drawn = [_finite(curve) for curve in curves]
    every = [point for curve in drawn for point in curve.points]
    if not every:
        return f"<h2>{text(title)}</h2>" + note("Nothing to draw.")
    xs, ys = [x for x, _ in every], [y for _, y in every]
    left, right = min(xs), max(xs)
    bottom = min(ys) if low is None else low
    top = max(max(ys), bottom) if high is None else high
    if top == bottom:
        top = bottom + (abs(bottom) or 1.0)

    def place(x: float, y: float) -> tuple[float, float]:
        across = (x - left) / (right - left) if right > left else 0.5
        share = min(max((y - bottom) / (top - bottom), 0.0), 1.0)
        return LEFT + (WIDTH - LEFT) * across, (HEIGHT - BELOW) * (1 - share) + 8

    marks = []
    for quarter in range(5):
        value = bottom + (top - bottom) * quarter / 4
        y = place(left, value)[1]
        marks.append(f'<line x1="{LEFT}" x2="{WIDTH}" y1="{y:.1f}" y2="{y:.1f}" stroke="#ddd"/>')
        marks.append(f'<text x="4" y="{y + 4:.1f}" font-size="12">{format(value, form)}</text>')
    for x in sorted({left, float(round((left + right) / 2)), right}):
        across = place(x, bottom)[0]
        marks.append(
            f'<text x="{across:.1f}" y="{HEIGHT - 8}" font-size="12" text-anchor="middle">'
            f"{x:g}</text>"
        )
    lines = [_drawn(curve, [place(*point) for point in curve.points]) for curve in drawn]
    legend = " &nbsp; ".join(
        f'<span style="color:{curve.colour};white-space:nowrap">'
        f"{'- -' if curve.dashed else '■'} {text(curve.name)}</span>"
        for curve in curves
    )
    return (
        f'<h2>{text(title)}</h2><svg viewBox="0 0 {WIDTH + 16} {HEIGHT}" role="img" '
        f'aria-label="{text(title)}">' + "".join(marks + lines) + f"</svg><p>{legend}</p>"
        + (note(f"Across: {label}.") if label else "")
    )  # fmt: skip


def colour(index: int) -> str:
    """The colour of a curve by its number."""
    return COLOURS[index % len(COLOURS)]


def _finite(curve: Curve) -> Curve:
    points = [(x, y) for x, y in curve.points if math.isfinite(x) and math.isfinite(y)]
    return Curve(curve.name, points, curve.colour, curve.dashed, curve.dots)


def _drawn(curve: Curve, points: Sequence[tuple[float, float]]) -> str:
    if curve.dots or len(points) == 1:
        return "".join(
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{curve.colour}" fill-opacity="0.6"/>'
            for x, y in points
        )
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    dash = ' stroke-dasharray="5 4"' if curve.dashed else ""
    return f'<polyline fill="none" stroke="{curve.colour}" stroke-width="2"{dash} points="{path}"/>'
