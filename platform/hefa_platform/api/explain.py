"""Explain: how a figure of an answer came about. The same URL as the answer's, with `explain` in front.

The figures are those of `series` and `consumption`, by the same code; what stands behind them is looked up besides.
"""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, Literal
from urllib.parse import urlencode

from fastapi import APIRouter, Query
from pydantic import Field

from hefa_platform.api import consumption, series
from hefa_platform.api.guard import Caller, Viewer
from hefa_platform.api.params import Answer, Instant, Text, example, moment, rfc3339
from hefa_platform.api.problems import Problem, not_found, responses
from hefa_platform.api.ranges import elapsed_s
from hefa_platform.store import consumption as meters
from hefa_platform.store import evidence as store
from hefa_platform.store import registers
from hefa_platform.store.evidence import Around, Evidence
from hefa_platform.store.series import Reading as StoredReading

router = APIRouter(prefix="/v1/explain", tags=["explain"])

FIGURES = 200  # of one answer; more are left out, and said to be
RAW_POINTS = 10_000

_WORDS = {
    "mean": ("each usable value times the seconds it was in force, divided by these seconds", "Σ value·s / Σ s"),
    "min": ("the smallest usable value in force", "min(value)"),
    "max": ("the largest usable value in force", "max(value)"),
    "first": ("the value of the first reading", "value(t_first)"),
    "last": ("the value of the last reading", "value(t_last)"),
    "count": ("the number of readings", "n"),
    "increment": (
        "what the register counted, measured and estimated, spread evenly over the time between two readings",
        "Σ Δregister = measured + estimated",
    ),
    "raw": ("the reading as it came", "value"),
}
_REGISTER = (
    "Between two readings a register counts their difference; a smaller number is a rollover at the modulus where the "
    "meter can have counted that much, else a reset, after which the new number is all that is known; a declared swap "
    "ends one register and begins another. Measured: readings at most two heartbeats apart. Estimated: further apart, "
    "or since a reset. Unknown: more than the meter can count in that time, or rounds of its "
    "register that nobody saw; it is in no value."
)

_GAUGE = (
    "A reading holds until the next one, at most two heartbeats. Quality 64 and better is usable; what is bad or "
    "missing is a gap, and coverage says how much of the time is none."
)


class Reading(Answer):
    """A stored reading."""

    ts: datetime
    value: float | None
    quality: int


class Swap(Answer):
    """A declared swap: what the old register showed last, and the new one first."""

    ts: datetime
    final: float
    initial: float


class Rows(Answer):
    """How many rows of which resolution answered: hours, minutes, or minutes made from readings just now."""

    hours: int
    minutes: int
    readings: int


class Input(Answer):
    """A tag behind a figure, over the figure's time. Amounts are in the tag's own `unit`.

    In the figure's unit it is `sign` · `factor` · amount + `shift`; `source` says where the factor is from. `readings` lie in the time, `usable` of them with quality 64 or better. `before` and `after` are the readings
    around it, `first` and `last` those in it, as far as raw readings are kept. `resets` were detected, `swaps` declared.
    """

    tag: str
    unit: str | None
    sign: int
    factor: float
    shift: float
    source: str | None
    measured: float | None
    estimated: float | None
    unknown: float | None
    coverage: float
    quality: int | None
    readings: int
    usable: int
    rows: Rows
    before: Reading | None
    first: Reading | None
    last: Reading | None
    after: Reading | None
    modulus: float | None
    max_rate: float | None
    register_step: float | None
    resets: int | None
    swaps: list[Swap]
    href: str


class Figure(Answer):
    """One number of an answer: `value`, in [start, end), and what it was made of. `key` is a tag for a series.

    `unknown_share` 0–1 is the unknown part of all that was counted, known or not.
    """

    key: str
    carrier: str | None
    material: str | None
    unit: str | None
    start: datetime
    end: datetime
    value: float | None
    measured: float | None
    estimated: float | None
    unknown: float | None
    unknown_share: float | None
    coverage: float
    quality: int | None
    formula: str
    symbols: str
    inputs: list[Input]


