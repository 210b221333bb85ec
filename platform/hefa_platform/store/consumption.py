"""What was used: of which carrier or material, where, and how well that is known.

Meters form trees: a parent sees all that its children see, and more. Each meter therefore contributes what none of
its children saw, booked where it is known to have been used; what only a meter of the whole site saw is
`unaccounted`. So the rows add up to the total exactly, and nothing is counted twice. Check meters, second meters on a
flow that another one bills, contribute nothing.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

import numpy as np
from psycopg.rows import class_row

from hefa_contract.units import conversion
from hefa_platform.store import series
from hefa_platform.store.database import Database
from hefa_platform.store.series import Column, Used, plus

By = Literal["total", "area", "line", "meter"]
TOTAL = "site"
UNACCOUNTED = "unaccounted"


@dataclass(frozen=True)
class Meter:
    """A counter that measures a carrier or a material. `area` and `line` are those of what it serves.

    `factor` turns register units into `unit`.
    """

    tag_id: int
    tag: str
    carrier: str | None
    material: str | None
    stream: str
    serves: str
    level: str
    area: str | None
    line: str | None
    parent: int | None
    role: str
    factor: float
    unit: str
    source: str | None = None
    register_unit: str | None = None

    @property
    def medium(self) -> str:
        """The carrier or the material."""
        return self.carrier or self.material or ""


@dataclass(frozen=True)
class Term:
    """What a meter contributes to a sum: its register times `scale`, added or, with a `sign` of -1, taken off."""

    meter: Meter
    sign: float
    scale: float


@dataclass(frozen=True)
class Sum:
    """Of which meters a medium's use under `key`, in `unit`, is made."""

    key: str
    unit: str
    terms: list[Term]


@dataclass(frozen=True)
class Use:
    """Use of one medium under one key, in every bucket. `value` is measured + estimated. NaN: nothing is known.

    `coverage` 0–1 is the share of the asked time that the meters behind it covered, on average.
    """

    key: str
    carrier: str | None
    material: str | None
    unit: str
    measured: Column
    estimated: Column
    unknown: Column
    coverage: Column

    @property
    def value(self) -> Column:
        return plus(self.measured, self.estimated)


def meters(database: Database, site: str) -> list[Meter]:
    """All meters a key for `site` may see, in order of their tags."""
    with database.connection() as connection, connection.cursor(row_factory=class_row(Meter)) as cursor:
        return cursor.execute(
            """
            SELECT meter.tag_id, tag.name AS tag, meter.carrier, meter.material, meter.stream, meter.serves,
                   place.level, place.area, place.line, meter.parent, meter.role, meter.factor, meter.unit, meter.source,
                   tag.unit AS register_unit
              FROM meter JOIN tag USING (tag_id) JOIN v_place place ON place.path = meter.serves
             WHERE NOT tag.retired AND (%(site)s = '*' OR tag.site = %(site)s)
             ORDER BY tag.name
            """,
            {"site": site},
        ).fetchall()


def billed(found: Iterable[Meter]) -> list[Meter]:
    """The meters that count: not the check meters."""
    return [meter for meter in found if meter.role == "billing"]


def keys(found: Sequence[Meter], by: By) -> dict[int, str]:
    """The key under which each meter's own part is booked.

    That is the area or line it serves. What a meter without children serves coarser than that is booked on the
    served equipment itself; what children leave over of a coarser meter cannot be placed: `unaccounted`.
    """
    parents = {meter.parent for meter in found}
    return {meter.tag_id: _key(meter, by, meter.tag_id in parents) for meter in found}


def _key(meter: Meter, by: By, divided: bool) -> str:
    if by == "total":
        return TOTAL
    if by == "meter":
        return UNACCOUNTED if divided else meter.tag
    place = meter.area if by == "area" else meter.line
    return place or (UNACCOUNTED if divided else meter.serves)


def metered_by(found: Iterable[Meter], by: By) -> bool:
    """Whether any of these meters can tell one area (line, meter) from another."""
    if by in ("total", "meter"):
        return any(True for _ in found)
    return any((meter.area if by == "area" else meter.line) is not None for meter in found)


def consumption(
    database: Database,
    found: Sequence[Meter],
    by: By,
    starts: Sequence[datetime],
    start: datetime,
    end: datetime,
    elapsed_s: Sequence[float],
) -> list[Use]:
    """Use seen by the billing meters among `found`, by medium and key, over the minutes of [start, end).

    `starts` as of `Calendar.starts`; `elapsed_s[k]` are the seconds of bucket k that have been.
    """
    counted = billed(found)
    used = series.used(database, [m.tag_id for m in counted], starts, start, end)
    return combine(counted, keys(counted, by), used, elapsed_s)


def combine(
    counted: Sequence[Meter],
    booked: dict[int, str],
    used: Mapping[int, Used],
    elapsed_s: Sequence[float],
) -> list[Use]:
    """Book every meter's register on its own key and take it off its parent's. Pure."""
    seconds = np.array(elapsed_s)
    return [_use(total, used, seconds) for total in sums(counted, booked)]


def sums(counted: Sequence[Meter], booked: dict[int, str]) -> list[Sum]:
    """Of which meters each medium and key is made; what could not be placed comes last. Pure."""
    by_id = {meter.tag_id: meter for meter in counted}
    terms: dict[tuple[str, str], list[tuple[Meter, float]]] = defaultdict(list)
    for meter in counted:
        parent = by_id.get(meter.parent) if meter.parent is not None else None
        if parent is not None and booked[parent.tag_id] == booked[meter.tag_id]:
            continue  # what it saw is in that row already, as part of what its parent saw
        terms[meter.medium, booked[meter.tag_id]].append((meter, 1.0))
        if parent is not None:
            terms[meter.medium, booked[parent.tag_id]].append((meter, -1.0))
    unit_of: dict[str, str] = {}
    for meter in sorted(counted, key=lambda meter: meter.parent is not None):
        unit_of.setdefault(meter.medium, meter.unit)
    ordered = sorted(terms.items(), key=lambda item: (item[0][0], item[0][1] == UNACCOUNTED, item[0][1]))
    return [
        Sum(
            key,
            unit_of[medium],
            [Term(m, sign, sign * m.factor * conversion(m.unit, unit_of[medium])[0]) for m, sign in members],
        )
        for (medium, key), members in ordered
    ]


def _use(total: Sum, used: Mapping[int, Used], seconds: Column) -> Use:
    classes = np.full((3, len(seconds)), np.nan)
    covered = np.zeros(len(seconds))
    known = np.zeros(len(seconds), bool)
    for term in total.terms:
        seen = used[term.meter.tag_id]
        covered += np.minimum(np.nan_to_num(seen.covered_s), seconds)
        classes = plus(classes, np.array([seen.measured, seen.estimated, seen.unknown]) * term.scale)
        if term.sign > 0:
            known |= ~np.isnan(seen.covered_s)
    # Nothing is known of a remainder whose parent said nothing: its children alone would make it negative.
    classes[:, ~known] = np.nan
    coverage = np.zeros(len(seconds))
    np.divide(covered, seconds * len(total.terms), out=coverage, where=seconds > 0)
    first = total.terms[0].meter
    measured, estimated, unknown = classes
    return Use(total.key, first.carrier, first.material, total.unit, measured, estimated, unknown, coverage)
