"""What people decide about refused data, and how that comes back to ingest.

`decide` is the API's side; `asked` and `answered` are ingest's, which alone writes readings: what is tried again goes the
way of every message, under an epoch of its own, so that the same rules hold and nothing is stored twice.
"""

from dataclasses import dataclass
from typing import Any, Literal

from psycopg.rows import class_row

from hefa_contract.envelope import MAX_TAG_NAME
from hefa_contract.rejection import Code
from hefa_platform.store import keys
from hefa_platform.store.database import Connection, Database

Decision = Literal["retry", "discard"]


class NotOpen(Exception):
    """Somebody decided before. The text says what."""


class NotWhole(Exception):
    """There is not enough left of it to try it again."""


@dataclass(frozen=True)
class Refused:
    """One piece of refused data: a reading, or a message with its first bytes."""

    quarantine_id: int
    edge: str
    code: str
    topic: str
    reading: dict[str, Any] | None
    payload: bytes | None
    size: int | None
    state: str

    @property
    def whole(self) -> bool:
        """Whether all of it is here."""
        if self.reading is not None and "event" in self.reading:
            return isinstance(self.reading["event"], dict)  # else only its text was kept
        if self.reading is not None:
            return {"tag", "ts", "value", "quality"} <= self.reading.keys() and self._named_as_sent
        return self.payload is not None and len(self.payload) == self.size

    @property
    def _named_as_sent(self) -> bool:
        """Whether the tag's name is what was sent: of one that may not be, only what JSON can hold was kept, cut short.

        Tried again, the reading would become that of another tag. What JSON cannot hold became U+FFFD or a question mark.
        """
        name = str((self.reading or {})["tag"])
        return self.code != Code.SCHEMA or (not {"\ufffd", "?"} & set(name) and len(name) < MAX_TAG_NAME)

    @property
    def epoch(self) -> str:
        """The epoch under which it is tried again: the same each time, so that twice is once."""
        return f"retry-{self.quarantine_id}"


def decide(
    database: Database, quarantine_id: int, decision: Decision, *, site: str, reason: str, by: str
) -> str | None:
    """Note what was decided, audited; returns the new state, or None where a key of `site` sees no such row.

    Raises NotOpen, NotWhole.
    """
    with database.connection() as connection, connection.cursor(row_factory=class_row(Refused)) as cursor:
        row = cursor.execute(
            """
            SELECT quarantine_id, edge, code, topic, reading, payload, size, state FROM quarantine q
             WHERE quarantine_id = %(id)s
               AND (%(site)s = '*' OR EXISTS (SELECT FROM edge WHERE edge.name = q.edge AND edge.site = %(site)s))
               FOR UPDATE
            """,
            {"id": quarantine_id, "site": site},
        ).fetchone()
        if row is None:
            return None
        if row.state != "open":
            raise NotOpen(row.state)
        if decision == "retry" and not row.whole:
            raise NotWhole
        state = "retrying" if decision == "retry" else "discarded"
        cursor.execute(
            "UPDATE quarantine SET state = %s, reason = %s, decided_by = %s, decided_at = now() WHERE quarantine_id = %s",
            [state, reason, by, quarantine_id],
        )
        keys.audit(cursor, by, f"quarantine.{decision}", str(quarantine_id), {"reason": reason})
    return state


def asked(connection: Connection, limit: int) -> list[Refused]:
    """What is to be tried again, oldest first."""
    with connection.cursor(row_factory=class_row(Refused)) as cursor:
        return cursor.execute(
            """
            SELECT quarantine_id, edge, code, topic, reading, payload, size, state FROM quarantine
             WHERE state = 'retrying' ORDER BY quarantine_id LIMIT %s
            """,
            [limit],
        ).fetchall()


def answered(connection: Connection, tried: list[Refused]) -> None:
    """These were tried: what was refused again is there again, as a row of its own."""
    connection.execute(
        "UPDATE quarantine SET state = 'retried' WHERE quarantine_id = ANY (%s) AND state = 'retrying'",
        [[row.quarantine_id for row in tried]],
    )
