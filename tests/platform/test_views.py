"""What analysts and Grafana see: the same numbers as the platform's own, by name, fast, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from psycopg import errors
from psycopg.conninfo import make_conninfo

PH = "A2-SX.SXA.MS-A01.ph"
WATER, WATER_A1 = "A6-UTIL.METER.WM-MAIN.tot", "A6-UTIL.METER.WM-A1.tot"
MINUTE = timedelta(minutes=1)
VIEWS = ("v_tag", "v_reading", "v_latest", "v_series_1m", "v_series_1h", "v_consumption_1h", "v_pipeline", "v_alarm")


@pytest.fixture(scope="module")
def now() -> datetime:
    """When these tests begin, which may be long after they were read: views compute an hour of what is new."""
    return datetime.now(UTC).replace(second=0, microsecond=0)


@pytest.fixture(scope="module")
def first(now: datetime) -> datetime:
    return now.replace(minute=0) - timedelta(hours=6)


@pytest.fixture(scope="module")
def site(new_site: Any, first: datetime, now: datetime) -> Any:
    """Six hours of a gauge and two meters, one below the other; the last half hour is not rolled up yet."""
    site = new_site()
    count = round((now - first) / MINUTE)
    site.record(PH, [(first + i * MINUTE, 3 + i % 7 / 10, 192) for i in range(count)])
    for tag, rate in ((WATER, 1.2), (WATER_A1, 0.3)):
        site.record(tag, [(first + i * MINUTE, 500 + i * rate / 60, 192) for i in range(count)])
    site.settle(first, now - 30 * MINUTE)
    return site


@pytest.fixture
def read(site: Any, role_passwords: dict[str, str]) -> Iterator[psycopg.Connection]:
    """Signed in as Grafana is."""
    dsn = make_conninfo(site.admin, user="hefa_read", password=role_passwords["hefa_read"])
    with psycopg.connect(dsn, options="-c timezone=UTC") as connection:
        yield connection


def test_minutes_are_those_computed_from_readings_up_to_now(
    site: Any, read: psycopg.Connection, first: datetime, now: datetime
) -> None:
    seen = read.execute(
        "SELECT bucket, mean, min, max, n, unit, kind, equipment, area, line FROM v_series_1m WHERE tag = %s ORDER BY 1",
        [PH],
    ).fetchall()
    computed = site.execute(
        """
        SELECT bucket, tw_sum / covered_s, min, max, n
          FROM minute_rollup(ARRAY(SELECT tag_id FROM tag WHERE name = %s), ARRAY[%s], ARRAY[%s::timestamptz]) ORDER BY 1
        """,
        PH, first, now,
    )  # fmt: skip
    assert [row[0] for row in seen][: len(computed)] == [row[0].astimezone(UTC) for row in computed]
    for ours, theirs in zip(seen, computed, strict=False):
        assert ours[1:5] == (pytest.approx(theirs[1]), *theirs[2:])
    assert seen[-1][0] >= now - MINUTE
    assert seen[0][5:] == ("[pH]", "gauge", "A2-SX.SXA.MS-A01", "A2-SX", "A2-SX.SXA")


def test_hours_and_consumption(read: psycopg.Connection, first: datetime) -> None:
    hours = read.execute(
        "SELECT mean, coverage, n FROM v_series_1h WHERE tag = %s AND bucket < %s ORDER BY bucket",
        [PH, first + timedelta(hours=5)],
    ).fetchall()
    assert [(row[1], row[2]) for row in hours] == [(1, 60)] * 5
    used = read.execute(
        """
        SELECT tag, unit, medium, serves, sum(value), sum(net), sum(unknown) FROM v_consumption_1h
         WHERE bucket >= %s AND bucket < %s GROUP BY 1, 2, 3, 4 ORDER BY 1
        """,
        [first, first + timedelta(hours=5)],
    ).fetchall()
    assert [(row[0], row[4], row[5], row[6]) for row in used] == [
        (WATER_A1, pytest.approx(1.5), pytest.approx(1.5), 0),
        (WATER, pytest.approx(6.0), pytest.approx(4.5), 0),  # net: what no meter below it saw
    ]
    assert used[0][1:4] == ("m3", "water", "A1-FEED")


def test_newest_tags_gateways_and_alarms(read: psycopg.Connection, now: datetime) -> None:
    row = read.execute(
        "SELECT value, stale = (age_s > 120), age_s > 0, area FROM v_latest WHERE tag = %s", [PH]
    ).fetchone()
    assert row is not None
    assert row[1:] == (True, True, "A2-SX")
    assert read.execute("SELECT meter_parent, serves FROM v_tag WHERE tag = %s", [WATER_A1]).fetchone() == (
        WATER,
        "A1-FEED",
    )
    edges = read.execute(
        "SELECT edge FROM v_pipeline WHERE received = stored + duplicate + conflict + quarantined"
    ).fetchall()
    assert ("gw-a6",) in edges
    assert read.execute("SELECT tag, level, state FROM v_alarm").fetchall() is not None
    assert read.execute(
        "SELECT count(*) FROM v_reading WHERE tag = %s AND ts >= %s", [PH, now - 5 * MINUTE]
    ).fetchone() == (5,)


@pytest.mark.parametrize(
    ("view", "time"), [("v_reading", "ts"), ("v_series_1m", "bucket"), ("v_series_1h", "bucket"), ("v_consumption_1h", "bucket")]
)  # fmt: skip
def test_a_tag_and_a_range_are_found_by_the_index(
    read: psycopg.Connection, now: datetime, view: str, time: str
) -> None:
    # So little data would be read whole: the question is whether it has to be.
    read.execute("SET enable_seqscan = off; SET enable_bitmapscan = off; SET enable_material = off")
    plan = "\n".join(
        row[0]
        for row in read.execute(
            f"EXPLAIN (COSTS off) SELECT * FROM {view} WHERE tag = %s AND {time} >= %s AND {time} < %s",
            [WATER, now - timedelta(hours=5), now - timedelta(hours=2)],
        )
    )
    conditions = [line for line in plan.splitlines() if "Index Cond" in line]
    assert any("tag_id =" in line and f"{time} >=" in line and f"{time} <" in line for line in conditions), plan
    bare = [line for line in conditions if "bucket >=" in line and "tag_id" not in line]
    assert bare == [], plan  # nothing of all tags


@pytest.mark.parametrize("view", VIEWS)
def test_only_the_views_are_for_everybody(site: Any, read: psycopg.Connection, view: str) -> None:
    read.execute(f"SELECT * FROM {view} LIMIT 1")
    granted = read.execute(
        "SELECT privilege_type FROM information_schema.role_table_grants WHERE table_name = %s", [view]
    )
    assert granted.fetchall() == [("SELECT",)]


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT * FROM ledger", "SELECT * FROM quarantine", "SELECT * FROM api_key", "SELECT * FROM audit",
        "SELECT * FROM rollup_dirty", "SELECT * FROM rollup_state", "SELECT * FROM worker",
        "INSERT INTO reading VALUES (1, now(), 1, 192)", "UPDATE tag SET high = 1", "SELECT keep_policies(1)",
        "SELECT drop_readings(now())", "SELECT write_hours('{}', '{}', '{}')", "CREATE TABLE t (n int)",
    ],
)  # fmt: skip
def test_what_a_reader_may_not_do(read: psycopg.Connection, statement: str) -> None:
    with pytest.raises(errors.InsufficientPrivilege):
        read.execute(statement)
