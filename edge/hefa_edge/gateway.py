"""One gateway: takes the readings of its tags, keeps them in its outbox, and has them published.

It also measures itself: its own tags tell of the real outbox, round trip and link, never of a simulation.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hefa_contract.envelope import MAX_EVENTS, Events, Lane, Message
from hefa_contract.event import AnyEvent
from hefa_contract.plant import Tag
from hefa_edge.config import Settings
from hefa_edge.outbox import Outbox, OutboxFull
from hefa_edge.packing import pack
from hefa_edge.publisher import Publisher
from hefa_edge.session import parse_url

LOAD_S = 5.0  # span over which the load is taken

logger = logging.getLogger(__name__)


class Gateway:
    """Outbox and publisher of one edge, for the live lane or for backfill, which has an outbox of its own."""

    def __init__(
        self,
        edge: str,
        tags: Sequence[Tag],
        settings: Settings,
        lane: Lane = "live",
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Open the outbox of `edge`. `tags` are all tags of the simulation, whose columns `record` gets.

        Raises ConfigError, sqlite3.Error.
        """
        url = settings.broker_url(edge)
        parse_url(url)  # told before a file is made
        self.edge, self._url, self._settings = edge, url, settings
        self._names = [tag.name for tag in tags]
        self._mine = np.array([tag.edge == edge for tag in tags], dtype=bool)
        self._lane: Lane = lane
        self._clock = clock
        self.outbox = Outbox(
            _outbox_path(settings, edge, lane),
            max_bytes=settings.outbox_max_bytes,
            # History can wait for room; the present cannot.
            policy=settings.outbox_policy if lane == "live" else "block",
            grace_s=settings.outbox_grace_s,
            clock=clock,
        )
        self.publisher = self._publisher()
        self._cut = False
        self._fast_us = 0
        self._blocked = False
        self._vitals = Vitals(self, clock)

    def record(
        self,
        tag: NDArray[np.intp],
        ts: NDArray[np.int64],
        value: NDArray[np.float64],
        quality: NDArray[np.uint8],
        events: Sequence[AnyEvent] = (),
        *,
        mark: tuple[int, int],
    ) -> int:
        """Keep those readings that are of this gateway, and the events; on return they are durable.

        Columns of equal length, `tag` by column of the simulation; `mark` is the span of time they are of. All is
        one transaction. Returns how many messages it made.

        Raises:
            OutboxFull: the policy is to block and there is no room; nothing was kept.
        """
        made = round(self._clock() * 1e6)
        rows = np.flatnonzero(self._mine[tag])
        messages: list[Message] = list(
            pack(
                self._names, tag[rows], ts[rows] + self._fast_us, value[rows], quality[rows], lane=self._lane, made=made
            )
        )
        for start in range(0, len(events), MAX_EVENTS):
            part = list(events[start : start + MAX_EVENTS])
            messages.append(Events(epoch="", seq=0, made=made, events=part))
        if messages:
            self.outbox.append(messages, mark)
            if not self._cut:
                self.publisher.notify()
        return len(messages)

    def record_or_skip(
        self,
        tag: NDArray[np.intp],
        ts: NDArray[np.int64],
        value: NDArray[np.float64],
        quality: NDArray[np.uint8],
        events: Sequence[AnyEvent] = (),
        *,
        mark: tuple[int, int],
    ) -> None:
        """Like `record`, for readings that cannot wait: where a full outbox blocks they are lost, and the gap told."""
        try:
            kept = self.record(tag, ts, value, quality, events, mark=mark)
        except OutboxFull as full:
            self.outbox.skip(int(np.count_nonzero(self._mine[tag])))
            if not self._blocked:
                logger.error("outbox full: readings are not recorded edge=%s: %s", self.edge, full)
            self._blocked = True
        else:
            if kept and self._blocked:
                logger.warning("outbox has room again edge=%s", self.edge)
                self._blocked = False

    def suffer(self, *, cut: bool = False, fast_us: int = 0) -> None:
        """Have no network while `cut`: what is recorded waits in the outbox; and a clock that is `fast_us` ahead.

        Call it again when that changes; nothing happens as long as it does not.
        """
        self._fast_us = fast_us
        if cut and not self._cut:
            self.publisher.stop()
        elif self._cut and not cut:
            self.publisher = self._publisher()
            self.publisher.start()
        self._cut = cut

    def vitals(self) -> dict[str, float]:
        """Measure the gateway itself: value by suffix of its own tags."""
        return self._vitals.measure()

    @property
    def clock_ahead_ms(self) -> float:
        """By how much its clock is fast."""
        return self._fast_us / 1000

    def start(self) -> None:
        """Begin to publish."""
        if not self._cut:
            self.publisher.start()

    def stop(self) -> None:
        """End the session and close the outbox."""
        self.publisher.stop()
        self.outbox.close()

    def _publisher(self) -> Publisher:
        return Publisher(
            self.edge,
            self._url,
            self.outbox,
            client_id=self.edge if self._lane == "live" else f"{self.edge}-{self._lane}",
            announce=self._lane == "live",
            window=self._settings.window,
            rto_s=self._settings.resend_s,
            clock=self._clock,
        )


