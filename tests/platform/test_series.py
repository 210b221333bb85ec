"""Series against a second implementation: second by second in plain Python, from the same raw readings."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import psycopg
import pytest
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hefa_contract.units import conversion
from hefa_platform.store import rollups

# Three days around the night on which Berlin's clocks go forward.
FIRST = datetime(2026, 3, 28, tzinfo=UTC)
SECONDS = 3 * 86_400
SITE_ZONE = "Asia/Shanghai"
ZONES = [None, "UTC", "Europe/Berlin", "Asia/Kolkata", "America/St_Johns"]
TAGS = {
    "gauge": ["A2-SX.SXA.MS-A01.temp", "A2-SX.SXA.MS-A01.ph"],
    "counter": ["A6-UTIL.METER.WM-MAIN.tot", "A6-UTIL.METER.WM-SX.tot", "A6-UTIL.ELEC.PM-A1.e"],
    "state": ["A1-FEED.DISS.P-131.run"],
}
UNITS = {"A2-SX.SXA.MS-A01.temp": ["K", "[degF]"], "A6-UTIL.METER.WM-MAIN.tot": ["L"], "A6-UTIL.ELEC.PM-A1.e": ["MJ"]}
AGGS = {
    "gauge": ["mean", "min", "max", "first", "last", "count"],
    "counter": ["increment", "first", "last", "count"],
    "state": ["last", "first", "min", "max", "count"],
}


@dataclass
class Tag:
    """A tag's raw readings at whole seconds, and what the plant model says of it."""

    name: str
    kind: str
    unit: str
    hold: int
    modulus: float | None
    max_rate: float | None
    resolution: float
    readings: list[tuple[int, float | None, int]]

    def __post_init__(self) -> None:
        """What is in force in each second, and what was counted in it."""
        self.value = np.full(SECONDS, np.nan)
        self.force = np.full(SECONDS, 999)  # quality of the reading in force
        ends = [at for at, *_ in self.readings[1:]] + [SECONDS]
        for (at, value, quality), end in zip(self.readings, ends, strict=True):
            held = slice(at, min(end, at + self.hold))
            self.force[held] = quality
            if quality >= 64:
                self.value[held] = value
        self.counted = np.full(SECONDS, np.nan)
        points = [
            (at, value) for at, value, q in self.readings if q >= 64 and value is not None and self.kind == "counter"
        ]
        for (at0, before), (at, after) in pairwise(points):
            assert self.max_rate is not None
            assert self.modulus is not None
            possible = self.max_rate * (at - at0) / 3600 + self.resolution
            amount = after - before
            if amount < -self.resolution:
                rolled = amount + self.modulus
                amount = rolled if rolled <= possible else after
            self.counted[at0:at] = amount / (at - at0) if amount <= possible else 0.0


def history(kind: str, heartbeat: int, chance: random.Random) -> list[tuple[int, float | None, int]]:
    """Report by exception: bursts, steady stretches with heartbeats, silences; a few readings bad or doubtful."""
    at, value = chance.randrange(5_000), float(chance.randrange(100, 900))
    readings: list[tuple[int, float | None, int]] = []
    while at < SECONDS - 3_000:
        quality = chance.choice([192] * 12 + [64, 0])
        readings.append((at, None if quality == 0 and chance.random() < 0.5 else value, quality))
        step = chance.choice([1, 7, 20, 60, heartbeat, heartbeat, 2 * heartbeat, 3 * heartbeat])
        if chance.random() < 0.01:
            step = chance.randrange(7_200, 30_000)
        at += step
        if kind == "counter":
            value = round(value + chance.choice([0, 0.01, 0.1]) * step / 60, 2)
            value = 3.0 if chance.random() < 0.005 else value + 5e6 * (chance.random() < 0.002)
        elif kind == "gauge":
            value = round(value + chance.gauss(0, 3), 3)
        else:
            value = float(chance.randrange(2))
    return readings


@pytest.fixture(scope="module")
def tags(site: Any) -> dict[str, Tag]:
    """Readings of all, settled for the first two thirds: the rest is the live tail."""
    chance = random.Random(20260328)
    found = {}
    for kind, names in TAGS.items():
        for name in names:
            ((unit, heartbeat, modulus, max_rate, resolution),) = site.execute(
                "SELECT unit, heartbeat_s, modulus, max_rate, resolution FROM tag WHERE name = %s", name
            )
            readings = history(kind, int(heartbeat), chance)
            found[name] = Tag(name, kind, unit, int(2 * heartbeat), modulus, max_rate, resolution or 0.0, readings)
            site.record(name, [(FIRST + timedelta(seconds=at), value, quality) for at, value, quality in readings])
    # As if all had come late: the refresh then works on these tags alone.
    site.watermark(FIRST + timedelta(hours=45, minutes=13))
    site.execute(
        """
        INSERT INTO rollup_dirty (tag_id, from_ts, to_ts)
        SELECT tag_id, min(ts), max(ts) FROM reading WHERE ts < (SELECT watermark FROM rollup_state)
         GROUP BY tag_id, date_bin('1 hour', ts, 'epoch')
        """
    )
    with psycopg.connect(site.admin, autocommit=True) as connection:
        assert rollups.claim(connection)
        while rollups.work(connection, "longest", settled=False) is not None:
            pass
    return found


