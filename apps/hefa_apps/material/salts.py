"""The ledger of salts: generated = recovered + stored + discharged + what is open. Pure.

Every sodium of caustic and soda ends as NaCl, every ammonium of the hydrogen carbonate as NH4Cl: `generated` is the
stoichiometry of what was dosed. It leaves the vessels between only after days, so a short period stays open.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hefa_apps.material.seen import Seen


@dataclass(frozen=True)
class Salt:
    """Kg of one salt over a period; None: not known. `open` is generated less all that is known of the others."""

    name: str
    generated: float | None
    recovered: float | None
    stored: float | None
    discharged: float | None
    open: float | None
    tags: tuple[str, ...]


def salt(name: str, table: Mapping[str, Any], used: Mapping[str, float | None], seen: Seen) -> Salt:
    """Return the ledger of one salt; `used` is the use of each reagent in kg of pure substance."""
    amounts = {reagent: used.get(reagent) for reagent in table["from"]}
    generated = None if None in amounts.values() else sum(k * (amounts[r] or 0.0) for r, k in table["from"].items())
    recovered, fed, rise = seen.integral(table["salt"]), seen.integral(table["feed"]), seen.change(table["brine"])
    # What a m3 of brine holds is told by what the evaporator makes of it.
    stored = None if None in (recovered, fed, rise) or not fed else rise * table["capacity"] / 100 * recovered / fed
    discharged = None
    tags = [table["salt"], table["brine"], table["feed"]]
    if "outfall" in table:
        out = table["outfall"]
        volume, strength = seen.total(out["volume"]), seen.mean(out["strength"])
        discharged = None if volume is None or strength is None else volume * strength / 1000 * out["times"]
        tags += [out["volume"], out["strength"]]
    known = generated is not None and recovered is not None
    left = (generated or 0.0) - (recovered or 0.0) - (stored or 0.0) - (discharged or 0.0) if known else None
    return Salt(name, generated, recovered, stored, discharged, left, tuple(tags))


def tags(tables: Mapping[str, Mapping[str, Any]]) -> tuple[list[str], list[str], list[str]]:
    """Return registers, gauges and levels."""
    out = [table["outfall"] for table in tables.values() if "outfall" in table]
    gauges = [table[name] for table in tables.values() for name in ("salt", "feed")] + [o["strength"] for o in out]
    return [o["volume"] for o in out], gauges, [table["brine"] for table in tables.values()]
