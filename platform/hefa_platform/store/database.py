"""Connections to the one database, what kind of server it is, and which of its errors pass by themselves.

This module hides the pool and psycopg's error classes: callers see `Unavailable` (retry), `Refused` (the data's
fault) or a bug. It never retries on its own, because only the caller knows what a lost COMMIT means to it.
"""

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, LiteralString

import psycopg
from psycopg import errors
from psycopg_pool import ConnectionPool, PoolClosed, PoolTimeout

from hefa_platform.store.columns import as_parameters

logger = logging.getLogger(__name__)

Connection = psycopg.Connection[tuple[Any, ...]]


class Unavailable(Exception):
    """The database cannot serve this now. Nothing is wrong with the request: ask again later."""


class TimedOut(Unavailable):
    """The statement ran into the time limit of its connection. A smaller range may get through."""


class NotAdmitted(Unavailable):
    """The server is there and answers, but lets nobody in with these credentials, or not to this database."""


class SchemaMissing(Unavailable):
    """The database answers, but its schema is not the one this program was written for: run `hefa-platform migrate`."""


class Refused(Exception):
    """The database will never take this data (SQLSTATE class 22 or 23), however often it is sent.

    22000 where the driver has found that no server could: a text with NUL.
    """

    def __init__(self, message: str, sqlstate: str) -> None:
        super().__init__(message)
        self.sqlstate = sqlstate


# SQLSTATE classes that pass without anybody changing the data: 08 connection, 25 transaction state (a standby became
# read-only), 40 deadlock and serialisation, 53 out of disk, memory or connections, 55 lock not available,
# 57 operator intervention, 58 system error.
_TRANSIENT = frozenset({"08", "25", "40", "53", "55", "57", "58"})
# Not the data's fault either, but somebody has to migrate, grant or create something.
_SCHEMA = frozenset({"42", "3D", "3F", "28"})
_PERMANENT = frozenset({"22", "23"})


def translate(error: psycopg.Error) -> Exception | None:
    """Return what a caller outside the store should see instead of `error`; None means that it is a bug."""
    state = error.sqlstate
    if isinstance(error, psycopg.DataError) and state is None:  # it was not even sent
        return Refused(str(error), "22000")
    if state is None:  # no answer from the server: never connected, connection lost, pool exhausted
        return Unavailable(str(error)) if isinstance(error, psycopg.OperationalError | psycopg.InterfaceError) else None
    if state == "57014":
        return TimedOut(str(error))
    if state[:2] in _TRANSIENT:
        return Unavailable(f"{state} {error}")
    if state[:2] in _SCHEMA and not isinstance(error, errors.SyntaxError):
        return SchemaMissing(f"{state} {error}")
    if state[:2] in _PERMANENT:
        return Refused(f"{state} {error}", state)
    return None


def refusal(dsn: str, error: psycopg.Error) -> Unavailable:
    """What a failed attempt to connect means: `NotAdmitted` where the server runs, as libpq's ping says."""
    text = " ".join(str(error).split())
    if psycopg.pq.PGconn.ping(dsn.encode()) == psycopg.pq.Ping.OK:
        return NotAdmitted(text)
    return Unavailable(text)


# We may vanish too: what our session holds (locks, the place of the one who maintains) is not to be held for hours.
_HEARTBEAT = (
    "-c tcp_keepalives_idle=10 -c tcp_keepalives_interval=5 -c tcp_keepalives_count=3 -c tcp_user_timeout=30000"
)


@dataclass(frozen=True)
class Engine:
    """What kind of server stores the readings. The rest of the code does not ask; `ready` and the log tell people."""

    kind: Literal["timescaledb-community", "timescaledb-apache", "postgresql"]
    version: str

    @property
    def hypertables(self) -> bool:
        """Whether `reading` is a hypertable, whose partitions the server makes itself."""
        return self.kind != "postgresql"


