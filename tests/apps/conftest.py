"""The portal in front of the real API on a real database with the real plant model; only the readings are made up."""

from __future__ import annotations

import base64
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
import psycopg
import pytest
import uvicorn
from playwright.sync_api import Browser, BrowserContext, Page, expect
from psycopg import sql
from psycopg.conninfo import make_conninfo

from hefa_apps.client import Platform
from hefa_apps.host import create_app as create_portal
from hefa_apps.session import Sessions
from hefa_contract import setting
from hefa_contract.plant import Plant
from hefa_platform.api import Limits
from hefa_platform.api import create_app as create_api
from hefa_platform.store import keys, plant_model, rollups, settings
from hefa_platform.store.database import Database
from hefa_platform.store.migrations import migrate

SEEDS = Path(__file__).parents[2] / "seeds"
TEXTS = {p.relative_to(SEEDS).as_posix(): p.read_text("utf-8") for p in sorted(SEEDS.rglob("*.toml"))}
STRANGER = "PLC-7/oven <b>temp</b>"  # what a gateway sent that the plant model does not know

# A made-up plant: each gauge swings about its normal value, each register runs at three tenths of its greatest rate, each
# state is its first name. Two hours: registers by the minute, the others by two; registers a day more, by ten minutes.
_READINGS = """
WITH moment AS (
  SELECT ts, date_bin('2 minutes', ts, now()) = ts AS gauges
    FROM generate_series(now() - interval '2 hours', now(), interval '1 minute') ts
  UNION ALL
  SELECT ts, false FROM generate_series(now() - interval '26 hours', now() - interval '121 minutes',
                                        interval '10 minutes') ts
)
INSERT INTO reading (tag_id, ts, value, quality)
SELECT tag_id, ts,
       CASE kind
         WHEN 'counter' THEN extract(epoch FROM ts - now() + interval '30 hours') / 3600
                             * coalesce(max_rate * 0.3, 30)
         WHEN 'state' THEN coalesce((SELECT min(code::double precision) FROM jsonb_object_keys(states) code), 0)
         ELSE coalesce(normal, 1) * (1 + 0.01 * sin(extract(epoch FROM ts) / 300 + tag_id))
       END, 192
  FROM tag CROSS JOIN moment
 WHERE NOT retired AND assigned AND (gauges OR kind = 'counter')
"""


@dataclass
class Portal:
    """A running portal and the platform behind it."""

    url: str
    api: str
    key: str
    dsn: str  # the administrator's

    def client(self) -> httpx2.Client:
        """Return a client that asks with the administrator's key and follows no redirect."""
        return httpx2.Client(base_url=self.url, headers={"Authorization": f"Bearer {self.key}"}, timeout=60)

    def execute(self, statement: str, *parameters: object) -> list[tuple[Any, ...]]:
        """Run one statement as the database's administrator."""
        with psycopg.connect(self.dsn) as connection:
            cursor = connection.execute(statement, parameters or None)
            return cursor.fetchall() if cursor.description else []

    def record(self, tag: str, value: float | None, quality: int = 192) -> None:
        """Store a reading of now, as ingest would."""
        self.execute(
            """
            WITH new AS (
              INSERT INTO reading SELECT tag_id, now(), %s, %s FROM tag WHERE name = %s RETURNING tag_id, ts, value, quality)
            INSERT INTO latest (tag_id, ts, value, quality) SELECT * FROM new ON CONFLICT (tag_id) DO UPDATE
               SET ts = excluded.ts, value = excluded.value, quality = excluded.quality, changed_at = clock_timestamp()
            """,
            value,
            quality,
            tag,
        )


@contextmanager
def served(app: Any) -> Iterator[str]:
    """Serve an ASGI app on a free port of this machine for as long as the block runs."""
    config = uvicorn.Config(app, host="127.0.0.1", port=0, log_config=None, h11_max_incomplete_event_size=1 << 16)
    config.timeout_graceful_shutdown = 1
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        if hasattr(app.state, "broadcaster"):
            app.state.broadcaster.close()
        if hasattr(app.state, "closing"):
            app.state.closing.set()
        server.should_exit = True
        thread.join(30)


@contextmanager
def portal_on(postgres: str, migrated: str | None, passwords: dict[str, str], plant: Plant | None) -> Iterator[Portal]:
    """A portal, an API and a database of their own; `plant` None leaves the database without a plant model."""
    name = f"hefa_apps_{secrets.token_hex(4)}"
    admin = make_conninfo(postgres, dbname=name)
    with psycopg.connect(postgres, autocommit=True) as server:
        source = sql.SQL(" TEMPLATE {}").format(sql.Identifier(migrated)) if migrated else sql.SQL("")
        server.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)) + source)
    if migrated is None:
        migrate(admin, passwords)
    owner, api = (Database(_as(admin, role, passwords)) for role in ("hefa_owner", "hefa_api"))
    platform = None
    try:
        if plant is not None:
            plant_model.load(owner, plant)
            with owner.connection() as connection:
                settings.load(connection, plant.site, setting.load(TEXTS, plant.timezone))
        key = keys.create(api, name="test", role="admin", site="*", expires_at=None, by="test")[0]
        with served(create_api(api, Limits(rate=1e6, burst=1e6))) as api_url:
            platform = Platform(api_url, timeout=120)  # a busy machine is not a platform that is away
            sealing = base64.urlsafe_b64encode(secrets.token_bytes(32))
            with served(create_portal(platform, Sessions(sealing, hours=1))) as url:
                yield Portal(url, api_url, key, admin)
    finally:
        if platform is not None:
            platform.close()
        owner.close()
        api.close()
        with psycopg.connect(postgres, autocommit=True) as server:
            server.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def _as(admin: str, role: str, passwords: dict[str, str]) -> str:
    return make_conninfo(admin, user=role, password=passwords[role])


