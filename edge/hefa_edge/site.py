"""The site live: plant and gateways in one process, on a fixed grid of one second.

With a `Haste` it begins in the past and runs faster than the clock, on a coarser grid, until it meets the present.

After a restart the plant has run on: it is stepped from the checkpoint to now, the readings in between
are missing, the registers have advanced. Nothing is ever recorded with a time that has not come.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from hefa_contract.event import AnyEvent
from hefa_contract.plant import Plant, Tag
from hefa_edge import catalogue, episodes
from hefa_edge.checkpoint import Checkpoint
from hefa_edge.config import ConfigError, Profile, Settings, read_seeds
from hefa_edge.episodes import Strike, Troubles
from hefa_edge.gateway import Gateway, close_gateways, open_gateways
from hefa_edge.injections import Injections
from hefa_edge.plant import PlantModel, behaviour
from hefa_edge.plant.disturbances import undisturbed
from hefa_edge.plant.flowsheet import DynamicPlant
from hefa_edge.plant.steady import SteadyPlant
from hefa_edge.simulation import OWN_TEMPLATE, Simulation
from hefa_edge.truth import TruthLedger

logger = logging.getLogger(__name__)

TICK = 1_000_000  # µs between two looks at the plant: the shortest period of a tag
CHECKPOINT = 60_000_000  # µs of simulated time between two checkpoints
LAG = 10_000_000  # µs behind the clock at which ticks are given up instead of caught up, or ahead at which we say so


class Haste(NamedTuple):
    """Simulated time that runs `speed` times as fast as the clock, from `ago_s` seconds before now."""

    ago_s: float
    speed: float

    @property
    def stride(self) -> int:
        """The grid, µs: about a tick a second of the clock, and every tick a part of a minute."""
        seconds = [1, 2, 3, 4, 5, 6, 10, 12, 15, 20, 30, 60]
        return max(one for one in seconds if one <= max(self.speed, 1)) * TICK


class GatewayFailed(Exception):
    """A gateway's thread has ended by a bug: the process must end too, its supervisor starts it again."""


def tags_of(plant: Plant, profile: Profile) -> list[Tag]:
    """The tags of a profile, in the order of the plant model."""
    return [tag for tag in plant.tags.values() if profile == "full" or tag.core]


def simulate(
    plant: Plant, settings: Settings, tags: Sequence[Tag], ts: int, troubles: Troubles | None = None
) -> Simulation:
    """Begin a simulation of `tags` at `ts` (µs). Raises ConfigError when the model wants what the seeds have not."""
    return Simulation(model_of(plant, settings, troubles), tags, settings.seed, ts, troubles)


def troubles_of(plant: Plant, settings: Settings) -> Troubles:
    """What goes wrong at the site: the scenario that the settings choose. Raises FaultError, ConfigError."""
    texts = read_seeds(settings.seeds)
    return episodes.troubles(texts, plant, catalogue.read(texts, plant), settings.seed, settings.scenario)


def model_of(plant: Plant, settings: Settings, troubles: Troubles | None = None) -> PlantModel[Any]:
    """Build the plant that the settings choose. Raises ConfigError."""
    texts = read_seeds(settings.seeds)
    if settings.model == "steady" or (settings.model is None and behaviour.FILE not in texts):
        return SteadyPlant(plant, settings.seed)
    try:
        schedule = undisturbed if troubles is None else troubles.disturbances
        return DynamicPlant(plant, behaviour.read(texts), settings.seed, schedule)
    except behaviour.BehaviourError as error:
        raise ConfigError(f"{error}; or choose --model steady") from None


def edges_of(tags: Sequence[Tag]) -> list[str]:
    """The gateways that have something to do, by name."""
    return sorted({tag.edge for tag in tags})


def reporter_of(plant: Plant, edges: Sequence[str]) -> Callable[[AnyEvent], str]:
    """Say which gateway reports an event: that of the equipment it speaks of, for all else the first."""

    def choose(event: AnyEvent) -> str:
        tag = plant.tags.get(event.subject)
        if tag is None and event.subject in plant.equipment and plant.equipment[event.subject].level != "site":
            tag = next(plant.tags_below(event.subject), None)
        return tag.edge if tag is not None and tag.edge in edges else edges[0]

    return choose


def afflict(gateways: Mapping[str, Gateway], plant: Plant, strikes: Sequence[Strike]) -> None:
    """Let the gateways suffer what strikes them now, and be well again from what has ended."""
    cut: set[str] = set()
    fast: dict[str, int] = {}
    for strike in strikes:
        if strike.kind.acts == "gateway":
            edge = next(tag.edge for tag in plant.tags_below(strike.target))
            if strike.kind.on == "link":
                cut.add(edge)
            else:
                fast[edge] = round(strike.severity * strike.kind.full * 1e6)
    for edge, gateway in gateways.items():
        gateway.suffer(cut=edge in cut, fast_us=fast.get(edge, 0))


