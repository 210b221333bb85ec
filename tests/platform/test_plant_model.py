"""The seeds in the database: all of them, again, changed, and after a gateway was faster than the model."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import psycopg
import pytest

from hefa_contract.plant import Plant
from hefa_platform.store.database import Database
from hefa_platform.store.plant_model import Loaded, load


@pytest.fixture
def owner(database: Any) -> Iterator[Database]:
    with Database(database.owner, max_size=1) as store:
        yield store


def test_the_whole_model_is_there(database: Any, owner: Database, plant: Plant) -> None:
    assert load(owner, plant) == Loaded(True, len(plant.tags), added=len(plant.tags))
    with psycopg.connect(database.admin) as admin:
        counts = "SELECT (SELECT count(*) FROM equipment), (SELECT count(*) FROM tag WHERE assigned), (SELECT count(*) FROM meter), (SELECT count(*) FROM edge)"
        assert admin.execute(counts).fetchone() == (
            len(plant.equipment),
            len(plant.tags),
            len(plant.meters),
            len(plant.edges),
        )
        site = admin.execute("SELECT site, timezone, plantday, shifts, model_hash FROM instance").fetchone()
        assert site == (plant.site, plant.timezone, plant.plantday, list(plant.shifts), plant.hash)
        tag = next(tag for tag in plant.tags.values() if tag.states)
        kept = admin.execute(
            "SELECT equipment, unit, kind, period_s, heartbeat_s, users, core, states, e.name FROM tag JOIN edge e USING (edge_id) WHERE tag.name = %s",
            [tag.name],
        ).fetchone()
        states = {str(code): text for code, text in (tag.states or {}).items()}
        assert kept == (
            tag.equipment,
            tag.ucum,
            tag.kind,
            tag.period_s,
            tag.heartbeat_s,
            list(tag.users),
            tag.core,
            states,
            tag.edge,
        )
        children = {name: meter.parent for name, meter in plant.meters.items() if meter.parent}
        parents = admin.execute(
            "SELECT t.name, p.name FROM meter m JOIN tag t USING (tag_id) JOIN tag p ON p.tag_id = m.parent"
        )
        assert dict(parents.fetchall()) == children
        assert children


def test_loading_again_changes_nothing(owner: Database, plant: Plant) -> None:
    load(owner, plant)
    assert load(owner, plant) == Loaded(False, len(plant.tags))


def test_a_changed_model_keeps_ids_and_retires_what_left(database: Any, owner: Database, plant: Plant) -> None:
    load(owner, plant)
    gone = next(name for name, tag in plant.tags.items() if tag.meter is None and tag.kind == "gauge")
    kept = next(name for name in plant.tags if name != gone)
    place = plant.tags[gone].equipment
    with psycopg.connect(database.admin, autocommit=True) as admin:
        before = admin.execute("SELECT tag_id FROM tag WHERE name = %s", [kept]).fetchone()
        tags = {name: tag for name, tag in plant.tags.items() if name != gone}
        tags[kept] = replace(tags[kept], description="new words")
        smaller = replace(plant, tags=tags, hash="another")
        assert load(owner, smaller) == Loaded(True, len(tags), retired=1)
        assert admin.execute("SELECT tag_id, description FROM tag WHERE name = %s", [kept]).fetchone() == (
            *before,
            "new words",
        )
        assert admin.execute("SELECT retired, equipment FROM tag WHERE name = %s", [gone]).fetchone() == (True, place)
        load(owner, plant)
        assert admin.execute("SELECT retired FROM tag WHERE name = %s", [gone]).fetchone() == (False,)


def test_equipment_that_left_takes_no_reading_along(database: Any, owner: Database, plant: Plant) -> None:
    load(owner, plant)
    unit = next(u for u in plant.units if not any(t.meter for t in plant.tags.values() if t.equipment == u.path)
                and not any(m.serves == u.path for m in plant.meters.values()))  # fmt: skip
    tags = {name: tag for name, tag in plant.tags.items() if tag.equipment != unit.path}
    equipment = {path: item for path, item in plant.equipment.items() if path != unit.path}
    load(owner, replace(plant, tags=tags, equipment=equipment, hash="another"))
    with psycopg.connect(database.admin) as admin:
        assert admin.execute("SELECT count(*) FROM equipment WHERE path = %s", [unit.path]).fetchone() == (0,)
        retired = admin.execute("SELECT count(*) FROM tag WHERE retired AND equipment IS NULL").fetchone()
        assert retired == (len(plant.tags) - len(tags),)


def test_a_tag_that_a_gateway_showed_first_becomes_assigned(database: Any, owner: Database, plant: Plant) -> None:
    tag = next(iter(plant.tags.values()))
    with psycopg.connect(database.admin, autocommit=True) as admin:
        admin.execute("INSERT INTO edge (name) VALUES ('stranger')")
        admin.execute(
            "INSERT INTO tag (name, edge_id, kind, assigned) SELECT %s, edge_id, 'gauge', false FROM edge", [tag.name]
        )
        before = admin.execute("SELECT tag_id FROM tag").fetchone()
        assert load(owner, plant) == Loaded(True, len(plant.tags), added=len(plant.tags) - 1, assigned=1)
        row = admin.execute(
            "SELECT tag_id, assigned, kind, e.name FROM tag JOIN edge e USING (edge_id) WHERE tag.name = %s", [tag.name]
        )
        assert row.fetchone() == (*before, True, tag.kind, tag.edge)
