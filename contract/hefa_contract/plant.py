"""The plant model's loader: the texts of seeds/ become one checked Plant, or a PlantError that lists every mistake.

It does no I/O: callers read their seeds folder and hand over {path below seeds/: text}. Of those files `plant.toml`,
`meters.toml`, `edges.toml` and `templates/*.toml` are the model; the others belong to other readers and are ignored.
"""

import hashlib
import math
import re
import tomllib
import zoneinfo
from collections.abc import Mapping
from dataclasses import replace
from datetime import time
from itertools import pairwise
from typing import Any, get_args

from hefa_contract.model import Edge, Equipment, Kind, Level, Meter, Plant, Role, Stream, Tag
from hefa_contract.seedfile import Problem, Table
from hefa_contract.template import Place, Template, instantiate, read_template
from hefa_contract.units import KNOWN, IncompatibleUnits, convert

__all__ = [
    "Edge",
    "Equipment",
    "Kind",
    "Level",
    "Meter",
    "Plant",
    "PlantError",
    "Problem",
    "Role",
    "Stream",
    "Tag",
    "load",
]

FILES = ("plant.toml", "meters.toml", "edges.toml")
TEMPLATES = "templates/"
MAX_TAG_NAME = 128
CARRIERS = ("electricity", "water", "gas", "steam", "air")
_EDGE_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
_NODE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")


class PlantError(ValueError):
    """The seeds are not a plant. `problems` has every mistake found, the text one per line."""

    def __init__(self, problems: list[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in problems))


def load(texts: Mapping[str, str]) -> Plant:
    """Make the plant from the seeds: {path below the seeds folder, with forward slashes: text}.

    Raises PlantError with every mistake: file, key, what is wrong and what is allowed.
    """
    problems: list[Problem] = []
    model = {name: text for name, text in texts.items() if name in FILES or _is_template_file(name)}
    tables = {name: _parse(problems, name, text) for name, text in sorted(model.items())}
    missing = [name for name in FILES if name not in tables]
    problems += [Problem(name, "", "the file is missing") for name in missing]
    if missing:
        raise PlantError(problems)

    head = tables["plant.toml"]
    users = _users(head)
    templates = _templates(tables, users)
    site = _Site(head)
    units = site.units(templates)
    edges, edge_of = _edges(tables["edges.toml"], site.equipment)
    tags: dict[str, Tag] = {}
    for path, (template, row, source) in units.items():
        area, line, unit = path.split(".")
        edge = edge_of(path)
        if edge is None:
            row.note("", "no edge serves this unit: name it, its line or its area in edges.toml")
        for tag in instantiate(template, Place(area, line, unit, edge or ""), row, source):
            if len(tag.name) > MAX_TAG_NAME:
                row.note(tag.suffix, f"the tag's name is longer than {MAX_TAG_NAME} characters")
            tags[tag.name] = tag
        row.close()
    head.close()
    for name, tag in tags.items():
        if tag.kind == "counter":
            tags[name] = _rated(tag, tags, units[tag.equipment][1])
    for name, meter in _meters(tables["meters.toml"], tags, site.equipment).items():
        tags[name] = replace(tags[name], meter=meter)
    if problems:
        raise PlantError(problems)
    return Plant(
        enterprise=site.enterprise,
        site=site.name,
        timezone=site.timezone,
        plantday=site.plantday,
        shifts=site.shifts,
        users=users,
        equipment=site.equipment,
        tags=tags,
        edges=edges,
        hash=_hash(model),
    )


def _is_template_file(name: str) -> bool:
    return name.startswith(TEMPLATES) and name.endswith(".toml")


def _parse(problems: list[Problem], name: str, text: str) -> Table:
    data: dict[str, Any] = {}
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        problems.append(Problem(name, "", f"is not TOML: {error}"))
    return Table(problems, name, "", data)


def _hash(model: Mapping[str, str]) -> str:
    digest = hashlib.sha256()
    for name, text in sorted(model.items()):
        for part in (name, text):
            data = part.encode()
            digest.update(len(data).to_bytes(8, "big") + data)
    return digest.hexdigest()


def _users(head: Table) -> dict[str, str]:
    users: dict[str, str] = {}
    table = head.table("users")
    for letter, role in table.items():
        if len(letter) == 1 and isinstance(role, str):
            users[letter] = role
        else:
            table.note(letter, "must be one letter with the name of the role")
    return users


def _templates(tables: Mapping[str, Table], users: Mapping[str, str]) -> dict[str, Template]:
    templates: dict[str, Template] = {}
    for file, table in tables.items():
        if _is_template_file(file):
            for name, entry in table.tables():
                if name in templates:
                    entry.note("", "another file has a template of this name")
                templates[name] = read_template(name, entry, users)
    return templates


