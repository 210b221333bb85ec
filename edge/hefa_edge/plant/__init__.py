"""The plant as it truly is: a state that is stepped through time, and the truth it shows at each tag.

`PlantModel` is the interface; `steady` is a plant that stays at its operating point. A model is pure:
the same state, time and step give the same result. It knows nothing of noise, sampling or gateways.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from hefa_contract.event import AnyEvent
from hefa_contract.plant import Tag

Truth = NDArray[np.float64]
S = TypeVar("S")


class Step(NamedTuple):
    """Where a step has led: `state` and `truth` at its end, `events` that happened within it, by time."""

    state: Any
    truth: Truth
    events: Sequence[AnyEvent] = ()


class PlantModel(Protocol[S]):
    """A plant that can be stepped.

    `tags` orders the columns of `truth`: gauges, states and set-points in the tag's unit, NaN where there is
    nothing to measure; counters as the whole amount since ever, neither wrapped nor quantised (the sensor does
    both), never less than before. Times are µs since the epoch, UTC; any `dt_s` > 0 is allowed, a minute of one
    second or of sixty must lead to the same amounts.
    """

    tags: Sequence[Tag]

    def initial(self, ts: int) -> S:
        """The state of a plant that is first looked at, at `ts`."""

    def step(self, state: S, ts: int, dt_s: float) -> Step:
        """Move the plant from `ts` to `ts + dt_s`. `state` is not changed."""

    def dump(self, state: S) -> dict[str, Any]:
        """Write a state as JSON-able values, by name of tag or equipment."""

    def restore(self, document: Mapping[str, Any], ts: int) -> S:
        """Read what `dump` wrote at `ts`; what the plant model has gained since starts at its initial value."""