@pytest.fixture(scope="module")
def client(site: Any, tags: dict[str, Tag]) -> Iterator[TestClient]:
    with site.client() as client:
        yield client


def label(step: str, minute: datetime, zone: str) -> Any:
    """What names the bucket a minute is in, by the local clock."""
    if step in ("1m", "15m", "1h"):
        return int(minute.timestamp()) // {"1m": 60, "15m": 900, "1h": 3600}[step]
    local = minute.astimezone(ZoneInfo(zone)).replace(tzinfo=None)
    if step == "plantday":
        return (local - timedelta(hours=8)).date()
    if step == "shift":
        return local.date(), local.hour // 8
    return local.date() if step == "1d" else (local.year, local.month)


def expected(
    tag: Tag, agg: str, start: int, end: int
) -> tuple[float | None, float | None, float | None, float, int | None]:
    """Value, least, greatest, coverage and worst quality of the seconds [start, end)."""
    value, force = tag.value[start:end], tag.force[start:end]
    usable = value[~np.isnan(value)]
    own = [(at, v if q >= 64 else None) for at, v, q in tag.readings if start <= at < end]
    low, high = (float(usable.min()), float(usable.max())) if usable.size else (None, None)
    result: float | None = None
    if agg == "mean":
        result = float(usable.mean()) if usable.size else None
    elif agg in ("min", "max"):
        result = low if agg == "min" else high
    elif agg == "increment":
        counted = tag.counted[start:end]
        result = float(np.nansum(counted)) if (~np.isnan(counted)).any() or (force < 999).any() else None
    elif agg == "count":
        result = float(len(own)) if (force < 999).any() or not np.isnan(tag.counted[start:end]).all() else None
    elif own:
        result = own[0][1] if agg == "first" else own[-1][1]
    elif (force < 999).any():
        held = value[np.flatnonzero(force < 999)[0]]
        result = None if np.isnan(held) else float(held)
    quality = int(force.min()) if (force < 999).any() else None
    return result, low, high, usable.size / (end - start), quality


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_question_is_answered_as_the_readings_say(
    client: TestClient, tags: dict[str, Tag], data: st.DataObject
) -> None:
    tag = tags[data.draw(st.sampled_from(sorted(tags)), "tag")]
    agg = data.draw(st.sampled_from(AGGS[tag.kind]), "agg")
    step = data.draw(st.sampled_from(["1m", "15m", "1h", "1h", "1d", "plantday", "shift", "month"]), "step")
    zone = data.draw(st.sampled_from(ZONES), "zone")
    unit = data.draw(st.sampled_from([None, *UNITS.get(tag.name, [])]), "unit") if agg != "count" else None
    first = data.draw(st.integers(0, SECONDS // 60 - 2), "from")
    last = data.draw(st.integers(first + 1, min(SECONDS // 60, first + (900 if step == "1m" else 9999))), "to")
    query: dict[str, Any] = {
        "tag": tag.name, "agg": agg, "step": step,
        "from": (FIRST + timedelta(minutes=first, seconds=data.draw(st.integers(0, 59), "s"))).isoformat(),
        "to": (FIRST + timedelta(minutes=last)).isoformat(),
    }  # fmt: skip
    query |= {"tz": zone} if zone else {}
    query |= {"unit": unit} if unit else {}
    answer = client.get("/v1/series", params=query)
    assert answer.status_code == 200, answer.text
    (found,) = answer.json()["series"]

    groups: dict[Any, list[int]] = {}
    for minute in range(first, last):
        calendar = SITE_ZONE if step in ("plantday", "shift") and not zone else zone or SITE_ZONE
        groups.setdefault(label(step, FIRST + timedelta(minutes=minute), calendar), []).append(minute)
    assert len(found["ts"]) == len(groups)
    factor, shift = conversion(tag.unit, unit) if unit else (1.0, 0.0)
    for k, minutes in enumerate(groups.values()):
        value, low, high, coverage, quality = expected(tag, agg, minutes[0] * 60, (minutes[-1] + 1) * 60)

        def scaled(number: float | None) -> Any:
            return None if number is None else pytest.approx(number * factor + shift, rel=1e-9, abs=1e-6)

        context = (k, minutes[0], minutes[-1])
        assert found["value"][k] == scaled(value), context
        assert found["coverage"][k] == pytest.approx(coverage), context
        assert found["quality"][k] == quality, context
        if agg not in ("count", "increment"):
            assert (found["min"][k], found["max"][k]) == (scaled(low), scaled(high)), context


# What a meter counted between two times by the readings around each step, as docs/api.md says it, in SQL of its own.
COUNTED = """
  WITH told AS (
    SELECT ts, value, lag(ts) OVER by_time AS ts0, value - lag(value) OVER by_time AS ahead, resolution, modulus,
           max_rate * extract(epoch FROM ts - lag(ts) OVER by_time)::float8 / 3600 + resolution AS possible,
           ts - lag(ts) OVER by_time <= 2 * heartbeat_s * interval '1 second' AS near
      FROM reading JOIN tag USING (tag_id) WHERE name = %(tag)s AND quality >= 64 AND value IS NOT NULL
    WINDOW by_time AS (ORDER BY ts)
  ), kind AS (
    SELECT *, ahead < -resolution AND ahead + modulus > possible AS reset FROM told
  ), step AS (
    SELECT *, CASE WHEN reset THEN least(value, possible) WHEN ahead < -resolution THEN ahead + modulus ELSE ahead END
                * (extract(epoch FROM least(ts, %(to)s) - greatest(ts0, %(from)s)) / extract(epoch FROM ts - ts0))::float8
                AS share,
           CASE WHEN reset THEN value WHEN ahead < -resolution THEN ahead + modulus ELSE ahead END <= possible AS believed
      FROM kind WHERE ts > %(from)s AND ts0 < %(to)s
  )
  SELECT coalesce(sum(share) FILTER (WHERE believed AND near AND NOT reset), 0),
         coalesce(sum(share) FILTER (WHERE believed AND (reset OR NOT near)), 0),
         coalesce(sum(share) FILTER (WHERE NOT believed), 0), count(*)
    FROM step
"""


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_consumption_is_what_plain_sql_says_of_the_readings(
    client: TestClient, site: Any, tags: dict[str, Tag], data: st.DataObject
) -> None:
    """Through rollovers, resets, absurd jumps and silences, in any zone; `unaccounted` is what is left of the main."""
    step = data.draw(st.sampled_from([None, "15m", "1h", "1d", "plantday", "shift", "month"]), "step")
    zone = data.draw(st.sampled_from(ZONES), "zone")
    by = data.draw(st.sampled_from(["total", "meter"]), "by")
    first = data.draw(st.integers(0, SECONDS // 60 - 2), "from")
    last = data.draw(st.integers(first + 1, min(SECONDS // 60, first + (600 if step == "15m" else 9999))), "to")
    picked = data.draw(st.lists(st.integers(0, 999), min_size=3, max_size=3), "buckets")
    start, end = FIRST + timedelta(minutes=first), FIRST + timedelta(minutes=last)
    query = {"carrier": "water", "by": by, "from": start.isoformat(), "to": end.isoformat()}
    query |= {"step": step} if step else {}
    query |= {"tz": zone} if zone else {}
    answer = client.get("/v1/consumption", params=query)
    assert answer.status_code == 200, answer.text
    rows = {(row["key"], row["start"]): row for row in answer.json()["rows"]}
    starts = sorted({start for _, start in rows})
    spans = [(start, rows[next(iter(rows))[0], start]["end"]) for start in starts]
    assert [datetime.fromisoformat(left) for left, _ in spans[1:]] == [
        datetime.fromisoformat(right) for _, right in spans[:-1]
    ]
    assert (datetime.fromisoformat(spans[0][0]), datetime.fromisoformat(spans[-1][1])) == (start, end)
    with psycopg.connect(site.admin) as connection:
        for left, right in {spans[n % len(spans)] for n in picked}:
            main, part = (
                connection.execute(COUNTED, {"tag": tag, "from": left, "to": right}).fetchone()
                for tag in ("A6-UTIL.METER.WM-MAIN.tot", "A6-UTIL.METER.WM-SX.tot")
            )
            assert main is not None
            assert part is not None
            expected = {"site": main} if by == "total" else {"A6-UTIL.METER.WM-SX.tot": part}
            if by == "meter" and main[3]:
                expected["unaccounted"] = tuple(a - b for a, b in zip(main, part, strict=True))
            for key, (measured, estimated, unknown, steps) in expected.items():
                row = rows[key, left]
                if row["value"] is None:
                    assert steps == 0, (key, left)
                    continue
                told = [row[name] for name in ("measured", "estimated", "unknown", "value")]
                assert told == [
                    pytest.approx(amount, rel=1e-9, abs=1e-6)
                    for amount in (measured, estimated, unknown, measured + estimated)
                ], (key, left, right)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_raw_is_what_was_stored(client: TestClient, tags: dict[str, Tag], data: st.DataObject) -> None:
    tag = tags[data.draw(st.sampled_from(sorted(tags)), "tag")]
    first = data.draw(st.integers(0, SECONDS - 2), "from")
    last = data.draw(st.integers(first + 1, min(SECONDS, first + 40_000)), "to")
    query = {
        "tag": tag.name, "step": "raw", "max_points": 10_000,
        "from": (FIRST + timedelta(seconds=first)).isoformat(), "to": (FIRST + timedelta(seconds=last)).isoformat(),
    }  # fmt: skip
    (found,) = client.get("/v1/series", params=query).json()["series"]
    epoch = int(FIRST.timestamp())
    own = [(int((epoch + at) * 1e6), value, quality) for at, value, quality in tag.readings if first <= at < last]
    assert list(zip(found["ts"], found["value"], found["quality"], strict=True)) == own
