"""Bring a database to the schema of this program: roles, extension, then every file of `schema/` once, in order.

One door for whoever owns the server: `migrate` needs an administrator's DSN and is safe to run again and at the same
time from two machines. A file that was applied is never edited afterwards; a changed one is refused, not re-run.
Nothing is ever migrated down: the way back is a backup.
"""

import hashlib
import logging
import re
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from importlib import resources

import psycopg
from psycopg import errors, sql

from hefa_platform.store import keys
from hefa_platform.store.database import Connection, SchemaMissing, Unavailable, detect, refusal, translate

logger = logging.getLogger(__name__)

# owner only migrates; the others are what the processes and Grafana sign in as. docs/operations.md says who may what.
ROLES = ("hefa_owner", "hefa_ingest", "hefa_jobs", "hefa_api", "hefa_read")
OLDEST_POSTGRES = 15
OLDEST_TIMESCALEDB = (2, 18, 1)  # the first with the columnstore's SQL
_LOCK = 0x68656661  # "hefa"


class MigrationError(Exception):
    """The database and the files of `schema/` contradict each other. The message says what to do."""


@dataclass(frozen=True)
class Migration:
    """One file of `schema/`."""

    name: str
    text: str

    @property
    def checksum(self) -> str:
        return hashlib.sha256(self.text.encode()).hexdigest()


def available() -> list[Migration]:
    """The migrations this program carries, in the order in which they are applied."""
    files = resources.files("hefa_platform").joinpath("schema").iterdir()
    found = [Migration(f.name.removesuffix(".sql"), f.read_text("utf-8")) for f in files if f.name.endswith(".sql")]
    return sorted(found, key=lambda migration: migration.name)


def migrate(
    admin_dsn: str, passwords: Mapping[str, str] | None = None, api_keys: Mapping[str, str] | None = None
) -> list[str]:
    """Make roles (with `passwords` by role name, as SCRAM) and apply what is missing; return the names applied.

    `api_keys` are made outside, by role; their hashes are stored, and one that was revoked since stays revoked.

    Raises `Unavailable` while the server is not there (`NotAdmitted`: it is, but not for us) and `MigrationError` when the files do not fit the database.
    A migration is applied whole or not at all.
    """
    try:
        with psycopg.connect(admin_dsn, autocommit=True, application_name="hefa-migrate") as connection:
            prepare(connection, passwords or {})
            done = apply(connection)
            admit(connection, api_keys or {})
            return done
    except psycopg.Error as error:
        if error.sqlstate is None and isinstance(error, psycopg.OperationalError):
            raise refusal(admin_dsn, error) from error
        seen = translate(error)
        if isinstance(seen, Unavailable) and not isinstance(seen, SchemaMissing):
            raise seen from error
        raise


def require_current(connection: Connection) -> None:
    """Raise `SchemaMissing` unless every migration of this program is applied; newer ones of a later program are fine."""
    try:
        applied: dict[str, str] = dict(connection.execute("SELECT name, checksum FROM schema_migration").fetchall())
    except errors.UndefinedTable as error:
        raise SchemaMissing("the database is empty: run `hefa-platform migrate`") from error
    except errors.InsufficientPrivilege as error:
        raise SchemaMissing("the schema was not made by `hefa-platform migrate`") from error
    missing = [migration.name for migration in available() if migration.name not in applied]
    if missing:
        raise SchemaMissing(f"migrations {', '.join(missing)} are missing: run `hefa-platform migrate`")


def prepare(connection: Connection, passwords: Mapping[str, str]) -> None:
    """Become the only one who migrates, until the connection ends; make what is outside of the schema.

    `connection` is an administrator's, in autocommit mode. Raises `MigrationError` for a server that will not do.
    """
    connection.execute("SELECT pg_advisory_lock(%s)", [_LOCK])
    require_server(connection)
    _roles(connection, passwords)
    _extension(connection)
    grant(connection)


def require_server(connection: Connection) -> None:
    """Raise `MigrationError` when the server is too old for this program."""
    if connection.info.server_version < OLDEST_POSTGRES * 10_000:
        raise MigrationError(
            f"the server is {detect(connection).version}, hefa needs PostgreSQL {OLDEST_POSTGRES} or newer: upgrade it "
            "(pg_upgrade, or `hefa-platform backup` there and `restore` into a newer one)"
        )
    row = connection.execute(
        """
        SELECT coalesce(installed_version, default_version) FROM pg_available_extensions
         WHERE name = 'timescaledb' AND current_setting('shared_preload_libraries') LIKE '%timescaledb%'
        """
    ).fetchone()
    if row is not None and tuple(int(part) for part in re.findall(r"\d+", row[0])[:3]) < OLDEST_TIMESCALEDB:
        oldest = ".".join(map(str, OLDEST_TIMESCALEDB))
        raise MigrationError(
            f"the database has TimescaleDB {row[0]}, hefa needs {oldest} or newer: install it on the server, then run "
            "ALTER EXTENSION timescaledb UPDATE in a new session"
        )


