"""Drawings that stand in a table's cell, as SVG text from numbers alone; colours come from the page's style sheet."""

from __future__ import annotations

WIDTH, HEIGHT = 150, 14


def bar(part: float, whole: float, *, lost: float = 0.0) -> str:
    """A bar of `part` out of `whole`, with what was `lost` at its end."""
    scale = WIDTH / whole if whole > 0 else 0.0
    kept, gone = part * scale, lost * scale
    marks = f'<rect class="bar" x="0" y="3" width="{kept:.1f}" height="8"/>'
    if gone > 0:
        marks += f'<rect class="lost" x="{kept:.1f}" y="3" width="{gone:.1f}" height="8"/>'
    return small(marks)


def small(marks: str) -> str:
    """Marks on a small drawing's ground."""
    size = f'width="{WIDTH}" height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}"'
    return f'<svg class="small" {size} aria-hidden="true">{marks}</svg>'
