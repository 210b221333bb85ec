"""Faults that somebody injected, in one file of the site's directory: any process may write, the site reads.

The file is replaced as a whole, under a lock; what is in it has absolute times, so that a site that was killed plays
the same again. Episodes that ended long ago are forgotten.
"""

from __future__ import annotations

import fcntl
import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from hefa_edge.catalogue import FaultError
from hefa_edge.episodes import Episode

MINUTE = 60_000_000
_MARGIN = 2_000_000  # µs that a site needs to hear of it before the minute begins
_KEPT = 1_000  # episodes

logger = logging.getLogger(__name__)


def next_minute(now: int) -> int:
    """The simulated minute from which a wish can be followed, µs."""
    return -(-(now + _MARGIN) // MINUTE) * MINUTE


class Injections:
    """The file in a site's state directory. Safe to be used by several processes."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / "faults.json"
        self._lock = directory / "faults.lock"
        self._seen: tuple[int, int, int] | None = None
        self._last: list[Episode] = []

    def read(self) -> list[Episode]:
        """Read what was injected. Raises FaultError when the file is not what was written here."""
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=list[Episode])
        except FileNotFoundError:
            return []
        except (msgspec.DecodeError, msgspec.ValidationError) as error:
            raise FaultError(f"{self._path}: {error}; delete it to forget what was injected") from None

    def poll(self) -> list[Episode]:
        """Like `read`, for one that looks often: cheap while nothing changes, and keeps the last that could be read."""
        try:
            stat = self._path.stat()
            seen = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
        except FileNotFoundError:
            seen = None
        if seen != self._seen:
            self._seen = seen
            try:
                self._last = self.read()
            except FaultError as error:
                logger.error("injected faults stay as they were: %s", error)
        return self._last

    def add(self, episode: Episode) -> None:
        """Inject a fault; on return it is durable. Raises FaultError, OSError."""
        self._change(lambda there: [*there, episode][-_KEPT:])

    def clear(self, matching: Callable[[Episode], bool], at: int) -> list[Episode]:
        """End at `at` (µs) those that match and last longer; returns them. Raises FaultError, OSError."""
        ended = []

        def change(there: Sequence[Episode]) -> list[Episode]:
            kept = []
            for one in there:
                if matching(one) and (one.end is None or one.end > at):
                    ended.append(one)
                    if one.start >= at:
                        continue  # it had not begun
                    one = msgspec.structs.replace(one, end=at)
                kept.append(one)
            return kept

        self._change(change)
        return ended

    def _change(self, change: Callable[[Sequence[Episode]], list[Episode]]) -> None:
        with self._lock.open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            episodes = change(self.read())
            temporary = self._path.with_suffix(".new")
            with temporary.open("wb") as file:
                file.write(msgspec.json.encode(episodes))
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(self._path)
            folder = os.open(self._path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
