"""Reagents against stoichiometry: what was dosed, what the chemistry needs, and what the rest cost. Pure."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from hefa_apps.material.balance import moved
from hefa_apps.material.plant import Plan
from hefa_apps.material.seen import Seen


@dataclass(frozen=True)
class Dose:
    """One dose in kg of pure substance; `ratio` dosed / needed, `over` = dosed - needed, both None where one is."""

    name: str
    title: str
    material: str
    start: datetime
    end: datetime
    dosed: float | None
    needed: float | None

    @property
    def over(self) -> float | None:
        return None if self.dosed is None or self.needed is None else self.dosed - self.needed

    @property
    def ratio(self) -> float | None:
        return self.dosed / self.needed if self.dosed is not None and self.needed else None


def doses(plan: Plan, seen: Seen, shift: Callable[[datetime], datetime], end: datetime) -> list[Dose]:
    """Return every dose of every shift; `shift` gives the start of that which a moment lies in."""
    groups: dict[datetime, list[int]] = {}
    for i, start in enumerate(seen.starts):
        groups.setdefault(shift(start), []).append(i)
    starts = sorted(groups)
    found = []
    for name, table in plan.more["doses"].items():
        dosed = _of(seen.counted.get(table["tag"]))
        needed = _needed(plan, seen, table)
        for k, start in enumerate(starts):
            at = groups[start]
            until = starts[k + 1] if k + 1 < len(starts) else end
            begun = max(start, seen.starts[at[0]])
            kg = _sum(dosed, at, table["kg_per_m3"])
            need = _sum(needed, at, table["moles"] * table["molar"])
            found.append(Dose(name, table["title"], table["material"], begun, until, kg, need))
    return found


def mean_oxide(plan: Plan, seen: Seen, analyser: str) -> float | None:
    """Return kg of oxide per kmol of RE of a liquor: shares are by mass, so the mean is harmonic."""
    shares = {e: seen.mean(f"{analyser}.{e.suffix}") for e in plan.elements}
    if None in shares.values() or not (whole := sum(v or 0.0 for v in shares.values())):
        return None
    return whole / sum((v or 0.0) / e.oxide for e, v in shares.items())


def _needed(plan: Plan, seen: Seen, table: Mapping[str, Any]) -> Sequence[float | None] | None:
    """Return kmol of RE, or m3 of what the dose follows, by bucket."""
    if "by" in table:
        return _of(seen.counted.get(table["by"]))
    flow = plan.flow(table["of"])
    kg = moved(flow, seen)
    analyser = flow.analyser or next((f.analyser for f in plan.flows if f.analyser), "")
    oxide = mean_oxide(plan, seen, analyser)
    return None if kg is None or oxide is None else [v / oxide for v in kg]


def _of(values: Sequence[float | None] | None) -> Sequence[float | None] | None:
    return None if values is None or all(v is None for v in values) else values


def _sum(values: Sequence[float | None] | None, at: Sequence[int], factor: float) -> float | None:
    known = [v for v in (values[i] for i in at) if v is not None] if values is not None else []
    return factor * sum(known) if known else None


def tags(plan: Plan) -> list[str]:
    """Return the registers."""
    tables = plan.more["doses"].values()
    return [table["tag"] for table in tables] + [table["by"] for table in tables if "by" in table]
