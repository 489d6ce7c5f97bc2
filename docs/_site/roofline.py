"""The roofline of a task as a picture: SVG, a few lines of text, no plotting library."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 520, 300
LEFT, RIGHT, TOP, BOTTOM = 70, 16, 18, 50
LINE = 16
GREY, INK, ROOF, DONE = "#8a8f98", "#24292f", "#2f6fd0", "#c2410c"


@dataclass(frozen=True, slots=True)
class Mark:
    """A point below the roof."""

    label: str
    intensity: float
    """FLOPs a byte."""
    tflops: float
    """10¹² FLOPs a second."""


@dataclass(frozen=True, slots=True)
class Roof:
    """A device's limits for one case."""

    device: str
    memory_gbps: float
    peak_tflops: float
    intensity: float
    """FLOPs a byte of the case."""

    @property
    def ridge(self) -> float:
        """FLOPs a byte from which arithmetic is the limit."""
        return self.peak_tflops / self.memory_gbps * 1e3

    def attainable(self, intensity: float) -> float:
        """TFLOP/s that memory and arithmetic allow (Williams et al., CACM 52(4), 2009)."""
        return min(self.peak_tflops, self.memory_gbps * intensity / 1e3)


def picture(roof: Roof, marks: Sequence[Mark]) -> str:
    """The roofline on two logarithmic axes, with the case's limit and what was reached."""
    lowest = min(0.1, roof.intensity / 4)
    highest = max(roof.ridge, roof.intensity) * 8
    low_rate = min([roof.attainable(lowest), *(mark.tflops / 2 for mark in marks)])
    axes = Axes((lowest, highest), (low_rate, roof.peak_tflops * 2.5))
    limit = roof.attainable(roof.intensity)
    x = axes.x(roof.intensity)
    lines = [
        *axes.grid(),
        _path([axes.point(at, roof.attainable(at)) for at in (lowest, roof.ridge, highest)], ROOF),
        _text(axes.x(roof.ridge), axes.y(roof.peak_tflops) - 8, f"{roof.peak_tflops:,.0f} TFLOP/s",
              ROOF, "middle"),
        _text(*axes.above_slope(roof, lowest), f"{roof.memory_gbps:,.0f} GB/s", ROOF, "end"),
        f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{axes.y(limit):.1f}" y2="{HEIGHT - BOTTOM}" '
        f'stroke="{ROOF}" stroke-dasharray="4 4"/>',
        f'<circle cx="{x:.1f}" cy="{axes.y(limit):.1f}" r="5" fill="{ROOF}"/>',
    ]  # fmt: skip
    side = -1 if x > WIDTH * 0.6 else 1
    anchor = "end" if side < 0 else "start"
    for mark, y in _spread(marks, axes):
        cx, cy = axes.point(mark.intensity, mark.tflops)
        lines.append(f'<circle cx="{cx:.1f}" cy="{cy:.1f}" r="4" fill="{DONE}"/>')
        lines.append(_text(cx + 10 * side, y + 4, mark.label, DONE, anchor))
    title = (
        f"Roofline of {roof.device}: {roof.intensity:.3g} FLOPs a byte, at most {limit:.3g} TFLOP/s"
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'font-family="system-ui, sans-serif" font-size="14">\n<title>{escape(title)}</title>\n'
        f'<rect width="{WIDTH}" height="{HEIGHT}" rx="8" fill="#ffffff"/>\n'
        + "\n".join(lines)
        + "\n</svg>\n"
    )


@dataclass(frozen=True, slots=True)
class Axes:
    """Two logarithmic axes: FLOPs a byte, and TFLOP/s."""

    across: tuple[float, float]
    up: tuple[float, float]

    def x(self, value: float) -> float:
        """Where a number of FLOPs a byte lies."""
        return LEFT + _share(value, self.across) * (WIDTH - LEFT - RIGHT)

    def y(self, value: float) -> float:
        """Where a rate lies."""
        return HEIGHT - BOTTOM - _share(value, self.up) * (HEIGHT - TOP - BOTTOM)

    def point(self, across: float, up: float) -> tuple[float, float]:
        """Where both lie."""
        return self.x(across), self.y(up)

    def above_slope(self, roof: Roof, lowest: float) -> tuple[float, float]:
        """A place for the name of the slope: half of its way up, where nothing can be."""
        at = lowest * (roof.ridge / lowest) ** 0.5
        x, y = self.point(at, roof.attainable(at))
        return x - 10, y - 8

    def grid(self) -> Iterator[str]:
        """Powers of ten with their names."""
        for value in _tens(self.across):
            x = self.x(value)
            yield _line(x, TOP, x, HEIGHT - BOTTOM)
            yield _text(x, HEIGHT - BOTTOM + 18, f"{value:g}", GREY, "middle")
        for value in _tens(self.up):
            y = self.y(value)
            yield _line(LEFT, y, WIDTH - RIGHT, y)
            yield _text(LEFT - 8, y + 4, f"{value:g}", GREY, "end")
        yield _text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 10, "FLOPs a byte", INK, "middle")
        yield (
            f'<text transform="translate(16 {(TOP + HEIGHT - BOTTOM) / 2}) rotate(-90)" '
            f'fill="{INK}" text-anchor="middle">TFLOP/s</text>'
        )


def _share(value: float, span: tuple[float, float]) -> float:
    low, high = map(math.log10, span)
    return (math.log10(value) - low) / (high - low)


def _tens(span: tuple[float, float]) -> list[float]:
    low, high = math.ceil(math.log10(span[0])), math.floor(math.log10(span[1]))
    return [10.0**power for power in range(low, high + 1)]


def _spread(marks: Sequence[Mark], axes: Axes) -> Iterator[tuple[Mark, float]]:
    """Heights of the labels, fastest first, so that none lies on another or on the axis below."""
    ordered = sorted(marks, key=lambda mark: -mark.tflops)
    heights = [axes.y(mark.tflops) for mark in ordered]
    for index in range(1, len(heights)):
        heights[index] = max(heights[index], heights[index - 1] + LINE)
    lowest = HEIGHT - BOTTOM - LINE / 2
    for index in reversed(range(len(heights))):
        heights[index] = min(heights[index], lowest)
        lowest = heights[index] - LINE
    yield from zip(ordered, heights, strict=True)


def _line(x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<path d="M{x1:.1f} {y1:.1f}L{x2:.1f} {y2:.1f}" stroke="#e3e6ea" fill="none"/>'


def _path(points: Sequence[tuple[float, float]], colour: str) -> str:
    way = "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
    return f'<path d="M{way}" stroke="{colour}" stroke-width="2.5" fill="none"/>'


def _text(x: float, y: float, text: str, colour: str, anchor: str) -> str:
    place = f'x="{x:.1f}" y="{y:.1f}" fill="{colour}" text-anchor="{anchor}"'
    return f"<text {place}>{escape(text)}</text>"
