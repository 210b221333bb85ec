"""The whole database as one file, and back: the same file on PostgreSQL and on either edition of TimescaleDB.

A zip with the rows of each table as COPY text, all of one snapshot, and a manifest with migrations, counts, checksums
and figures. `restore` is one transaction: schema as of the backup, rows, the migrations made since, and the figures
computed again; whatever differs, nothing has happened. The restored database is another incarnation, so that gateways
send again what they still hold: what was acknowledged after the backup comes back.

What is kept outside is not in it: passwords of roles and the secrets directory.
"""

import hashlib
import json
import logging
import os
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from graphlib import TopologicalSorter
from importlib.metadata import version
from math import isclose
from pathlib import Path
from typing import IO, Any

import msgspec
import psycopg
from psycopg import IsolationLevel, errors, sql

from hefa_platform.store import migrations, upkeep
from hefa_platform.store.database import Connection, detect, translate

logger = logging.getLogger(__name__)

FORMAT = 1
_MANIFEST = "manifest.json"
_PIECE = 1 << 20
# Signs of life, and what follows from other tables.
_LEFT_OUT = ("schema_migration", "worker", "in_flight", "rollup_hour")
# Adding up in another order changes the last digits of a sum, nothing else may.
_TOLERANCE = 1e-9


class BackupError(Exception):
    """The file or the database will not do. The message says why and what to do."""


@dataclass(frozen=True)
class Table:
    """A table in the file: its rows in COPY text with these columns."""

    name: str
    columns: list[str]
    rows: int
    size: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """What a file holds. `tables` are in an order in which foreign keys allow loading them."""

    format: int
    hefa: str
    made: str  # RFC 3339
    engine: str
    server: str
    migrations: dict[str, str]  # checksum by name
    days: list[str]  # UTC days of the raw readings
    sequences: dict[str, int]  # last value by name
    figures: dict[str, float | None]
    tables: list[Table]

    @property
    def readings(self) -> int:
        return sum(table.rows for table in self.tables if table.name == "reading")


def _private(path: Path) -> IO[bytes]:
    """Open a file that its owner alone may read: it holds the hashes of keys."""
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb")


def backup(dsn: str, path: Path, progress: Callable[[str], None] = lambda _: None) -> Manifest:
    """Write the database to `path`, which must not exist; readers and writers go on meanwhile.

    `dsn` signs in as hefa_owner or an administrator. Raises `BackupError` and `Unavailable`; an unfinished file is
    removed.
    """
    if path.exists():
        raise BackupError(f"{path} is there already: name another file")
    partial = path.with_name(path.name + ".partial")
    try:
        with _session(dsn, "hefa-backup") as connection, _private(partial) as file:
            manifest = _write(connection, file, progress)
            file.flush()
            os.fsync(file.fileno())
        partial.rename(path)
    except OSError as error:
        raise BackupError(f"cannot write {path}: {error.strerror}") from error
    finally:
        partial.unlink(missing_ok=True)
    return manifest


def inspect(path: Path) -> Manifest:
    """Read a backup through and return what it holds. Raises `BackupError` unless every byte is as it was written."""
    try:
        with zipfile.ZipFile(path) as archive:
            manifest = _manifest(archive, path)
            for table in manifest.tables:
                digest = hashlib.sha256()
                with archive.open(_member(table.name)) as rows:
                    while piece := rows.read(_PIECE):
                        digest.update(piece)
                if digest.hexdigest() != table.sha256:
                    raise BackupError(f"{path} is damaged: the rows of {table.name} are not those that were written")
    except (zipfile.BadZipFile, EOFError, KeyError, OSError, NotImplementedError) as error:
        raise BackupError(f"{path} is not a whole backup of hefa: {error}") from error
    return manifest


