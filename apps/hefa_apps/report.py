"""A report of use: what a page of energy or material shows, asked from the platform and summed once.

Energy and material ask the same question of different meters, so both are this, told apart by `Field`. The page, the
JSON and the CSV are three views of one `Report`: they cannot disagree.
"""

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from datetime import time as clock_time
from typing import Annotated, Any, Literal

from fastapi import Depends, Query, Request
from starlette.responses import Response, StreamingResponse

from hefa_apps import figures
from hefa_apps.client import Caller, Catalogue, Consumption, Refused, Use
from hefa_apps.page import hues, places, starting
from hefa_apps.period import Period, PeriodError, resolve
from hefa_apps.usage import (
    UNACCOUNTED,
    Amount,
    Row,
    Usage,
    by_subject,
    change,
    per_hour,
    total,
    usage,
)

By = Literal["area", "line", "meter"]
Named = Literal["hour", "today", "24h", "7d", "custom"]


@dataclass(frozen=True)
class Field:
    """What an app reports on: the platform's name for the subjects, and which come first."""

    kind: Literal["carrier", "material"]
    first: tuple[str, ...]

    def subjects(self, catalogue: Catalogue) -> list[str]:
        """Return what the site meters of this kind, the usual ones first."""
        found = {getattr(tag.meter, self.kind) for tag in catalogue.tags.values() if tag.meter} - {None}
        return [s for s in self.first if s in found] + sorted(s for s in found if s not in self.first)

    def ask(
        self, caller: Caller, period: tuple[datetime, datetime], subjects: Sequence[str], by: str, step: str | None
    ) -> Consumption:
        """Ask the platform for the use of some subjects."""
        carriers, materials = (subjects, ()) if self.kind == "carrier" else ((), subjects)
        return caller.consumption(*period, by=by, step=step, carriers=carriers, materials=materials)


@dataclass(frozen=True)
class Tile:
    """One subject over the whole period, next to the period before it."""

    subject: str
    unit: str
    amount: Amount
    before: float | None
    change: float | None
    per_hour: float | None


@dataclass(frozen=True)
class Report:
    """Tiles of all subjects, and one of them in detail; `refusal` is the platform's sentence when there is no detail."""

    period: Period
    tz: str
    by: str
    subject: str
    tiles: tuple[Tile, ...]
    usage: Usage
    names: dict[str, str]
    rows: tuple[Use, ...]
    refusal: str | None = None

    @property
    def unaccounted(self) -> float | None:
        """The share that no child meter explains, None where it is not reported."""
        return next((line.share for line in self.usage.lines if line.key == UNACCOUNTED), None)

    @property
    def empty(self) -> bool:
        """Say whether nothing at all is known about the period."""
        return all(tile.amount.value is None for tile in self.tiles)


class Question:
    """What a reader asks by the query of a page or of its JSON: a period, how to split it, how fine."""

    def __init__(
        self,
        period: Named = "today",
        by: By = "area",
        start: Annotated[str, Query(alias="from", description="for `custom`: ISO 8601, local time of the site")] = "",
        end: Annotated[str, Query(alias="to", description="for `custom`; now when empty")] = "",
        step: Annotated[str, Query(description="one of the steps that suit the period; chosen when empty")] = "",
    ) -> None:
        self.name, self.by, self.start, self.end, self.step = period, by, start, end, step

    def period(self, catalogue: Catalogue) -> Period:
        """Resolve the period in the site's calendar, now. Raises `PeriodError`."""
        return pick(catalogue, datetime.now(UTC), self.name, self.start, self.end, self.step)


Asked = Annotated[Question, Depends(Question)]


def pick(catalogue: Catalogue, now: datetime, name: str, start: str = "", end: str = "", step: str = "") -> Period:
    """Resolve a period in the site's calendar. Raises `PeriodError`."""
    root = catalogue.root
    try:
        plantday = clock_time.fromisoformat(root.plantday)
    except ValueError:
        plantday = clock_time(0)
    return resolve(name, now, root.zone, plantday, shifts=bool(root.shifts), start=start, end=end, step=step)


def report(caller: Caller, catalogue: Catalogue, field: Field, period: Period, by: str, subject: str) -> Report | None:
    """Ask for the report of one subject; None when the site meters nothing of this kind.

    An unknown subject raises `Refused`. That the platform cannot split a subject this way is part of the answer.
    """
    subjects = field.subjects(catalogue)
    if not subjects:
        return None
    subject = subject or subjects[0]
    if subject not in subjects:
        raise Refused(422, "not metered", f"{subject} is not metered here; metered are {', '.join(subjects)}")
    whole = by_subject(field.ask(caller, (period.start, period.end), subjects, "total", None).rows)
    before = by_subject(field.ask(caller, period.before, subjects, "total", None).rows)
    refusal = None
    rows: tuple[Use, ...] = ()
    try:
        rows = field.ask(caller, (period.start, period.end), [subject], by, period.step).rows
    except Refused as refused:
        refusal = str(refused)

    def complete(start: datetime, end: datetime) -> bool:
        return start >= period.start and end <= period.end and not _clipped(start, end, period)

    return Report(
        period=period,
        tz=catalogue.root.timezone,
        by=by,
        subject=subject,
        tiles=tuple(_tile(s, whole.get(s, []), before.get(s, []), period) for s in subjects),
        usage=usage(subject, rows, order(catalogue), complete),
        names=names(catalogue, {row.key for row in rows}),
        rows=tuple(sorted(rows, key=lambda row: row.start)),
        refusal=refusal,
    )


