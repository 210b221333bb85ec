"""Series: readings of tags over a range, as they came or by buckets of time."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal

import numpy as np
from fastapi import APIRouter, Query, Request
from pydantic import Field
from starlette.responses import Response

from hefa_contract.units import IncompatibleUnits, conversion
from hefa_platform.api.answers import NAMED, named, plain, to_csv, wants_csv
from hefa_platform.api.guard import Caller, Viewer
from hefa_platform.api.params import Answer, Asked, Instant, TagName, Text, example, micros, moment, zone
from hefa_platform.api.plant import known
from hefa_platform.api.problems import invalid, responses
from hefa_platform.api.ranges import check_points, check_range, elapsed_s, span, whole_minutes
from hefa_platform.store import series as store
from hefa_platform.store import tags as tag_store
from hefa_platform.store.buckets import FIXED, Calendar, Step, floor
from hefa_platform.store.series import Agg, Column

router = APIRouter(prefix="/v1", tags=["readings"])

# What makes sense for a kind; the first is the default. The mean of a register or the sum of a pH mean nothing.
LEGAL: dict[str, tuple[Agg, ...]] = {
    "gauge": ("mean", "min", "max", "first", "last", "count"),
    "setpoint": ("last", "mean", "min", "max", "first", "count"),
    "counter": ("increment", "first", "last", "count"),
    "state": ("last", "first", "min", "max", "count"),
}
AskedStep = Literal["auto", "raw", "1m", "15m", "1h", "1d", "plantday", "shift", "month"]
_COLUMNS = ("tag", "unit", "agg", "ts", "value", "min", "max", "coverage", "quality")
RAW_WITHIN = timedelta(hours=1)  # `auto` does not look for raw readings over longer ranges


class Series(Answer):
    """One tag's points, in columns of equal length. `ts` are µs since the epoch: a bucket's start, a reading's time.

    `value` is null where nothing is known: a gap, never a zero. `coverage` is the share 0–1 of a bucket in which a
    usable value was in force, `quality` the worst OPC code. `min` and `max` envelop the values of a bucket; they are
    null for counts and increments.
    """

    tag: str
    unit: str | None
    agg: Agg | Literal["raw"]
    ts: list[int]
    value: list[float | None]
    min: list[float | None]
    max: list[float | None]
    coverage: list[float]
    quality: list[int | None]


_EXAMPLE: dict[str, object] = {
    "from": "2026-11-22T08:00:00Z", "to": "2026-11-22T10:00:00Z", "step": "1h", "tz": "Asia/Shanghai",
    "added_up_to": "2026-11-22T10:00:00Z",
    "series": [
        {"tag": "A2-SX.SXA.MS-A01.ph", "unit": "[pH]", "agg": "mean", "ts": [1795334400000000, 1795338000000000],
         "value": [3.021, None], "min": [2.98, None], "max": [3.07, None], "coverage": [1.0, 0.0],
         "quality": [192, None]},
    ],
}  # fmt: skip


class SeriesOf(Answer):
    """Series over [from, to), whole minutes unless raw, with the step that was used.

    `added_up_to` is `to`, or earlier while readings that came late are still being added up: what follows may change.
    """

    model_config = example(**_EXAMPLE)

    from_: datetime = Field(serialization_alias="from")
    to: datetime
    step: Step | Literal["raw"]
    tz: str
    added_up_to: datetime
    series: list[Series]


class Ask(Asked):
    """What of which tags, when, how finely."""

    tag: Annotated[list[TagName], Field(min_length=1, max_length=200, examples=[["A2-SX.SXA.MS-A01.ph"]])]
    from_: Annotated[Instant, Field(alias="from", description="First instant, with offset")]
    to: Annotated[Instant | None, Field(description="The range ends before it; default now")] = None
    step: Annotated[
        AskedStep,
        Field(description="auto takes what fits max_points; 1d, month, and the site's plantday and shift, by tz"),
    ] = "auto"
    agg: Annotated[
        Agg | None,
        Field(description="Default: mean for gauges, increment for counters, last else. The mean is time-weighted"),
    ] = None
    tz: Annotated[Text | None, Field(description="IANA zone of days and months; default the site's")] = None
    unit: Annotated[Text | None, Field(description="UCUM code to convert to", examples=["Cel"])] = None
    max_points: Annotated[int, Field(ge=1, le=10_000, description="Points per tag at most")] = 1_500


@dataclass(frozen=True)
class Scale:
    """How a tag's values become the unit asked for."""

    unit: str | None
    factor: float = 1.0
    shift: float = 0.0

    def column(self, values: Column) -> Column:
        if self.factor == 1.0 and self.shift == 0.0:
            return values
        return values * self.factor + self.shift