class Database:
    """A pool of connections as one role.

    The constructor does not wait for the server: an absent one shows as `Unavailable` from `connection`, within
    `patience_s` seconds, and the pool heals by itself when the server is back. Times are exchanged in UTC. Connections
    are `tried` before they are lent, which costs a round trip: who tries again by himself does without.
    """

    def __init__(
        self,
        dsn: str,
        *,
        min_size: int = 1,
        max_size: int = 8,
        application: str = "hefa-api",
        statement_timeout_ms: int | None = None,
        patience_s: float = 5.0,
        tried: bool = True,
    ) -> None:
        self._dsn = dsn
        self._options: dict[str, Any] = {
            "application_name": application,
            # Our statements are short: to compile them takes longer than to run them.
            "options": f"-c timezone=UTC -c jit=off -c statement_timeout={statement_timeout_ms or 0} {_HEARTBEAT}",
            "connect_timeout": max(2, int(patience_s)),
            # A server that vanishes without a word (power, cable) must not hold a worker for hours.
            "keepalives_idle": 10,
            "keepalives_interval": 5,
            "keepalives_count": 3,
            "tcp_user_timeout": 30_000,
        }
        self._patience_s = patience_s
        self._engine: Engine | None = None
        self._engine_lock = threading.Lock()
        # A short reconnect_timeout: the pool's own back-off would else still be sleeping when the server is back.
        self._pool: ConnectionPool[Connection] = ConnectionPool(
            dsn,
            min_size=min_size,
            max_size=max_size,
            kwargs=self._options,
            configure=as_parameters,
            check=ConnectionPool.check_connection if tried else None,
            reconnect_timeout=2.0,
            timeout=patience_s,
            name=application,
            open=True,
        )

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """Lend a connection for one transaction: committed when the block ends, rolled back when it raises.

        Raises `Unavailable` (also for an unknown outcome of the COMMIT) and `Refused`; other psycopg errors are bugs.
        """
        try:
            with self._pool.connection() as connection:
                yield connection
        except PoolClosed as error:
            raise Unavailable("this process is stopping") from error
        except PoolTimeout as error:
            raise Unavailable(f"no connection within {self._patience_s:g} s: {self._reason()}") from error
        except psycopg.Error as error:
            seen = translate(error)
            if seen is None:
                raise
            raise seen from error

    @contextmanager
    def session(self) -> Iterator[Connection]:
        """Open a connection of its own in autocommit mode, for session locks; closed when the block ends."""
        try:
            with psycopg.connect(self._dsn, autocommit=True, **self._options) as connection:
                yield connection
        except psycopg.Error as error:
            seen = translate(error)
            if seen is None:
                raise
            raise seen from error

    @property
    def engine(self) -> Engine:
        """The server's kind, asked once. Raises `Unavailable` while the server has not answered yet."""
        with self._engine_lock:
            if self._engine is None:
                with self.connection() as connection:
                    self._engine = detect(connection)
                logger.info("engine kind=%s version=%r", self._engine.kind, self._engine.version)
            return self._engine

    def close(self) -> None:
        """Close all connections. Transactions still open are rolled back by the server."""
        self._pool.close(timeout=2.0)

    def __enter__(self) -> "Database":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _reason(self) -> str:
        """Why no connection came: tried once more by hand, since the pool only counts its failures."""
        try:
            with psycopg.connect(self._dsn, **self._options | {"connect_timeout": 2}):
                return "all connections are in use"
        except psycopg.Error as error:
            return " ".join(str(error).split())


def detect(connection: Connection) -> Engine:
    """Ask the server what it is; TimescaleDB counts only where the extension is created in this database."""
    query: LiteralString = """
        SELECT current_setting('server_version'),
               (SELECT extversion FROM pg_extension WHERE extname = 'timescaledb'),
               coalesce(current_setting('timescaledb.license', true), '')
    """
    row = connection.execute(query).fetchone()
    assert row is not None
    server, extension, licence = row
    if extension is None:
        return Engine("postgresql", f"PostgreSQL {server}")
    kind: Literal["timescaledb-community", "timescaledb-apache"] = (
        "timescaledb-community" if licence == "timescale" else "timescaledb-apache"
    )
    return Engine(kind, f"PostgreSQL {server}, TimescaleDB {extension}")
