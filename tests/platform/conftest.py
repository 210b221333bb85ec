"""A loaded database of a module's own, readings put into it by SQL, and the API on top. Nothing is replaced."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

import psycopg
import pytest
from fastapi.testclient import TestClient
from psycopg import sql
from psycopg.conninfo import make_conninfo

from hefa_contract.plant import Plant
from hefa_platform.api import Limits, create_app
from hefa_platform.store import keys, plant_model, rollups
from hefa_platform.store.database import Database


@dataclass
class Site:
    """A database with the plant model loaded; `admin` is its administrator's DSN, `api` a store as role hefa_api."""

    admin: str
    api: Database

    def record(self, tag: str, readings: Sequence[tuple[datetime, float | None, int]]) -> None:
        """Store readings of a tag, and move its newest forward, as ingest would; rollups are not touched."""
        days = sorted({ts.date() for ts, _, _ in readings})
        with psycopg.connect(self.admin) as connection:
            connection.execute("SELECT ensure_partitions(%s)", [days])
            tag_id = connection.execute("SELECT tag_id FROM tag WHERE name = %s", [tag]).fetchone()[0]
            with connection.cursor().copy("COPY reading (tag_id, ts, value, quality) FROM STDIN") as copy:
                for ts, value, quality in readings:
                    copy.write_row((tag_id, ts, value, quality))
            connection.execute(
                """
                INSERT INTO latest (tag_id, ts, value, quality)
                SELECT tag_id, ts, value, quality FROM reading WHERE tag_id = %s ORDER BY ts DESC LIMIT 1
                ON CONFLICT (tag_id) DO UPDATE
                   SET ts = excluded.ts, value = excluded.value, quality = excluded.quality,
                       changed_at = clock_timestamp()
                """,
                [tag_id],
            )

    def execute(self, statement: str, *parameters: object) -> list[tuple]:
        """Run one statement as the administrator."""
        with psycopg.connect(self.admin) as connection:
            cursor = connection.execute(statement, parameters or None)
            return cursor.fetchall() if cursor.description else []

    def watermark(self, at: datetime) -> None:
        """Pretend that minutes before `at` are materialised: readers compute the rest from readings."""
        self.execute("UPDATE rollup_state SET watermark = %s", at)

    def settle(self, start: datetime, end: datetime, hours: int | None = None) -> None:
        """Write the rollups of [start, end) as `hefa-platform maintain` does; `hours`: stop after so many of them."""
        self.watermark(start)
        with psycopg.connect(self.admin, autocommit=True) as connection:
            assert rollups.claim(connection)
            rollups.advance(connection, end)
            done = 0
            while done != hours and rollups.work(connection, "newest", settled=False) is not None:
                done += 1

    def key(self, role: keys.Role = "admin", site: str = "*", expires_at: datetime | None = None) -> str:
        """A new key."""
        return keys.create(self.api, name=f"test {role}", role=role, site=site, expires_at=expires_at, by="test")[0]

    def client(self, role: keys.Role = "admin", site: str = "*", limits: Limits | None = None) -> TestClient:
        """A client of a fresh app on this database, with a key of its own."""
        app = create_app(self.api, limits or Limits(rate=1e6, burst=1e6))
        return TestClient(
            app, headers={"Authorization": f"Bearer {self.key(role, site)}"}, raise_server_exceptions=True
        )


@pytest.fixture(scope="module")
def new_site(
    postgres: str, migrated: str, role_passwords: dict[str, str], plant: Plant
) -> Iterator[Callable[[], Site]]:
    """Makes databases with the plant model loaded; all are dropped after the module."""
    made: list[tuple[str, list[Database]]] = []

    def make() -> Site:
        name = f"hefa_site_{secrets.token_hex(4)}"
        admin = make_conninfo(postgres, dbname=name)
        with psycopg.connect(postgres, autocommit=True) as server:
            server.execute(
                sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(migrated))
            )
        stores = [
            Database(make_conninfo(postgres, dbname=name, user=f"hefa_{role}", password=role_passwords[f"hefa_{role}"]))
            for role in ("owner", "api")
        ]
        made.append((name, stores))
        plant_model.load(stores[0], plant)
        stores[0].close()
        return Site(admin, stores[1])

    yield make
    with psycopg.connect(postgres, autocommit=True) as server:
        for name, stores in made:
            stores[1].close()
            drop = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))
            try:
                server.execute(drop)
            except psycopg.errors.InternalError:  # a background worker of TimescaleDB tidied up in the same moment
                server.execute(drop)


@pytest.fixture(scope="module")
def site(new_site: Callable[[], Site]) -> Site:
    """One database for a module's tests; what one test writes, the next one sees."""
    return new_site()


@pytest.fixture(scope="module")
def client(site: Site) -> Iterator[TestClient]:
    """The API on `site`, asked with an admin's key."""
    with site.client() as client:
        yield client
