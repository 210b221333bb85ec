"""Which messages were being stored when a worker died: the guard against one that kills every worker it meets.

A message that was in flight in a crash is a suspect and is stored alone from then on, so that it cannot take others
with it. In two crashes that it met alone nobody else can have been the cause: then it goes to quarantine. Crashes in
company count for nothing, or workers killed from outside would condemn what only happened to be there. What is stored
is a suspect no longer.
"""

from collections.abc import Sequence

from hefa_platform.store.database import Connection

CRASHES = 2  # met alone, after which a message is not tried again
_DEAD_S = 60  # a worker without a sign of life for so long has died with what it noted


class CrashGuard:
    """The notes of one worker, and the suspects of all."""

    def __init__(self, worker: str) -> None:
        self._worker = worker
        self._inherited = False
        self._noted: list[bytes] | None = []  # what our row holds; None where nobody knows
        self.suspects: dict[bytes, int] = {}
        """Crashes that a message met alone, by its hash."""

    def has_noted(self, hashes: list[bytes]) -> bool:
        """Whether the last transaction has left this note."""
        return self._noted == hashes

    def note(self, connection: Connection, hashes: list[bytes]) -> None:
        """Say what is about to be stored, in a transaction of its own. Its COMMIT does not wait for the disk."""
        self._noted = None
        connection.execute(
            """
            WITH hasty AS (SELECT set_config('synchronous_commit', 'off', true))
            INSERT INTO in_flight (worker, hashes) SELECT %s, %b::bytea[] FROM hasty
            ON CONFLICT (worker) DO UPDATE SET hashes = excluded.hashes
            """,
            [self._worker, hashes],
        )

    def stored(self, connection: Connection, hashes: Sequence[bytes], following: list[bytes]) -> None:
        """In the transaction that stores `hashes`, take the note back, or say what follows."""
        if self._noted == []:
            return
        connection.execute("UPDATE in_flight SET hashes = %b::bytea[] WHERE worker = %s", [following, self._worker])
        self._noted = None
        cleared = [hash for hash in hashes if hash in self.suspects]
        if cleared:
            connection.execute("DELETE FROM suspect WHERE sha256 = ANY (%s)", [cleared])

    def holds(self, hashes: list[bytes]) -> None:
        """That transaction was committed: our row holds these now."""
        self._noted = hashes

    def inherit(self, connection: Connection) -> None:
        """Make suspects of what the dead have left, first of all of what this worker's predecessor has, and learn all."""
        connection.execute(
            """
            WITH dead AS (
              SELECT worker, hashes FROM in_flight
               WHERE hashes <> '{}' AND CASE WHEN worker = %(self)s THEN %(first)s ELSE NOT EXISTS (
                     SELECT FROM worker w WHERE w.task = 'ingest' AND w.name = in_flight.worker
                        AND w.seen_at > clock_timestamp() - make_interval(secs => %(dead)s)) END
               FOR UPDATE SKIP LOCKED
            ), taken AS (
              UPDATE in_flight SET hashes = '{}' FROM dead WHERE in_flight.worker = dead.worker
            )
            INSERT INTO suspect (sha256, crashes)
            SELECT hash, count(*) FILTER (WHERE cardinality(hashes) = 1) FROM dead, unnest(hashes) AS hash GROUP BY hash
            ON CONFLICT (sha256) DO UPDATE SET crashes = suspect.crashes + excluded.crashes, last_at = now()
            """,
            {"self": self._worker, "first": not self._inherited, "dead": _DEAD_S},
        )
        rows = connection.execute("SELECT sha256, crashes FROM suspect ORDER BY last_at DESC LIMIT 10000").fetchall()
        self.suspects = {bytes(sha256): int(crashes) for sha256, crashes in rows}

    def committed(self) -> None:
        """What `inherit` did has come to be."""
        self._inherited = True
