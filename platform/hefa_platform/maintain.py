"""The platform's housekeeper: rollups, alarms, partitions ahead, retention. One works at a time, others stand by.

All work is done on one connection that also holds the lock of the one who works: where it breaks, the lock and the
unfinished work are gone together, and whoever comes next finds the notes of what is still to do. Who stands by breaks it
where the one who works has been frozen for a minute.
"""

import logging
import threading
import time
from itertools import cycle
from typing import Literal

from hefa_platform.store import alarm_watch, registers, rollups, signal_watch, upkeep
from hefa_platform.store.database import Connection, Database, SchemaMissing, Unavailable
from hefa_platform.store.migrations import require_current
from hefa_platform.store.standstill import Standstill

logger = logging.getLogger(__name__)

STAND_BY_S = 2.0  # between two attempts to become the one who works
PATIENCE_S = 60.0  # as long as this the one who works asks the database something, unless it stands still
ADVANCE_S = 10.0  # between two moves of the watermark
ALARMS_S = 4.0  # between two looks at the limits
UPKEEP_S = 600.0  # between two looks at partitions and retention
IDLE_S = 0.5  # pause when nothing is dirty
RETRY_S = (0.2, 5.0)


class Keeper:
    """Runs until stopped; waits for the database for ever."""

    def __init__(
        self, database: Database, name: str, *, raw_retention_days: int = 90, patience_s: float = PATIENCE_S
    ) -> None:
        self._database, self._name, self._retention_days = database, name, raw_retention_days
        self._patience_s = patience_s
        self._stop = threading.Event()
        self._said = ""

    def run(self) -> None:
        """Work, or stand by to. Raises what is a bug."""
        delay = RETRY_S[0]
        while not self._stop.is_set():
            try:
                with self._database.session() as connection:
                    require_current(connection)
                    self._say("")
                    delay = RETRY_S[0]
                    if self._claim(connection):
                        self._keep(connection)
                    upkeep.alive(connection, self._name, False, "stopped")
            except Unavailable as error:
                self._say(type(error).__name__, error)
                self._stop.wait(delay)
                delay = min(delay * 2, RETRY_S[1])
        logger.info("stopped worker=%s", self._name)

    def stop(self) -> None:
        """Ask it to end; the range being rewritten is finished first."""
        self._stop.set()

    def _claim(self, connection: Connection) -> bool:
        told = False
        standstill = Standstill(self._patience_s)
        while not rollups.claim(connection):
            if not told:
                told = True
                logger.info("another one works, standing by worker=%s", self._name)
            upkeep.alive(connection, self._name, True, "standing by")
            standstill.look(connection, time.monotonic(), lock=rollups.LOCK)
            if self._stop.wait(STAND_BY_S):
                return False
        logger.info("ready worker=%s engine=%r", self._name, self._database.engine.version)
        return not self._stop.is_set()

    def _keep(self, connection: Connection) -> None:
        next_advance = next_alarms = next_upkeep = 0.0
        signals = signal_watch.SignalWatch()
        # In turn, so that pages get what is recent soon and nothing waits longer than a round of all that is dirty.
        ends: cycle[Literal["newest", "longest"]] = cycle(("newest", "longest"))
        while not self._stop.is_set():
            now = time.monotonic()
            if now >= next_upkeep:
                next_upkeep = now + UPKEEP_S
                upkeep.prepare_partitions(connection)
                self._require_safe(connection)
                dropped = upkeep.forget_old(connection, self._retention_days)
                upkeep.trim_ledger(connection, upkeep.LEDGER_DAYS)
                if dropped:
                    logger.info("raw readings beyond retention dropped partitions=%s", ",".join(dropped))
            if now >= next_advance:
                next_advance = now + ADVANCE_S
                rollups.advance(connection)
                registers.note_returned(connection)
                upkeep.alive(connection, self._name, True, f"{rollups.backlog(connection)} ranges to roll up")
            if now >= next_alarms:
                more = alarm_watch.watch(connection).more
                signals.watch(connection)
                next_alarms = time.monotonic() + (0 if more else ALARMS_S)
            if rollups.work(connection, next(ends)) is None and rollups.refresh(connection) is None:
                self._stop.wait(IDLE_S)

    def _require_safe(self, connection: Connection) -> None:
        unsafe = upkeep.keep_policies(connection, self._retention_days)
        if unsafe:
            upkeep.alive(connection, self._name, False, "; ".join(unsafe))
            raise upkeep.UnsafePolicies("; ".join(unsafe))

    def _say(self, kind: str, error: Unavailable | None = None) -> None:
        if kind == self._said:
            return
        self._said = kind
        if error is None:
            logger.info("the database is back worker=%s", self._name)
        else:
            for_people = isinstance(error, SchemaMissing | upkeep.UnsafePolicies)
            level = logging.ERROR if for_people else logging.WARNING
            logger.log(level, "cannot work, waiting: %s", error)
