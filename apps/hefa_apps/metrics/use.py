"""Use of carriers and materials, whole and per tonne fed: the figures that every other one is built on."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Literal
from urllib.parse import urlencode

from hefa_apps.client import Catalogue, Use
from hefa_apps.metrics.reckoning import Input, Members, Need, Outcome, Reckoning
from hefa_apps.usage import Amount, total

Kind = Literal["carrier", "material"]
STREAMS = ("supply", "export", "reuse", "discharge")
FEED = "REO"  # what the plant is fed, as oxide: the measure of everything else
_TONNE = 1000.0


@dataclass(frozen=True)
class Subject:
    """A carrier or a material in one stream: what comes in, or, where nothing of it does, what goes out."""

    name: str
    stream: str
    kind: Kind
    meters: tuple[str, ...] = ()


@lru_cache(maxsize=16)
def subjects(catalogue: Catalogue, kind: Kind | None = None) -> tuple[Subject, ...]:
    """Return what the site meters, supplies before products; `meters` are the billing registers without a parent."""
    streams: dict[tuple[str, Kind], set[str]] = {}
    registers: dict[tuple[str, str], list[str]] = {}
    for tag in catalogue.tags.values():
        meter = tag.meter
        if meter is None or meter.role != "billing":
            continue
        name, of = (meter.carrier, "carrier") if meter.carrier else (meter.material, "material")
        if name and kind in (None, of):
            streams.setdefault((name, of), set()).add(meter.stream)  # type: ignore[arg-type]
            if not meter.parent:
                registers.setdefault((name, meter.stream), []).append(tag.tag)
    found = []
    for (name, of), there in streams.items():
        stream = min(there, key=lambda s: STREAMS.index(s) if s in STREAMS else len(STREAMS))
        found.append(Subject(name, stream, of, tuple(sorted(registers.get((name, stream), ())))))
    return tuple(sorted(found, key=lambda s: (STREAMS.index(s.stream), s.kind, s.name)))


def use(r: Reckoning, subject: str) -> Outcome:
    """Return the use of one subject: what its billing meters registered."""
    about = _subject(r, subject)
    found = amount(r, subject)
    return Outcome(
        found.value,
        inputs=lambda: _meters(r, about),
        coverage=found.coverage,
        reason="" if found.value is not None else "No meter has reported in this period.",
        tags=about.meters,
    )


def per_tonne(r: Reckoning, subject: str) -> Outcome:
    """Return the use of one subject per tonne fed: sums divided, never a mean of ratios."""
    used, fed = r.figure(f"use.{subject}"), r.figure(f"use.{FEED}")
    inputs = (r.input(f"use.{subject}"), r.input(f"use.{FEED}"))
    coverage = min((c for c in (used.coverage, fed.coverage) if c is not None), default=None)
    if used.value is None or not fed.value:
        reason = used.reason or "Nothing was fed in this period, so there is nothing to divide by."
        return Outcome(None, inputs, coverage, reason, used.tags)
    return Outcome(used.value / fed.value * _TONNE, inputs, coverage, tags=used.tags)


def rows_of(r: Reckoning, name: str) -> list[Use]:
    """Return the platform's rows of one subject over the whole range."""
    return totals(r).get(name, [])


def amount(r: Reckoning, name: str) -> Amount:
    """Return the use of one subject with its classes of evidence."""
    return total(rows_of(r, name))


def totals(r: Reckoning) -> dict[str, list[Use]]:
    """Return all subjects' totals, asked stream by stream side by side, once."""

    def ask() -> dict[str, list[Use]]:
        asked = needs(r)
        r.ahead((*asked, looking(r)))
        found: dict[str, list[Use]] = {}
        for need in asked:
            for row in r.answer(need):
                found.setdefault(row.subject, []).append(row)
        return found

    found: dict[str, list[Use]] = r.once(("use totals",), ask)
    return found


def needs(r: Reckoning) -> list[Need]:
    """Return what the use of all subjects is reckoned from, for a page that asks it ahead."""
    there = subjects(r.catalogue)
    streams = dict.fromkeys(subject.stream for subject in there)
    return [
        r.need(("use total", stream), partial(_rows, r, [s for s in there if s.stream == stream])) for stream in streams
    ]


def looking(r: Reckoning) -> Need:
    """Return the question for how fresh the registers of all subjects are."""
    return r.looking(tag for subject in subjects(r.catalogue) for tag in subject.meters)


def splitting(r: Reckoning, subject: Subject, by: str, step: str | None) -> Need:
    """Return the question that `split` answers."""
    return r.need(("use split", subject.name, by, step), partial(_rows, r, [subject], by, step))


def split(r: Reckoning, subject: Subject, by: str, step: str | None) -> Sequence[Use]:
    """Return the use of one subject by area, line or meter and by step. Raises `Refused` where it is not so metered."""
    found: Sequence[Use] = r.answer(splitting(r, subject, by, step))
    return found


def _subject(r: Reckoning, name: str) -> Subject:
    return next(s for s in subjects(r.catalogue) if s.name == name)


def _meters(r: Reckoning, subject: Subject) -> tuple[Input, ...]:
    """Return what each meter saw, as the platform splits the use, and where the platform explains it."""
    rows = split(r, subject, "meter", None)
    asked = {"by": "meter", subject.kind: subject.name, "stream": subject.stream}
    span = {"from": r.start.isoformat(), "to": r.end.isoformat()}
    source = f"/v1/explain/consumption?{urlencode(asked | span)}"  # down to the readings of each register
    return tuple(
        Input(
            r.catalogue.tags[row.key].description if row.key in r.catalogue.tags else row.key,
            row.value,
            row.unit,
            row.coverage,
            tag=row.key if row.key in r.catalogue.tags else "",
            source=source,
        )
        for row in rows
    )


def _rows(r: Reckoning, of: Sequence[Subject], by: str = "total", step: str | None = None) -> Sequence[Use]:
    """Ask for the use of subjects of one stream."""
    names = {kind: [subject.name for subject in of if subject.kind == kind] for kind in ("carrier", "material")}
    answer = r.caller.consumption(
        r.start, r.end, by=by, step=step, stream=of[0].stream, carriers=names["carrier"], materials=names["material"]
    )
    return answer.rows


def _units(catalogue: Catalogue) -> dict[str, str]:
    """Return the unit that the site's meters count each subject in."""
    found = {}
    for subject in subjects(catalogue):
        tags = (tag for tag in catalogue.tags.values() if tag.meter)
        meters = (tag.meter for tag in tags if tag.meter and subject.name in (tag.meter.carrier, tag.meter.material))
        found[subject.name] = next((meter.unit for meter in meters), "")
    return found


def _per_tonne(catalogue: Catalogue) -> dict[str, str]:
    units = _units(catalogue)
    supplied = [s.name for s in subjects(catalogue) if s.name != FEED and s.stream == "supply"]
    return {name: f"{units[name]}/t" for name in supplied} if FEED in units else {}


FORMULAS = {"use.*": use, "*.per_t": per_tonne}
MEMBERS: dict[str, Members] = {"use.*": _units, "*.per_t": _per_tonne}
