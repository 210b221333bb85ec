"""How long the disk lasts: sizes as the server says them, and the arithmetic of what follows."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from fastapi.testclient import TestClient
from typer.testing import CliRunner

from hefa_platform.api import Limits, create_app
from hefa_platform.cli import app
from hefa_platform.store import rollups
from hefa_platform.store.database import Database
from hefa_platform.store.entry import Rules
from hefa_platform.store.storage import Storage, days_until_full, measure

# 10 MB of raw a day, half of its 90 days there; 1 MB of rollups a day.
PLANT = Storage(
    database=600_000_000, raw=450_000_000, minutes=40_000_000, hours=5_000_000, raw_span_days=45, rollup_days=45,
    readings_per_day=100_000, readings=4_500_000, tags=100,
)  # fmt: skip


@pytest.mark.parametrize(
    ("free", "storage", "days"),
    [
        (110e6, PLANT, 10),
        (11e6 * 45 + 30e6, PLANT, 45 + 30),  # from then on only rollups grow
        (0, PLANT, 0),
        (11e6, replace(PLANT, raw_span_days=120), 11),
        (1e9, replace(PLANT, raw=0, minutes=0, hours=0), None),
        (1e12, replace(PLANT, minutes=0, hours=0), None),
    ],
)
def test_days_until_full(free: float, storage: Storage, days: float | None) -> None:
    found = days_until_full(storage, free, 90)
    assert found is None if days is None else found == pytest.approx(days)


def test_bytes_per_tag_and_day() -> None:
    assert (PLANT.bytes_per_reading, PLANT.bytes_per_tag_and_day) == (100, pytest.approx(110_000))
    assert replace(PLANT, readings=0).bytes_per_reading is None
    assert replace(PLANT, tags=0).bytes_per_tag_and_day is None


def test_sizes_are_the_servers(database: Any, tmp_path: Any) -> None:
    with psycopg.connect(database.admin, autocommit=True, options="-c timezone=UTC") as admin:
        admin.execute("INSERT INTO tag (name, kind, heartbeat_s) VALUES ('t', 'gauge', 60)")
        admin.execute("SELECT ensure_partitions(ARRAY[now()::date - 1, now()::date])")
        admin.execute(
            "INSERT INTO reading SELECT tag_id, g, 1, 192 FROM tag, generate_series(now() - interval '5 h', now(), '30 s') g"
        )
        admin.execute("UPDATE rollup_state SET watermark = now() - interval '6 h'")
        rollups.claim(admin)
        rollups.advance(admin)
        while rollups.work(admin, "newest", settled=False) is not None:
            pass
        while rollups.refresh(admin, settled=False) is not None:
            pass
        (count,) = admin.execute("SELECT count(*) FROM reading").fetchone()
    with Database(database.api, max_size=1) as store:
        found = measure(store)
    assert found.raw > count * 30
    assert found.minutes > 250 * 50
    assert found.hours > 0
    assert found.database > found.raw + found.minutes + found.hours
    assert count - 10 < found.readings <= count
    assert (found.tags, round(found.raw_span_days * 24)) in ((1, 5), (1, 6))
    sizes = dict(found.tables)
    assert sizes["reading"] == found.raw
    assert {"reading_1m", "reading_1h", "ledger", "tag"} <= sizes.keys()
    assert sum(sizes.values()) < found.database
    assert not any(name.startswith("reading_2") for name in sizes), "partitions are their table's"
    done = CliRunner().invoke(app, ["check", "storage", "--dsn", database.api, "--disk", str(tmp_path)])
    assert (done.exit_code, "full in" in done.stdout) == (0, True), done.output


def test_the_same_by_rest(site: Any, tmp_path: Any) -> None:
    now = datetime.now(UTC)
    site.record("A2-SX.SXA.MS-A01.ph", [(now - timedelta(seconds=30 * n), 3.0, 192) for n in range(400)])
    site.settle(now - timedelta(hours=4), now - timedelta(minutes=1))
    app = create_app(site.api, Limits(), Rules(raw_retention_days=30), disk=tmp_path)
    with TestClient(app, headers={"Authorization": f"Bearer {site.key('viewer')}"}) as client:
        told = client.get("/v1/storage").json()
        named = client.get("/v1/storage", params={"free": 10**9}).json()
        refused = client.get("/v1/storage", params={"free": -1})
    found = measure(site.api)
    assert {row["table"]: row["bytes"] for row in told["tables"]}.keys() == dict(found.tables).keys()
    assert (told["raw"]["bytes"], told["raw"]["readings"]) == (found.raw, found.readings)
    assert found.readings == pytest.approx(400, abs=5)
    assert told["engine"]["kind"] == site.api.engine.kind
    assert told["bytes_per_tag_and_day"] == pytest.approx(found.bytes_per_tag_and_day)
    assert (told["retention"]["raw_days"], told["retention"]["raw_since"]) == (30, None)
    assert told["disk"]["free_bytes"] > 0
    assert named["disk"]["free_bytes"] == 10**9
    assert named["disk"]["days_until_full"] == pytest.approx(days_until_full(found, 10**9, 30), rel=0.01)
    assert named["measured_at"] == told["measured_at"], "measured once for many callers"
    assert refused.status_code == 422


def test_a_disk_that_is_not_seen_is_not_guessed(site: Any, tmp_path: Any) -> None:
    with site.client("viewer") as client:
        assert client.get("/v1/storage").json()["disk"] == {"free_bytes": None, "days_until_full": None}
    app = create_app(site.api, disk=tmp_path / "gone")
    with TestClient(app, headers={"Authorization": f"Bearer {site.key('viewer')}"}) as client:
        assert client.get("/v1/storage").json()["disk"]["free_bytes"] is None