@dataclass(frozen=True)
class Question:
    """A query as it will be answered. `starts` as of `Calendar.starts`; `aggs` and `scales` by the tags' ids."""

    start: datetime
    end: datetime
    step: Step | Literal["raw"]
    calendar: Calendar
    tags: list[tag_store.Tag]
    aggs: dict[int, Agg]
    scales: dict[int, Scale]
    starts: list[datetime] = field(default_factory=list)
    readings: dict[int, list[store.Reading]] = field(default_factory=dict)  # for step=raw


@router.get("/series", summary="Readings over a range", responses=NAMED | responses(404), response_model=SeriesOf)
def series(caller: Viewer, request: Request, query: Annotated[Ask, Query()]) -> Response:
    """Readings of up to 200 tags, raw or aggregated by bucket.

    A range is [from, to), taken in whole minutes unless raw: the minute that runs now is not complete. A bucket is
    named by its start and speaks of its part within the range. Hours are UTC's, days and months those of `tz`;
    `plantday` and `shift` begin at the site's clock times, read in `tz` too.
    """
    if query.step == "raw" and wants_csv(request) and "max_points" not in query.model_fields_set:
        return to_csv("series", _COLUMNS, _export(caller, query))
    asked = ask(caller, query)
    ready = asked.end
    if asked.step != "raw":
        ready = store.added_up_to(caller.database, list(asked.aggs), asked.start, asked.end)
    found = answer(caller, asked)
    content = {
        "from": asked.start, "to": asked.end, "step": asked.step, "tz": asked.calendar.zone.key, "added_up_to": ready,
        "series": found,
    }  # fmt: skip
    return named(request, "series", content, lambda: (_COLUMNS, _rows(found)))