def fill(portal: Portal) -> None:
    """Put a day of readings into the database, a stranger's tag among them, and let the gateways be seen."""
    with psycopg.connect(portal.dsn) as connection:
        connection.execute(
            "SELECT ensure_partitions(ARRAY[current_date - 2, current_date - 1, current_date, current_date + 1])"
        )
        connection.execute(
            """
            INSERT INTO tag (name, edge_id, site, kind, assigned)
            SELECT %s, edge_id, site, 'gauge', false FROM edge WHERE name = 'gw-guest'
            """,
            [STRANGER],
        )
        connection.execute(_READINGS)
        connection.execute("INSERT INTO reading SELECT tag_id, now(), 412.5, 192 FROM tag WHERE name = %s", [STRANGER])
        connection.execute(
            """
            INSERT INTO latest (tag_id, ts, value, quality)
            SELECT DISTINCT ON (tag_id) tag_id, ts, value, quality FROM reading ORDER BY tag_id, ts DESC
            """
        )
        connection.execute(
            "UPDATE edge SET online = name <> 'gw-a6', status_at = now(), seen_at = now() WHERE name LIKE 'gw-a_'"
        )
        connection.execute(
            "UPDATE rollup_state SET watermark = date_bin('1 hour', now() - interval '27 hours', 'epoch')"
        )
    with psycopg.connect(portal.dsn, autocommit=True) as connection:  # as `hefa-platform maintain` would
        assert rollups.claim(connection)
        rollups.advance(connection)
        while rollups.work(connection, "longest", settled=False) is not None:
            pass


@pytest.fixture(scope="session")
def portal(postgres: str, migrated: str | None, role_passwords: dict[str, str], plant: Plant) -> Iterator[Portal]:
    """The portal with a day of readings. One for all tests: a test that writes writes to a tag of its own."""
    with portal_on(postgres, migrated, role_passwords, plant) as running:
        fill(running)
        yield running


@pytest.fixture(scope="session")
def empty_portal(postgres: str, migrated: str | None, role_passwords: dict[str, str], plant: Plant) -> Iterator[Portal]:
    """A plant model and not one reading."""
    with portal_on(postgres, migrated, role_passwords, plant) as running:
        yield running


@pytest.fixture(scope="session")
def another_portal(
    postgres: str, migrated: str | None, role_passwords: dict[str, str], plant: Plant
) -> Callable[[], AbstractContextManager[Portal]]:
    """Makes a portal with a plant model and not one reading, for a module that brings readings of its own."""
    return lambda: portal_on(postgres, migrated, role_passwords, plant)


@pytest.fixture(scope="session")
def bare_portal(postgres: str, migrated: str | None, role_passwords: dict[str, str]) -> Iterator[Portal]:
    """A schema and nothing in it: what a portal sees that is quicker than the rest of the stack."""
    with portal_on(postgres, migrated, role_passwords, None) as running:
        yield running


# --- the browser: a context of its own for each page ------------------------------------------

PATIENCE_MS = 60_000  # what is expected comes later on a busy machine
expect.set_options(timeout=PATIENCE_MS)


@dataclass
class Witness:
    """What a page did that it should not: errors on the console, requests to other hosts, answers that failed."""

    host: str
    faults: list[str] = field(default_factory=list)
    weight: float = 0.0  # bytes over the wire, as they came: compressed, with an empty cache

    def watch(self, page: Page) -> None:
        page.on("console", lambda m: m.type in ("error", "warning") and self.faults.append(m.text))
        page.on("pageerror", lambda e: self.faults.append(str(e)))
        page.on("request", lambda r: urlsplit(r.url).netloc not in (self.host, "") and self.faults.append(r.url))
        page.on("response", lambda r: r.status >= 400 and self.faults.append(f"{r.status} {r.url}"))
        session = page.context.new_cdp_session(page)
        session.send("Network.enable")
        session.on("Network.loadingFinished", self._weigh)

    def _weigh(self, event: dict[str, Any]) -> None:
        self.weight += event["encodedDataLength"]


@pytest.fixture(scope="module")
def signed_in_state(browser: Browser, portal: Portal) -> Any:
    """The cookies of somebody who signed in by hand."""
    context = browser.new_context()
    context.set_default_timeout(PATIENCE_MS)
    page = context.new_page()
    page.goto(f"{portal.url}/live/search?q=ph")
    page.get_by_label("API key").fill(portal.key)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url("**/live/search?q=ph")
    kept = context.storage_state()
    context.close()
    return kept


@pytest.fixture
def open_page(browser: Browser, portal: Portal, signed_in_state: Any) -> Iterator[Callable[..., tuple[Page, Witness]]]:
    """Opens signed-in pages, and says what each does wrong. `open_page("/energy")`, or without a path an empty one."""
    contexts: list[BrowserContext] = []

    def make(path: str = "", *, scheme: Any = "light", width: int = 1440, **more: Any) -> tuple[Page, Witness]:
        state = {"storage_state": signed_in_state} | more
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, **state)
        contexts.append(context)
        context.set_default_timeout(PATIENCE_MS)
        page = context.new_page()
        witness = Witness(urlsplit(portal.url).netloc)
        witness.watch(page)
        if path:
            page.goto(portal.url + path)
        return page, witness

    yield make
    for context in contexts:
        context.close()


@pytest.fixture
def page(open_page: Callable[..., tuple[Page, Witness]]) -> Iterator[Page]:
    """A signed-in page that does nothing wrong."""
    opened, witness = open_page()
    yield opened
    assert witness.faults == []