def restore(
    admin_dsn: str,
    path: Path,
    passwords: Mapping[str, str] | None = None,
    api_keys: Mapping[str, str] | None = None,
    *,
    force: bool = False,
    progress: Callable[[str], None] = lambda _: None,
) -> Manifest:
    """Make the database what `path` says, as its administrator; `passwords` and `api_keys` as for `migrate`.

    A database that holds readings is replaced with `force` only. Processes that are connected wait meanwhile.
    Raises `BackupError`, `MigrationError` and `Unavailable`; in each case the database is as it was.
    """
    progress("checking the file")
    manifest = inspect(path)
    _require_known(manifest, path)
    with _session(admin_dsn, "hefa-restore") as connection:
        migrations.prepare(connection, passwords or {})
        if _holds_readings(connection) and not force:
            raise BackupError(
                "the database holds readings: restore into an empty one, or replace it with --force (back it up first)"
            )
        with connection.transaction(), zipfile.ZipFile(path) as archive:
            # Whole: the schema of another version may be there.
            _drop_everything(connection)
            migrations.grant(connection)
            migrations.apply(connection, manifest.migrations)
            _load(connection, archive, manifest, progress)
            migrations.apply(connection)
            _require_equal(manifest.figures, _figures(connection))
            incarnation = upkeep.renew_incarnation(connection)
            connection.execute("RESET ROLE")
        migrations.admit(connection, api_keys or {})
        connection.execute("ANALYZE")
    logger.info("restored readings=%s incarnation=%s", manifest.readings, incarnation)
    return manifest


@contextmanager
def _session(dsn: str, application: str) -> Iterator[Connection]:
    try:
        with psycopg.connect(
            dsn, autocommit=True, application_name=application, options="-c timezone=UTC"
        ) as connection:
            yield connection
    except psycopg.Error as error:
        seen = translate(error)
        if seen is None:
            raise
        raise seen from error


# --- writing ---------------------------------------------------------------------------------------------------------


def _write(connection: Connection, file: IO[bytes], progress: Callable[[str], None]) -> Manifest:
    if connection.execute("SELECT to_regclass('schema_migration')").fetchone() == (None,):
        raise BackupError("the database is empty: there is nothing to back up")
    engine = detect(connection)
    connection.isolation_level, connection.read_only = IsolationLevel.REPEATABLE_READ, True
    with connection.transaction(), zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        names = _tables(connection)
        # Before the snapshot is taken, so that no partition is dropped from under it.
        connection.execute(
            sql.SQL("LOCK TABLE {} IN ACCESS SHARE MODE").format(sql.SQL(", ").join(map(sql.Identifier, names)))
        )
        applied = connection.execute("SELECT name, checksum FROM schema_migration ORDER BY name").fetchall()
        days = connection.execute(
            "SELECT DISTINCT (ts AT TIME ZONE 'UTC')::date::text FROM reading ORDER BY 1"
        ).fetchall()
        manifest = Manifest(
            format=FORMAT,
            hefa=version("hefa"),
            made=datetime.now(UTC).isoformat(timespec="seconds"),
            engine=engine.kind,
            server=engine.version,
            migrations=dict(applied),
            days=[day for (day,) in days],
            sequences=_sequences(connection),
            figures=_figures(connection),
            tables=[_save(connection, archive, name, progress) for name in names],
        )
        archive.writestr(_MANIFEST, json.dumps(asdict(manifest), indent=1))
    return manifest


def _save(connection: Connection, archive: zipfile.ZipFile, name: str, progress: Callable[[str], None]) -> Table:
    progress(name)
    columns = _columns(connection, name)
    digest, size = hashlib.sha256(), 0
    query = sql.SQL("COPY (SELECT {} FROM {}) TO STDOUT").format(
        sql.SQL(", ").join(map(sql.Identifier, columns)), sql.Identifier(name)
    )
    with (
        connection.cursor() as cursor,
        archive.open(_member(name), "w", force_zip64=True) as member,
    ):
        with cursor.copy(query) as rows:
            for piece in rows:
                member.write(piece)
                digest.update(piece)
                size += len(piece)
        count = cursor.rowcount
    return Table(name, columns, count, size, digest.hexdigest())


