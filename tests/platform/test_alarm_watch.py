"""Alarms found in a real database: each excursion once, however the time is cut, however late its readings come."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from hefa_platform.store import alarm_watch

S = timedelta(seconds=1)
START = datetime(2026, 3, 1, tzinfo=UTC)
_tags = itertools.count()


class Watcher:
    """Stores readings of a fresh tag with limits 20 and 85, and has maintain's round look at them."""

    def __init__(self, site: Any, connection: Any) -> None:
        self.site, self.connection = site, connection
        self.tag = f"T{next(_tags)}"
        site.execute(
            """
            INSERT INTO tag (name, site, kind, unit, low, high, normal, l, h, heartbeat_s)
            VALUES (%s, 'HEFA-BT', 'gauge', '%%', 0, 100, 55, 20, 85, 600)
            """,
            self.tag,
        )

    def store(self, *readings: tuple[float, float | None]) -> None:
        """Readings (seconds, value); what the watermark has passed is noted, as ingest does."""
        self.site.record(self.tag, [(START + t * S, v, 0 if v is None else 192) for t, v in readings])
        times = [START + t * S for t, _ in readings]
        self.site.execute(
            """
            INSERT INTO rollup_dirty (tag_id, from_ts, to_ts)
            SELECT tag_id, ts, ts FROM unnest(%s::timestamptz[]) AS ts CROSS JOIN tag CROSS JOIN rollup_state
             WHERE name = %s AND ts < watermark
            """,
            times, self.tag,
        )  # fmt: skip

    def look(self, at: float, watermark: float | None = None) -> alarm_watch.Done:
        """A round at `at` seconds; the watermark follows a minute behind."""
        self.site.watermark(START + (at - 60 if watermark is None else watermark) * S)
        now = START + at * S + alarm_watch.SETTLE
        whole = alarm_watch.Done(more=True)
        while whole.more:
            done = alarm_watch.watch(self.connection, now, quiet=timedelta(0))
            whole.raised += done.raised
            whole.withdrawn += done.withdrawn
            whole.more = done.more
        return whole

    def alarms(self) -> list[tuple]:
        """(level, crossed, raised, returned, state) of what stands, in seconds."""
        rows = self.site.execute(
            """
            SELECT level, crossed_at, raised_at, returned_at, state, extreme FROM alarm JOIN tag USING (tag_id)
             WHERE name = %s AND NOT withdrawn ORDER BY raised_at
            """,
            self.tag,
        )
        return [(row[0], *(None if t is None else (t - START) / S for t in row[1:4]), *row[4:]) for row in rows]

    def history(self) -> list[str]:
        return [
            state
            for (state,) in self.site.execute(
                """
                SELECT to_state FROM alarm_change JOIN alarm USING (alarm_id) JOIN tag USING (tag_id) WHERE name = %s
                 ORDER BY change_id
                """,
                self.tag,
            )
        ]


@pytest.fixture(scope="module")
def jobs(site: Any, role_passwords: dict[str, str]) -> Iterator[Any]:
    dsn = make_conninfo(site.admin, user="hefa_jobs", password=role_passwords["hefa_jobs"])
    with psycopg.connect(dsn, autocommit=True) as connection:
        yield connection


@pytest.fixture
def watcher(site: Any, jobs: Any) -> Callable[[], Watcher]:
    """Makes a tag that is the only one with limits, watched from `START` on."""

    def make() -> Watcher:
        # Those of the plant, and of the test before.
        site.execute("UPDATE tag SET ll = NULL, l = NULL, h = NULL, hh = NULL")
        site.execute("UPDATE alarm_progress SET checkpoint = %s", START - timedelta(hours=1))
        site.watermark(START - timedelta(hours=1))
        return Watcher(site, jobs)

    return make


def test_as_it_happens(watcher: Callable[[], Watcher]) -> None:
    w = watcher()
    w.store((0, 55), (20, 86), (23, 55))
    assert w.look(30).raised == 0, "3 s with a delay of 5 s"
    w.store((40, 86))
    assert w.look(44).raised == 0
    assert w.look(45).raised == 1
    assert w.look(46).raised == 0, "once"
    assert w.alarms() == [("h", 40, 45, None, "UNACK", 86)]
    w.store((50, 91), (52, 84.5), (58, 84))
    w.look(67)
    assert w.alarms() == [("h", 40, 45, None, "UNACK", 91)], "inside by the deadband for 9 s"
    w.look(70)
    assert w.alarms() == [("h", 40, 45, 68, "RTN_UNACK", 91)]
    assert w.history() == ["UNACK", "RTN_UNACK"]