_EXAMPLE: dict[str, object] = {
    "metric": "series", "from": "2026-11-22T08:00:00Z", "to": "2026-11-22T09:00:00Z", "step": "1h",
    "tz": "Asia/Shanghai", "engine": "postgresql", "about": "", "figures": [], "left_out": 0,
}  # fmt: skip


class Explanation(Answer):
    """The figures of an answer, each with what is behind it. `left_out` more are there: choose by `key` and `at`."""

    model_config = example(**_EXAMPLE)

    metric: Literal["series", "consumption"]
    from_: datetime = Field(serialization_alias="from")
    to: datetime
    step: str | None
    tz: str
    engine: str
    about: str
    figures: list[Figure]
    left_out: int


Key = Annotated[Text | None, Field(description="Only the figures of this key, or tag")]
At = Annotated[Instant | None, Field(description="Only the figures whose time holds this instant")]


class AskConsumption(consumption.Ask):
    key: Key = None
    at: At = None


class AskSeries(series.Ask):
    key: Key = None
    at: At = None


@dataclass(frozen=True)
class _Member:
    """A tag of a figure, in its own unit: it counts `sign` · `factor` · amount + `shift`; and where that is from."""

    tag_id: int
    tag: str
    unit: str | None
    sign: int = 1
    factor: float = 1.0
    shift: float = 0.0
    source: str | None = None


class _Background:
    """What is known of some tags in the buckets from `starts[first]` to `starts[last]`; asked once for all figures."""

    def __init__(
        self,
        caller: Caller,
        tag_ids: Sequence[int],
        asked: series.Question | consumption.Question,
        first: int,
        last: int,
    ) -> None:
        database, starts = caller.database, asked.starts[first : last + 2]
        self._first = first
        self._bounds = [max(asked.start, starts[0]), *starts[1:-1], min(asked.end, starts[-1])]
        start, end = self._bounds[0], self._bounds[-1]
        self._elapsed = elapsed_s(starts, start, end, datetime.now(UTC))
        self._evidence = store.evidence(database, tag_ids, starts, start, end)
        self._around = store.around(database, tag_ids, self._bounds)
        self._registers = store.registers(database, tag_ids)
        self._swaps = registers.swaps(database, tag_ids, start, end)

    def input(self, member: _Member, k: int) -> Input:
        k -= self._first
        start, end, elapsed = self._bounds[k], self._bounds[k + 1], self._elapsed[k]
        seen = self._evidence.get((member.tag_id, k), _NOTHING)
        left, right = self._around[member.tag_id, start], self._around[member.tag_id, end]
        register = self._registers.get(member.tag_id)
        return Input(
            tag=member.tag, unit=member.unit, sign=member.sign, factor=member.factor, shift=member.shift,
            source=member.source, measured=seen.measured, estimated=seen.estimated, unknown=seen.unknown,
            coverage=min(1.0, seen.covered_s / elapsed) if elapsed > 0 else 0.0, quality=seen.worst,
            readings=seen.n, usable=seen.n_good,
            rows=Rows(hours=seen.hours, minutes=seen.minutes, readings=seen.readings),
            before=_reading(left.before),
            first=_reading(left.after if left.after and left.after.ts < end else None),
            last=_reading(right.before if right.before and right.before.ts >= start else None),
            after=_reading(right.after),
            modulus=register.modulus if register else None, max_rate=register.max_rate if register else None,
            register_step=register.resolution if register else None, resets=seen.resets,
            swaps=[
                Swap(ts=swap.ts, final=swap.final, initial=swap.initial)
                for swap in self._swaps
                if swap.tag_id == member.tag_id and start <= swap.ts < end
            ],
            href=_readings(member.tag, left, start, end, seen.n),
        )  # fmt: skip


