"""Gateways that cannot speak our envelope, made one that can: foreign messages in, an outbox, envelopes out.

From the outbox on everything holds that holds for any gateway. Before it the broker keeps a message until the commit
of the outbox: killed at any moment, nothing is lost that was published with QoS 1 by a session the broker knows. A
message that comes again has the same times and is recognised by the platform; one without a time is best effort.
"""

from __future__ import annotations

import logging
import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from threading import Event
from typing import Any, cast

import numpy as np

from hefa_contract.envelope import BAD, MAX_TAGS, Envelope, Message
from hefa_edge.config import Settings
from hefa_edge.failpoint import reach
from hefa_edge.gateway import Gateway
from hefa_edge.listener import RECEIVE_MAXIMUM, Arrived, Listener
from hefa_edge.mapping import Mapping, Reading, Unreadable
from hefa_edge.outbox import OutboxFull
from hefa_edge.packing import pack
from hefa_edge.publisher import BACKOFF_MAX_S, BACKOFF_S, STABLE_S
from hefa_edge.session import parse_url

logger = logging.getLogger(__name__)

BATCH, BATCH_S = 500, 0.25  # messages, and seconds after the first of them, that close a commit
IDLE_S = 0.5
FULL_S = 0.2  # between two tries to put something into a full outbox
TOLD = 100  # different complaints that are logged; all are counted
REPORT_S = 300.0


class Adapter:
    """One mapping at work. `run` it; `stop` may be set from anywhere."""

    def __init__(self, mapping: Mapping, settings: Settings, clock: Callable[[], float] = time.time) -> None:
        """Open the outbox. Raises ConfigError, sqlite3.Error."""
        self._mapping, self._clock = mapping, clock
        self._source = parse_url(settings.source_url or settings.broker_url(mapping.edge))
        self._gateway = Gateway(mapping.edge, (), settings, clock=clock)
        self._last = 0  # the arrival time given last, µs: no two messages have the same
        self._told: set[str] = set()
        self.counts: Counter[str] = Counter()
        """Messages, and the readings and unreadable messages kept of them."""
        self.connected = False
        """The source has us and our subscriptions."""
        self.stop = Event()

    def run(self) -> None:
        """Take in and publish until `stop` is set. Raises the bug that ended the publisher: start again."""
        self._gateway.start()
        logger.info("adapter runs edge=%s filters=%s", self._mapping.edge, ",".join(self._mapping.filters))
        delay = BACKOFF_S
        try:
            while not self.stop.is_set():
                began = time.monotonic()
                listener = Listener(self._source, f"{self._mapping.edge}-source", self._mapping.filters)
                listener.connect()
                self._serve(listener)
                if not self.stop.is_set():
                    logger.warning("source: %s edge=%s", listener.ended, self._mapping.edge)
                listener.close()
                self.connected = False
                delay = BACKOFF_S if time.monotonic() - began > STABLE_S else min(delay * 2, BACKOFF_MAX_S)
                self.stop.wait(delay * random.uniform(0.5, 1.0))  # noqa: S311 - jitter needs no secrecy
        finally:
            self._gateway.stop()
            self._report()

    def _serve(self, listener: Listener) -> None:
        report = time.monotonic() + REPORT_S
        while listener.ended is None and not self.stop.is_set():
            self._check()
            listener.serve(IDLE_S)
            if listener.connected and not self.connected:
                self.connected = True
                logger.info("source: connected to %s:%d", self._source.host, self._source.port)
            if listener.arrived:
                self._gather(listener)
                self._take(listener)
            if time.monotonic() > report:
                report += REPORT_S
                self._report()

    def _gather(self, listener: Listener) -> None:
        """Wait a moment for more: one commit is the dearest part of all."""
        until = time.monotonic() + BATCH_S
        while len(listener.arrived) < BATCH and listener.ended is None:
            left = until - time.monotonic()
            if left <= 0:
                return
            listener.serve(left)

    def _take(self, listener: Listener) -> None:
        """Keep what has come, then confirm it. A full outbox makes the broker wait."""
        messages, listener.arrived = listener.arrived, []
        kept = self._envelopes([message for message in messages if not message.retained])
        reach("adapter.arrived")
        while kept and not self.stop.is_set():
            try:
                self._gateway.outbox.append(kept)
                break
            except OutboxFull as full:
                self._complain("outbox", f"nothing can be kept, the source waits: {full}")
                self._check()
                if len(listener.arrived) < RECEIVE_MAXIMUM:  # QoS 0 comes without a limit of the broker's
                    listener.serve(0)  # only to stay connected
                self.stop.wait(FULL_S)
        else:
            if kept:
                return  # stopped: the broker sends it again
        reach("adapter.committed")
        self._gateway.publisher.notify()
        listener.confirm(messages)

    def _envelopes(self, messages: Sequence[Arrived]) -> list[Message]:
        readings: list[Reading] = []
        unreadable: list[Unreadable] = []
        for message in messages:
            self._last = max(self._last + 1, round(self._clock() * 1e6))
            for found in self._mapping.translate(message.topic, message.payload, self._last):
                if isinstance(found, Reading):
                    readings.append(found)
                else:
                    unreadable.append(found)
                    self._complain(found.why, f"unreadable, it goes to quarantine, like others after it: {found.text}")
        self.counts.update(messages=len(messages), readings=len(readings), unreadable=len(unreadable))
        made = round(self._clock() * 1e6)
        envelopes: list[Message] = [*_packed(readings, made)] if readings else []
        parts = (unreadable[start : start + MAX_TAGS] for start in range(0, len(unreadable), MAX_TAGS))
        return [*envelopes, *(_as_it_came(part, made) for part in parts)]

    def _check(self) -> None:
        failure = self._gateway.publisher.failure
        if failure is not None:
            raise failure

    def _complain(self, about: str, words: str) -> None:
        """Log a complaint about each thing once."""
        if about not in self._told and len(self._told) < TOLD:
            self._told.add(about)
            logger.warning("%s edge=%s", words, self._mapping.edge)

    def _report(self) -> None:
        told = " ".join(f"{name}={self.counts[name]}" for name in ("messages", "readings", "unreadable"))
        waiting = self._gateway.outbox.depth.readings if not self.stop.is_set() else 0
        logger.info("adapter edge=%s %s waiting=%d", self._mapping.edge, told, waiting)


def _packed(readings: Sequence[Reading], made: int) -> list[Envelope]:
    names = sorted({reading.tag for reading in readings})
    index = {name: n for n, name in enumerate(names)}
    return list(
        pack(
            names,
            np.array([index[reading.tag] for reading in readings], np.intp),
            np.array([reading.ts for reading in readings], np.int64),
            np.array([reading.value for reading in readings], np.float64),
            np.array([reading.quality for reading in readings], np.uint8),
            lane="live",
            made=made,
        )
    )


def _as_it_came(unreadable: Sequence[Unreadable], made: int) -> Envelope:
    """An envelope whose values are texts: the platform refuses each of them, counts it, and keeps it for people."""
    names = list(dict.fromkeys(one.tag for one in unreadable))
    base = min(one.ts for one in unreadable)
    return Envelope(
        epoch="",
        seq=0,
        lane="live",
        made=made,
        base=base,
        tags=names,
        tag=[names.index(one.tag) for one in unreadable],
        dt=[one.ts - base for one in unreadable],
        value=cast(Any, [one.text for one in unreadable]),
        quality=[BAD] * len(unreadable),
    )