def admit(connection: Connection, api_keys: Mapping[str, str]) -> None:
    """Store the hash of each key with its role. Raises `MigrationError` for what is no key."""
    for role, text in api_keys.items():
        parts = keys.parse(text)
        if parts is None:
            raise MigrationError(f"the {role}'s key is not hefa_<id>_<secret>: remove it and have another one made")
        connection.execute(
            """
            INSERT INTO api_key (key_id, name, role, hash) VALUES (%s, 'made at first start', %s, %s)
            ON CONFLICT (key_id) DO NOTHING
            """,
            [parts[0], role, keys.digest(parts[1])],
        )


def _roles(connection: Connection, passwords: Mapping[str, str]) -> None:
    for role in ROLES:
        name = sql.Identifier(role)
        if connection.execute("SELECT FROM pg_roles WHERE rolname = %s", [role]).fetchone() is None:
            try:
                connection.execute(sql.SQL("CREATE ROLE {} LOGIN").format(name))
                logger.info("role made role=%s", role)
            except (errors.DuplicateObject, errors.UniqueViolation):
                logger.info("role made meanwhile role=%s", role)  # roles are shared by all databases of a server
        if role in passwords:
            # Hashed here, so that the password is neither sent nor logged in clear.
            secret = connection.pgconn.encrypt_password(passwords[role].encode(), role.encode(), b"scram-sha-256")
            _share(connection, sql.SQL("ALTER ROLE {} PASSWORD {}").format(name, secret.decode()))
    # An acknowledgement to a gateway means "on disk": no session default may weaken that.
    _share(connection, sql.SQL("ALTER ROLE hefa_ingest SET synchronous_commit = on"))
    if connection.execute("SELECT rolsuper FROM pg_roles WHERE rolname = current_user").fetchone() == (False,):
        _share(connection, sql.SQL("GRANT hefa_owner TO CURRENT_USER"))
    _share(connection, sql.SQL("GRANT hefa_jobs TO hefa_owner"))


def _share(connection: Connection, statement: sql.SQL | sql.Composed) -> None:
    """Set what all databases of a server share; another one that is migrated may be setting it in this moment.

    Our lock is of one database, and the server refuses the second of two ("tuple concurrently updated") instead of
    letting it wait.
    """
    for pause in (0.05, 0.1, 0.2, 0.4, 0.8, 1.6):
        try:
            connection.execute(statement)
            return
        except (errors.InternalError_, errors.UniqueViolation):
            time.sleep(pause)
    connection.execute(statement)


def grant(connection: Connection) -> None:
    """Let our roles do in this database what they do before there is a table."""
    # With the right to pass it on: hefa_jobs makes the continuous aggregate that it refreshes.
    connection.execute("GRANT ALL ON SCHEMA public TO hefa_owner WITH GRANT OPTION")
    connection.execute("REVOKE CREATE ON SCHEMA public FROM PUBLIC")
    row = connection.execute("SELECT current_database()").fetchone()
    assert row is not None
    # TEMPORARY: the staging table of a retried COPY.
    connection.execute(
        sql.SQL("GRANT TEMPORARY ON DATABASE {} TO hefa_ingest, hefa_jobs").format(sql.Identifier(row[0]))
    )


def _extension(connection: Connection) -> None:
    """Create TimescaleDB where the server has it and has loaded it; elsewhere plain PostgreSQL does.

    A database that was begun without it stays without it: its tables are partitioned by us.
    """
    usable = connection.execute("""
        SELECT FROM pg_available_extensions
         WHERE name = 'timescaledb' AND current_setting('shared_preload_libraries') LIKE '%timescaledb%'
           AND (installed_version IS NOT NULL OR to_regclass('reading') IS NULL)
    """).fetchone()
    if usable is not None:
        connection.execute("CREATE EXTENSION IF NOT EXISTS timescaledb")
        for role in ("hefa_ingest", "hefa_jobs"):  # late data opens as much of the columnstore as it needs
            _share(
                connection,
                sql.SQL("ALTER ROLE {} SET timescaledb.max_tuples_decompressed_per_dml_transaction = 0").format(
                    sql.Identifier(role)
                ),
            )
    logger.info("engine version=%r", detect(connection).version)


def apply(connection: Connection, wanted: Collection[str] | None = None) -> list[str]:
    """Apply what is missing of the `wanted` migrations (None: all), in order; return their names.

    `connection` is an administrator's and goes on as hefa_owner. Raises `MigrationError`.
    """
    connection.execute("SET ROLE hefa_owner")
    connection.execute("""
        CREATE TABLE IF NOT EXISTS schema_migration (
          name text PRIMARY KEY, checksum text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now());
        GRANT SELECT ON schema_migration TO hefa_ingest, hefa_jobs, hefa_api, hefa_read;
    """)
    applied: dict[str, str] = dict(connection.execute("SELECT name, checksum FROM schema_migration").fetchall())
    done = []
    for migration in available():
        if wanted is not None and migration.name not in wanted:
            continue
        known = applied.get(migration.name)
        if known is not None and known != migration.checksum:
            raise MigrationError(
                f"schema/{migration.name}.sql was changed after it had been applied: restore the file "
                "and put the change into a new one"
            )
        if known is None:
            with connection.transaction():
                # Our own file, not input: sent without parameters, so that it may hold many statements and any %.
                connection.execute(migration.text)
                connection.execute(
                    "INSERT INTO schema_migration (name, checksum) VALUES (%s, %s)",
                    [migration.name, migration.checksum],
                )
            logger.info("migrated name=%s", migration.name)
            done.append(migration.name)
    return done
