"""A database into a file and back: equal figures, on another engine too, refilled by the gateways, or not at all."""

from __future__ import annotations

import hashlib
import json
import secrets
import zipfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql
from typer.testing import CliRunner

from hefa_contract.envelope import Envelope, decode
from hefa_demo.postgres import Postgres
from hefa_edge.outbox import Outbox
from hefa_platform.cli import app
from hefa_platform.store import backup as store
from hefa_platform.store import migrations, rollups
from hefa_platform.store.arrival import Arrival
from hefa_platform.store.backup import BackupError
from hefa_platform.store.database import Database, Unavailable, detect
from hefa_platform.store.intake import Intake

T0 = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(hours=30)
US = int(T0.timestamp()) * 1_000_000
TAGS = ["a.gauge", "a.meter"]
NOTES = ("rollup_dirty", "alarm_late", "lot_chain")  # written by triggers


def envelope(minute: int) -> Envelope:
    """Ten minutes of two tags from `minute` after T0."""
    at = range(minute * 60, minute * 60 + 600, 30)
    return Envelope(
        epoch="",
        seq=0,
        lane="live",
        made=US,
        base=US,
        tags=TAGS,
        tag=[k for _ in at for k in (0, 1)],
        dt=[s * 1_000_000 for s in at for _ in (0, 1)],
        value=[v for s in at for v in (s % 17 / 3, s / 10)],
        quality=[192] * len(at) * 2,
    )


class Gateway:
    """A real outbox, whose messages go straight into intake; what intake acknowledges is retired."""

    def __init__(self, path: Path, ingest: str) -> None:
        self.outbox = Outbox(path / "outbox.sqlite", grace_s=3600)
        self.database = Database(ingest, max_size=1)
        self.intake = Intake(self.database, "w")

    def deliver(self) -> int:
        """Send all that is pending; returns how many messages that were."""
        items = self.outbox.pending(0, self.outbox.last_seq, 1000)
        for item in items:
            digest = hashlib.sha256(item.payload).digest()
            outcomes = self.intake.store(
                [Arrival("hefa/v1/gw/data", "gw", item.payload, digest, decoded=decode(item.payload))]
            )
            assert outcomes[0].finished
            self.outbox.retire([item.seq])
        self.outbox.meet(self.intake.incarnation)
        return len(items)

    def record(self, minutes: range) -> None:
        self.outbox.append([envelope(minute) for minute in minutes])
        assert self.deliver() == len(minutes)

    def close(self) -> None:
        self.outbox.close()
        self.database.close()


@pytest.fixture
def gateway(database: Any, tmp_path: Path) -> Iterator[Gateway]:
    with psycopg.connect(database.admin) as admin:
        admin.execute("INSERT INTO edge (name) VALUES ('gw')")
        admin.execute("""
            INSERT INTO tag (name, edge_id, kind, heartbeat_s, modulus, max_rate)
            SELECT t.name, edge_id, kind, 60, 1e7, 1e6 FROM edge, (VALUES ('a.gauge', 'gauge'), ('a.meter', 'counter')) t(name, kind)
        """)
        admin.execute("UPDATE rollup_state SET watermark = %s", [T0])
    gateway = Gateway(tmp_path, database.ingest)
    yield gateway
    gateway.close()


def roll_up(jobs: str) -> None:
    """What maintain does until nothing is left to do."""
    with psycopg.connect(jobs, autocommit=True, options="-c timezone=UTC") as connection:
        assert rollups.claim(connection)
        rollups.advance(connection)
        while rollups.work(connection, "newest", settled=False) is not None:
            pass
        while rollups.refresh(connection, settled=False) is not None:
            pass


def figures(dsn: str) -> dict[str, Any]:
    """What people read: each hour of each tag, newest values, accounts."""
    with psycopg.connect(dsn, options="-c timezone=UTC") as connection:
        hours = connection.execute("""
            SELECT name, bucket, n, min, max, first, last, round(tw_sum::numeric, 6), round(covered_s::numeric, 6),
                   round(inc_measured::numeric, 6), inc_unknown
              FROM reading_1h JOIN tag USING (tag_id) ORDER BY 1, 2
        """)
        latest = connection.execute("SELECT name, ts, value FROM latest JOIN tag USING (tag_id) ORDER BY 1")
        raw = connection.execute("SELECT name, ts, value, quality FROM reading JOIN tag USING (tag_id) ORDER BY 1, 2")
        return {"hours": hours.fetchall(), "latest": latest.fetchall(), "raw": raw.fetchall()}


