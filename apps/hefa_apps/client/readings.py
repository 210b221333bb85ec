"""Readings: the newest of each tag, and series over a range."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated

from pydantic import Field

from hefa_apps.client.connection import Asking, span


@dataclass(frozen=True)
class Latest:
    """The newest reading of a tag. `value` is None when the gateway said that it does not know."""

    tag: str
    ts: datetime
    value: float | None
    quality: int
    unit: str | None = None
    stale: bool = False
    age_s: float = 0.0
    state: str | None = None
    equipment: str | None = None
    description: str = ""


@dataclass(frozen=True)
class Series:
    """One tag over a range: `ts` in µs since the epoch, None where nothing is known."""

    tag: str
    agg: str
    ts: tuple[int, ...]
    value: tuple[float | None, ...]
    unit: str | None = None
    min: tuple[float | None, ...] | None = None
    max: tuple[float | None, ...] | None = None
    coverage: tuple[float | None, ...] | None = None
    quality: tuple[int | None, ...] | None = None


@dataclass(frozen=True)
class SeriesAnswer:
    """`step` is the one the platform chose when asked for `auto`."""

    from_: Annotated[datetime, Field(alias="from")]
    to: datetime
    step: str
    tz: str
    series: tuple[Series, ...]
    added_up_to: datetime | None = None


@dataclass(frozen=True)
class _Newest:
    """A latest item on the wire: a tag that never reported is there, without time, value and quality."""

    tag: str
    ts: datetime | None
    value: float | None
    quality: int | None
    unit: str | None = None
    stale: bool = True
    age_s: float | None = None
    state: str | None = None
    equipment: str | None = None
    description: str = ""


@dataclass(frozen=True)
class Entry:
    """A reading to enter."""

    tag: str
    ts: datetime
    value: float | None
    quality: int = 192


@dataclass(frozen=True)
class Entered:
    """What became of entered readings: received = stored + duplicate + conflict + quarantined."""

    received: int
    stored: int
    duplicate: int
    conflict: int
    quarantined: int


@dataclass(frozen=True)
class _Described:
    tag: str


class ReadingCalls(Asking):
    """Latest and series; entering readings."""

    def enter(self, entries: Sequence[Entry]) -> Entered:
        """Enter readings. Needs the role engineer. What is there already with the same value changes nothing."""
        return self._send(Entered, "POST", "readings", {"readings": entries})

    def describe(self, tag: str, unit: str, description: str) -> None:
        """Say what a tag outside the plant model is measured in. Needs the role engineer.

        Raises `Refused` for one that the plant model knows: it says so itself.
        """
        self._send(_Described, "POST", "tags", {"tag": tag, "unit": unit, "description": description})

    def latest(
        self, *, tags: Sequence[str] = (), area: str | None = None, assigned: bool | None = None
    ) -> list[Latest]:
        """Return the newest readings of at most 200 named tags, or of all; tags without any are absent."""
        flag = None if assigned is None else str(assigned).lower()
        newest = self._all(_Newest, "latest", {"tag": tags, "area": area, "assigned": flag})
        return [
            Latest(
                n.tag, n.ts, n.value, n.quality, n.unit, n.stale, n.age_s or 0.0, n.state, n.equipment, n.description
            )
            for n in newest
            if n.ts is not None and n.quality is not None
        ]

    def series(
        self,
        tags: Sequence[str],
        start: datetime,
        end: datetime,
        step: str = "auto",
        *,
        agg: str | None = None,
        max_points: int | None = None,
    ) -> SeriesAnswer:
        """Return at most 200 tags over [start, end)."""
        params = span(start, end) | {"tag": tags, "step": step, "agg": agg, "max_points": max_points}
        answer = self._one(SeriesAnswer, "series", params)
        self._told(answer.added_up_to, answer.to)
        return answer
