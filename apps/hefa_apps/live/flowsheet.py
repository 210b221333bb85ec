"""The flowsheet of the site: blocks and pipes of a layout, joined with what the plant model knows and what was read.

Pure. The layout is data; what the plant model does not have is left out, and a plant that the layout knows nothing of
gets its areas and lines in a plain row each.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hefa_apps.client import Catalogue
from hefa_apps.live.model import Point, Summary, summary

WIDTH, HEIGHT = 200, 110  # of a block
_RADIUS = 9


class LayoutError(ValueError):
    """The layout says something that cannot be; the text names where and what."""


@dataclass(frozen=True)
class Block:
    """A place on the sheet. `height` is that of all blocks; `points` are the values it shows."""

    name: str
    path: str
    description: str
    area: str
    x: int
    y: int
    points: tuple[Point, ...]
    summary: Summary

    @property
    def running(self) -> bool:
        """Say whether anything of it reports, so that something flows."""
        return self.summary.fresh > 0


@dataclass(frozen=True)
class Pipe:
    """What flows between two blocks, as a path for SVG."""

    of: str
    ends: tuple[str, str]
    path: str


@dataclass(frozen=True)
class Sheet:
    """A drawn flowsheet."""

    width: int
    height: int
    blocks: tuple[Block, ...]
    pipes: tuple[Pipe, ...]

    @property
    def carriers(self) -> tuple[str, ...]:
        """What flows on it, each once."""
        return tuple(dict.fromkeys(pipe.of for pipe in self.pipes))


def checked(layout: dict[str, Any]) -> dict[str, Any]:
    """Return a layout that can be drawn for any plant. Raises `LayoutError`."""
    for kind in ("blocks", "cascades"):
        tables = layout.get(kind, {})
        if not isinstance(tables, dict) or not all(isinstance(said, dict) for said in tables.values()):
            raise LayoutError(f"{kind} must be tables, [{kind}.NAME]")
    for name, said in layout.get("blocks", {}).items():
        for axis in ("x", "y"):
            _whole(said, axis, name)
    for name, said in layout.get("cascades", {}).items():
        if lacking := [key for key in ("at", "template", "stages", "feed", "key") if key not in said]:
            raise LayoutError(f"cascade {name} needs {', '.join(lacking)}")
    _pipes(layout)
    return layout


def sheet(layout: Mapping[str, Any], catalogue: Catalogue, points: Mapping[str, Point]) -> Sheet:
    """Return the flowsheet of a layout for this plant. Raises `LayoutError`."""
    places = {node.path: node for level in ("area", "line", "unit") for node in catalogue.root.below(level)}
    below: dict[str, list[Point]] = {}
    for point in points.values():
        for path in {point.tag.area, point.tag.line, point.tag.equipment} - {None}:
            below.setdefault(str(path), []).append(point)
    blocks = {}
    for name, said in layout.get("blocks", {}).items():
        path = said.get("at", "")
        if path not in places:
            continue
        blocks[name] = Block(
            name=name,
            path=path,
            description=places[path].description or name,
            area=path.partition(".")[0],
            x=_whole(said, "x", name),
            y=_whole(said, "y", name),
            points=tuple(points[tag] for show in said.get("show", ()) if (tag := f"{path}.{show}") in points),
            summary=summary(below.get(path, [])),
        )
    if not blocks:
        return _plain(catalogue, below)
    pipes = tuple(pipe for pipe in _pipes(layout) if set(pipe.ends) <= set(blocks))
    width, height = layout.get("sheet", (1600, 720))
    return Sheet(width, height, tuple(blocks.values()), pipes)


def _pipes(layout: Mapping[str, Any]) -> list[Pipe]:
    found = []
    for i, said in enumerate(layout.get("pipes", ())):
        ends = tuple(said.get("ends", ()))
        if len(ends) != 2 or not set(ends) <= set(layout.get("blocks", ())):
            raise LayoutError(f"pipe {i + 1} needs two ends that are blocks, it has {', '.join(map(str, ends))}")
        found.append(Pipe(str(said.get("of", "")), (ends[0], ends[1]), rounded(said.get("points", ()))))
    return found


def rounded(points: Sequence[Sequence[float]], radius: float = _RADIUS) -> str:
    """Return the path of a pipe: straight runs, rounded where they turn. Raises `LayoutError` for under two points."""
    if len(points) < 2:
        raise LayoutError("a pipe needs two points or more")
    parts = [f"M{points[0][0]} {points[0][1]}"]
    for before, here, after in zip(points, points[1:], points[2:], strict=False):
        (x0, y0), (x1, y1) = _towards(here, before, radius), _towards(here, after, radius)
        parts.append(f"L{x0:g} {y0:g}Q{here[0]} {here[1]} {x1:g} {y1:g}")
    parts.append(f"L{points[-1][0]} {points[-1][1]}")
    return "".join(parts)


def _towards(start: Sequence[float], end: Sequence[float], most: float) -> tuple[float, float]:
    """Return the point `most` away from `start` towards `end`, at most half way."""
    dx, dy = end[0] - start[0], end[1] - start[1]
    length = (dx * dx + dy * dy) ** 0.5
    part = min(most / length, 0.5) if length else 0.0
    return start[0] + dx * part, start[1] + dy * part


def _plain(catalogue: Catalogue, below: Mapping[str, list[Point]]) -> Sheet:
    """Return a row of lines for each area: what can be drawn without knowing what flows where."""
    blocks = []
    areas = catalogue.root.below("area")
    for row, area in enumerate(areas):
        for column, line in enumerate(area.below("line")[:7]):
            found = below.get(line.path, [])
            blocks.append(
                Block(
                    name=line.name,
                    path=line.path,
                    description=line.description or line.name,
                    area=area.path,
                    x=14 + column * 228,
                    y=14 + row * 146,
                    points=tuple(p for p in found if p.tag.kind == "gauge" and p.tag.core)[:3],
                    summary=summary(found),
                )
            )
    return Sheet(1600, max(1, len(areas)) * 146 + 14, tuple(blocks), ())


def _whole(said: Mapping[str, Any], name: str, block: str) -> int:
    value = said.get(name)
    if not isinstance(value, int):
        raise LayoutError(f"block {block} needs a whole number as {name}")
    return value