def _noise() -> list[tuple[float, float | None]]:
    """Half an hour around the limit, five minutes near it and five away from it in turn, with gaps."""
    rng = random.Random(7)
    near = {t: rng.gauss(82, 4) if t % 600 < 300 else rng.gauss(60, 3) for t in range(0, 1800, 3)}
    return [(t, None if rng.random() < 0.01 else round(value, 2)) for t, value in near.items()]


READINGS = _noise()


def test_any_cutting_and_any_order_of_arrival_end_the_same(watcher: Callable[[], Watcher]) -> None:
    whole = watcher()
    whole.store(*READINGS)
    whole.look(2000)
    expected = [alarm[:4] + alarm[5:] for alarm in whole.alarms()]
    assert len(expected) > 3
    rng = random.Random(11)
    for share in (0.0, 0.3):
        w = watcher()
        late = [reading for reading in READINGS if rng.random() < share]
        punctual = [reading for reading in READINGS if reading not in late]
        rng.shuffle(late)
        at = 0.0
        while at < 1800:
            step = rng.uniform(1, 170)
            arrived = [reading for reading in punctual if at <= reading[0] < at + step]
            if arrived:
                w.store(*arrived)
            if late and rng.random() < 0.5:
                w.store(*(late.pop() for _ in range(rng.randint(1, len(late)))))
            at += step
            w.look(at)
        if late:
            w.store(*late)
        w.look(2000)
        assert [alarm[:4] + alarm[5:] for alarm in w.alarms()] == expected


def test_a_late_reading_shows_that_there_was_none(watcher: Callable[[], Watcher], site: Any) -> None:
    w = watcher()
    w.store((0, 55), (100, 86), (110, 55), (300, 55))
    w.look(300)
    assert len(w.alarms()) == 1
    w.store((103, 55))
    done = w.look(310)
    assert (done.withdrawn, w.alarms(), w.history()[1:]) == (1, [], ["NORM"])
    w.store((104, 86))
    w.look(320)
    assert [alarm[:4] for alarm in w.alarms()] == [("h", 104, 109, 120)]


def test_a_late_end_is_an_end(watcher: Callable[[], Watcher]) -> None:
    w = watcher()
    w.store((0, 55), (100, 86), (3000, 86))
    w.look(3000)
    assert w.alarms()[0][3] is None
    w.store((200, 55), (1000, 88))
    w.look(3010)
    assert [alarm[:4] for alarm in w.alarms()] == [("h", 100, 105, 210), ("h", 1000, 1005, None)]


def test_what_came_when_it_was_over_asks_nothing_of_anybody(watcher: Callable[[], Watcher]) -> None:
    w = watcher()
    w.look(7000, 6990)
    w.store((0, 55), (100, 86), (200, 55))
    w.look(7010)
    assert [alarm[4] for alarm in w.alarms()] == ["NORM"]


def test_a_limit_that_is_gone_ends_its_alarm(watcher: Callable[[], Watcher], site: Any) -> None:
    w = watcher()
    w.store((0, 55), (10, 95))
    w.look(30)
    site.execute("UPDATE tag SET h = NULL WHERE name = %s", w.tag)
    w.look(40)
    assert w.alarms()[0][3:5] == (40 + 2, "NORM")


def test_unknown_neither_raises_nor_ends(watcher: Callable[[], Watcher]) -> None:
    w = watcher()
    w.store((0, 55), (10, 95), (20, None), (100, None))
    w.look(110)
    assert w.alarms()[0][3] is None
    w.store((2000, 55))
    w.look(2005)
    assert w.alarms()[0][3] is None
    w.look(2010)
    assert w.alarms()[0][3] == 2010


def test_the_alarm_rules_in_force_decide(watcher: Callable[[], Watcher], site: Any) -> None:
    w = watcher()
    w.store((0, 55), (10, 95))
    site.execute(
        """
        INSERT INTO setting (site, kind, name, valid_from, value, entered_by)
        VALUES ('HEFA-BT', 'alarm', 'site', '2026-01-01Z', '{"on_delay_s": 60, "priorities": {"h": "high"}}', 'test')
        """
    )
    try:
        w.look(69)
        assert w.alarms() == []
        w.look(70)
        assert w.alarms()[0][2] == 70
        assert site.execute("SELECT priority FROM alarm JOIN tag USING (tag_id) WHERE name = %s", w.tag) == [("high",)]
    finally:
        site.execute("DELETE FROM setting WHERE kind = 'alarm'")
