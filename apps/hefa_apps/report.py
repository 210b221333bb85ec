"""A report of use: what a page of energy or material shows, asked from the platform and summed once.

Energy and material ask the same question of different meters, so both are this, told apart by `Field`. The page, the
JSON and the CSV are three views of one `Report`: they cannot disagree.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import Depends, Request
from starlette.responses import Response

from hefa_apps import figures
from hefa_apps.client import Catalogue, Refused, Use
from hefa_apps.metrics import Figure, Reckoning, plain
from hefa_apps.metrics.use import STREAMS, Kind, Subject, amount, looking, needs, split, splitting, subjects
from hefa_apps.page import hues, places, rest, starting
from hefa_apps.period import Period, whole
from hefa_apps.question import Question, calendar
from hefa_apps.table import csv_answer
from hefa_apps.usage import (
    UNACCOUNTED,
    Amount,
    Usage,
    change,
    per_hour,
    usage,
)

By = Literal["area", "line", "meter"]
COMPARABLE = 0.9  # a period watched for less than this share of its time gives no rate and is compared with none


@dataclass(frozen=True)
class Field:
    """What an app reports on: the platform's name for the subjects, and which come first."""

    kind: Kind
    first: tuple[str, ...]

    def subjects(self, catalogue: Catalogue) -> list[Subject]:
        """Return what the site meters of this kind: supplies before products, the usual ones first."""
        place = {name: i for i, name in enumerate(self.first)}
        return sorted(
            subjects(catalogue, self.kind),
            key=lambda s: (STREAMS.index(s.stream), place.get(s.name, len(place)), s.name),
        )


@dataclass(frozen=True)
class Tile:
    """One subject over the whole period, next to the period before it."""

    figure: Figure
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


class UseQuestion(Question):
    """A period, and how to split the use in it."""

    extra = ("by",)

    def __init__(
        self,
        period: Annotated[Question, Depends(Question)],
        by: By = "area",
    ) -> None:
        super().__init__(period.name, period.back, period.start, period.end, period.step)
        self.by = by


Asked = Annotated[UseQuestion, Depends(UseQuestion)]


def report(r: Reckoning, field: Field, period: Period, by: str, subject: str) -> Report | None:
    """Ask for the report of one subject; None when the site meters nothing of this kind.

    An unknown subject raises `Refused`. That the platform cannot split a subject this way is part of the answer.
    """
    catalogue = r.catalogue
    there = field.subjects(catalogue)
    if not there:
        return None
    subject = subject or there[0].name
    asked = next((s for s in there if s.name == subject), None)
    if asked is None:
        known = ", ".join(s.name for s in there)
        raise Refused(422, "not metered", f"{subject} is not metered here; metered are {known}")
    earlier = r.over(*period.before)
    r.ahead((splitting(r, asked, by, period.step), *needs(r), *needs(earlier), looking(r)))
    refusal = None
    rows: list[Use] = []
    try:
        rows = list(split(r, asked, by, period.step))
    except Refused as refused:
        refusal = str(refused)
    clock = calendar(catalogue.root)

    def complete(start: datetime, end: datetime) -> bool:
        return whole(period.step, start, end, clock)

    return Report(
        period=period,
        tz=catalogue.root.timezone,
        by=by,
        subject=subject,
        tiles=tuple(_tile(s, r, earlier, period) for s in there),
        usage=usage(subject, rows, order(catalogue), complete),
        names=names(catalogue, {row.key for row in rows}),
        rows=tuple(sorted(rows, key=lambda row: row.start)),
        refusal=refusal,
    )


def _tile(subject: Subject, r: Reckoning, earlier: Reckoning, period: Period) -> Tile:
    now, then = amount(r, subject.name), amount(earlier, subject.name)
    figure = r.figure(f"use.{subject.name}")
    return Tile(
        figure=figure,
        subject=subject.name,
        stream=subject.stream,
        unit=figure.unit,
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
    request: Request, r: Reckoning, field: Field, question: UseQuestion, period: Period, subject: str
) -> dict[str, Any]:
    """Return what the page of a report shows; over a long period only its frame, see `page.rest`."""
    later = rest(request, period.hours)
    found = None if later else report(r, field, period, question.by, subject)
    if subject:
        question.keep(field.kind, subject)
    return {
        "rest": later,
        "report": found,
        "chart": _chart(found, r.catalogue) if found else None,
        "field": field,
        "question": question,
        "period": period,
        "digits": _digits(found.usage) if found else 0,
        "starting": not later and (found is None or found.empty) and starting(request),
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
        "metric": report.tile.figure.id,
        "value": report.tile.figure.value,
        "total": report.usage.total,
        "unaccounted": report.unaccounted,
        "subjects": [
            plain(tile.figure) | {n: v for n, v in vars(tile).items() if n not in ("figure", "unit")}
            for tile in report.tiles
        ],
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


COLUMNS = ("key", "name", "subject", "unit", "start", "end", "value", "measured", "estimated", "unknown", "coverage")


def table(report: Report | None, name: str) -> Response:
    """Return the report as a CSV download. Raises `Refused` when there is no detail."""
    report = _answerable(report)
    return csv_answer(f"{name}_{report.period.start:%Y%m%dT%H%M}", COLUMNS, rows(report))


def _answerable(report: Report | None) -> Report:
    if report is None:
        raise Refused(422, "not metered", "Nothing of this kind is metered at this site.")
    if report.refusal:
        raise Refused(422, "not metered", report.refusal)
    return report


def rows(report: Report) -> Iterator[tuple[Any, ...]]:
    """Yield a row per key and step, times in the site's zone."""
    zone = report.period.start.tzinfo
    for row in report.rows:
        yield (
            row.key, report.names.get(row.key, ""), row.subject, row.unit, row.start.astimezone(zone),
            row.end.astimezone(zone), row.value, row.measured, row.estimated, row.unknown, row.coverage,
        )  # fmt: skip
