"""The plant model in the database: what `hefa-platform load` writes and every other reader joins to.

Loading is idempotent and moves no reading: a tag keeps its id for ever, whatever happens to its description. A tag that
a gateway had shown before the model knew it becomes assigned; one that left the model is retired, not deleted.
"""

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from psycopg.types.json import Jsonb

from hefa_contract.plant import Plant, Tag
from hefa_platform.store.database import Connection, Database

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Loaded:
    """What a load did; all counts but `tags` are 0 when the same model was there already."""

    changed: bool
    tags: int
    added: int = 0
    assigned: int = 0
    retired: int = 0


def load(database: Database, plant: Plant) -> Loaded:
    """Make the database's plant model equal to `plant`, in one transaction. `database` signs in as hefa_owner."""
    with database.connection() as connection:
        known = connection.execute("SELECT model_hash FROM instance FOR UPDATE").fetchone()
        if known == (plant.hash,):
            return Loaded(False, len(plant.tags))
        _edges(connection, plant)
        _equipment(connection, plant)
        loaded = _tags(connection, plant)
        _meters(connection, plant)
        _retire_equipment(connection, plant)
        connection.execute(
            """
            UPDATE instance SET site = %s, timezone = %s, plantday = %s, shifts = %s, model_hash = %s, loaded_at = now()
            """,
            [plant.site, plant.timezone, plant.plantday, list(plant.shifts), plant.hash],
        )
    logger.info(
        "plant model loaded tags=%d added=%d assigned=%d retired=%d",
        loaded.tags,
        loaded.added,
        loaded.assigned,
        loaded.retired,
    )
    return loaded


def _edges(connection: Connection, plant: Plant) -> None:
    rows = [{"name": edge.name, "description": edge.description} for edge in plant.edges.values()]
    connection.execute(
        """
        INSERT INTO edge (name, description, site)
        SELECT name, description, %s FROM jsonb_to_recordset(%s) AS e(name text, description text)
        ON CONFLICT (name) DO UPDATE SET description = excluded.description, site = excluded.site
        """,
        [plant.site, _records(rows)],
    )


def _equipment(connection: Connection, plant: Plant) -> None:
    rows = [
        {
            "path": item.path,
            "parent": item.parent,
            "level": item.level,
            "name": item.name,
            "description": item.description,
            "template": item.template,
            "position": item.position,
        }
        for item in plant.equipment.values()
    ]
    connection.execute(
        """
        INSERT INTO equipment (path, parent, level, name, description, template, position)
        SELECT path, parent, level, name, description, template, position
          FROM jsonb_to_recordset(%s) AS e(
            path text, parent text, level text, name text, description text, template text, position integer)
        ON CONFLICT (path) DO UPDATE SET parent = excluded.parent, level = excluded.level, name = excluded.name,
          description = excluded.description, template = excluded.template, position = excluded.position
        """,
        [_records(rows)],
    )


