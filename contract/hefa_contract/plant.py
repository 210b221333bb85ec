"""The plant model's loader: the texts of seeds/ become one checked Plant, or a PlantError that lists every mistake.

It reads no file: callers read their seeds folder and hand over {path below it: text}. Of those, `plant.toml`,
`meters.toml`, `edges.toml` and `templates/*.toml` are the model; the others belong to other readers and are ignored.
What the files may say is in seeds/README.md.
"""

import hashlib
import tomllib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from hefa_contract.envelope import MAX_TAG_NAME
from hefa_contract.hierarchy import Edges, Hierarchy
from hefa_contract.metering import read_meters
from hefa_contract.model import Edge, Equipment, Kind, Level, Meter, Plant, Role, Stream, Tag
from hefa_contract.seedfile import Problem, Table
from hefa_contract.template import Place, Template, instantiate, read_template

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


class PlantError(ValueError):
    """The seeds are not a plant. `problems` has every mistake found, the text one per line."""

    def __init__(self, problems: list[Problem]) -> None:
        self.problems = tuple(dict.fromkeys(problems))
        super().__init__("\n".join(str(problem) for problem in self.problems))


def load(texts: Mapping[str, str]) -> Plant:
    """Make the plant from the seeds: {path below the seeds folder, with forward slashes: text}.

    Raises PlantError with every mistake: file, key, what is wrong and what is allowed.
    """
    problems: list[Problem] = []
    model = {name: text for name, text in sorted(texts.items()) if name in FILES or _is_template_file(name)}
    tables = {name: _parse(problems, name, text) for name, text in model.items()}
    problems += [Problem(name, "", "the file is missing") for name in FILES if name not in tables]
    if problems:
        raise PlantError(problems)  # what is left would only complain of what is not there

    head = tables["plant.toml"]
    users = _users(head.table("users"))
    templates = _templates(tables, users)
    tree = Hierarchy(head, {name: template.description for name, template in templates.items()})
    head.close()
    edges = Edges(tables["edges.toml"], tree.equipment)
    tags: dict[str, Tag] = {}
    rows: dict[str, Table] = {}
    for unit in tree.units:
        edge = edges.of(unit.path)
        if edge is None:
            unit.row.note("", "no edge serves this unit: name it, its line or its area in edges.toml")
        place = Place(unit.area, unit.line, unit.unit, edge or "")
        rows[unit.path] = unit.row
        tags |= {tag.name: tag for tag in instantiate(templates[unit.template], place, unit.row, users)}
    for name, tag in tags.items():
        if len(name) > MAX_TAG_NAME:
            rows[tag.equipment].note(tag.suffix, f"{name!r} is longer than {MAX_TAG_NAME} characters")
        if tag.kind == "counter":
            tags[name] = _rated(tag, tags, rows[tag.equipment])
    for name, meter in read_meters(tables["meters.toml"], tags, tree.equipment).items():
        tags[name] = replace(tags[name], meter=meter)
    if problems:
        raise PlantError(problems)
    return Plant(
        enterprise=tree.enterprise,
        site=tree.site,
        timezone=tree.timezone,
        plantday=tree.plantday,
        shifts=tree.shifts,
        users=users,
        equipment=tree.equipment,
        tags=tags,
        edges=edges.edges,
        hash=_hash(model),
    )


def _is_template_file(name: str) -> bool:
    return name.startswith(TEMPLATES) and name.endswith(".toml")


def _parse(problems: list[Problem], name: str, text: str) -> Table:
    data: dict[str, Any] = {}
    try:
        data = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        problems.append(Problem(name, "", f"is not TOML: {error}"))
    return Table(problems, name, "", data)


def _hash(model: Mapping[str, str]) -> str:
    digest = hashlib.sha256()
    for item in model.items():
        for part in item:
            data = part.encode()
            # With lengths: text moved from the end of one file to the start of the next is another model.
            digest.update(len(data).to_bytes(8, "big") + data)
    return digest.hexdigest()


def _users(table: Table) -> dict[str, str]:
    users: dict[str, str] = {}
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


def _rated(tag: Tag, tags: Mapping[str, Tag], row: Table) -> Tag:
    """Check what the counter integrates, and give it its max_rate unless the seeds say one: what the range of the
    flow allows, and two quanta of the register more in each period, for a register moves in steps. It must not be able
    to go round within a heartbeat, for no reading would tell.
    """
    flow = tags.get(tag.integrates) if tag.integrates else None
    if tag.integrates and (flow is None or flow.kind not in ("gauge", "state")):
        row.note(tag.suffix, f"integrates {tag.integrates!r}, which is no gauge and no state of the plant")
    per_hour, resolution, modulus = tag.per_hour or 0.0, tag.resolution or 0.0, tag.modulus or 0.0
    if tag.period_s <= 0 or resolution <= 0 or resolution >= modulus or per_hour < 0:
        row.note(tag.suffix, "a counter needs a period, 0 < resolution < modulus and per_hour >= 0")
        return tag
    if tag.max_rate is not None and tag.max_rate <= 0:
        row.note(tag.suffix, f"the largest increment an hour, {tag.max_rate:g}, must be above 0")
        return tag
    if tag.max_rate is None:
        fastest = flow.high if flow is not None and flow.kind == "gauge" else 1.0
        tag = replace(tag, max_rate=float(f"{per_hour * fastest + 2 * resolution * 3600 / tag.period_s:.6g}"))
    most = (tag.max_rate or 0.0) * tag.heartbeat_s / 3600
    if most >= modulus:
        row.note(
            tag.suffix,
            f"the register rolls over at {modulus:g} and may count {most:g} in one heartbeat of {tag.heartbeat_s:g} s: nobody "
            "could say how often it went round; give a shorter heartbeat, or the meter's true modulus and max_rate",
        )
    return tag