def ask(caller: Caller, query: Ask) -> Question:
    """What `query` means: what is illegal is a 422 or 404 here, and what `auto` takes is decided here."""
    start, end = span(query.from_, query.to)
    calendar = tag_store.calendar(caller.database, zone(query.tz))
    tags = known(caller, query.tag)
    aggs = {tag.tag_id: _agg(tag, query.agg) for tag in tags}
    limits = caller.parts.limits
    points = min(query.max_points, limits.points // len(tags))
    if query.step == "raw" or _may_be_raw(query, tags, start, end):
        scales = _raw_scales(query, tags)
        readings = store.raw(caller.database, list(scales), start, end, points)
        long = next((tag for tag in tags if len(readings[tag.tag_id]) > points), None)
        if long is None:
            return Question(start, end, "raw", calendar, tags, {}, scales, readings=readings)
        if query.step == "raw":
            raise invalid(
                "query.step",
                f"{long.name} has more than {points} readings in this range: ask for a shorter one, for fewer tags, "
                f"for more max_points (up to {limits.points_per_tag}), for a step such as 1m, or for CSV (Accept: "
                "text/csv) without max_points, which has them all.",
                "too-many-points",
            )
    start, end = whole_minutes(start, end)
    step = _step(query.step, start, end, points)
    starts = calendar.starts(step, start, end)
    check_points(len(starts) - 1, len(tags), query.max_points, limits)
    scales = {tag.tag_id: _scale(tag, aggs[tag.tag_id], query.unit) for tag in tags}
    return Question(start, end, step, calendar, tags, aggs, scales, starts)


def answer(caller: Caller, asked: Question) -> list[dict[str, Any]]:
    """One `Series` for each tag, as plain values."""
    if asked.step == "raw":
        return [_raw(tag, asked.readings[tag.tag_id], asked.scales[tag.tag_id]) for tag in asked.tags]
    parts: dict[int, list[store.Rollup]] = {tag.tag_id: [] for tag in asked.tags}
    for part in store.rollup(caller.database, asked.aggs, asked.starts, asked.start, asked.end):
        parts[part.tag_id].append(part)
    elapsed = np.array(elapsed_s(asked.starts, asked.start, asked.end, datetime.now(UTC)))
    ts = [micros(instant) for instant in asked.starts[:-1]]
    return [
        _bucketed(tag, asked.aggs[tag.tag_id], ts, parts[tag.tag_id], elapsed, asked.scales[tag.tag_id])
        for tag in asked.tags
    ]


def _may_be_raw(query: Ask, tags: list[tag_store.Tag], start: datetime, end: datetime) -> bool:
    # Raw registers are not increments: what a chart of a counter means must not change with the zoom.
    return (
        query.step == "auto"
        and query.agg is None
        and end - start <= RAW_WITHIN
        and all(tag.kind != "counter" for tag in tags)
    )


def _step(asked: AskedStep, start: datetime, end: datetime, points: int) -> Step:
    """The step asked for; for auto the finest that stays within `points`."""
    if asked != "auto" and asked != "raw":
        check_range(asked, start, end, points)
        return asked
    for step, width in FIXED.items():
        if -((floor(start, width) - end) // width) <= points:
            return step
    return "1d" if (end - start) / timedelta(days=1) + 2 <= points else "month"


def _agg(tag: tag_store.Tag, asked: Agg | None) -> Agg:
    legal = LEGAL[tag.kind]
    if asked is None:
        return legal[0]
    if asked not in legal:
        raise invalid(
            "query.agg", f"{asked} of {tag.name} means nothing, it is a {tag.kind}: use {', '.join(legal)}.", "agg"
        )
    return asked


def _scale(tag: tag_store.Tag, agg: Agg | Literal["raw"], asked: str | None) -> Scale:
    if agg == "count":
        if asked not in (None, "1"):
            raise invalid("query.unit", "A count of readings has the unit 1: leave unit away.", "unit")
        return Scale("1")
    if asked is None or asked == tag.unit:
        return Scale(tag.unit)
    if tag.unit is None:
        raise invalid("query.unit", f"The unit of {tag.name} is not known, so it cannot be converted.", "unit")
    try:
        factor, shift = conversion(tag.unit, asked)
    except IncompatibleUnits as error:
        raise invalid("query.unit", f"{tag.name}: {error}", "unit") from error
    return Scale(asked, factor, shift)


def _raw(tag: tag_store.Tag, readings: list[store.Reading], scale: Scale) -> dict[str, Any]:
    value = scale.column(np.array([reading.value for reading in readings], np.float64))
    return _columns(
        tag, scale, "raw", [micros(reading.ts) for reading in readings], value, value, value,
        np.where(np.isnan(value), 0.0, 1.0), [reading.quality for reading in readings],
    )  # fmt: skip


def _bucketed(
    tag: tag_store.Tag, agg: Agg, ts: list[int], parts: list[store.Rollup], elapsed: Column, scale: Scale
) -> dict[str, Any]:
    value, low, high, covered_s = np.full((4, len(ts)), np.nan)
    worst = np.full(len(ts), -1)
    for part in parts:
        value[part.k], covered_s[part.k], worst[part.k] = part.value, part.covered_s, part.worst
        if agg not in ("count", "increment"):
            low[part.k], high[part.k] = part.min, part.max
    coverage = np.zeros(len(ts))
    np.divide(covered_s, elapsed, out=coverage, where=(elapsed > 0) & ~np.isnan(covered_s))
    quality = [None if code < 0 else code for code in worst.tolist()]
    # A falling scale would swap the envelope; no unit has one.
    value, low, high = (scale.column(column) for column in (value, low, high))
    return _columns(tag, scale, agg, ts, value, low, high, np.minimum(coverage, 1.0), quality)


def _columns(
    tag: tag_store.Tag, scale: Scale, agg: Agg | Literal["raw"], ts: list[int], value: Column, low: Column,
    high: Column, coverage: Column, quality: list[int | None],
) -> dict[str, Any]:  # fmt: skip
    """A `Series`: plain, because to check each of its points again would take longer than to find them."""
    return {
        "tag": tag.name, "unit": scale.unit, "agg": agg, "ts": ts, "value": plain(value), "min": plain(low),
        "max": plain(high), "coverage": plain(coverage), "quality": quality,
    }  # fmt: skip


def _rows(found: list[dict[str, Any]]) -> Iterator[tuple[object, ...]]:
    for one in found:
        columns = (one[name] for name in _COLUMNS[3:])
        for ts, *rest in zip(*columns, strict=True):
            yield (one["tag"], one["unit"], one["agg"], moment(ts), *rest)


def _raw_scales(query: Ask, tags: list[tag_store.Tag]) -> dict[int, Scale]:
    if query.step == "raw" and query.agg is not None:
        raise invalid("query.agg", "step=raw gives readings as they came: leave agg away, or name a step.")
    return {tag.tag_id: _scale(tag, "raw", query.unit) for tag in tags}


def _export(caller: Caller, query: Ask) -> Iterator[tuple[object, ...]]:
    """All readings of a range, however many, a page at a time. What is illegal is told before the first."""
    start, end = span(query.from_, query.to)
    zone(query.tz)
    tags = known(caller, query.tag)
    scales = _raw_scales(query, tags)
    return (
        row
        for tag in tags
        for page in store.pages(caller.database, tag.tag_id, start, end)
        for row in _rows([_raw(tag, page, scales[tag.tag_id])])
    )
