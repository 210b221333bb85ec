"""Report by exception: which samples are worth sending.

A tag is sampled when an instant of its period passes and held until the next; event tags (period 0) at
every tick. What is held is reported when it is the first, when it has left the deadband around what was
reported last, when its quality has changed, and when silence would otherwise outlast the heartbeat.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hefa_contract.envelope import GOOD
from hefa_contract.plant import Tag

Floats = NDArray[np.float64]
Qualities = NDArray[np.uint8]


class Reporter:
    """Samples and reports of some tags, in the order of their columns. Not shared between threads."""

    def __init__(self, tags: Sequence[Tag]) -> None:
        self._tags = tags
        self._period = np.array([round(tag.period_s * 1e6) for tag in tags], dtype=np.int64)
        self._heartbeat = np.array([round(tag.heartbeat_s * 1e6) for tag in tags], dtype=np.int64)
        self._deadband = np.array([tag.deadband for tag in tags])
        self._held = np.full(len(tags), np.nan)
        self._held_quality = np.full(len(tags), GOOD, dtype=np.uint8)
        self._sent = np.full(len(tags), np.nan)
        self._sent_quality = np.full(len(tags), GOOD, dtype=np.uint8)
        self._sent_ts = np.zeros(len(tags), dtype=np.int64)  # 0: never
        self._last_tick = 0

    def report(self, ts: int, value: Floats, quality: Qualities) -> tuple[NDArray[np.intp], Floats, Qualities]:
        """Take the instruments at tick `ts` (µs, later than the last) and say what is reported.

        Returns the columns to report, ascending, with their values and qualities.
        """
        tick = ts - self._last_tick if self._last_tick else 0
        every = np.maximum(self._period, 1)
        due = (ts // every != self._last_tick // every) | (self._last_tick == 0)
        self._last_tick = ts
        self._held[due], self._held_quality[due] = value[due], quality[due]

        silence = ts - self._sent_ts
        # Sampled again only after the heartbeat: speak now. A tag slower than its heartbeat repeats what it holds.
        interval = np.maximum(self._period, tick)
        late = np.where(
            self._period > self._heartbeat, silence >= self._heartbeat, due & (silence + interval > self._heartbeat)
        )
        # NaN compares false: a value that went away or came back shows by its quality.
        moved = np.abs(self._held - self._sent) > self._deadband
        chosen = np.flatnonzero((self._sent_ts == 0) | moved | (self._held_quality != self._sent_quality) | late)
        self._sent[chosen], self._sent_quality[chosen] = self._held[chosen], self._held_quality[chosen]
        self._sent_ts[chosen] = ts
        return chosen, self._held[chosen], self._held_quality[chosen]

    def dump(self) -> dict[str, Any]:
        """Write what was held and reported as JSON-able values, by tag."""
        columns = (self._held, self._held_quality, self._sent, self._sent_quality, self._sent_ts)
        rows = zip(*(column.tolist() for column in columns), strict=True)
        return {
            "tick": self._last_tick,
            "tags": {tag.name: [None if v != v else v for v in row] for tag, row in zip(self._tags, rows, strict=True)},
        }

    def restore(self, document: Mapping[str, Any]) -> None:
        """Go on where `dump` was; a tag that was not there then is reported at the next tick."""
        self._last_tick = document["tick"]
        for i, tag in enumerate(self._tags):
            row = document["tags"].get(tag.name)
            if row is not None:
                held, self._held_quality[i], sent, self._sent_quality[i], self._sent_ts[i] = row
                self._held[i] = np.nan if held is None else held
                self._sent[i] = np.nan if sent is None else sent