@router.get("/consumption", summary="How a consumption came about", responses=responses(404))
def explain_consumption(caller: Viewer, query: Annotated[AskConsumption, Query()]) -> Explanation:
    """The rows of `/v1/consumption` for the same parameters, each with its meters, factors, readings and evidence."""
    asked = consumption.ask(caller, query)
    rows = consumption.answer(caller, asked)
    chosen = _chosen(rows, query.key, query.at)
    picked = [(row, bisect_right(asked.starts, row["start"]) - 1) for row in chosen[:FIGURES]]
    sums = {
        (total.terms[0].meter.medium, total.key): total.terms
        for total in meters.sums(asked.meters, meters.keys(asked.meters, asked.by))
    }
    terms = [sums[row["carrier"] or row["material"], row["key"]] for row, _ in picked]
    tag_ids = sorted({term.meter.tag_id for own in terms for term in own})
    background = _Background(caller, tag_ids, asked, min(k for _, k in picked), max(k for _, k in picked))
    figures = [_consumed(row, k, own, background) for (row, k), own in zip(picked, terms, strict=True)]
    return _explanation(caller, "consumption", asked, figures, len(chosen))


@router.get("/series", summary="How a point of a series came about", responses=responses(404))
def explain_series(caller: Viewer, query: Annotated[AskSeries, Query()]) -> Explanation:
    """The points of `/v1/series` for the same parameters, each with the readings and rollups behind it."""
    asked = series.ask(caller, query)
    points = [
        {"k": k, "of": one, "key": one["tag"], "start": moment(ts), "end": _end(asked, k, ts)}
        for one in series.answer(caller, asked)
        for k, ts in enumerate(one["ts"])
    ]
    chosen = _chosen(points, query.key, query.at)
    picked = chosen[:FIGURES]
    members = {
        tag.name: _Member(tag.tag_id, tag.name, tag.unit, 1, scale.factor, scale.shift)
        for tag in asked.tags
        for scale in [asked.scales[tag.tag_id]]
    }
    if asked.step == "raw":
        figures = [_as_it_came(point, members[point["key"]], asked) for point in picked]
    else:
        tag_ids = sorted({members[point["key"]].tag_id for point in picked})
        ks = [point["k"] for point in picked]
        background = _Background(caller, tag_ids, asked, min(ks), max(ks))
        figures = [_bucket(point, members[point["key"]], asked, background) for point in picked]
    return _explanation(caller, "series", asked, figures, len(chosen))


def _consumed(row: dict[str, Any], k: int, terms: list[meters.Term], background: _Background) -> Figure:
    medium = row["carrier"] or row["material"]
    inputs = [
        background.input(
            _Member(
                term.meter.tag_id, term.meter.tag, term.meter.register_unit, int(term.sign), abs(term.scale),
                source=term.meter.source,
            ),
            k,
        )
        for term in terms
    ]  # fmt: skip
    words = f"What the billing meters of {medium} under {row['key']} counted, each times its factor"
    if any(term.sign < 0 for term in terms):
        words += "; less what meters below them counted, which is booked under other keys"
    return Figure(
        **{name: row[name] for name in ("key", "carrier", "material", "unit", "start", "end", "value", "measured",
                                        "estimated", "unknown", "coverage")},
        unknown_share=_share(row["measured"], row["estimated"], row["unknown"]),
        quality=min((one.quality for one in inputs if one.quality is not None), default=None),
        formula=f"{words}.", symbols="Σ sign · factor · (measured + estimated)", inputs=inputs,
    )  # fmt: skip


def _bucket(point: dict[str, Any], member: _Member, asked: series.Question, background: _Background) -> Figure:
    one, k = point["of"], point["k"]
    source = background.input(member, k)
    counts = one["agg"] == "increment"
    amounts = [
        amount * member.factor if amount is not None and counts else None
        for amount in (source.measured, source.estimated, source.unknown)
    ]
    words, symbols = _WORDS[one["agg"]]
    return Figure(
        key=one["tag"], carrier=None, material=None, unit=one["unit"], start=max(point["start"], asked.start),
        end=point["end"], value=one["value"][k], measured=amounts[0], estimated=amounts[1], unknown=amounts[2],
        unknown_share=_share(*amounts), coverage=one["coverage"][k], quality=one["quality"][k],
        formula=f"{words[0].upper()}{words[1:]}.", symbols=symbols, inputs=[source],
    )  # fmt: skip


