"""Events of the plant and refused data: lists of what happened, newest first, and events entered by hand.

Pages are cut by key, not by offset, so that nothing is skipped or shown twice while new rows arrive.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from hefa_platform.store import keys
from hefa_platform.store.database import Database, SchemaMissing
from hefa_platform.store.registry import ENTRY


class KeyReused(Exception):
    """This Idempotency-Key was used before, for another body."""


class EventRefused(Exception):
    """The database has no use for this event; `code` is the contract's, the text says why."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code


@dataclass(frozen=True)
class Event:
    """Something that happened in the plant, as a gateway or a person told it."""

    event_id: int
    edge: str
    type: str
    ts: datetime
    subject: str
    body: dict[str, Any]
    received_at: datetime


@dataclass(frozen=True)
class Quarantined:
    """Refused data. `i` is the index of one refused reading; None: the whole message, of `size` bytes."""

    quarantine_id: int
    edge: str
    epoch: str | None
    seq: int | None
    i: int | None
    code: str
    detail: str
    topic: str
    reading: dict[str, Any] | None
    payload: bytes | None  # its first bytes
    size: int | None
    state: str
    received_at: datetime


def events(
    database: Database,
    site: str,
    *,
    type: str | None = None,
    subject: str | None = None,
    start: datetime | None = None,
    end: datetime | None = None,
    before: tuple[datetime, int] | None = None,
    limit: int,
) -> list[Event]:
    """Events of [start, end), latest first; `before` continues behind the event with that time and id."""
    before_ts, before_id = before or (None, None)
    with database.connection() as connection, connection.cursor(row_factory=class_row(Event)) as cursor:
        return cursor.execute(
            """
            SELECT event_id, edge.name AS edge, type, ts, subject, body, received_at
              FROM event JOIN edge USING (edge_id)
             WHERE (%(site)s = '*' OR edge.site = %(site)s)
               AND (%(type)s::text IS NULL OR type = %(type)s)
               AND (%(subject)s::text IS NULL OR subject = %(subject)s)
               AND (%(start)s::timestamptz IS NULL OR ts >= %(start)s)
               AND (%(end)s::timestamptz IS NULL OR ts < %(end)s)
               AND (%(before_ts)s::timestamptz IS NULL OR (ts, event_id) < (%(before_ts)s, %(before_id)s::bigint))
             ORDER BY ts DESC, event_id DESC LIMIT %(limit)s
            """,
            {
                "site": site, "type": type, "subject": subject, "start": start, "end": end,
                "before_ts": before_ts, "before_id": before_id, "limit": limit,
            },
        ).fetchall()  # fmt: skip


def post_event(
    database: Database,
    *,
    type: str,
    ts: datetime,
    subject: str,
    body: Mapping[str, object],
    epoch: str,
    hash: bytes,
    by: str,
) -> tuple[Event, bool]:
    """Keep an event entered by key `by`, audited; return it, and whether it is new.

    `epoch` names the request in the ledger: the same again is answered with the event kept first, another `hash`
    under it raises `KeyReused`. Raises `EventRefused`: nothing of it is kept.
    """
    with database.connection() as connection, connection.cursor(row_factory=class_row(Event)) as cursor:
        row = connection.execute("SELECT edge_id FROM edge WHERE name = %s", [ENTRY]).fetchone()
        if row is None:
            raise SchemaMissing(f"the gateway {ENTRY!r} is not there: run `hefa-platform load`")
        edge_id = row[0]
        accepted = connection.execute(
            """
            INSERT INTO ledger (edge_id, epoch, seq, hash, readings) VALUES (%s, %s, 0, %s, 0)
            ON CONFLICT DO NOTHING RETURNING hash
            """,
            [edge_id, epoch, hash],
        ).fetchone()
        if accepted is not None:
            kept = connection.execute(
                """
                INSERT INTO event (edge_id, epoch, seq, i, type, ts, subject, body)
                VALUES (%s, %s, 0, 0, %s, %s, %s, %s)
                """,
                [edge_id, epoch, type, ts, subject, Jsonb(dict(body))],
            ).rowcount
            if not kept:  # it went to quarantine; who enters it hears it at once instead
                refused = connection.execute(
                    "SELECT code, detail FROM quarantine WHERE edge = %s AND epoch = %s ORDER BY quarantine_id DESC LIMIT 1",
                    [ENTRY, epoch],
                ).fetchone()
                assert refused is not None
                raise EventRefused(*refused)
            connection.execute(
                """
                INSERT INTO intake_counter (edge_id, worker, events) VALUES (%s, 'rest', 1)
                ON CONFLICT (edge_id, worker) DO UPDATE SET events = intake_counter.events + 1
                """,
                [edge_id],
            )
            connection.execute("UPDATE edge SET seen_at = now() WHERE edge_id = %s", [edge_id])
            keys.audit(cursor, by, "event.post", subject, {"type": type, "ts": ts.isoformat(), **body})
        else:
            known = connection.execute(
                "SELECT hash FROM ledger WHERE edge_id = %s AND epoch = %s AND seq = 0", [edge_id, epoch]
            ).fetchone()
            if known is None or bytes(known[0]) != hash:
                raise KeyReused
        event = cursor.execute(
            """
            SELECT event_id, edge.name AS edge, type, ts, subject, body, received_at
              FROM event JOIN edge USING (edge_id) WHERE edge_id = %s AND epoch = %s AND seq = 0 AND i = 0
            """,
            [edge_id, epoch],
        ).fetchone()
        assert event is not None
        return event, accepted is not None


def quarantine(
    database: Database,
    site: str,
    *,
    state: str | None = None,
    edge: str | None = None,
    code: str | None = None,
    before: int | None = None,
    limit: int,
) -> list[Quarantined]:
    """Refused data, newest first; `before` continues behind that id.

    A key for one site sees what its own gateways sent; what came from nobody we know only a key for all sites.
    """
    with database.connection() as connection, connection.cursor(row_factory=class_row(Quarantined)) as cursor:
        return cursor.execute(
            """
            SELECT quarantine_id, q.edge, epoch, seq, i, code, detail, topic, reading,
                   substring(payload FOR 500) AS payload, size, state, received_at
              FROM quarantine q
             WHERE (%(site)s = '*' OR EXISTS (SELECT FROM edge WHERE edge.name = q.edge AND edge.site = %(site)s))
               AND (%(state)s::text IS NULL OR state = %(state)s)
               AND (%(edge)s::text IS NULL OR q.edge = %(edge)s)
               AND (%(code)s::text IS NULL OR code = %(code)s)
               AND (%(before)s::bigint IS NULL OR quarantine_id < %(before)s)
             ORDER BY quarantine_id DESC LIMIT %(limit)s
            """,
            {"site": site, "state": state, "edge": edge, "code": code, "before": before, "limit": limit},
        ).fetchall()
