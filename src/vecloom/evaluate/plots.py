"""Small plots as inline SVG, in per cent of their width: they fit any page, and their text stays legible.

Colours are CSS classes (``evaluate/report.css``); whatever text comes from users is escaped here.
"""

from __future__ import annotations

import html
from collections.abc import Sequence

from vecloom.paths import printable

_ROW = 22
_BAR = 12
#: How far the scale of differences may reach: the least that holds them all.
_SCALES = (0.1, 0.2, 0.5, 1.0)


def escaped(text: object) -> str:
    """Text for HTML and SVG: markup, control characters and direction overrides escaped."""
    return html.escape(printable(str(text), keep="\n"), quote=True)


def bar(
    value: float, most: float, style: str, title: str, interval: tuple[float, float] | None = None
) -> str:
    """One bar of ``value`` on a scale from 0 to ``most``; its interval, where there is one, as a whisker."""
    middle = _ROW / 2
    top = (_ROW - _BAR) / 2
    drawn = [
        f'<rect class="rail" x="0" y="{top:g}" width="100%" height="{_BAR}" rx="3"/>',
        f'<rect class="{style}" x="0" y="{top:g}" width="{_share(value, most)}" height="{_BAR}" rx="3"/>',
    ]
    if interval is not None:
        low, high = (_share(end, most) for end in interval)
        drawn.append(f'<line class="whisker" x1="{low}" x2="{high}" y1="{middle:g}" y2="{middle:g}"/>')
        drawn += [
            f'<line class="whisker" x1="{x}" x2="{x}" y1="{middle - 4:g}" y2="{middle + 4:g}"/>'
            for x in (low, high)
        ]
    return _svg(_ROW, drawn, title)


def span(value: float, beyond: float, most: float, style: str, title: str) -> str:
    """A bar to ``value`` and a thinner one on to ``beyond``, on a scale from 0 to ``most``."""
    top = (_ROW - _BAR) / 2
    start, width = _share(value, most), _share(max(beyond - value, 0.0), most)
    return _svg(
        _ROW,
        [
            f'<rect class="{style}" x="0" y="{top:g}" width="{start}" height="{_BAR}" rx="3"/>',
            f'<rect class="{style} beyond" x="{start}" y="{top + 4:g}" width="{width}" height="4" rx="2"/>',
        ],
        title,
    )


def differences(deltas: Sequence[float], titles: Sequence[str], height: int = 200) -> str:
    """A bar for each query, sorted: what is better rises from the middle line, what is worse hangs below it.

    ``deltas`` are -1 to 1; ``titles`` what a pointer over each bar shows.
    """
    count = max(len(deltas), 1)
    order = sorted(range(len(deltas)), key=lambda i: (-deltas[i], i))
    most = next(scale for scale in _SCALES if scale >= max(map(abs, deltas), default=0.0) or scale == 1.0)
    middle = height / 2
    drawn = [_grid_line(middle * (1 - at)) for at in (-0.98, -0.5, 0.5, 0.98)]
    width = 100 / count
    gap = 0.15 * width if count <= 150 else 0.0
    for place, number in enumerate(order):
        delta = deltas[number]
        size = min(abs(delta) / most, 1.0) * (middle - 2)
        top = middle - size if delta > 0 else middle
        style = "better" if delta > 0 else "worse" if delta < 0 else "same"
        drawn.append(
            f'<g class="query"><title>{escaped(titles[number])}</title>'
            f'<rect class="reach" x="{place * width:.4f}%" y="0" width="{width:.4f}%" height="{height}"/>'
            f'<rect class="{style}" x="{place * width + gap / 2:.4f}%" y="{top:.2f}" '
            f'width="{width - gap:.4f}%" height="{max(size, 1.5):.2f}"/></g>'
        )
    drawn.append(f'<line class="axis" x1="0" x2="100%" y1="{middle:g}" y2="{middle:g}"/>')
    for at in (1.0, 0.5, -0.5, -1.0):  # above on the right and below on the left, where the bars leave room
        y = min(max(middle * (1 - at) + 4, 11), height - 3)
        said = f"{at * most:+.3g}".replace("-", "−").replace("0.", ".")
        side = 'x="100%" text-anchor="end"' if at > 0 else 'x="0" text-anchor="start"'
        drawn.append(f'<text class="tick" {side} y="{y:g}">{said}</text>')
    return _svg(height, drawn, "")


def _grid_line(y: float) -> str:
    return f'<line class="grid" x1="0" x2="100%" y1="{y:g}" y2="{y:g}"/>'


def _share(value: float, most: float) -> str:
    part = value / most if most > 0 else 0.0
    return f"{100 * min(max(part, 0.0), 1.0):.3f}%"


def _svg(height: int, drawn: Sequence[str], title: str) -> str:
    named = f"<title>{escaped(title)}</title>" if title else ""
    return f'<svg role="img" width="100%" height="{height}">{named}{"".join(drawn)}</svg>'
