"""The ISA-95 tree of plant.toml: enterprise > site > areas > lines > units, and which edge serves which part."""

import re
import zoneinfo
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import time
from itertools import pairwise
from typing import Any

from hefa_contract.model import Edge, Equipment, Level
from hefa_contract.seedfile import Table
from hefa_contract.topics import EDGE_NAME, RESERVED

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
# Topics keep `api` for us; as an edge of the model it stands for what comes in by REST.
_FORBIDDEN_EDGES = RESERVED - {"api"}


@dataclass(frozen=True, slots=True)
class UnitRow:
    """A unit as the plant file has it: its place in the tree, and its row still to be read by its template."""

    area: str
    line: str
    unit: str
    template: str
    row: Table

    @property
    def path(self) -> str:
        return f"{self.area}.{self.line}.{self.unit}"


class Hierarchy:
    """Reads the tree; mistakes are noted in the table's list. `equipment` has parents before children."""

    def __init__(self, head: Table, templates: Mapping[str, str]) -> None:
        """`templates` are those there are, with what each describes (the default for its units)."""
        enterprise, site = head.table("enterprise"), head.table("site")
        self.enterprise, self.site = enterprise.text("name"), site.text("name")
        self.timezone = site.text("timezone")
        self.plantday = _time(site, "plantday", site.raw("plantday"))
        self.shifts = _shifts(site)
        self.equipment: dict[str, Equipment] = {}
        self.units: list[UnitRow] = []
        if self.timezone and not _is_zone(self.timezone):
            site.note("timezone", f"{self.timezone!r} is not an IANA time zone such as Asia/Shanghai")
        self._put(enterprise, self.enterprise, None, "enterprise", self.enterprise, 0)
        self._put(site, self.site, self.enterprise, "site", self.site, 0)
        enterprise.close()
        site.close()
        for at, (area, entry) in enumerate(head.table("areas").tables()):
            self._put(entry, area, self.site, "area", area, at)
            for line_at, (line, line_entry) in enumerate(entry.table("lines").tables()):
                self._put(line_entry, f"{area}.{line}", area, "line", line, line_at)
                for unit_at, (unit, row) in enumerate(line_entry.table("units").tables()):
                    self._unit(row, area, line, unit, unit_at, templates)
                line_entry.close()
            entry.close()

    def _unit(self, row: Table, area: str, line: str, unit: str, at: int, templates: Mapping[str, str]) -> None:
        template = row.text("template", allowed=templates)
        path = f"{area}.{line}.{unit}"
        self._put(row, path, f"{area}.{line}", "unit", unit, at, templates.get(template, ""), template)
        if template in templates:
            self.units.append(UnitRow(area, line, unit, template, row))

    def _put(
        self,
        entry: Table,
        path: str,
        parent: str | None,
        level: Level,
        name: str,
        position: int,
        description: str | None = None,
        template: str | None = None,
    ) -> None:
        if name and not _NAME.fullmatch(name):
            entry.note("", f"the name {name!r} may hold letters, digits, '-' and '_' only")
        if path in self.equipment:
            entry.note("", f"{path!r} is the name of the {self.equipment[path].level} already")
        text = entry.text("description", description)
        self.equipment[path] = Equipment(path, parent, level, name, text, template, position)


class Edges:
    """edges.toml: the edges, and which of them serves a path. Mistakes are noted in the table's list."""

    def __init__(self, table: Table, equipment: Mapping[str, Equipment]) -> None:
        self.edges: dict[str, Edge] = {}
        self._by_path: dict[str, str] = {}
        for name, entry in table.table("edges").tables():
            if not EDGE_NAME.fullmatch(name) or name in _FORBIDDEN_EDGES:
                entry.note(
                    "", f"an edge's name is {EDGE_NAME.pattern} and none of {', '.join(sorted(_FORBIDDEN_EDGES))}"
                )
            self.edges[name] = Edge(name, entry.text("description"))
            self._serve(name, entry, entry.texts("serves"), equipment)
            entry.close()
        table.close()

    def of(self, path: str) -> str | None:
        """The edge that serves the equipment at `path`: the one that names the longest part of it."""
        while path:
            if path in self._by_path:
                return self._by_path[path]
            path = path.rpartition(".")[0]
        return None

    def _serve(self, name: str, entry: Table, paths: Collection[str], equipment: Mapping[str, Equipment]) -> None:
        for path in paths:
            if path not in equipment or equipment[path].level in ("enterprise", "site"):
                entry.note("serves", f"{path!r} is no area, line or unit of plant.toml")
            elif path in self._by_path:
                entry.note("serves", f"{path!r} is served by {self._by_path[path]} already")
            else:
                self._by_path[path] = name


def _shifts(site: Table) -> tuple[time, ...]:
    starts = site.raw("shifts")
    if not isinstance(starts, list) or not starts:
        site.note("shifts", "must be a list of local times, the start of each shift")
        return ()
    shifts = tuple(_time(site, "shifts", start) for start in starts)
    if any(earlier >= later for earlier, later in pairwise(shifts)):
        site.note("shifts", "must be in the order of the day, each start once")
    return shifts


def _time(table: Table, key: str, value: Any) -> time:
    if isinstance(value, time):
        return value
    table.note(key, f"{value!r} is not a local time such as 08:00:00")
    return time()


def _is_zone(name: str) -> bool:
    try:
        zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        return False
    return True
