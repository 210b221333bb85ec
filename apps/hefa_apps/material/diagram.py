"""Where the nodes of a balance stand on the page, and how the streams run between them. Pure geometry, in px."""

from collections.abc import Sequence
from dataclasses import dataclass

from hefa_apps.material.plant import Part

BOX = (196, 86)
_COLUMN, _ROW, _MARGIN_X, _MARGIN_Y = 322, 132, 138, 26
_APART = 62  # products that leave one node, px at their ends


@dataclass(frozen=True)
class Box:
    """A node; `x`, `y` its upper left corner."""

    name: str
    x: float
    y: float


@dataclass(frozen=True)
class Link:
    """A stream as a path, and where its label stands."""

    name: str
    path: str
    x: float
    y: float
    product: bool


@dataclass(frozen=True)
class Diagram:
    """Everything to draw; stocks and hold-ups are told in their node, not drawn."""

    width: float
    height: float
    boxes: tuple[Box, ...]
    links: tuple[Link, ...]


def diagram(parts: Sequence[Part], streams: Sequence[str]) -> Diagram:
    """Lay the nodes out by their columns and rows; what touches one node only comes from the left or goes to the right."""
    place = {p.name: (_MARGIN_X + p.at[0] * _COLUMN, _MARGIN_Y + p.at[1] * _ROW) for p in parts}
    links = []
    for name in streams:
        sources = [p for p in parts if name in p.leaves]
        targets = [p for p in parts if name in p.enters]
        if not sources and not targets:
            continue
        loose = bool(sources and not targets)
        if sources:
            outs = [s for s in sources[0].leaves if s in streams]
            x1, y1 = place[sources[0].name]
            x1, y1 = x1 + BOX[0], y1 + BOX[1] * (outs.index(name) + 1) / (len(outs) + 1)
        if targets:
            ins = [s for s in targets[0].enters if s in streams]
            x2, y2 = place[targets[0].name]
            y2 += BOX[1] * (ins.index(name) + 1) / (len(ins) + 1)
        if not targets:
            free = [s for s in outs if not any(s in p.enters for p in parts)]
            x2, y2 = x1 + _COLUMN - BOX[0], y1 + (free.index(name) - (len(free) - 1) / 2) * _APART
        if not sources:
            x1, y1 = x2 - _COLUMN + BOX[0], y2
        bend = (x2 - x1) / 2 if x2 - x1 < _COLUMN else 62
        path = f"M{x1:.0f} {y1:.0f}C{x1 + bend:.0f} {y1:.0f} {x2 - bend:.0f} {y2:.0f} {x2:.0f} {y2:.0f}"
        links.append(Link(name, path, (x1 + x2) / 2, (y1 + y2) / 2, loose))
    columns, rows = max((p.at[0] for p in parts), default=0), max((p.at[1] for p in parts), default=0)
    return Diagram(
        _MARGIN_X * 2 + columns * _COLUMN + BOX[0],
        _MARGIN_Y * 2 + rows * _ROW + BOX[1],
        tuple(Box(name, x, y) for name, (x, y) in place.items()),
        tuple(links),
    )