@pytest.fixture
def another(database: Any) -> Iterator[Callable[[], str]]:
    """Makes empty databases on the same server; administrators' DSNs."""
    made: list[str] = []

    def make() -> str:
        name = f"{database.name}_{len(made)}"
        with psycopg.connect(database.admin, autocommit=True) as admin:
            admin.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        made.append(name)
        return str(database.admin).replace(database.name, name)

    yield make
    with psycopg.connect(database.admin, autocommit=True) as admin:
        for name in made:
            admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def test_what_was_acknowledged_after_the_backup_comes_back(
    gateway: Gateway, database: Any, role_passwords: dict[str, str], tmp_path: Path
) -> None:
    gateway.record(range(0, 60, 10))
    roll_up(database.jobs)
    saved = figures(database.admin)
    store.backup(database.owner, tmp_path / "one.hefa")
    gateway.record(range(60, 180, 10))
    with psycopg.connect(database.admin) as admin:
        before = admin.execute("SELECT incarnation FROM instance").fetchone()
    roll_up(database.jobs)
    whole = figures(database.admin)
    assert len(whole["raw"]) == 3 * len(saved["raw"])

    with pytest.raises(BackupError, match="--force"):
        store.restore(database.admin, tmp_path / "one.hefa", role_passwords)
    assert figures(database.admin) == whole
    store.restore(database.admin, tmp_path / "one.hefa", role_passwords, force=True)
    assert figures(database.admin) == saved
    with psycopg.connect(database.admin) as admin:
        assert admin.execute("SELECT incarnation FROM instance").fetchone() != before

    # The same worker goes on; the gateway hears of the new incarnation and sends its grace again.
    gateway.intake.alive(True)
    assert gateway.outbox.meet(gateway.intake.incarnation) == 18
    assert gateway.deliver() == 18
    roll_up(database.jobs)
    assert figures(database.admin) == whole
    with psycopg.connect(database.admin) as admin:
        row = admin.execute("SELECT sum(received), sum(stored), sum(duplicate), sum(conflict) FROM intake_counter")
        assert row.fetchone() == (24 * 40, 18 * 40, 6 * 40, 0)


def test_ids_go_on_behind_those_restored(
    gateway: Gateway, database: Any, another: Callable[[], str], role_passwords: dict[str, str], tmp_path: Path
) -> None:
    gateway.record(range(0, 10, 10))
    store.backup(database.admin, tmp_path / "b")
    target = another()
    store.restore(target, tmp_path / "b", role_passwords)
    with psycopg.connect(target) as admin:
        highest = admin.execute("SELECT max(tag_id) FROM tag").fetchone()[0]
        got = admin.execute("INSERT INTO tag (name, kind) VALUES ('new', 'gauge') RETURNING tag_id").fetchone()
        assert got[0] > highest


def test_what_events_have_set_off_is_restored_once(
    gateway: Gateway, database: Any, another: Callable[[], str], role_passwords: dict[str, str], tmp_path: Path
) -> None:
    gateway.record(range(0, 30, 10))
    with psycopg.connect(database.admin) as admin:
        admin.execute(
            """
            INSERT INTO event (edge_id, epoch, seq, i, type, ts, subject, body)
            SELECT edge_id, 'e', 1, 0, 'meter_swap', %s, name, '{"final": 7, "initial": 3}' FROM tag
             WHERE name = 'a.meter'
            """,
            [T0 + timedelta(seconds=70)],
        )
        admin.execute(
            """
            INSERT INTO event (edge_id, epoch, seq, i, type, ts, subject, body)
            SELECT edge_id, 'e', 2, 0, 'lot', %s, 'FD-1',
                   '{"lot": "FD-1", "action": "received", "material": "carbonate", "kg": 24000, "kind": "feed"}' FROM edge
             WHERE name = 'gw'
            """,
            [T0],
        )
        told = admin.execute("SELECT * FROM meter_swap").fetchall()
        noted = {name: admin.execute(f"SELECT count(*) FROM {name}").fetchone() for name in NOTES}
    assert len(told) == 1
    store.backup(database.owner, tmp_path / "b")
    target = another()
    store.restore(target, tmp_path / "b", role_passwords)
    with psycopg.connect(target) as admin:
        assert admin.execute("SELECT * FROM meter_swap").fetchall() == told
        assert {name: admin.execute(f"SELECT count(*) FROM {name}").fetchone() for name in NOTES} == noted
        # From now on they work again.
        admin.execute('UPDATE event SET body = \'{"final": 8, "initial": 3}\'')
        assert admin.execute("SELECT final FROM meter_swap").fetchone() == (8,)


def test_a_backup_of_an_earlier_release_is_migrated(
    database: Any, another: Callable[[], str], role_passwords: dict[str, str], tmp_path: Path
) -> None:
    early = [m.name for m in migrations.available() if m.name < "0008"]
    old = another()
    with psycopg.connect(old, autocommit=True) as connection:
        migrations.prepare(connection, role_passwords)
        assert migrations.apply(connection, early) == early
        connection.execute("RESET ROLE")
        connection.execute("INSERT INTO tag (name, kind) VALUES ('t', 'gauge')")
        connection.execute("SELECT ensure_partitions(ARRAY[%s::date])", [T0])
        connection.execute("INSERT INTO reading SELECT tag_id, %s, 1.5, 192 FROM tag", [T0])
        connection.execute(
            "INSERT INTO reading_1m (tag_id, bucket, n, n_good, tw_sum, covered_s) SELECT tag_id, %s, 1, 1, 90, 60 FROM tag",
            [T0],
        )
        connection.execute("INSERT INTO reading_1h SELECT * FROM reading_1m")
    store.backup(old, tmp_path / "old")
    new = another()
    store.restore(new, tmp_path / "old", role_passwords)
    with psycopg.connect(new) as connection:
        migrations.require_current(connection)
        assert connection.execute("SELECT n, tw_sum FROM reading_1h").fetchall() == [(1, 90)]
    # The same database is brought up in place, and its rollups say the same.
    migrations.migrate(old, role_passwords)
    with psycopg.connect(old) as connection:
        assert connection.execute("SELECT n, tw_sum FROM reading_1h").fetchall() == [(1, 90)]
        assert connection.execute("SELECT count(*) FROM reading").fetchone() == (1,)