def _tags(connection: Connection, plant: Plant) -> Loaded:
    rows = [_tag_record(tag) for tag in plant.tags.values()]
    counts = connection.execute(
        """
        SELECT count(*) FILTER (WHERE t.tag_id IS NULL), count(*) FILTER (WHERE NOT t.assigned)
          FROM jsonb_to_recordset(%s) AS m(name text) LEFT JOIN tag t USING (name)
        """,
        [_records(rows)],
    ).fetchone()
    assert counts is not None
    connection.execute(
        """
        INSERT INTO tag (name, edge_id, site, equipment, description, template, suffix, unit, kind, normal, low, high,
                         noise_sd, period_s, heartbeat_s, ll, l, h, hh, users, core, states, modulus, max_rate,
                         resolution, source)
        SELECT m.name, e.edge_id, %s, m.equipment, m.description, m.template, m.suffix, m.unit, m.kind, m.normal, m.low,
               m.high, m.noise_sd, m.period_s, m.heartbeat_s, m.ll, m.l, m.h, m.hh,
               ARRAY(SELECT jsonb_array_elements_text(m.users)), m.core, m.states, m.modulus, m.max_rate,
               m.resolution, m.source
          FROM jsonb_to_recordset(%s) AS m(
            name text, edge text, equipment text, description text, template text, suffix text, unit text, kind text,
            normal float8, low float8, high float8, noise_sd float8, period_s float8, heartbeat_s float8,
            ll float8, l float8, h float8, hh float8, users jsonb, core boolean, states jsonb, modulus float8,
            max_rate float8, resolution float8, source text)
          JOIN edge e ON e.name = m.edge
         ORDER BY m.name
        ON CONFLICT (name) DO UPDATE SET edge_id = excluded.edge_id, site = excluded.site,
          equipment = excluded.equipment, description = excluded.description, template = excluded.template,
          suffix = excluded.suffix, unit = excluded.unit, kind = excluded.kind, normal = excluded.normal,
          low = excluded.low, high = excluded.high, noise_sd = excluded.noise_sd, period_s = excluded.period_s,
          heartbeat_s = excluded.heartbeat_s, ll = excluded.ll, l = excluded.l, h = excluded.h, hh = excluded.hh,
          users = excluded.users, core = excluded.core, states = excluded.states, modulus = excluded.modulus,
          max_rate = excluded.max_rate, resolution = excluded.resolution, source = excluded.source,
          assigned = true, retired = false
        """,
        [plant.site, _records(rows)],
    )
    retired = connection.execute(
        "UPDATE tag SET retired = true WHERE assigned AND NOT retired AND name <> ALL(%s)", [list(plant.tags)]
    ).rowcount
    return Loaded(True, len(rows), added=counts[0], assigned=counts[1], retired=retired)


def _tag_record(tag: Tag) -> dict[str, Any]:
    return {
        "name": tag.name,
        "edge": tag.edge,
        "equipment": tag.equipment,
        "description": tag.description,
        "template": tag.template,
        "suffix": tag.suffix,
        "unit": tag.ucum,
        "kind": tag.kind,
        "normal": tag.normal,
        "low": tag.low,
        "high": tag.high,
        "noise_sd": tag.noise_sd,
        "period_s": tag.period_s,
        "heartbeat_s": tag.heartbeat_s,
        "ll": tag.ll,
        "l": tag.l,
        "h": tag.h,
        "hh": tag.hh,
        "users": list(tag.users),
        "core": tag.core,
        "states": None if tag.states is None else {str(code): name for code, name in tag.states.items()},
        "modulus": tag.modulus,
        "max_rate": tag.max_rate,
        "resolution": tag.resolution,
        "source": tag.source,
    }


def _meters(connection: Connection, plant: Plant) -> None:
    rows = [
        {
            "tag": name,
            "carrier": meter.carrier,
            "material": meter.material,
            "stream": meter.stream,
            "serves": meter.serves,
            "parent": meter.parent,
            "role": meter.role,
            "factor": meter.factor,
            "unit": meter.unit,
            "source": meter.source,
        }
        for name, meter in plant.meters.items()
    ]
    # Gone and come again as a whole, so that no order of parents has to be kept; nothing else refers to a meter.
    connection.execute("DELETE FROM meter")
    connection.execute(
        """
        INSERT INTO meter (tag_id, carrier, material, stream, serves, parent, role, factor, unit, source)
        SELECT t.tag_id, m.carrier, m.material, m.stream, m.serves, p.tag_id, m.role, m.factor, m.unit, m.source
          FROM jsonb_to_recordset(%s) AS m(
            tag text, carrier text, material text, stream text, serves text, parent text, role text, factor float8,
            unit text, source text)
          JOIN tag t ON t.name = m.tag LEFT JOIN tag p ON p.name = m.parent
        """,
        [_records(rows)],
    )


def _retire_equipment(connection: Connection, plant: Plant) -> None:
    """Take out equipment that the model no longer has; its retired tags keep their readings and lose their place."""
    paths = list(plant.equipment)
    connection.execute("UPDATE tag SET equipment = NULL WHERE retired AND equipment <> ALL(%s)", [paths])
    connection.execute("DELETE FROM equipment WHERE path <> ALL(%s)", [paths])


def _records(rows: Iterable[Mapping[str, Any]]) -> Jsonb:
    return Jsonb(list(rows))
