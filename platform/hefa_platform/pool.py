"""Several ingest workers on one machine: each a process of its own, and one that dies is started again.

The pool touches no data. Its workers share the load through the broker, like workers on different machines, and like
those any of them may die. They end with the pool, even when it is killed: each reads a pipe that then closes.
"""

import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field

logger = logging.getLogger(__name__)

LONGEST_PAUSE_S = 30.0  # between two starts of a worker that dies again and again
HEALTHY_S = 20.0  # a life so long makes its earlier deaths forgotten
PATIENCE_S = 8.0  # for a worker to finish what it stores
_POLL_S = 0.1


@dataclass
class _Place:
    """A worker's name, its process, and how often it died in a row."""

    name: str
    process: "subprocess.Popen[bytes] | None" = None
    deaths: int = 0
    started: float = field(default_factory=time.monotonic)
    due: float = 0.0


class Pool:
    """Runs `command(name)` once for each of `count` names: the given one, then name-2, name-3 …"""

    def __init__(self, name: str, count: int, command: Callable[[str], list[str]], environ: Mapping[str, str]) -> None:
        names = [name, *(f"{name[:60]}-{n}" for n in range(2, count + 1))]
        self._places = [_Place(one) for one in names]
        self._command, self._environ = command, dict(environ)
        self._stop = threading.Event()

    def run(self) -> int:
        """Keep all of them running until stopped; returns 0, or the exit code 2 of a worker whose settings are wrong."""
        try:
            while not self._stop.is_set():
                for place in self._places:
                    code = self._look_after(place)
                    if code == 2:
                        return code
                self._stop.wait(_POLL_S)
            return 0
        finally:
            self._end()

    def stop(self) -> None:
        """Ask all of them to end: what is being stored is finished and answered."""
        self._stop.set()

    def _look_after(self, place: _Place) -> int | None:
        """Start a worker when it is due; returns the exit code of one that has just ended."""
        now = time.monotonic()
        if place.process is None:
            if now >= place.due:
                place.started = now
                place.process = subprocess.Popen(
                    self._command(place.name), env=self._environ, stdin=subprocess.PIPE, start_new_session=True
                )
            return None
        code = place.process.poll()
        if code is None:
            return None
        if now - place.started > HEALTHY_S:
            place.deaths = 0
        pause = min(LONGEST_PAUSE_S, 0.5 * 2**place.deaths)
        logger.warning("a worker ended with %d, starts again in %.1f s worker=%s", code, pause, place.name)
        place.deaths += 1
        place.due = now + pause
        self._forget(place)
        return code

    def _end(self) -> None:
        running = [place for place in self._places if place.process is not None]
        for place in running:
            if place.process is not None:
                place.process.terminate()
        deadline = time.monotonic() + PATIENCE_S
        for place in running:
            if place.process is not None:
                with suppress(subprocess.TimeoutExpired):
                    place.process.wait(max(0.0, deadline - time.monotonic()))
                place.process.kill()
                place.process.wait()
                self._forget(place)

    @staticmethod
    def _forget(place: _Place) -> None:
        if place.process is not None and place.process.stdin is not None:
            place.process.stdin.close()
        place.process = None


def worker_command(name: str) -> list[str]:
    """How a worker of a pool is started."""
    return [sys.executable, "-m", "hefa_platform.cli", "ingest", "--worker", name, "--leash"]


def on_leash(stop: Callable[[], None]) -> None:
    """Call `stop` when whoever started this process is gone: its end of our standard input closes.

    Like the pool, nobody waits longer than PATIENCE_S: a database that does not answer would hold us for ever.
    """

    def wait() -> None:
        while sys.stdin.buffer.read(1024):
            pass
        stop()
        time.sleep(PATIENCE_S)
        os._exit(1)

    threading.Thread(target=wait, name="leash", daemon=True).start()
