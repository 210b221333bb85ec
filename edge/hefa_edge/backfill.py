"""History: the plant's past at one reading a minute, published through the gateways like all else.

It starts at the checkpoint, or a span of history ago where there is none, and ends when it has caught
up with the clock and the platform has acknowledged everything; the checkpoint it leaves is where the
live site goes on. Killed at any moment it resumes: what a block of time gives is a pure function of
the checkpoint before it, and each outbox knows, in the transaction of the readings, how far it got.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from hefa_contract.event import AnyEvent
from hefa_contract.plant import Plant
from hefa_edge.checkpoint import Checkpoint
from hefa_edge.config import Settings
from hefa_edge.gateway import close_gateways, open_gateways, recorded_until
from hefa_edge.injections import Injections
from hefa_edge.outbox import OutboxFull
from hefa_edge.simulation import OWN_TEMPLATE, Tick
from hefa_edge.site import GatewayFailed, edges_of, reporter_of, simulate, tags_of, troubles_of
from hefa_edge.truth import TruthLedger

logger = logging.getLogger(__name__)

TICK = 60_000_000  # µs
BLOCK = 240  # ticks that are made and kept at once


class Progress(NamedTuple):
    """How far a backfill is. `phase` is generate (minutes), publish (messages) or done; `readings` made so far."""

    phase: str
    done: int
    total: int
    readings: int


class Backfill:
    """One run of the backfill. `run` it; `stop` may be set from anywhere."""

    def __init__(
        self,
        plant: Plant,
        settings: Settings,
        checkpoint: Checkpoint,
        history_s: float,
        to: int | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Open the outboxes of the backfill lane. `to` (µs) ends the history earlier than now.

        Raises ConfigError, FaultError, sqlite3.Error.
        """
        self._clock, self._checkpoint, self._to = clock, checkpoint, to
        troubles = troubles_of(plant, settings)
        troubles.hear(Injections(settings.state_dir).read())
        # A gateway's own tags tell of the gateway that is: it has no past to simulate.
        self._tags = [tag for tag in tags_of(plant, settings.profile) if tag.template != OWN_TEMPLATE]
        edges = edges_of(self._tags)
        self._gateways = open_gateways(edges, self._tags, settings, "backfill", clock)
        self._who = reporter_of(plant, edges)
        self.stop = threading.Event()
        start = (self._target() - round(history_s * 1e6)) // TICK * TICK
        self._simulation = simulate(plant, settings, self._tags, start - TICK, troubles)
        saved = checkpoint.read()
        if saved is not None:
            self._simulation.restore(saved, reported=True)
            self._simulation.skip(start - TICK, tell=True)
        # A site that was killed may have recorded more than its checkpoint knows: those times are taken.
        self._simulation.skip(recorded_until(edges, settings), tell=True)
        self._truth = TruthLedger(settings.truth_path)
        self._first = self._simulation.ts
        self._readings = 0

    def run(self, progress: Callable[[Progress], None]) -> bool:
        """Generate and publish; False when stopped before the end. `progress` is called a few times a second.

        Raises GatewayFailed, sqlite3.Error: nothing is lost, start again.
        """
        for gateway in self._gateways.values():
            gateway.start()
        before = self._numbered() - self._waiting()
        try:
            while not self.stop.is_set():
                self._check()
                behind = (self._target() - self._simulation.ts) // TICK
                if behind >= 1:
                    self._block(min(behind, BLOCK))
                    done = (self._simulation.ts - self._first) // TICK
                    total = max(done, (self._target() - self._first) // TICK)
                    progress(Progress("generate", done, total, self._readings))
                    continue
                waiting, total = self._waiting(), self._numbered() - before
                if waiting == 0:
                    progress(Progress("done", total, total, self._readings))
                    return True
                progress(Progress("publish", total - waiting, total, self._readings))
                self.stop.wait(0.2)
            return False
        finally:
            close_gateways(self._gateways.values())
            self._truth.close()

    def _block(self, ticks: int) -> None:
        """Make some minutes, keep them in the outboxes, then save where the plant is."""
        start = self._simulation.ts
        made, accounts = [], []
        for k in range(1, ticks + 1):
            made.append(self._simulation.advance((start // TICK + k) * TICK))
            accounts.append((self._simulation.ts, self._simulation.account()))
        tag = np.concatenate([tick.tag for tick in made])
        times = np.repeat([tick.ts for tick in made], [len(tick.tag) for tick in made]).astype(np.int64)
        value = np.concatenate([tick.value for tick in made])
        quality = np.concatenate([tick.quality for tick in made])
        # By tag, then time: an envelope holds long runs of few tags, and ingest has few ranges to refresh.
        order = np.argsort(tag, kind="stable")
        tag, times, value, quality = tag[order], times[order], value[order], quality[order]
        events = self._events(made)
        for edge, gateway in self._gateways.items():
            mark = gateway.outbox.mark()
            rows = np.arange(len(times))
            span, after = (start, self._simulation.ts), 0
            if mark is not None and mark[0] <= start <= mark[1]:  # made once before: keep only what follows
                rows, after = np.flatnonzero(times > mark[1]), mark[1]
                span = (mark[0], max(mark[1], self._simulation.ts))
            fresh = [event for told, event in events.get(edge, []) if told > after]
            while not self.stop.is_set():
                try:
                    gateway.record(tag[rows], times[rows], value[rows], quality[rows], fresh, mark=span)
                    break
                except OutboxFull:
                    self._check()
                    self.stop.wait(0.1)
        if not self.stop.is_set():
            self._readings += len(tag)
            self._truth.record(accounts, [event for tick in made for event in tick.events])
            self._checkpoint.save(self._simulation.dump())

    def _events(self, ticks: list[Tick]) -> dict[str, list[tuple[int, AnyEvent]]]:
        """The events by gateway, with the tick that told of them: a result may be older than its telling."""
        found: dict[str, list[tuple[int, AnyEvent]]] = {}
        for tick in ticks:
            for event in tick.events:
                found.setdefault(self._who(event), []).append((tick.ts, event))
        return found

    def _waiting(self) -> int:
        """Messages that are not acknowledged."""
        return sum(gateway.outbox.depth.messages for gateway in self._gateways.values())

    def _numbered(self) -> int:
        """Messages that were ever put into these outboxes."""
        return sum(gateway.outbox.last_seq for gateway in self._gateways.values())

    def _target(self) -> int:
        """Where history ends, µs."""
        now = round(self._clock() * 1e6)
        return now if self._to is None else min(self._to, now)

    def _check(self) -> None:
        for gateway in self._gateways.values():
            if gateway.publisher.failure is not None:
                raise GatewayFailed(gateway.edge) from gateway.publisher.failure
