"""Sessions that stand still while others wait for them, and how they are ended.

A worker that is frozen, or whose host is gone without a word, still holds what its transaction has locked: gateways send
again, to others, and these wait for it as long as it stands. Only sessions of the asking role are seen and ended; what
they had not committed is rolled back, was never answered, and so comes again.
"""

import logging
from datetime import datetime

from hefa_platform.store.database import Connection

logger = logging.getLogger(__name__)


class Standstill:
    """Looks now and then, and remembers what it saw. `patience_s`: how long a session may stand still."""

    def __init__(self, patience_s: float) -> None:
        self._patience_s = patience_s
        self._seen: dict[int, tuple[datetime, int, float]] = {}  # by pid: statement, bytes it has read, since when so

    def look(self, connection: Connection, now: float, *, lock: int | None = None) -> int:
        """End the sessions that have not moved since a look at least `patience_s` before `now` (s, monotonic).

        They stand in a transaction for which another waits, or hold the advisory lock `lock`. Returns how many. One that
        is slow moves: its statement changes, or what COPY has read of it.
        """
        rows = connection.execute(
            """
            SELECT pid, state_change, coalesce(bytes_processed, 0)
              FROM pg_stat_activity AS a LEFT JOIN pg_stat_progress_copy USING (pid)
             WHERE usename = current_user AND a.datname = current_database() AND wait_event_type = 'Client'
               AND (xact_start IS NOT NULL AND pid IN (
                      SELECT unnest(pg_blocking_pids(waiting.pid)) FROM pg_stat_activity AS waiting
                       WHERE waiting.usename = current_user AND waiting.datname = current_database()
                         AND waiting.wait_event_type = 'Lock')
                    OR pid IN (
                      SELECT held.pid FROM pg_locks AS held
                       WHERE locktype = 'advisory' AND granted AND database = a.datid
                         AND (classid, objid, objsubid) = (0, %s::bigint::oid, 1)))
            """,
            [lock],
        ).fetchall()
        before, self._seen = self._seen, {}
        ended = 0
        for pid, state_change, bytes_read in rows:
            known = before.get(pid)
            since = known[2] if known is not None and known[:2] == (state_change, bytes_read) else now
            self._seen[pid] = (state_change, bytes_read, since)
            if now - since >= self._patience_s:
                ended += self._end(connection, pid, state_change)
        return ended

    def _end(self, connection: Connection, pid: int, state_change: datetime) -> int:
        row = connection.execute(
            """
            SELECT count(*) FILTER (WHERE pg_terminate_backend(pid)) FROM pg_stat_activity
             WHERE pid = %s AND state_change = %s
            """,
            [pid, state_change],
        ).fetchone()
        ended = row[0] if row else 0
        if ended:
            logger.warning("ended a session on which others waited and that stood still pid=%d", pid)
        return int(ended)