def open_gateways(
    edges: Sequence[str], tags: Sequence[Tag], settings: Settings, lane: Lane, clock: Callable[[], float]
) -> dict[str, Gateway]:
    """Open the gateways of some edges, all or none. Raises ConfigError, sqlite3.Error."""
    gateways: dict[str, Gateway] = {}
    try:
        for edge in edges:
            gateways[edge] = Gateway(edge, tags, settings, lane, clock)
    except BaseException:
        close_gateways(gateways.values())
        raise
    return gateways


def recorded_until(edges: Sequence[str], settings: Settings) -> int:
    """Say until when the live site of these edges has recorded, µs; 0: never. Raises sqlite3.Error."""
    last = 0
    for path in (_outbox_path(settings, edge, "live") for edge in edges):
        if path.exists():
            outbox = Outbox(path)
            mark = outbox.mark()
            outbox.close()
            last = max(last, 0 if mark is None else mark[1])
    return last


def _outbox_path(settings: Settings, edge: str, lane: Lane) -> Path:
    return settings.state_dir / f"outbox-{edge}{'' if lane == 'live' else f'-{lane}'}.sqlite"


def close_gateways(gateways: Iterable[Gateway]) -> None:
    """End all sessions at once, then close the outboxes."""
    gateways = list(gateways)
    for gateway in gateways:
        gateway.publisher.request_stop()
    for gateway in gateways:
        gateway.stop()


class Vitals:
    """What a gateway knows of itself."""

    def __init__(self, gateway: Gateway, clock: Callable[[], float]) -> None:
        self._gateway, self._clock = gateway, clock
        self._cpu, self._at = time.process_time(), time.monotonic()
        self._load = 0.0
        self._offset = clock() - time.monotonic()

    def measure(self) -> dict[str, float]:
        """`cpu` % of one core used by this process lately; `buf` readings waiting for an ack; `rtt` ms of the broker;
        `off` ms that the clock was moved since the start; `link` 1 while connected."""
        used, now = time.process_time(), time.monotonic()
        if now - self._at >= LOAD_S:
            self._load = 100 * (used - self._cpu) / (now - self._at)
            self._cpu, self._at = used, now
        link = self._gateway.publisher.link
        return {
            "cpu": round(self._load, 1),
            "buf": float(self._gateway.outbox.depth.readings),
            "rtt": math.nan if link.round_trip_ms is None else round(link.round_trip_ms, 1),
            "off": round((self._clock() - now - self._offset) * 1000 + self._gateway.clock_ahead_ms, 1),
            "link": float(link.connected),
        }