@pytest.mark.needs_community
def test_from_timescaledb_to_postgresql_and_back(
    gateway: Gateway, database: Any, another: Callable[[], str], role_passwords: dict[str, str], tmp_path: Path
) -> None:
    with psycopg.connect(database.admin) as admin:
        if detect(admin).kind != "timescaledb-community":
            pytest.skip("the server is not TimescaleDB Community: name one by HEFA_TEST_DSN")
    gateway.record(range(0, 120, 10))
    roll_up(database.jobs)
    whole = figures(database.admin)
    there = store.backup(database.owner, tmp_path / "there")
    plain = Postgres(tmp_path / "postgres", secrets.token_hex(16))
    plain.start()
    try:
        plain.create_database("hefa")
        store.restore(plain.dsn("hefa"), tmp_path / "there", role_passwords)
        assert figures(plain.dsn("hefa")) == whole
        back = store.backup(plain.dsn("hefa"), tmp_path / "back")
    finally:
        plain.stop()
    target = another()
    store.restore(target, tmp_path / "back", role_passwords)
    assert figures(target) == whole
    assert (there.engine, back.engine) == ("timescaledb-community", "postgresql")
    assert there.figures == pytest.approx(back.figures)


def _rewritten(path: Path, change: Callable[[dict[str, bytes]], None]) -> Path:
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    change(members)
    other = path.with_suffix(".changed")
    with zipfile.ZipFile(other, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return other


def _with(key: str, value: Any) -> Callable[[dict[str, bytes]], None]:
    def change(members: dict[str, bytes]) -> None:
        members["manifest.json"] = json.dumps(json.loads(members["manifest.json"]) | {key: value}).encode()

    return change


CHANGES: list[tuple[Callable[[dict[str, bytes]], None], str]] = [
    (lambda members: members.update({"tables/tag.copy": members["tables/tag.copy"].replace(b"a.meter", b"a.metre")}), "rows of tag"),
    (lambda members: members.pop("tables/reading.copy"), "whole backup"),  # type: ignore[arg-type,return-value]
    (lambda members: members.pop("manifest.json"), "whole backup"),  # type: ignore[arg-type,return-value]
    (_with("tables", 5), "manifest cannot be read"),
    (_with("format", 99), "format 99"),
    (_with("migrations", {"9999_future": "0"}), "9999_future.*newer"),
    (_with("migrations", {"0001_plant": "0"}), "another schema/0001_plant"),
    (_with("figures", {"readings": 1e9}), "figures differ"),
]  # fmt: skip


def test_what_is_no_whole_backup_changes_nothing(
    gateway: Gateway, database: Any, role_passwords: dict[str, str], tmp_path: Path
) -> None:
    gateway.record(range(0, 20, 10))
    whole = figures(database.admin)
    store.backup(database.owner, tmp_path / "good")
    with pytest.raises(BackupError, match="there already"):
        store.backup(database.owner, tmp_path / "good")
    for change, sentence in CHANGES:
        with pytest.raises(BackupError, match=sentence):
            store.restore(database.admin, _rewritten(tmp_path / "good", change), role_passwords, force=True)
        assert figures(database.admin) == whole
    half = tmp_path / "half"
    half.write_bytes((tmp_path / "good").read_bytes()[:2000])
    with pytest.raises(BackupError, match="whole backup"):
        store.restore(database.admin, half, role_passwords, force=True)
    with pytest.raises(BackupError, match="nowhere"):
        store.restore(database.admin, tmp_path / "nowhere", role_passwords)
    with pytest.raises(Unavailable):
        store.backup("postgresql://nobody@127.0.0.1:1/none", tmp_path / "none")
    assert sorted(p.name for p in tmp_path.iterdir() if "none" in p.name or "partial" in p.name) == []


def test_the_commands(gateway: Gateway, database: Any, another: Callable[[], str], tmp_path: Path) -> None:
    gateway.record(range(0, 10, 10))
    run = CliRunner()
    done = run.invoke(app, ["backup", str(tmp_path / "b"), "--dsn", database.owner])
    assert (done.exit_code, "40 readings" in done.stdout) == (0, True)
    target = another()
    done = run.invoke(app, ["restore", str(tmp_path / "b"), "--dsn", target])
    assert (done.exit_code, "restored 40 readings" in done.stdout) == (0, True)
    done = run.invoke(app, ["restore", str(tmp_path / "b"), "--dsn", target])
    assert (done.exit_code, "--force" in done.stderr) == (2, True)
    done = run.invoke(app, ["restore", str(tmp_path / "c"), "--dsn", target])
    assert done.exit_code == 2
