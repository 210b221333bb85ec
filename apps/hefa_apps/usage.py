"""What was used, by whom and when: sums over the platform's consumption rows. Pure.

The rows are additive, so this only adds. What is not known stays None and is never taken for zero, and the classes
(measured, estimated, unknown) are carried to every total. Keys keep the plant model's order, the rest that no child
meter explains (`unaccounted`) comes last.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

UNACCOUNTED = "unaccounted"


class Row(Protocol):
    """The part of a consumption row that sums need."""

    @property
    def key(self) -> str: ...
    @property
    def subject(self) -> str: ...
    @property
    def unit(self) -> str: ...
    @property
    def start(self) -> datetime: ...
    @property
    def end(self) -> datetime: ...
    @property
    def value(self) -> float | None: ...
    @property
    def measured(self) -> float | None: ...
    @property
    def estimated(self) -> float | None: ...
    @property
    def unknown(self) -> float | None: ...
    @property
    def coverage(self) -> float | None: ...


@dataclass(frozen=True)
class Amount:
    """A use with how far it can be trusted: `value` = measured + estimated; `coverage` 0–1 of the time."""

    value: float | None = None
    measured: float | None = None
    estimated: float | None = None
    unknown: float | None = None
    coverage: float | None = None


@dataclass(frozen=True)
class Line:
    """One key of a table; `share` 0–1 of the total, None where either is unknown."""

    key: str
    amount: Amount
    share: float | None


@dataclass(frozen=True)
class Bar:
    """One bucket of a chart; `whole` is False where the range cuts it."""

    start: datetime
    end: datetime
    whole: bool


@dataclass(frozen=True)
class Stack:
    """Bars and, for each key, its value in each bar (None = nothing known)."""

    bars: tuple[Bar, ...]
    values: dict[str, tuple[float | None, ...]]


@dataclass(frozen=True)
class Usage:
    """One carrier or material over a range: lines by key, their total, and the bars they were summed from."""

    subject: str
    unit: str
    lines: tuple[Line, ...]
    total: Amount
    stack: Stack


def total(rows: Iterable[Row]) -> Amount:
    """Add rows up. Coverage is the mean over time: each row weighs as long as it lasts."""
    value = measured = estimated = unknown = None
    covered = seconds = 0.0
    for row in rows:
        value = _plus(value, row.value)
        measured = _plus(measured, row.measured)
        estimated = _plus(estimated, row.estimated)
        unknown = _plus(unknown, row.unknown)
        if row.coverage is not None:
            length = (row.end - row.start).total_seconds()
            covered += row.coverage * length
            seconds += length
    return Amount(value, measured, estimated, unknown, covered / seconds if seconds else None)


def share(part: float | None, whole: float | None) -> float | None:
    """Return part / whole, None when either is unknown or there is nothing to share."""
    return part / whole if part is not None and whole else None


def change(now: float | None, before: float | None) -> float | None:
    """Return the relative change, None when it cannot be said."""
    return (now - before) / abs(before) if now is not None and before else None


def per_hour(value: float | None, hours: float) -> float | None:
    """Return the mean rate over the range in units per hour."""
    return value / hours if value is not None and hours > 0 else None


def ordered(keys: Iterable[str], order: Sequence[str]) -> list[str]:
    """Return each key once: known ones in the plant's order, then others by name, `unaccounted` last."""
    place = {key: i for i, key in enumerate(order)}
    return sorted(set(keys), key=lambda key: (key == UNACCOUNTED, place.get(key, len(place)), key))


def stack(rows: Sequence[Row], order: Sequence[str], whole: Callable[[datetime, datetime], bool]) -> Stack:
    """Turn rows of one subject into bars by key; a bucket that a key has no row for is None."""
    spans = sorted({(row.start, row.end) for row in rows})
    place = {span: i for i, span in enumerate(spans)}
    values: dict[str, list[float | None]] = {key: [None] * len(spans) for key in ordered((r.key for r in rows), order)}
    for row in rows:
        cells = values[row.key]
        i = place[row.start, row.end]
        cells[i] = _plus(cells[i], row.value)
    bars = tuple(Bar(start, end, whole(start, end)) for start, end in spans)
    return Stack(bars, {key: tuple(cells) for key, cells in values.items()})


def usage(
    subject: str, rows: Sequence[Row], order: Sequence[str], whole: Callable[[datetime, datetime], bool]
) -> Usage:
    """Sum the rows of one subject. Keys with no use at all and full knowledge of it stay: zero is a finding."""
    by_key: dict[str, list[Row]] = {}
    for row in rows:
        by_key.setdefault(row.key, []).append(row)
    everything = total(rows)
    amounts = {key: total(by_key[key]) for key in ordered(by_key, order)}
    lines = tuple(Line(key, amount, share(amount.value, everything.value)) for key, amount in amounts.items())
    return Usage(subject, rows[0].unit if rows else "", lines, everything, stack(rows, order, whole))


def _plus(a: float | None, b: float | None) -> float | None:
    return b if a is None else a if b is None else a + b
