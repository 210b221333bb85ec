"""Alarms of signals and gateways in a real database: what is told, once, and what is not."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from hefa_platform.store import signal_watch

S = timedelta(seconds=1)
BEAT = 60  # a heartbeat; two of them and the on-delay are 180 s
_edges = itertools.count()


class Plant:
    """A gateway of its own that tells of `tags` tags; times are seconds since it began."""

    def __init__(self, site: Any, connection: Any, tags: int) -> None:
        self.site, self.connection = site, connection
        self.start = datetime.now(UTC) - timedelta(hours=3)
        self.edge = f"gw-t{next(_edges)}"
        self.tags = [f"{self.edge}.T{n}" for n in range(tags)]
        site.execute("INSERT INTO edge (name, site, online) VALUES (%s, 'HEFA-BT', true)", self.edge)
        site.execute(
            """
            INSERT INTO tag (name, edge_id, site, kind, unit, heartbeat_s)
            SELECT name, edge_id, 'HEFA-BT', 'gauge', '%%', 60 FROM unnest(%s::text[]) AS name
             CROSS JOIN (SELECT edge_id FROM edge WHERE name = %s) AS e
            """,
            self.tags, self.edge,
        )  # fmt: skip
        days = sorted({(self.start + hours * 3600 * S).date() for hours in range(4)})
        site.execute("SELECT ensure_partitions(%s)", days)
        self.restart()

    def restart(self) -> None:
        """Maintain forgets what it does not keep in the database."""
        self.keeper = signal_watch.SignalWatch()

    def tell(self, at: float, *, quality: int = 192, tags: range | None = None, received: float | None = None) -> None:
        """Readings of every tag, or of some, stored at once or when `received`."""
        names = self.tags if tags is None else [self.tags[n] for n in tags]
        moment = self.start + (at if received is None else received) * S
        self.site.execute(
            """
            WITH told AS (
              INSERT INTO reading (tag_id, ts, value, quality)
              SELECT tag_id, %s, 1, %s FROM tag WHERE name = ANY (%s) RETURNING *
            ), newest AS (
              INSERT INTO latest SELECT tag_id, ts, value, quality, %s FROM told
              ON CONFLICT (tag_id) DO UPDATE
                SET ts = excluded.ts, quality = excluded.quality, changed_at = excluded.changed_at
            )
            UPDATE edge SET seen_at = %s WHERE name = %s
            """,
            self.start + at * S, quality, names, moment, moment, self.edge,
        )  # fmt: skip

    def leave(self, at: float, online: bool = False) -> None:
        self.site.execute(
            "UPDATE edge SET online = %s, status_at = %s WHERE name = %s", online, self.start + at * S, self.edge
        )

    def look(self, at: float) -> tuple[int, int]:
        """A round; how many alarms were raised and ended."""
        self.site.execute(
            """
            INSERT INTO worker (task, name, ready, seen_at) VALUES ('ingest', 'w', true, %s)
            ON CONFLICT (task, name) DO UPDATE SET seen_at = excluded.seen_at
            """,
            self.start + at * S,
        )
        done = self.keeper.watch(self.connection, self.start + at * S)
        return done.raised, done.returned

    def alarms(self) -> list[tuple[str, str, str]]:
        """(what, condition, state) of all that is active."""
        return self.site.execute(
            """
            SELECT coalesce(tag.name, edge.name), level, state
              FROM alarm LEFT JOIN tag USING (tag_id) LEFT JOIN edge ON edge.edge_id = alarm.edge_id
             WHERE returned_at IS NULL ORDER BY 2, 1
            """
        )


@pytest.fixture(scope="module")
def jobs(site: Any, role_passwords: dict[str, str]) -> Iterator[Any]:
    dsn = make_conninfo(site.admin, user="hefa_jobs", password=role_passwords["hefa_jobs"])
    with psycopg.connect(dsn, autocommit=True) as connection:
        yield connection


@pytest.fixture
def plant_(site: Any, jobs: Any) -> Callable[[int], Plant]:
    """Makes the only gateway that there is."""

    def make(tags: int = 2) -> Plant:
        site.execute("UPDATE tag SET retired = true")
        site.execute("UPDATE alarm SET returned_at = now(), state = 'NORM' WHERE returned_at IS NULL")
        return Plant(site, jobs, tags)

    return make


def test_a_stale_tag_of_a_gateway_that_talks(plant_: Callable[[int], Plant]) -> None:
    p = plant_(2)
    p.tell(0)
    assert p.look(5) == (0, 0)
    for at in (60, 120, 180):
        p.tell(at, tags=range(1))
    assert p.look(180) == (0, 0), "not before the on-delay"
    p.tell(185, tags=range(1))
    assert p.look(191) == (1, 0)
    assert p.alarms() == [(p.tags[1], "stale", "UNACK")]
    p.restart()
    assert p.look(195) == (0, 0), "once, after a restart too"
    p.tell(196)
    assert p.look(197) == (0, 1)
    assert p.alarms() == []


def test_a_bad_signal(plant_: Callable[[int], Plant], site: Any) -> None:
    p = plant_(1)
    p.tell(0)
    p.look(1)
    p.tell(10, quality=0)
    p.tell(40, quality=0)
    assert p.look(41) == (0, 0)
    p.tell(69, quality=0)
    assert p.look(69) == (0, 0)
    p.tell(70, quality=0)
    assert p.look(70) == (1, 0)
    assert p.alarms() == [(p.tags[0], "bad", "UNACK")]
    ((crossed,),) = site.execute("SELECT crossed_at FROM alarm WHERE level = 'bad' AND returned_at IS NULL")
    assert crossed == p.start + 10 * S
    p.tell(75)
    p.tell(80)
    assert p.look(80) == (0, 0), "good for less than the off-delay"
    p.tell(85, quality=64)
    assert p.look(85) == (0, 1)


def test_a_silent_gateway_is_one_alarm_and_its_tags_are_none(plant_: Callable[[int], Plant], site: Any) -> None:
    p = plant_(30)
    p.tell(0)
    p.look(1)
    assert p.look(180) == (0, 0)
    assert p.look(182) == (1, 0)
    assert p.alarms() == [(p.edge, "silent", "UNACK")]
    assert p.look(7000) == (0, 0)
    p.restart()
    assert p.look(7004) == (0, 0)
    p.tell(7010, tags=range(1))
    assert p.look(7011) == (0, 1)
    assert p.look(7015) == (0, 0), "the other tags have their time to tell"
    assert p.alarms() == []


def test_a_gateway_that_leaves(plant_: Callable[[int], Plant]) -> None:
    p = plant_(1)
    p.tell(0)
    p.look(1)
    p.leave(10)
    assert p.look(69) == (0, 0)
    assert p.look(70) == (1, 0)
    p.leave(75, online=True)
    assert p.look(76) == (0, 0), "it is there, and says nothing"
    p.tell(80)
    assert p.look(81) == (0, 1)


def test_who_does_not_listen_hears_no_silence(plant_: Callable[[int], Plant], site: Any) -> None:
    p = plant_(1)
    p.tell(0)
    assert p.look(5000) == (0, 0), "nobody listened until now"
    assert p.look(5179) == (0, 0)
    site.execute("UPDATE worker SET seen_at = %s", p.start)
    assert p.keeper.watch(p.connection, p.start + 5300 * S).raised == 0
    assert p.look(5310) == (0, 0)
    assert p.look(5490) == (1, 0)


def test_a_backlog_is_no_staleness(plant_: Callable[[int], Plant]) -> None:
    p = plant_(2)
    p.look(5000)
    p.tell(0, received=5000)
    p.tell(600, tags=range(1), received=5001)
    assert p.look(5002) == (0, 0)
    p.tell(5003, tags=range(1))
    assert p.look(5004) == (0, 0), "the other one has had no time to tell"
    p.tell(5150, tags=range(1))
    p.tell(5188, tags=range(1))
    assert p.look(5190) == (1, 0)


def test_many_of_one_gateway_are_one_alarm(plant_: Callable[[int], Plant]) -> None:
    p = plant_(20)
    p.tell(0)
    p.look(1)
    p.tell(10, quality=0, tags=range(3))
    p.tell(80, quality=0, tags=range(3))
    assert p.look(80) == (3, 0)
    p.tell(90, quality=0, tags=range(3, 15))
    p.tell(160)
    p.tell(161, quality=0, tags=range(15))
    assert p.look(162) == (0, 0), "it was good between"
    p.tell(172, quality=0, tags=range(15))
    p.tell(221, quality=0, tags=range(15))
    assert p.look(222) == (1, 0)
    p.look(223)
    assert p.alarms() == [(p.edge, "bad", "UNACK")] + [(p.tags[n], "bad", "SUPPRESSED_BY_DESIGN") for n in range(3)]
    p.tell(230, tags=range(9))
    p.tell(241, tags=range(9))
    p.tell(241, quality=0, tags=range(9, 15))
    assert p.look(242) == (0, 3)
    assert p.alarms() == [(p.edge, "bad", "UNACK")], "six are still many"
    p.tell(250, tags=range(9, 12))
    p.tell(262, tags=range(9, 12))
    p.tell(262, quality=0, tags=range(12, 15))
    assert p.look(263) == (0, 1)
    assert p.look(264) == (3, 0)
    assert p.alarms() == [(p.tags[n], "bad", "UNACK") for n in range(12, 15)]


def test_out_of_service_and_the_alarm_rules(plant_: Callable[[int], Plant], site: Any) -> None:
    p = plant_(3)
    p.tell(0)
    p.look(1)
    site.execute(
        """
        INSERT INTO alarm_outage (tag_id, since, until, by, reason)
        SELECT tag_id, %s, %s, 'test', 'probe out' FROM tag WHERE name = %s
        """,
        p.start, p.start + 300 * S, p.tags[0],
    )  # fmt: skip
    site.execute(
        """
        INSERT INTO setting (site, kind, name, valid_from, value, entered_by)
        VALUES ('HEFA-BT', 'alarm', 'site', '2026-01-01Z',
          '{"priorities": {"bad": "medium"}, "rules": [{"tag": "*.T1", "limits": ["bad"], "enabled": false},
            {"tag": "*.T2", "limits": ["bad"], "latching": true}]}', 'test')
        """
    )
    try:
        for at in (10, 80, 140, 200, 260, 301):
            p.tell(at, quality=0)
        assert p.look(200) == (2, 0)
        assert p.alarms() == [(p.tags[0], "bad", "OUT_OF_SERVICE"), (p.tags[2], "bad", "UNACK")]
        p.look(302)
        assert p.alarms() == [(p.tags[0], "bad", "UNACK"), (p.tags[2], "bad", "UNACK")], "announced when it is over"
        site.execute("UPDATE alarm SET state = 'ACKED' WHERE returned_at IS NULL")
        p.tell(310)
        p.tell(325)
        assert p.look(326) == (0, 2)
        states = site.execute(
            "SELECT state, priority FROM alarm JOIN tag USING (tag_id) WHERE name LIKE %s", f"{p.edge}%"
        )
        assert sorted(states) == [("LATCHED", "medium"), ("NORM", "medium")]
    finally:
        site.execute("DELETE FROM setting WHERE kind = 'alarm'")


def test_people_are_no_gateway_and_a_dropped_tag_ends_its_alarm(plant_: Callable[[int], Plant], site: Any) -> None:
    p = plant_(2)
    p.tell(0, quality=0)
    p.look(1)
    p.tell(61, quality=0)
    assert p.look(61) == (2, 0)
    site.execute("UPDATE tag SET retired = true WHERE name = %s", p.tags[0])
    assert p.look(62) == (0, 1)
    site.execute("UPDATE tag SET edge_id = (SELECT edge_id FROM edge WHERE name = 'api') WHERE name = %s", p.tags[1])
    assert p.look(63) == (0, 1)
    assert p.look(9000) == (0, 0)