class _Site:
    """The ISA-95 tree of plant.toml, as far as it can be read."""

    def __init__(self, head: Table) -> None:
        self.equipment: dict[str, Equipment] = {}
        self._units: list[tuple[str, Table]] = []
        enterprise, site = head.table("enterprise"), head.table("site")
        self.enterprise, self.name = enterprise.text("name"), site.text("name")
        self.timezone = site.text("timezone")
        self.plantday = _time(site, "plantday", site.raw("plantday"))
        starts = site.raw("shifts")
        if not isinstance(starts, list) or not starts:
            site.note("shifts", "must be a list of local times, the start of each shift")
            starts = []
        self.shifts = tuple(_time(site, "shifts", start) for start in starts)
        if any(earlier >= later for earlier, later in pairwise(self.shifts)):
            site.note("shifts", "must be in the order of the day, each start once")
        if self.timezone:
            try:
                zoneinfo.ZoneInfo(self.timezone)
            except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
                site.note("timezone", f"{self.timezone!r} is not an IANA time zone such as Asia/Shanghai")
        self._put(self.enterprise, None, "enterprise", self.enterprise, enterprise.text("description"), None, 0)
        self._put(self.name, self.enterprise, "site", self.name, site.text("description"), None, 0)
        enterprise.close()
        site.close()
        for at, (area, entry) in enumerate(head.table("areas").tables()):
            self._node(entry, area, area, self.name, "area", at)
            for line_at, (line, line_entry) in enumerate(entry.table("lines").tables()):
                path = f"{area}.{line}"
                self._node(line_entry, line, path, area, "line", line_at)
                self._units += [(f"{path}.{unit}", row) for unit, row in line_entry.table("units").tables()]
                line_entry.close()
            entry.close()

    def units(self, templates: Mapping[str, Template]) -> dict[str, tuple[Template, Table, str]]:
        """Place every unit in the tree. Returns by path its template, its row, and where its parameters are from.
        Units of an unknown template are noted and left out.
        """
        placed: dict[str, tuple[Template, Table, str]] = {}
        positions: dict[str, int] = {}
        for path, row in self._units:
            parent, _, name = path.rpartition(".")
            positions[parent] = positions.get(parent, -1) + 1
            kind = row.text("template", None, tuple(templates))
            template = templates.get(kind)
            description = row.text("description", template.description if template else "")
            self._put(path, parent, "unit", name, description, kind, positions[parent])
            _check_name(row, name)
            source = row.text("source", "")
            if template is not None:
                placed[path] = (template, row, source)
        return placed

    def _node(self, entry: Table, name: str, path: str, parent: str, level: Level, position: int) -> None:
        _check_name(entry, name)
        if path in self.equipment:
            entry.note("", f"{path!r} is taken by the {self.equipment[path].level}")
        self._put(path, parent, level, name, entry.text("description"), None, position)

    def _put(
        self, path: str, parent: str | None, level: Level, name: str, text: str, template: str | None, position: int
    ) -> None:
        self.equipment[path] = Equipment(path, parent, level, name, text, template, position)


def _check_name(entry: Table, name: str) -> None:
    if not _NODE_NAME.fullmatch(name):
        entry.note("", f"the name {name!r} may hold letters, digits, '-' and '_' only, and no dot")


def _time(table: Table, key: str, value: Any) -> time:
    if isinstance(value, time):
        return value
    table.note(key, f"{value!r} is not a local time such as 08:00:00")
    return time()


def _edges(table: Table, equipment: Mapping[str, Equipment]) -> tuple[dict[str, Edge], Any]:
    """The edges, and a function that tells which of them serves a unit: the one that names the longest path."""
    edges: dict[str, Edge] = {}
    serves: dict[str, str] = {}
    for name, entry in table.table("edges").tables():
        if not _EDGE_NAME.fullmatch(name):
            entry.note("", "an edge's name is up to 63 of a-z, 0-9, '-', '_' and starts with a letter or digit")
        edges[name] = Edge(name, entry.text("description"))
        paths = entry.raw("serves")
        for path in paths if isinstance(paths, list) else []:
            if path not in equipment or equipment[path].level in ("enterprise", "site"):
                entry.note("serves", f"{path!r} is no area, line or unit of plant.toml")
            elif path in serves:
                entry.note("serves", f"{path!r} is served by {serves[path]} already")
            else:
                serves[path] = name
        if paths is not None and not isinstance(paths, list):
            entry.note("serves", "must be a list of paths of areas, lines or units")
        entry.close()
    table.close()

    def edge_of(path: str) -> str | None:
        while path:
            if path in serves:
                return serves[path]
            path = path.rpartition(".")[0]
        return None

    return edges, edge_of


