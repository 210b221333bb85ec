"""How long the disk lasts: sizes as the server says them, and the arithmetic of what follows."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import psycopg
import pytest
from typer.testing import CliRunner

from hefa_platform.cli import app
from hefa_platform.store import rollups
from hefa_platform.store.database import Database
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
    done = CliRunner().invoke(app, ["check", "storage", "--dsn", database.api, "--disk", str(tmp_path)])
    assert (done.exit_code, "full in" in done.stdout) == (0, True), done.output