def _tables(connection: Connection) -> list[str]:
    """Our tables, and the hours whatever they are made of, such that each comes after those it refers to."""
    names = {
        name
        for (name,) in connection.execute(
            """
            SELECT c.relname FROM pg_class c
             WHERE c.relnamespace = 'public'::regnamespace AND NOT c.relispartition AND NOT c.relname = ANY (%s)
               AND (c.relkind IN ('r', 'p') OR c.relname = 'reading_1h')
               AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = c.oid AND d.deptype = 'e')
            """,
            [list(_LEFT_OUT)],
        )
    }
    before: dict[str, set[str]] = {name: set() for name in sorted(names)}
    for name, other in connection.execute("""
        SELECT one.relname, two.relname FROM pg_constraint f
          JOIN pg_class one ON one.oid = f.conrelid JOIN pg_class two ON two.oid = f.confrelid
         WHERE f.contype = 'f' AND f.conparentid = 0 AND one.oid <> two.oid ORDER BY 1, 2
    """):
        if name in before and other in before:
            before[name].add(other)
    return list(TopologicalSorter(before).static_order())


def _columns(connection: Connection, name: str) -> list[str]:
    rows = connection.execute(
        """
        SELECT attname FROM pg_attribute
         WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped AND attgenerated = '' ORDER BY attnum
        """,
        [name],
    ).fetchall()
    return [column for (column,) in rows]


def _sequences(connection: Connection) -> dict[str, int]:
    rows = connection.execute(
        "SELECT sequencename, last_value FROM pg_sequences WHERE schemaname = 'public' AND last_value IS NOT NULL"
    ).fetchall()
    return dict(rows)


def _figures(connection: Connection) -> dict[str, float | None]:
    """What people read off the database, added up: equal before and after, or the restore is not one."""
    cursor = connection.execute("""
        SELECT (SELECT count(*) FROM reading) AS readings, (SELECT sum(value) FROM reading) AS value,
               (SELECT count(*) FROM ledger) AS envelopes, (SELECT count(*) FROM event) AS events,
               (SELECT count(*) FROM latest) AS latest, (SELECT sum(value) FROM latest) AS latest_value,
               (SELECT sum(received) FROM intake_counter) AS received,
               (SELECT count(*) FROM reading_1m) AS minutes, h.*
          FROM (SELECT count(*) AS hours, sum(n) AS hour_n, sum(tw_sum) AS hour_tw_sum, sum(covered_s) AS hour_covered_s,
                       sum(inc_measured) AS measured, sum(inc_estimated) AS estimated, sum(inc_unknown) AS unknown
                  FROM reading_1h) AS h
    """)
    row = cursor.fetchone()
    assert row is not None
    assert cursor.description is not None
    return {
        column.name: None if value is None else float(value)
        for column, value in zip(cursor.description, row, strict=True)
    }


# --- reading ---------------------------------------------------------------------------------------------------------


def _manifest(archive: zipfile.ZipFile, path: Path) -> Manifest:
    try:
        content: dict[str, Any] = json.loads(archive.read(_MANIFEST))
        if content["format"] != FORMAT:
            raise BackupError(
                f"{path} has format {content['format']}, this hefa reads {FORMAT}: use hefa {content['hefa']}"
            )
        return msgspec.convert(content, Manifest)
    except (ValueError, TypeError, msgspec.ValidationError) as error:
        raise BackupError(f"{path} is not a whole backup of hefa: its manifest cannot be read ({error})") from error


def _require_known(manifest: Manifest, path: Path) -> None:
    known = {migration.name: migration.checksum for migration in migrations.available()}
    for name, checksum in manifest.migrations.items():
        if name not in known:
            raise BackupError(
                f"{path} was made by hefa {manifest.hefa}, which has migration {name}; this is {version('hefa')}: "
                "install that version or a newer one"
            )
        if known[name] != checksum:
            raise BackupError(f"{path} was made with another schema/{name}.sql: use the hefa that made it")


