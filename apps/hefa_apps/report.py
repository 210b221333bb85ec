"""A report of use: what a page of energy or material shows, asked from the platform and summed once.

Energy and material ask the same question of different meters, so both are this, told apart by `Field`. The page, the
JSON and the CSV are three views of one `Report`: they cannot disagree.
"""

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from datetime import time as clock_time
from typing import Annotated, Any, Literal

from fastapi import Depends, Query, Request
from starlette.responses import Response, StreamingResponse

from hefa_apps import figures
from hefa_apps.client import Caller, Catalogue, Refused, Root, Use
from hefa_apps.page import hues, places, starting
from hefa_apps.period import Period, PeriodError, resolve, whole
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
COMPARABLE = 0.9  # a period watched for less than this share of its time gives no rate and is compared with none
STREAMS = ("supply", "export", "reuse", "discharge")
Named = Literal["hour", "today", "24h", "7d", "custom"]


@dataclass(frozen=True)
class Subject:
    """A carrier or a material in one stream: what comes in, or, where nothing of it does, what goes out."""

    name: str
    stream: str


@dataclass(frozen=True)
class Field:
    """What an app reports on: the platform's name for the subjects, and which come first."""

    kind: Literal["carrier", "material"]
    first: tuple[str, ...]

    def subjects(self, catalogue: Catalogue) -> list[Subject]:
        """Return what the site meters of this kind: supplies before products, the usual ones first."""
        streams: dict[str, set[str]] = {}
        for tag in catalogue.tags.values():
            name = getattr(tag.meter, self.kind, None)
            if tag.meter and name and tag.meter.role == "billing":
                streams.setdefault(name, set()).add(tag.meter.stream)
        found = [Subject(name, min(there, key=STREAMS.index)) for name, there in streams.items()]
        place = {name: i for i, name in enumerate(self.first)}
        return sorted(found, key=lambda s: (STREAMS.index(s.stream), place.get(s.name, len(place)), s.name))

    def ask(
        self, caller: Caller, period: tuple[datetime, datetime], subjects: Sequence[Subject], by: str, step: str | None
    ) -> list[Use]:
        """Ask the platform for the use of some subjects, stream by stream."""
        rows: list[Use] = []
        for stream in dict.fromkeys(s.stream for s in subjects):
            names = [s.name for s in subjects if s.stream == stream]
            carriers, materials = (names, []) if self.kind == "carrier" else ([], names)
            answer = caller.consumption(
                *period, by=by, step=step, stream=stream, carriers=carriers, materials=materials
            )
            rows += answer.rows
        return rows


@dataclass(frozen=True)
class Tile:
    """One subject over the whole period, next to the period before it."""

    subject: str
    stream: str
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
    def tile(self) -> Tile:
        """The subject's own tile."""
        return next(tile for tile in self.tiles if tile.subject == self.subject)

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
    plantday, shifts = _clock(root)
    return resolve(name, now, root.zone, plantday, shifts=bool(shifts), start=start, end=end, step=step)


def _clock(root: Root) -> tuple[clock_time, tuple[clock_time, ...]]:
    """Return when the site's plant day and its shifts start."""
    try:
        return clock_time.fromisoformat(root.plantday), tuple(map(clock_time.fromisoformat, root.shifts))
    except ValueError:
        return clock_time(0), ()


def report(caller: Caller, catalogue: Catalogue, field: Field, period: Period, by: str, subject: str) -> Report | None:
    """Ask for the report of one subject; None when the site meters nothing of this kind.

    An unknown subject raises `Refused`. That the platform cannot split a subject this way is part of the answer.
    """
    subjects = field.subjects(catalogue)
    if not subjects:
        return None
    subject = subject or subjects[0].name
    asked = [s for s in subjects if s.name == subject]
    if not asked:
        known = ", ".join(s.name for s in subjects)
        raise Refused(422, "not metered", f"{subject} is not metered here; metered are {known}")
    totals = by_subject(field.ask(caller, (period.start, period.end), subjects, "total", None))
    before = by_subject(field.ask(caller, period.before, subjects, "total", None))
    refusal = None
    rows: list[Use] = []
    try:
        rows = field.ask(caller, (period.start, period.end), asked, by, period.step)
    except Refused as refused:
        refusal = str(refused)
    plantday, shifts = _clock(catalogue.root)

    def complete(start: datetime, end: datetime) -> bool:
        return whole(period.step, start, end, catalogue.root.zone, plantday, shifts)

    return Report(
        period=period,
        tz=catalogue.root.timezone,
        by=by,
        subject=subject,
        tiles=tuple(_tile(s, totals.get(s.name, []), before.get(s.name, []), period) for s in subjects),
        usage=usage(subject, rows, order(catalogue), complete),
        names=names(catalogue, {row.key for row in rows}),
        rows=tuple(sorted(rows, key=lambda row: row.start)),
        refusal=refusal,
    )


def _tile(subject: Subject, rows: Sequence[Row], before: Sequence[Row], period: Period) -> Tile:
    now, then = total(rows), total(before)
    unit = next((row.unit for row in (*rows, *before)), "")
    return Tile(
        subject=subject.name,
        stream=subject.stream,
        unit=unit,
        amount=now,
        before=then.value,
        change=change(now.value, then.value) if _known(now) and _known(then) else None,
        per_hour=per_hour(now.value, period.hours) if _known(now) else None,
    )


def _known(amount: Amount) -> bool:
    """Say whether an amount covers enough of its period to speak for the whole of it."""
    return amount.coverage is not None and amount.coverage >= COMPARABLE


def order(catalogue: Catalogue) -> list[str]:
    """Return the keys of tables and charts in the plant model's order: each area with its lines, then meters by name."""
    below = catalogue.root.below
    sites = [node.path for node in below("site")]
    return sites + [n.path for area in below("area") for n in (area, *area.below("line"))] + sorted(catalogue.tags)


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


def document(report: Report | None) -> dict[str, Any]:
    """Return the report as the JSON that `/api/<app>/use` serves. Raises `Refused` when there is no detail."""
    report = _answerable(report)
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
    }


_COLUMNS = ("key", "name", "subject", "unit", "start", "end", "value", "measured", "estimated", "unknown", "coverage")


def table(report: Report | None, name: str) -> Response:
    """Return the report as a CSV download. Raises `Refused` when there is no detail."""
    report = _answerable(report)
    headers = {"Content-Disposition": f'attachment; filename="{name}_{report.period.start:%Y%m%dT%H%M}.csv"'}
    return StreamingResponse(lines(report), media_type="text/csv; charset=utf-8", headers=headers)


def _answerable(report: Report | None) -> Report:
    if report is None:
        raise Refused(422, "not metered", "Nothing of this kind is metered at this site.")
    if report.refusal:
        raise Refused(422, "not metered", report.refusal)
    return report


def lines(report: Report) -> Iterator[str]:
    """Yield CSV, a row per key and step. Times carry the site's offset; what is unknown is empty, never 0."""
    yield ",".join(_COLUMNS) + "\r\n"
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
