"""A plot as inline SVG. Pure."""

from collections.abc import Sequence
from html import escape
from typing import Final

WIDTH: Final = 860
HEIGHT: Final = 180
LEFT: Final = 56
BOTTOM: Final = 24
TOP: Final = 10
MAX_POINTS: Final = 800
TOPS: Final = (1, 1.2, 1.6, 2, 3, 4, 5, 6, 8, 10)
"""Steps of the axis's upper end, finer than those of time, so that little of the plot is empty."""

Points = Sequence[tuple[float, float]]


def plot(
    title: str, unit: str, lines: Sequence[tuple[str, Points]], end_s: float, kills_s: Sequence[float] = ()
) -> str:
    """Return a plot of lines of (seconds, value) from 0 to `end_s`, with a vertical line at each kill."""
    top = _round_up(max((value for _, points in lines for _, value in points), default=0.0), TOPS)
    end_s = max(end_s, 1.0)

    def x(seconds: float) -> float:
        return LEFT + seconds / end_s * (WIDTH - LEFT - 10)

    def y(value: float) -> float:
        return TOP + (1 - value / top) * (HEIGHT - TOP - BOTTOM)

    parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">']
    for share in (0.0, 0.5, 1.0):
        height = y(top * share)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - 10}" y1="{height:.1f}" y2="{height:.1f}"/>')
        parts.append(f'<text class="end" x="{LEFT - 6}" y="{height + 4:.1f}">{top * share:g}</text>')
    unit_s, unit_name = (60, "min") if end_s >= 120 else (1, "s")
    step = _round_up(end_s / unit_s / 12)
    for tick in range(int(end_s / unit_s / step) + 1):
        at, label = tick * step * unit_s, f"{tick * step:g} {unit_name}"
        parts.append(f'<text class="mid" x="{x(at):.1f}" y="{HEIGHT - 6}">{label}</text>')
    parts += [
        f'<line class="kill" x1="{x(at):.1f}" x2="{x(at):.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>' for at in kills_s
    ]
    for place, (_, points) in enumerate(lines):
        drawn = " ".join(f"{x(at):.1f},{y(value):.1f}" for at, value in _thinned(points))
        parts.append(f'<polyline class="line{place}" points="{drawn}"/>')
    legend = ", ".join(f'<span class="key{place}">{escape(name)}</span>' for place, (name, _) in enumerate(lines))
    legend += '; <span class="key-kill">dashed</span>: the daemon was killed' if kills_s else ""
    return (
        f"<figure><figcaption>{escape(title)} ({escape(unit)}): {legend}</figcaption>{''.join(parts)}</svg></figure>"
    )


def _thinned(points: Points) -> Points:
    """Return the maximum of each stretch: the peaks are what matters."""
    size = -(-len(points) // MAX_POINTS) or 1
    return [max(points[at : at + size], key=lambda point: point[1]) for at in range(0, len(points), size)]


def _round_up(value: float, steps: Sequence[float] = (1, 2, 5, 10)) -> float:
    """Return the smallest product of a step and a power of ten that is not below the value."""
    if value <= 0:
        return 1.0
    power = 1.0
    while power > value:
        power /= 10
    while power * 10 < value:
        power *= 10
    return next(power * step for step in steps if power * step >= value)