def _as_it_came(point: dict[str, Any], member: _Member, asked: series.Question) -> Figure:
    one, k, readings = point["of"], point["k"], asked.readings[member.tag_id]
    own = _reading(readings[k])
    value, coverage, quality = one["value"][k], one["coverage"][k], one["quality"][k]
    words, symbols = _WORDS["raw"]
    source = Input(
        tag=member.tag, unit=member.unit, sign=1, factor=member.factor, shift=member.shift, source=None,
        measured=None, estimated=None, unknown=None, coverage=coverage, quality=quality, readings=1,
        usable=int(coverage), rows=Rows(hours=0, minutes=0, readings=1),
        before=_reading(readings[k - 1]) if k else None, first=own, last=own,
        after=_reading(readings[k + 1]) if k + 1 < len(readings) else None,
        modulus=None, max_rate=None, register_step=None, resets=None, swaps=[],
        href=_href(member.tag, point["start"], point["end"], "raw"),
    )  # fmt: skip
    return Figure(
        key=one["tag"], carrier=None, material=None, unit=one["unit"], start=point["start"], end=point["end"],
        value=value, measured=None, estimated=None, unknown=None, unknown_share=None, coverage=coverage,
        quality=quality, formula=f"{words[0].upper()}{words[1:]}.", symbols=symbols, inputs=[source],
    )  # fmt: skip


def _explanation(
    caller: Caller,
    metric: Literal["series", "consumption"],
    asked: series.Question | consumption.Question,
    figures: list[Figure],
    chosen: int,
) -> Explanation:
    counters = metric == "consumption" or any(one.modulus is not None for f in figures for one in f.inputs)
    return Explanation(
        metric=metric, from_=asked.start, to=asked.end, step=asked.step, tz=asked.calendar.zone.key,
        engine=caller.database.engine.kind, about=_REGISTER if counters else _GAUGE, figures=figures,
        left_out=chosen - len(figures),
    )  # fmt: skip


def _chosen(rows: list[dict[str, Any]], key: str | None, at: datetime | None) -> list[dict[str, Any]]:
    """The figures of a key, of an instant; 404 when there is none."""
    found = [
        row for row in rows if key in (None, row["key"]) and (at is None or row["start"] <= at < row["end"])
    ]  # fmt: skip
    if not found:
        if key is not None and key not in {row["key"] for row in rows}:
            raise not_found("key", key, {row["key"] for row in rows})
        raise Problem(
            404, "figure-unknown", "No such figure", "The answer has no figure at that time: leave 'at' away."
        )
    return found


def _end(asked: series.Question, k: int, ts: int) -> datetime:
    return moment(ts + 1) if asked.step == "raw" else min(asked.end, asked.starts[k + 1])


def _share(measured: float | None, estimated: float | None, unknown: float | None) -> float | None:
    """The unknown part of what was counted. None where nothing was."""
    amounts = [abs(amount or 0.0) for amount in (measured, estimated, unknown)]
    return amounts[2] / sum(amounts) if sum(amounts) > 0 else None


def _reading(reading: StoredReading | None) -> Reading | None:
    return None if reading is None else Reading(ts=reading.ts, value=reading.value, quality=reading.quality)


def _readings(tag: str, left: Around, start: datetime, end: datetime, count: int) -> str:
    """Where the readings are that a figure was made of, the one before them included."""
    first = left.before.ts if left.before is not None else start
    return _href(tag, first, end, "raw" if count < RAW_POINTS else "auto")


def _href(tag: str, start: datetime, end: datetime, step: str) -> str:
    query = {"tag": tag, "from": rfc3339(start), "to": rfc3339(end), "step": step, "max_points": RAW_POINTS}
    return f"/v1/series?{urlencode(query)}"


_NOTHING = Evidence(0, 0, 0, 0, 0, 0, 0, None, None, None, None, 0.0, None)