_FIXED = {"1m": timedelta(minutes=1), "15m": timedelta(minutes=15), "1h": timedelta(hours=1)}


def _clipped(start: datetime, end: datetime, period: Period) -> bool:
    """Say whether the period cuts this bucket: a bar of twenty minutes must not pass for an hour."""
    length = _FIXED.get(period.step)
    if length is not None:
        return end - start < length
    return (start == period.start and period.name != "7d") or (end == period.end and period.running)


def _tile(subject: str, rows: Sequence[Row], before: Sequence[Row], period: Period) -> Tile:
    now, then = total(rows), total(before)
    unit = next((row.unit for row in (*rows, *before)), "")
    return Tile(subject, unit, now, then.value, change(now.value, then.value), per_hour(now.value, period.hours))


def order(catalogue: Catalogue) -> list[str]:
    """Return the keys of tables and charts in the plant model's order: areas, lines, then meters by name."""
    below = catalogue.root.below
    return [n.path for n in below("area")] + [n.path for n in below("line")] + sorted(catalogue.tags)


def names(catalogue: Catalogue, keys: set[str]) -> dict[str, str]:
    """Return what to call each key; a key without a description is its own name."""
    known = places(catalogue)
    found = {}
    for key in keys:
        tag = catalogue.tags.get(key)
        if tag is not None:
            found[key] = known.get(tag.equipment or "", "") or tag.description
        elif key in known:
            found[key] = known[key]
    return found


def fields(
    request: Request, caller: Caller, catalogue: Catalogue, field: Field, question: Question, subject: str
) -> dict[str, Any]:
    """Return what the page of a report shows. A period that makes no sense is told on the page, which shows today."""
    mistake = None
    try:
        period = question.period(catalogue)
    except PeriodError as error:
        mistake = error.reason
        period = pick(catalogue, datetime.now(UTC), "today")
    found = report(caller, catalogue, field, period, question.by, subject)
    return {
        "report": found,
        "chart": _chart(found, catalogue) if found else None,
        "field": field,
        "question": question,
        "period": period,
        "mistake": mistake,
        "digits": _digits(found.usage) if found else 0,
        "starting": (found is None or found.empty) and starting(request),
    }


def _digits(used: Usage) -> int:
    """Return the decimals of a whole table: as many as its largest figure needs, so that the columns line up."""
    return figures.figures(max((abs(line.amount.value or 0.0) for line in used.lines), default=0.0))


def _chart(report: Report, catalogue: Catalogue) -> dict[str, Any]:
    """Return what `static/report.js` draws: bars, and a name and a colour for each key."""
    tint = hues(catalogue)
    area_of = {tag.tag: tag.meter.serves.partition(".")[0] for tag in catalogue.tags.values() if tag.meter}
    stack = report.usage.stack
    return {
        "unit": report.usage.unit,
        "step": report.period.step,
        "bars": [{"start": bar.start, "end": bar.end, "whole": bar.whole} for bar in stack.bars],
        "keys": [
            {
                "key": key,
                "name": report.names.get(key, ""),
                "hue": 0 if key == UNACCOUNTED else tint.get(area_of.get(key, key.partition(".")[0]), 0),
                "values": values,
            }
            for key, values in stack.values.items()
        ],
    }


def document(report: Report) -> dict[str, Any]:
    """Return the report as the JSON that `/api/<app>/use` serves."""
    period = report.period
    bars = report.usage.stack.bars
    return {
        "period": period.name,
        "from": period.start,
        "to": period.end,
        "step": period.step,
        "tz": report.tz,
        "by": report.by,
        "subject": report.subject,
        "unit": report.usage.unit,
        "total": report.usage.total,
        "unaccounted": report.unaccounted,
        "subjects": report.tiles,
        "lines": [
            {"key": line.key, "name": report.names.get(line.key), "share": line.share, **vars(line.amount)}
            for line in report.usage.lines
        ],
        "bars": [
            {
                "start": bar.start,
                "end": bar.end,
                "whole": bar.whole,
                "values": {key: cells[i] for key, cells in report.usage.stack.values.items()},
            }
            for i, bar in enumerate(bars)
        ],
        "refusal": report.refusal,
    }


_COLUMNS = ("key", "name", "subject", "unit", "start", "end", "value", "measured", "estimated", "unknown", "coverage")


def table(report: Report | None, name: str) -> Response:
    """Return the report as a CSV download."""
    start = f"_{report.period.start:%Y%m%dT%H%M}" if report else ""
    headers = {"Content-Disposition": f'attachment; filename="{name}{start}.csv"'}
    return StreamingResponse(lines(report), media_type="text/csv; charset=utf-8", headers=headers)


def lines(report: Report | None) -> Iterator[str]:
    """Yield CSV, a row per key and step. Times carry the site's offset; what is unknown is empty, never 0."""
    yield ",".join(_COLUMNS) + "\r\n"
    if report is None:
        return
    for row in report.rows:
        line = io.StringIO()
        cells = (
            row.key,
            report.names.get(row.key, ""),
            row.subject,
            row.unit,
            row.start.astimezone(report.period.start.tzinfo).isoformat(),
            row.end.astimezone(report.period.start.tzinfo).isoformat(),
            *(
                "" if n is None else repr(n)
                for n in (row.value, row.measured, row.estimated, row.unknown, row.coverage)
            ),
        )
        csv.writer(line).writerow([_inert(cell) for cell in cells[:6]] + list(cells[6:]))
        yield line.getvalue()


def _inert(text: str) -> str:
    """Keep a spreadsheet from running text as a formula."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t")) else text
