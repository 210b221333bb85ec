"""Consumption of carriers and materials, by where it was used, with how well it is known."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from pydantic import Field
from starlette.responses import Response

from hefa_platform.api.answers import NAMED, named, plain
from hefa_platform.api.guard import Caller, Viewer
from hefa_platform.api.params import Answer, Asked, Instant, Text, example, zone
from hefa_platform.api.problems import Problem, nearest, responses
from hefa_platform.api.ranges import check_points, check_range, elapsed_s, span, whole_minutes
from hefa_platform.store import consumption as store
from hefa_platform.store import tags as tag_store
from hefa_platform.store.buckets import Calendar, Step
from hefa_platform.store.consumption import By
from hefa_platform.store.series import added_up_to

router = APIRouter(prefix="/v1", tags=["consumption"])


class Row(Answer):
    """Use of one carrier or material under one key in [start, end).

    `value` = measured + estimated, null where both are absent. `estimated` is spread over a time without readings,
    `unknown` is what a jump would say that the meter cannot have counted, or what it may have counted besides in a time
    so long that its register may have rolled over unseen: it is in no value. The classes of
    `unaccounted` are differences between meters and may be negative. `coverage` 0–1: how much of the time the
    meters behind the row covered.
    """

    key: str
    carrier: str | None
    material: str | None
    unit: str
    start: datetime
    end: datetime
    value: float | None
    measured: float | None
    estimated: float | None
    unknown: float | None
    coverage: float


_EXAMPLE: dict[str, object] = {
    "from": "2026-11-21T16:00:00Z", "to": "2026-11-22T16:00:00Z", "step": None, "tz": "Asia/Shanghai", "by": "area",
    "added_up_to": "2026-11-22T16:00:00Z",
    "rows": [
        {"key": key, "carrier": "water", "material": None, "unit": "m3", "start": "2026-11-21T16:00:00Z",
         "end": "2026-11-22T16:00:00Z", "value": value, "measured": value, "estimated": 0.0, "unknown": 0.0,
         "coverage": 1.0}
        for key, value in (("A1-FEED", 60.1), ("A2-SX", 74.6), ("unaccounted", 31.2))
    ],
}  # fmt: skip


class Consumption(Answer):
    """Use over [from, to), whole minutes: a row for each key and bucket, those of one carrier or material together.

    `added_up_to` is `to`, or earlier while readings that came late are still being added up: what follows may change.
    """

    model_config = example(**_EXAMPLE)

    from_: datetime = Field(serialization_alias="from")
    to: datetime
    step: Step | None
    tz: str
    by: By
    added_up_to: datetime
    rows: list[Row]


class Ask(Asked):
    """Of what, by what, when. Neither carrier nor material: all carriers."""

    carrier: Annotated[list[Text], Field(default_factory=list, max_length=20, examples=[["electricity", "water"]])]
    material: Annotated[list[Text], Field(default_factory=list, max_length=50, examples=[["HCl"]])]
    by: Annotated[By, Field(description="area and line: where it was used, not where the meter is")] = "total"
    stream: Annotated[
        Literal["supply", "reuse", "discharge", "export"], Field(description="supply is what was bought or made")
    ] = "supply"
    from_: Annotated[Instant, Field(alias="from", description="First instant, with offset")]
    to: Annotated[Instant | None, Field(description="The range ends before it; default now")] = None
    step: Annotated[Step | None, Field(description="None: one row per key for the whole range")] = None
    tz: Annotated[Text | None, Field(description="IANA zone of days and months; default the site's")] = None


@dataclass(frozen=True)
class Question:
    """A query as it will be answered, by the billing meters of what is asked for. `starts` as of `Calendar.starts`."""

    start: datetime
    end: datetime
    step: Step | None
    calendar: Calendar
    by: By
    meters: list[store.Meter]
    starts: list[datetime]


@router.get("/consumption", summary="What was used, where", responses=NAMED | responses(), response_model=Consumption)
def consumption(caller: Viewer, request: Request, query: Annotated[Ask, Query()]) -> Response:
    """Use over [from, to), in whole minutes, by total, area, line or meter.

    The rows of one carrier or material add up to its total: `unaccounted` is what the site's meter saw and no meter
    below it. A meter that serves the whole site is booked on the site. Check meters count nothing.
    """
    asked = ask(caller, query)
    ready = added_up_to(caller.database, [meter.tag_id for meter in asked.meters], asked.start, asked.end)
    rows = answer(caller, asked)
    content = {
        "from": asked.start, "to": asked.end, "step": asked.step, "tz": asked.calendar.zone.key, "by": asked.by,
        "added_up_to": ready, "rows": rows,
    }  # fmt: skip
    return named(request, "consumption", content, lambda: (tuple(Row.model_fields), (list(r.values()) for r in rows)))


def ask(caller: Caller, query: Ask) -> Question:
    """What `query` means: what is not metered, or too much, is a 422 here."""
    start, end = whole_minutes(*span(query.from_, query.to))
    meters = _asked(store.billed(store.meters(caller.database, caller.site)), query)
    calendar = tag_store.calendar(caller.database, zone(query.tz))
    starts = [start, end]
    if query.step is not None:
        limits = caller.parts.limits
        check_range(query.step, start, end, limits.points_per_tag)
        starts = calendar.starts(query.step, start, end)
        check_points(len(starts) - 1, len(meters), limits.points_per_tag, limits)
    return Question(start, end, query.step, calendar, query.by, meters, starts)


def answer(caller: Caller, asked: Question) -> list[dict[str, Any]]:
    """The rows, each a `Row` as plain values, in its order of fields."""
    elapsed = elapsed_s(asked.starts, asked.start, asked.end, datetime.now(UTC))
    found = store.consumption(caller.database, asked.meters, asked.by, asked.starts, asked.start, asked.end, elapsed)
    starts = [max(asked.start, instant) for instant in asked.starts[:-1]]
    ends = [min(asked.end, instant) for instant in asked.starts[1:]]
    return [
        {
            "key": use.key, "carrier": use.carrier, "material": use.material, "unit": use.unit, "start": start,
            "end": end, "value": value, "measured": measured, "estimated": estimated, "unknown": unknown,
            "coverage": coverage,
        }
        for use in found
        for start, end, value, measured, estimated, unknown, coverage in zip(
            starts, ends, plain(use.value), plain(use.measured), plain(use.estimated), plain(use.unknown),
            plain(use.coverage), strict=True,
        )
    ]  # fmt: skip


def _asked(meters: list[store.Meter], query: Ask) -> list[store.Meter]:
    """The meters of what is asked for. 422 "not metered" for what no meter can tell."""
    everywhere = meters
    meters = [meter for meter in meters if meter.stream == query.stream]
    wanted = [("carrier", name) for name in query.carrier] + [("material", name) for name in query.material]
    for what, name in wanted:
        there = {getattr(meter, what) for meter in meters} - {None}
        mine = [meter for meter in meters if getattr(meter, what) == name]
        if not mine:
            near = nearest(name, there)
            streams = sorted({meter.stream for meter in everywhere if getattr(meter, what) == name})
            if streams:
                detail = f"The {what} {name!r} is not metered as {query.stream}: ask stream={' or '.join(streams)}."
                raise _not_metered("stream", detail)
            advice = f"Did you mean {near[0]}?" if near else f"Metered are: {', '.join(sorted(there)) or 'none'}."
            raise _not_metered(what, f"No meter counts the {what} {name!r} ({query.stream}). {advice}")
        if not store.metered_by(mine, query.by):
            raise _not_metered("by", f"{name} is not metered by {query.by}: ask by=total or by=meter.")
    if wanted:
        return [m for m in meters if ("carrier", m.carrier) in wanted or ("material", m.material) in wanted]
    carriers = sorted({meter.carrier for meter in meters if meter.carrier is not None})
    told = {c for c in carriers if store.metered_by([m for m in meters if m.carrier == c], query.by)}
    if not told:
        raise _not_metered("by", f"No carrier ({query.stream}) is metered by {query.by}.")
    return [meter for meter in meters if meter.carrier in told]


def _not_metered(where: str, detail: str) -> Problem:
    return Problem(422, "not-metered", "Not metered", detail, errors=[{"where": f"query.{where}", "detail": detail}])
