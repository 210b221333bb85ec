"""The field level of the site on one grid of time: plant, instruments, and what gateways pick up.

Pure but for its own state. Live, backfill and preview all advance one of these; they differ in where
the readings go and in how long a tick is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hefa_contract.envelope import BAD, GOOD
from hefa_contract.event import AnyEvent
from hefa_contract.plant import Tag
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


class Simulation:
    """The plant with the sensors of `tags`, stepped from tick to tick."""

    def __init__(self, model: PlantModel[Any], tags: Sequence[Tag], seed: int, ts: int) -> None:
        """Begin with a plant that is first looked at, at `ts` (µs). `tags` are some of the model's."""
        self.tags = tags
        self.ts = ts
        self._model = model
        at = {tag.name: i for i, tag in enumerate(model.tags)}
        self._columns = np.array([at[tag.name] for tag in tags], dtype=np.intp)
        self._sensors = Sensors(tags, seed)
        self._reporter = Reporter(tags)
        self._state = model.initial(ts)
        self._papers: list[AnyEvent] = []

    def skip(self, ts: int, *, tell: bool = False) -> None:
        """Let the plant run on to `ts` with nobody looking. Nothing happens if `ts` is not later.

        `tell`: what happened meanwhile is on paper, and comes with the next tick.
        """
        if ts > self.ts:
            step = self._model.step(self._state, self.ts, (ts - self.ts) / 1e6)
            self._state, self.ts = step.state, ts
            if tell:
                self._papers += step.events

    def advance(self, ts: int, measured: Mapping[int, float] | None = None) -> Tick:
        """Run to `ts`, which is later than now, and report.

        `measured` replaces the simulated values of some columns by values from the real world; NaN has quality bad.
        """
        step = self._model.step(self._state, self.ts, (ts - self.ts) / 1e6)
        self._state, self.ts = step.state, ts
        value, quality = self._sensors.measure(step.truth[self._columns], ts)
        for column, real in (measured or {}).items():
            value[column], quality[column] = real, BAD if real != real else GOOD
        events, self._papers = (*self._papers, *step.events), []
        return Tick(ts, *self._reporter.report(ts, value, quality), events)

    def dump(self) -> dict[str, Any]:
        """Write where the plant is and what was reported, as JSON-able values."""
        return {"ts": self.ts, "plant": self._model.dump(self._state), "reported": self._reporter.dump()}

    def restore(self, document: Mapping[str, Any], *, reported: bool) -> None:
        """Go on where `dump` was. Without `reported`, each tag is reported once again at the next tick."""
        self.ts = document["ts"]
        self._state = self._model.restore(document["plant"], self.ts)
        if reported:
            self._reporter.restore(document["reported"])