def _drop_everything(connection: Connection) -> None:
    """Drop all that is ours. A background job of TimescaleDB may tidy up the same rows in the same moment: tried again."""
    for attempt in range(5):
        try:
            with connection.transaction():
                connection.execute("DROP OWNED BY hefa_jobs, hefa_owner CASCADE")
            return
        except errors.InternalError_:
            if attempt == 4:
                raise
            logger.info("a background job was at work, trying again")


def _holds_readings(connection: Connection) -> bool:
    if connection.execute("SELECT to_regclass('reading'), to_regclass('ledger')").fetchone() == (None, None):
        return False
    row = connection.execute(
        "SELECT EXISTS (SELECT FROM reading) OR EXISTS (SELECT FROM ledger) OR EXISTS (SELECT FROM reading_1m)"
    ).fetchone()
    assert row is not None
    return bool(row[0])


def _load(
    connection: Connection, archive: zipfile.ZipFile, manifest: Manifest, progress: Callable[[str], None]
) -> None:
    views = {
        name for (name,) in connection.execute("SELECT viewname FROM pg_views WHERE schemaname = 'public'").fetchall()
    }
    tables = [table for table in manifest.tables if table.name not in views]
    connection.execute(
        sql.SQL("TRUNCATE {}").format(sql.SQL(", ").join(sql.Identifier(table.name) for table in tables))
    )
    connection.execute("SELECT ensure_partitions(%s::date[])", [manifest.days])
    # What events and notes set off is in the file too: it must not happen again.
    triggers = connection.execute("""
        SELECT tgrelid::regclass::text, tgname FROM pg_trigger JOIN pg_proc ON pg_proc.oid = tgfoid
         WHERE NOT tgisinternal AND pronamespace = 'public'::regnamespace
    """).fetchall()
    _switch(connection, triggers, sql.SQL("DISABLE"))
    for table in tables:
        progress(table.name)
        query = sql.SQL("COPY {} ({}) FROM STDIN").format(
            sql.Identifier(table.name), sql.SQL(", ").join(map(sql.Identifier, table.columns))
        )
        with archive.open(_member(table.name)) as member, connection.cursor() as cursor:
            with cursor.copy(query) as rows:
                while piece := member.read(_PIECE):
                    rows.write(piece)
            if cursor.rowcount != table.rows:
                raise BackupError(f"{table.name}: {cursor.rowcount} of {table.rows} rows were loaded")
    _switch(connection, triggers, sql.SQL("ENABLE"))
    for name, last in manifest.sequences.items():
        connection.execute("SELECT setval(%s::regclass, %s) WHERE to_regclass(%s) IS NOT NULL", [name, last, name])
    if "reading_1h" in views:
        # A continuous aggregate: maintain refreshes it, readers add these hours up from minutes until it has.
        connection.execute(
            "INSERT INTO rollup_hour (hour) SELECT DISTINCT date_bin('1 hour', bucket, 'epoch') FROM reading_1m"
        )


def _switch(connection: Connection, triggers: Sequence[tuple[str, str]], how: sql.SQL) -> None:
    for table, name in triggers:
        statement = sql.SQL("ALTER TABLE {} {} TRIGGER {}")
        connection.execute(statement.format(sql.Identifier(table), how, sql.Identifier(name)))


def _require_equal(before: Mapping[str, float | None], after: Mapping[str, float | None]) -> None:
    wrong = [
        f"{name} was {was} and is {after.get(name)}"
        for name, was in before.items()
        if was != after.get(name)
        and (
            was is None
            or after.get(name) is None
            or not isclose(was, after[name] or 0.0, rel_tol=_TOLERANCE, abs_tol=1e-6)
        )
    ]
    if wrong:
        raise BackupError("the restored figures differ, so nothing was restored: " + "; ".join(wrong))


def _member(table: str) -> str:
    return f"tables/{table}.copy"
