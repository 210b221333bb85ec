"""The field level of the site on one grid of time: plant, instruments, and what gateways pick up.

Pure but for its own state. Live, backfill and preview all advance one of these; they differ in where
the readings go and in how long a tick is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import msgspec
import numpy as np
from numpy.typing import NDArray

from hefa_contract.envelope import BAD, GOOD
from hefa_contract.event import AnyEvent
from hefa_contract.plant import Tag
from hefa_edge.episodes import Troubles
from hefa_edge.instruments import Instruments
from hefa_edge.plant import PlantModel
from hefa_edge.reporting import Reporter
from hefa_edge.sensors import Sensors

OWN_TEMPLATE = "GATEWAY"  # units of this template are the gateways themselves: measured, not simulated


class Tick(NamedTuple):
    """What is reported at one tick: columns of `Simulation.tags`, ascending, values (NaN: none) and qualities."""

    ts: int
    tag: NDArray[np.intp]
    value: NDArray[np.float64]
    quality: NDArray[np.uint8]
    events: Sequence[AnyEvent]


class Account(msgspec.Struct, frozen=True):
    """The books at a moment: amounts since ever by register, in and out since it began, held, kg."""

    registers: dict[str, float]
    came_in: dict[str, dict[str, float]] = {}
    went_out: dict[str, dict[str, float]] = {}
    held: dict[str, dict[str, float]] = {}


@runtime_checkable
class _Bookkeeper(Protocol):
    """A plant model that keeps books of what it takes in, gives out and holds."""

    def ledger(self, state: Any, ts: int) -> dict[str, dict[str, dict[str, float]]]: ...


class Simulation:
    """The plant with the sensors of `tags`, stepped from tick to tick."""

    def __init__(
        self, model: PlantModel[Any], tags: Sequence[Tag], seed: int, ts: int, troubles: Troubles | None = None
    ) -> None:
        """Begin with a plant that is first looked at, at `ts` (µs). `tags` are some of the model's.

        `troubles` act on the instruments and are told as events; the model has them as its schedule already.
        """
        self.tags = tags
        self.ts = ts
        self._model = model
        at = {tag.name: i for i, tag in enumerate(model.tags)}
        self._columns = np.array([at[tag.name] for tag in tags], dtype=np.intp)
        self._sensors = Sensors(tags, seed)
        self._reporter = Reporter(tags)
        self._state = model.initial(ts)
        self._papers: list[AnyEvent] = []
        self._troubles = troubles
        self._instruments = Instruments(tags, seed)
        self._announced = troubles is None
        self._metered = [(i, tag.name) for i, tag in enumerate(model.tags) if tag.meter is not None]
        self._amounts: list[float] = []

    def skip(self, ts: int, *, tell: bool = False) -> None:
        """Let the plant run on to `ts` with nobody looking. Nothing happens if `ts` is not later.

        `tell`: what happened meanwhile is on paper, and comes with the next tick.
        """
        if ts > self.ts:
            began = self.ts
            step = self._model.step(self._state, self.ts, (ts - self.ts) / 1e6)
            self._state, self.ts = step.state, ts
            if tell:
                self._papers += [*step.events, *self._labels(began, ts)]

    def advance(self, ts: int, measured: Mapping[int, float] | None = None) -> Tick:
        """Run to `ts`, which is later than now, and report.

        `measured` replaces the simulated values of some columns by values from the real world; NaN has quality bad.
        """
        began = self.ts
        step = self._model.step(self._state, self.ts, (ts - self.ts) / 1e6)
        self._state, self.ts = step.state, ts
        self._amounts = [float(step.truth[i]) for i, _ in self._metered]
        strikes = [] if self._troubles is None else self._troubles.active(ts)
        if self._troubles is not None and self._instruments.looked:
            # Meters that were changed while nobody looked have been changed.
            there = {(strike.fault, strike.target) for strike in strikes}
            missed = self._troubles.missed(self._instruments.looked, ts)
            strikes += [strike for strike in missed if (strike.fault, strike.target) not in there]
        seen, swaps = self._instruments.see(step.truth[self._columns], ts, strikes)
        value, quality = self._sensors.measure(seen, ts)
        self._instruments.spoil(value, quality, ts, strikes)
        for column, real in (measured or {}).items():
            value[column], quality[column] = real, BAD if real != real else GOOD
        events, self._papers = (*self._papers, *step.events, *swaps, *self._labels(began, ts)), []
        return Tick(ts, *self._reporter.report(ts, value, quality), events)

    def account(self) -> Account:
        """Give the plant's books as of the last `advance`: what truly was, whatever instruments show."""
        registers = dict(zip((name for _, name in self._metered), self._amounts, strict=True))
        if not isinstance(self._model, _Bookkeeper):
            return Account(registers)
        books = self._model.ledger(self._state, self.ts)
        return Account(registers, books["in"], books["out"], books["held"])

    def dump(self) -> dict[str, Any]:
        """Write where the plant is and what was reported, as JSON-able values."""
        return {
            "ts": self.ts,
            "plant": self._model.dump(self._state),
            "reported": self._reporter.dump(),
            "instruments": self._instruments.dump(),
            "announced": self._announced,
        }

    def restore(self, document: Mapping[str, Any], *, reported: bool) -> None:
        """Go on where `dump` was. Without `reported`, each tag is reported once again at the next tick."""
        self.ts = document["ts"]
        self._state = self._model.restore(document["plant"], self.ts)
        if reported:
            self._reporter.restore(document["reported"])
        if "instruments" in document:
            self._instruments.restore(document["instruments"])
            self._announced = document["announced"] or self._troubles is None

    def _labels(self, after: int, until: int) -> list[AnyEvent]:
        """Tell of the faults that begin or end in (after, until], the first time also of those that are there."""
        if self._troubles is None:
            return []
        there = [] if self._announced else self._troubles.present(after)
        self._announced = True
        return [*there, *self._troubles.labels(after, until)]
