"""Figures published back as calculated tags, so that dashboards draw them like any other reading.

Each whole hour's value of a metric becomes a reading of the tag `KPI.<metric>` at the hour's end, entered by REST like
anybody's; the tag's unit and description are the metric's. Saying it again changes nothing: the platform knows a reading
by tag and time, and the first value stays. An hour that is not known well enough is not published, and asked for again
for a while: a history may still be coming in.
"""

import logging
import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

from hefa_apps.client import Caller, Catalogue, Denied, Missing, Refused, Unavailable
from hefa_apps.client.readings import Entry
from hefa_apps.metrics import Desk, Figure

logger = logging.getLogger(__name__)

HOUR = timedelta(hours=1)
SETTLED = timedelta(minutes=10)  # after the hour: late readings of a short outage are in
ENOUGH = 0.9  # coverage
BACK = 24  # whole hours that a start looks back
PREFIX = "KPI."  # of the tags
TRIES = 12  # times that an hour is asked for of which not all is known
EVERY_S = 300.0


def tag_of(metric: str) -> str:
    """Return the tag of a metric's hourly value."""
    return PREFIX + "".join(c if c.isalnum() or c in ".-" else "_" for c in metric)


class Publisher:
    """Publishes some metrics with a key of its own (role engineer) until it is stopped."""

    def __init__(
        self,
        caller: Caller,
        desk: Desk,
        metrics: Sequence[str],
        *,
        back: int = BACK,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._caller, self._desk, self._metrics, self._clock = caller, desk, tuple(metrics), clock
        self._back = back
        self._told: dict[str, str] = {}  # units of tags that the platform has been told
        self._tried: dict[datetime, int] = {}  # by the end of an hour; `TRIES` when it is done
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="publisher", daemon=True)

    def start(self) -> None:
        """Begin in a thread of its own."""
        self._thread.start()

    def stop(self) -> None:
        """End, after the hour at hand."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(5)

    def publish(self) -> int:
        """Publish the last whole hours, of which not all is said yet; return how many readings are new.

        Raises what any call raises: nothing counts as published then, and the next call says it all again.
        """
        last = (self._clock() - SETTLED).replace(minute=0, second=0, microsecond=0)
        plant = self._caller.catalogue()
        stored = 0
        for hours in range(self._back - 1, -1, -1):
            end = last - hours * HOUR
            if self._stop.is_set() or self._tried.get(end, 0) >= TRIES:
                continue
            figures = self._known(plant, end)
            for figure in figures:
                self._describe(figure)
            if figures:
                entries = [Entry(tag_of(figure.id), figure.end, figure.value) for figure in figures]
                stored += self._caller.enter(entries).stored
            whole = len(figures) == len(self._metrics)
            self._tried[end] = TRIES if whole else self._tried.get(end, 0) + 1
        self._tried = {end: tries for end, tries in self._tried.items() if end > last - self._back * HOUR}
        return stored

    def _describe(self, figure: Figure) -> None:
        tag = tag_of(figure.id)
        if self._told.get(tag) == figure.unit:
            return
        try:
            self._caller.describe(tag, figure.unit, figure.name)
        except Refused as error:  # the plant model has taken it in, and knows its unit
            logger.info("unit not told tag=%s reason=%s", tag, error)
        self._told[tag] = figure.unit

    def _known(self, plant: Catalogue, end: datetime) -> list[Figure]:
        r = self._desk.over(self._caller, plant, end - HOUR, end)
        return [
            figure
            for figure in map(r.figure, self._metrics)
            if figure.value is not None and (figure.coverage is None or figure.coverage >= ENOUGH)
        ]

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                stored = self.publish()
                if stored:
                    logger.info("published figures=%d", stored)
            except (Unavailable, Denied, Refused, Missing) as error:
                logger.warning("figures not published, next try in %d s: %s", EVERY_S, error)
            self._stop.wait(EVERY_S)
