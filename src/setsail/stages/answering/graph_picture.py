"""A picture of a graph as SVG text: names as dots with labels, relations as arrows with words. Labels are escaped here.

Where there are more names than a page can show, those with most relations are drawn, and the picture says so.
"""

from __future__ import annotations

import math
from html import escape
from typing import Any

MOST_NAMES = 60
_WIDTH, _HEIGHT, _MARGIN, _FOOT = 1200, 800, 90, 30
_RADIUS, _SEED = 7.0, 1
_STYLE = """
 svg { background: #fbfaf7; font-family: system-ui, "Noto Sans", "PingFang SC", "Noto Sans CJK SC", sans-serif; }
 .name { fill: #1d5a85; } .edge { stroke: #a9c6da; stroke-width: 1.4; fill: none; }
 .label { font-size: 14px; fill: #1d2327; } .relation { font-size: 11px; fill: #656c71; }
"""
Places = dict[str, tuple[float, float]]


def drawn(network: Any, networkx: Any) -> str:
    """The drawing of a directed graph of networkx whose edges have a `relation`."""
    shown = sorted(network, key=lambda name: (-network.degree(name), name))[:MOST_NAMES]
    part = network.subgraph(shown)
    places = _places(part, networkx)
    body = [_arrow(places, tail, head, words) for (tail, head), words in _joined(part).items()]
    for name in shown:
        x, y = places[name]
        body.append(f'<circle class="name" cx="{x:.1f}" cy="{y:.1f}" r="{_RADIUS}"/>')
        body.append(f'<text class="label" x="{x:.1f}" y="{y - 12:.1f}" text-anchor="middle">{escape(name)}</text>')
    left = len(network) - len(shown)
    told = f"{len(shown)} names, {part.number_of_edges()} relations" + (f"; {left} more names left out" if left else "")
    body.append(f'<text class="relation" x="{_WIDTH - 10}" y="{_HEIGHT - 10}" text-anchor="end">{told}</text>')
    head = (
        '<marker id="tip" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0,0 L8,4 L0,8 z" fill="#a9c6da"/></marker>'
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{told}">\n'
        f"<style>{_STYLE}</style>\n<defs>{head}</defs>\n" + "\n".join(body) + "\n</svg>\n"
    )


def _places(network: Any, networkx: Any) -> Places:
    """Where each name stands: springs between those that are related, the same for the same graph."""
    ordered = networkx.Graph()
    ordered.add_nodes_from(sorted(network))
    ordered.add_edges_from(sorted((min(a, b), max(a, b)) for a, b in network.edges()))
    found = networkx.spring_layout(ordered, seed=_SEED, k=2.2 / math.sqrt(max(1, len(ordered))), iterations=100)
    across, down = (_WIDTH - 2 * _MARGIN) / 2, (_HEIGHT - 2 * _MARGIN - _FOOT) / 2
    return {name: (_MARGIN + (x + 1) * across, _MARGIN + (y + 1) * down) for name, (x, y) in found.items()}


def _joined(network: Any) -> dict[tuple[str, str], str]:
    """For each pair of names the relations from one to the other, in words."""
    found: dict[tuple[str, str], list[str]] = {}
    for head, tail, relation in network.edges(data="relation"):
        found.setdefault((head, tail), []).append(relation)
    return {pair: ", ".join(sorted(words)) for pair, words in sorted(found.items())}


def _arrow(places: Places, head: str, tail: str, words: str) -> str:
    """A bent arrow, so that one back does not lie on it; a loop where a name is related to itself."""
    (x1, y1), (x2, y2) = places[head], places[tail]
    if head == tail:
        left, right = f"{x1 - 40:.1f},{y1 + 50:.1f}", f"{x1 + 40:.1f},{y1 + 50:.1f}"
        path = f"M{x1 - 4:.1f},{y1 + 6:.1f} C{left} {right} {x1 + 4:.1f},{y1 + 8:.1f}"
        return _labelled(path, x1, y1 + 48, words)
    length = math.hypot(x2 - x1, y2 - y1) or 1.0
    bend = min(30.0, length / 8)
    middle_x, middle_y = (x1 + x2) / 2 - (y2 - y1) / length * bend, (y1 + y2) / 2 + (x2 - x1) / length * bend
    reach = math.hypot(x2 - middle_x, y2 - middle_y) or 1.0
    end_x, end_y = x2 - (x2 - middle_x) / reach * (_RADIUS + 2), y2 - (y2 - middle_y) / reach * (_RADIUS + 2)
    path = f"M{x1:.1f},{y1:.1f} Q{middle_x:.1f},{middle_y:.1f} {end_x:.1f},{end_y:.1f}"
    return _labelled(path, (x1 + 2 * middle_x + x2) / 4, (y1 + 2 * middle_y + y2) / 4, words)


def _labelled(path: str, x: float, y: float, words: str) -> str:
    text = f'<text class="relation" x="{x:.1f}" y="{y:.1f}" text-anchor="middle">{escape(words)}</text>'
    return f'<path class="edge" d="{path}" marker-end="url(#tip)"/>{text}'
