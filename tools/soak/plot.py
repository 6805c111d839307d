"""Curves over time as one SVG, one below the other; light and dark as the reader's page is."""

from collections.abc import Sequence
from typing import NamedTuple

WIDTH, HEIGHT, LEFT, GAP = 760, 90, 60, 46


class Curve(NamedTuple):
    """A title with its unit, and points of seconds and value."""

    title: str
    points: Sequence[tuple[float, float]]


def plot(curves: Sequence[Curve]) -> str:
    """Return the picture; each curve begins at 0."""
    height = len(curves) * (HEIGHT + GAP) + 20
    style = (
        "<style>text{font-size:12px;fill:#555}path{fill:none;stroke:#2a6fb0;stroke-width:1.5}line{stroke:#9995}"
        "@media(prefers-color-scheme:dark){text{fill:#bbb}path{stroke:#6fb1f0}}</style>"
    )
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH + LEFT + 20} {height}" font-family="sans-serif">',
        style,
    ]
    for index, curve in enumerate(curves):
        parts += _curve(curve, index * (HEIGHT + GAP) + 24)
    return "\n".join([*parts, "</svg>\n"])


def _curve(curve: Curve, top: int) -> list[str]:
    end = curve.points[-1][0]
    most = max(value for _, value in curve.points) * 1.1 or 1.0
    path = " ".join(
        f"{'L' if index else 'M'}{LEFT + at / end * WIDTH:.1f} {top + HEIGHT - value / most * HEIGHT:.1f}"
        for index, (at, value) in enumerate(curve.points)
    )
    bottom = top + HEIGHT
    return [
        f'<text x="{LEFT}" y="{top - 6}">{curve.title}</text>',
        f'<line x1="{LEFT}" y1="{bottom}" x2="{LEFT + WIDTH}" y2="{bottom}"/>',
        f'<text x="{LEFT - 6}" y="{top + 10}" text-anchor="end">{most:.3g}</text>',
        f'<text x="{LEFT - 6}" y="{bottom}" text-anchor="end">0</text>',
        f'<text x="{LEFT + WIDTH}" y="{bottom + 14}" text-anchor="end">{end / 60:.0f} min</text>',
        f'<path d="{path}"/>',
    ]