class Site:
    """The running site. `run` it; `stop` may be set from anywhere."""

    def __init__(
        self,
        plant: Plant,
        settings: Settings,
        checkpoint: Checkpoint,
        clock: Callable[[], float] = time.time,
        haste: Haste | None = None,
    ) -> None:
        """Open the outboxes and bring the plant to now, or with `haste` to where it begins.

        That is where the site was left, where that is later. Raises ConfigError, FaultError, sqlite3.Error.
        """
        self._haste = haste
        self._clock, self._checkpoint, self._plant = clock, checkpoint, plant
        self._injections = Injections(settings.state_dir)
        self._troubles = troubles_of(plant, settings)
        self._hear(0)
        self._tags = tags_of(plant, settings.profile)
        edges = edges_of(self._tags)
        self._gateways = open_gateways(edges, self._tags, settings, "live", clock)
        self._own = [(i, tag.edge, tag.suffix) for i, tag in enumerate(self._tags) if tag.template == OWN_TEMPLATE]
        self._who = reporter_of(plant, edges)
        self.stop = threading.Event()
        now = self._now()
        if haste is not None:
            now = (now - round(haste.ago_s * 1e6)) // CHECKPOINT * CHECKPOINT
        self._simulation = simulate(plant, settings, self._tags, now, self._troubles)
        saved = checkpoint.read()
        if saved is not None:
            self._simulation.restore(saved, reported=False)
            logger.info("plant runs on from the checkpoint, gap_s=%.0f", (now - self._simulation.ts) / 1e6)
        # Never again a time that was recorded, by a process killed after its last checkpoint or by a clock set back.
        recorded = [gateway.outbox.mark() for gateway in self._gateways.values()]
        self._simulation.skip(max([0, *(mark[1] for mark in recorded if mark is not None)]))
        # Later than `now`: building a plant takes a moment.
        self._simulation.skip(self._now() if haste is None else now, tell=True)
        self._began = self._simulation.ts
        self._truth = TruthLedger(settings.truth_path)
        self._waiting = False
        self._saved = self._simulation.ts // CHECKPOINT

    def run(self) -> None:
        """Record and publish until `stop` is set; then end the sessions and save the checkpoint.

        Raises GatewayFailed, sqlite3.Error: nothing is lost, start again.
        """
        for gateway in self._gateways.values():
            gateway.start()
        logger.info("site runs tags=%d gateways=%s", len(self._tags), ",".join(self._gateways))
        try:
            if self._haste is not None:
                self._hurry(self._haste)
            while not self.stop.is_set():
                self._check()
                now = self._now()
                if now - self._simulation.ts > LAG:
                    self._hear(now)
                    self._simulation.skip(now, tell=True)
                while self._simulation.ts + TICK <= now and not self.stop.is_set():
                    self._tick((self._simulation.ts // TICK + 1) * TICK)
                ahead = (self._simulation.ts + TICK) / 1e6 - self._clock()
                if (ahead > LAG / 1e6) != self._waiting:
                    self._waiting = not self._waiting
                    if self._waiting:
                        logger.warning(
                            "the clock was set back: waiting %.0f s until it has passed the last reading", ahead
                        )
                self.stop.wait(min(max(ahead, 0.0), 1.0))
        finally:
            close_gateways(self._gateways.values())
            self._save()
            self._truth.close()
        logger.info("site stopped")

    def _hurry(self, haste: Haste) -> None:
        """Run ahead of the clock's pace until the present is met; slower where the machine cannot, never beyond it."""
        started = self._clock()
        while not self.stop.is_set():
            self._check()
            following = (self._simulation.ts // haste.stride + 1) * haste.stride
            if following > self._now():
                self._haste = None
                logger.info("the present is met after %.0f s of the past", (self._simulation.ts - self._began) / 1e6)
                return
            early = (following - self._began) / 1e6 / haste.speed - (self._clock() - started)
            if early > 0:
                self.stop.wait(min(early, 1.0))
            else:
                self._tick(following)

    def _tick(self, ts: int) -> None:
        if ts // CHECKPOINT != self._heard:
            self._hear(ts)
        before = self._simulation.ts
        afflict(self._gateways, self._plant, self._troubles.active(ts))
        own = {edge: gateway.vitals() for edge, gateway in self._gateways.items()} if self._own else {}
        measured = {i: own[edge][suffix] for i, edge, suffix in self._own if suffix in own[edge]}
        tick = self._simulation.advance(ts, measured)
        if self._haste is not None:  # a gateway has no past to tell of
            told = ~np.isin(tick.tag, [i for i, _, _ in self._own])
            tick = tick._replace(tag=tick.tag[told], value=tick.value[told], quality=tick.quality[told])
        times = np.full(len(tick.tag), ts, dtype=np.int64)
        events: dict[str, list[AnyEvent]] = {}
        for event in tick.events:
            events.setdefault(self._who(event), []).append(event)
        for edge, gateway in self._gateways.items():
            gateway.record_or_skip(tick.tag, times, tick.value, tick.quality, events.get(edge, ()), mark=(before, ts))
        accounts = [(ts, self._simulation.account())] if ts % CHECKPOINT == 0 else []
        if accounts or tick.events:
            self._truth.record(accounts, tick.events)
        if ts // CHECKPOINT != self._saved:
            self._save()

    def _hear(self, ts: int) -> None:
        """Hear of injected faults: before the minute of `ts`, in which they may begin, is made."""
        self._heard = ts // CHECKPOINT
        self._troubles.hear(self._injections.poll())

    def _save(self) -> None:
        self._saved = self._simulation.ts // CHECKPOINT
        self._checkpoint.save(self._simulation.dump())

    def _check(self) -> None:
        for gateway in self._gateways.values():
            if gateway.publisher.failure is not None:
                raise GatewayFailed(gateway.edge) from gateway.publisher.failure

    def _now(self) -> int:
        """The last instant of the grid that has come, µs."""
        return round(self._clock() * 1e6) // TICK * TICK
