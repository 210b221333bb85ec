"""Instruments that are not well: what a faulty sensor sees, shows, or does not show, and registers that were changed.

It stands between truth and the sensors, and between the sensors and the gateways. Without a fault both pass
untouched. Its state is small: what a stuck sensor shows, what a slow one has seen, where a meter was changed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hefa_contract.envelope import BAD
from hefa_contract.event import MeterSwap
from hefa_contract.plant import Tag
from hefa_edge import keyed
from hefa_edge.episodes import Strike

Floats = NDArray[np.float64]
_DAY_US = 86_400e6
_MINUTE_US = 60_000_000
_SPAN = 0.07  # of a pH electrode's slope, lost by fouling


class Instruments:
    """The faults of the instruments of some tags, in the order of their columns."""

    def __init__(self, tags: Sequence[Tag], seed: int) -> None:
        self._tags = tags
        self._at = {tag.name: i for i, tag in enumerate(tags)}
        self._seed = seed
        self._stuck: dict[str, list[float]] = {}  # tag: since when, value
        self._slow: dict[str, list[float]] = {}  # tag: since when, what it sees
        self._changed: dict[str, int] = {}  # counter: when its meter was changed
        self._offset: dict[str, float] = {}  # counter: truth less register
        self._ts = 0

    def see(self, truth: Floats, ts: int, strikes: Sequence[Strike]) -> tuple[Floats, list[MeterSwap]]:
        """What the instruments see of the truth at `ts`, and meters that were changed, with the register then."""
        seen, swaps = truth, []
        if strikes or self._offset:
            seen = truth.copy()
            for strike in strikes:
                if strike.kind.on == "probe_bias":  # the electrode shows what its controller sees
                    column = self._at.get(f"{strike.target}.ph")
                    if column is not None:
                        seen[column] += strike.severity * strike.kind.full
                    continue
                column = self._at.get(strike.target)
                if column is None:
                    continue
                if strike.kind.acts == "register" and strike.since > self._changed.get(strike.target, 0):
                    swaps += self._change(strike, column, float(truth[column]), ts)
                elif strike.kind.acts == "sensor":
                    seen[column] = self._distort(strike, column, float(seen[column]), ts)
            for name, offset in self._offset.items():
                if name in self._at:
                    seen[self._at[name]] -= offset
        self._ts = ts
        return seen, swaps

    @property
    def looked(self) -> int:
        """When they were looked at last, µs; 0: never."""
        return self._ts

    def spoil(self, value: Floats, quality: NDArray[np.uint8], ts: int, strikes: Sequence[Strike]) -> None:
        """Change in place what the instruments show at `ts`: values that stand still, values that are not there."""
        for strike in strikes:
            column, name = self._at.get(strike.target), strike.target
            if column is None or strike.kind.acts != "sensor":
                continue
            if strike.kind.on == "stuck":
                if self._stuck.get(name, [0.0])[0] != float(strike.since):
                    self._stuck[name] = [float(strike.since), float(value[column])]
                value[column] = self._stuck[name][1]
            elif strike.kind.on == "dropout" and self._chance(name, "dropout", ts // _MINUTE_US) < strike.severity:
                value[column], quality[column] = np.nan, BAD

    def dump(self) -> dict[str, Any]:
        """Write the state as JSON-able values."""
        return {
            "ts": self._ts,
            "stuck": self._stuck,
            "slow": self._slow,
            "changed": self._changed,
            "offset": self._offset,
        }

    def restore(self, document: Mapping[str, Any]) -> None:
        """Take over what `dump` wrote."""
        self._ts = document["ts"]
        self._stuck, self._slow = dict(document["stuck"]), dict(document["slow"])
        self._changed, self._offset = dict(document["changed"]), dict(document["offset"])

    def _distort(self, strike: Strike, column: int, true: float, ts: int) -> float:
        tag, kind, severity = self._tags[column], strike.kind, strike.severity
        sigma = tag.noise_sd or 0.001 * (tag.high - tag.low)
        if kind.on == "drift":
            return true + severity * kind.full * sigma * (ts - strike.since) / _DAY_US
        if kind.on == "bias":
            return true + severity * kind.full * sigma
        if kind.on == "noise":
            extra = keyed.normal(keyed.keys([tag.name], self._seed, "more noise"), ts)
            return true + severity * (kind.full - 1) * sigma * float(extra[0])
        if kind.on == "spike" and self._chance(tag.name, "spike", ts) < severity * kind.full:
            height = 8 + 12 * self._chance(tag.name, "height of a spike", ts)
            return true + (height if self._chance(tag.name, "sign of a spike", ts) < 0.5 else -height) * sigma
        if kind.on == "fouling":
            since, last = self._slow.get(tag.name, [0.0, true])
            if since != float(strike.since):
                last = true
            lag_us = severity * kind.full * 1e6
            passed = min(max(ts - self._ts, 0), 600_000_000) if self._ts else 0
            slow = true + (last - true) * float(np.exp(-passed / lag_us))
            self._slow[tag.name] = [float(strike.since), slow]
            return 7.0 + (1 - _SPAN * severity) * (slow - 7.0)
        return true

    def _change(self, strike: Strike, column: int, true: float, ts: int) -> list[MeterSwap]:
        tag, name = self._tags[column], strike.target
        shown = true - self._offset.get(name, 0.0)
        if tag.modulus:
            shown %= tag.modulus
        initial = 0.0
        if strike.kind.on == "rollover" and tag.modulus:
            initial = tag.modulus * (1 - strike.kind.full)
        self._changed[name], self._offset[name] = strike.since, true - initial
        if strike.kind.on == "reset":
            return []
        step = tag.resolution or 1e-9
        reason = "a used meter, soon at the end of its register" if initial else "replaced"
        return [
            MeterSwap(ts=ts, subject=name, final=float(np.floor(shown / step) * step), initial=initial, reason=reason)
        ]

    def _chance(self, name: str, purpose: str, number: int) -> float:
        return float(keyed.uniform(keyed.keys([name], self._seed, purpose), number)[0])