def _rated(tag: Tag, tags: Mapping[str, Tag], row: Table) -> Tag:
    """Check what the counter integrates and give it its max_rate, unless the template says one: what the flow's
    range allows, and two quanta of the register more in each period, for a register moves in steps.
    """
    flow = tags.get(tag.integrates) if tag.integrates else None
    if tag.integrates and (flow is None or flow.kind in ("counter", "setpoint")):
        row.note(tag.suffix, f"integrates {tag.integrates!r}, which is no gauge and no state of the plant")
        return tag
    per_hour, resolution, modulus = tag.per_hour or 0.0, tag.resolution or 0.0, tag.modulus or 0.0
    if not 0 < resolution < modulus or per_hour < 0 or tag.period_s <= 0:
        row.note(tag.suffix, "a counter needs 0 < resolution < modulus, per_hour >= 0 and a period")
        return tag
    if tag.max_rate is not None:
        return tag
    fastest = flow.high if flow is not None and flow.kind == "gauge" else 1.0
    rate = per_hour * fastest + 2 * resolution * 3600 / tag.period_s
    return replace(tag, max_rate=float(f"{rate:.6g}"))


def _meters(table: Table, tags: Mapping[str, Tag], equipment: Mapping[str, Equipment]) -> dict[str, Meter]:
    meters: dict[str, Meter] = {}
    rows: dict[str, Table] = {}
    for group in ("carriers", "materials"):
        for name, entry in table.table(group).tables():
            if group == "carriers" and name not in CARRIERS:
                entry.note("", f"is no carrier; allowed: {', '.join(CARRIERS)}")
            unit = entry.text("unit")
            if unit and unit not in KNOWN:
                entry.note("unit", f"{unit!r} is not a UCUM code that hefa_contract.units knows")
            molar_mass = entry.number("molar_mass") if entry.has("molar_mass") else math.nan
            source = entry.text("source", "")
            for tag_name, row in entry.table("meters").tables():
                tag = tags.get(tag_name)
                if tag is None or tag.kind != "counter":
                    row.note("", "is no counter of the plant; a meter is the name of a counter's tag")
                if tag_name in meters:
                    row.note("", "is a meter of another carrier or material already")
                serves = row.text("serves")
                if serves and serves not in equipment:
                    row.note("serves", f"{serves!r} is no path of plant.toml")
                meters[tag_name] = Meter(
                    carrier=name if group == "carriers" else None,
                    material=name if group == "materials" else None,
                    stream=row.text("stream", "supply", get_args(Stream)),  # type: ignore[arg-type]
                    serves=serves,
                    parent=row.text("parent", "") or None,
                    role=row.text("role", "billing", get_args(Role)),  # type: ignore[arg-type]
                    factor=_factor(row, tag.ucum if tag else "", unit, molar_mass),
                    unit=unit,
                    source=row.text("source", source or None),
                )
                rows[tag_name] = row
                row.close()
            entry.close()
    table.close()
    for name, meter in meters.items():
        _check_parent(name, meter, meters, rows[name])
    return {name: meter for name, meter in meters.items() if name in tags}


def _check_parent(name: str, meter: Meter, meters: Mapping[str, Meter], row: Table) -> None:
    if meter.parent is None:
        if meter.role == "check":
            row.note("parent", "a check meter must name the meter that has already booked what it measures")
        return
    parent = meters.get(meter.parent)
    if parent is None:
        row.note("parent", f"{meter.parent!r} is no meter of this file")
        return
    books = (meter.carrier, meter.material, meter.stream, meter.unit)
    if books != (parent.carrier, parent.material, parent.stream, parent.unit):
        row.note("parent", f"{meter.parent!r} measures another carrier, material or stream")
    if parent.role == "check":
        row.note("parent", f"{meter.parent!r} is a check meter; a parent must be a billing meter")
    seen, above = {name}, meter.parent
    while above in meters:
        if above in seen:
            row.note("parent", f"{name!r} is its own ancestor through {above!r}")
            return
        seen.add(above)
        above = meters[above].parent or ""


def _factor(row: Table, register: str, unit: str, molar_mass: float) -> float:
    """Units of consumption per unit of the register.

    `share` (kg per kg, default 1), with `density` (kg/m3) or `molarity` (kmol/m3) where a volume is counted as mass.
    """
    share = row.number("share", 1.0)
    per_volume = row.number("density") if row.has("density") else math.nan
    if row.has("molarity"):
        if not math.isnan(per_volume):
            row.note("molarity", "give either density and share, or molarity")
        per_volume = row.number("molarity") * molar_mass
        if math.isnan(molar_mass):
            row.note("molarity", "needs the molar_mass (g/mol) of the material")
    if not share > 0 or per_volume <= 0:
        row.note("", "share, density and molarity must be above 0")
    try:
        if math.isnan(per_volume):
            return float(f"{convert(share, register, unit):.12g}")
        return float(f"{convert(1.0, register, 'm3') * convert(per_volume * share, 'kg', unit):.12g}")
    except IncompatibleUnits as error:
        if register and unit in KNOWN:
            row.note("", f"{error} A mass from a volume needs density and share, or molarity.")
        return math.nan
