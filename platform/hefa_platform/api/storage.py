"""How much room readings take, and how long the disk lasts: what `hefa-platform check storage` prints."""

import shutil
import threading
import time
from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Query, Request
from pydantic import Field

from hefa_platform.api.guard import Parts, Viewer, parts_of
from hefa_platform.api.health import Engine
from hefa_platform.api.params import Answer, Asked, example
from hefa_platform.api.problems import responses
from hefa_platform.store import storage as store
from hefa_platform.store.database import Database

router = APIRouter(prefix="/v1", tags=["pipeline"])

KEPT_S = 60.0  # sizes change slowly, and to measure them takes the database a while


class Table(Answer):
    """A table with its indexes, partitions, chunks and columnstore."""

    table: str
    bytes: int


class Raw(Answer):
    """Raw readings. `days`: from the oldest to now. Per reading and per day: null until a day of them is rolled up."""

    bytes: int
    readings: int
    days: float
    bytes_per_reading: float | None
    readings_per_day: int
    bytes_per_day: float | None


class Rollups(Answer):
    """Minutes and hours, which are kept for ever."""

    bytes: int
    days: float
    bytes_per_day: float


class Retention(Answer):
    """Readings older than `raw_days` are refused, and dropped soon after; those before `raw_since` are gone.

    `policy_days` is the retention policy that was set on TimescaleDB Community; null elsewhere, where `maintain` drops.
    """

    raw_days: int
    raw_since: datetime | None
    policy_days: int | None


class Disk(Answer):
    """What is free on the database's disk, and when that is used up at the pace of the last day.

    `free_bytes` is null where the platform cannot see that disk (HEFA_DISK) and the caller does not name it (`free`);
    `days_until_full` also where nothing grows.
    """

    free_bytes: int | None
    days_until_full: float | None


class Storage(Answer):
    model_config = example(
        measured_at="2026-11-22T08:00:00Z",
        engine={"kind": "timescaledb-community", "version": "PostgreSQL 17.7, TimescaleDB 2.23.1"},
        database_bytes=9_812_000_000,
        tables=[{"table": "reading", "bytes": 5_100_000_000}, {"table": "reading_1m", "bytes": 4_300_000_000},
                {"table": "reading_1h", "bytes": 160_000_000}],
        raw={"bytes": 5_100_000_000, "readings": 310_000_000, "days": 41.2, "bytes_per_reading": 16.5,
             "readings_per_day": 7_600_000, "bytes_per_day": 125_000_000.0},
        rollups={"bytes": 4_460_000_000, "days": 41.2, "bytes_per_day": 108_000_000.0},
        tags=1103, bytes_per_tag_and_day=211_000.0,
        retention={"raw_days": 90, "raw_since": None, "policy_days": 98},
        disk={"free_bytes": 120_000_000_000, "days_until_full": 964.0},
    )  # fmt: skip

    measured_at: datetime
    engine: Engine
    database_bytes: int
    tables: list[Table]
    raw: Raw
    rollups: Rollups
    tags: int = Field(description="Tags that had a value within the last day")
    bytes_per_tag_and_day: float | None = Field(description="Raw and rollups together, at today's compression")
    retention: Retention
    disk: Disk


class Ask(Asked):
    free: Annotated[
        int | None,
        Field(ge=0, le=1 << 60, description="Bytes free on the database's disk, where the API cannot see it"),
    ] = None


class Scale:
    """The newest measurement, taken anew when it is old. One caller at a time measures; thread-safe."""

    def __init__(self, database: Database) -> None:
        self._database, self._lock = database, threading.Lock()
        self._taken: tuple[float, datetime, store.Storage] | None = None

    def read(self) -> tuple[datetime, store.Storage]:
        """When it was measured, and what. Raises `Unavailable`."""
        with self._lock:
            if self._taken is None or time.monotonic() - self._taken[0] > KEPT_S:
                self._taken = time.monotonic(), datetime.now(UTC), store.measure(self._database)
            return self._taken[1:]


@router.get("/storage", summary="Room on the disk, and for how long", responses=responses())
def storage(_: Viewer, request: Request, query: Annotated[Ask, Query()]) -> Storage:
    """Bytes by table, by reading, by tag and day; retention; days until the disk is full. Measured once a minute."""
    parts = parts_of(request)
    scale: Scale = request.app.state.scale
    at, found = scale.read()
    free = query.free if query.free is not None else _free(parts)
    days = None if free is None else store.days_until_full(found, free, parts.rules.raw_retention_days)
    engine = parts.database.engine
    return Storage(
        measured_at=at,
        engine=Engine(kind=engine.kind, version=engine.version),
        database_bytes=found.database,
        tables=[Table(table=name, bytes=size) for name, size in found.tables],
        raw=Raw(
            bytes=found.raw, readings=found.readings, days=found.raw_span_days,
            bytes_per_reading=found.bytes_per_reading, readings_per_day=found.readings_per_day,
            bytes_per_day=found.raw_per_day if found.readings_per_day else None,
        ),
        rollups=Rollups(
            bytes=found.minutes + found.hours, days=found.rollup_days, bytes_per_day=found.rollups_per_day
        ),
        tags=found.tags,
        bytes_per_tag_and_day=found.bytes_per_tag_and_day,
        retention=Retention(
            raw_days=parts.rules.raw_retention_days, raw_since=found.raw_since, policy_days=found.policy_days
        ),
        disk=Disk(free_bytes=free, days_until_full=days),
    )  # fmt: skip


def _free(parts: Parts) -> int | None:
    if parts.disk is None:
        return None
    try:
        return shutil.disk_usage(parts.disk).free
    except OSError:
        return None  # the folder was there when the process began; what is known of the tables is told all the same
