"""meters.toml: what the registers mean to the books (the definitions are `hefa_contract.model.Meter`'s)."""

import math
from collections.abc import Mapping
from typing import cast, get_args

from hefa_contract.model import Equipment, Meter, Role, Stream, Tag
from hefa_contract.seedfile import Table
from hefa_contract.units import KNOWN, IncompatibleUnits, convert

CARRIERS = ("electricity", "water", "gas", "steam", "air")


def read_meters(table: Table, tags: Mapping[str, Tag], equipment: Mapping[str, Equipment]) -> dict[str, Meter]:
    """The meters by tag. Mistakes are noted in the table's list; a row that is no counter of the plant is left out."""
    meters: dict[str, Meter] = {}
    rows: dict[str, Table] = {}
    for group in ("carriers", "materials"):
        for medium, entry in table.table(group).tables():
            if group == "carriers" and medium not in CARRIERS:
                entry.note("", f"is no carrier; allowed: {', '.join(CARRIERS)}")
            carrier, material = (medium, None) if group == "carriers" else (None, medium)
            unit = entry.text("unit")
            if unit and unit not in KNOWN:
                entry.note("unit", f"{unit!r} is not a UCUM code that hefa_contract.units knows")
            source = entry.text("source", "") or None
            molar_mass = entry.number("molar_mass", math.nan)
            for name, row in entry.table("meters").tables():
                if name in meters:
                    row.note("", "is a meter of another carrier or material already")
                tag = tags.get(name)
                if tag is None or tag.kind != "counter":
                    row.note("", "is no counter of the plant; a meter has the name of a counter's tag")
                    tag = None
                meters[name] = Meter(
                    carrier=carrier,
                    material=material,
                    stream=cast(Stream, row.text("stream", "supply", get_args(Stream))),
                    serves=_serves(row, equipment),
                    parent=row.text("parent", "") or None,
                    role=cast(Role, row.text("role", "billing", get_args(Role))),
                    factor=_factor(row, tag.ucum if tag else None, unit, molar_mass),
                    unit=unit,
                    source=row.text("source", source),
                )
                rows[name] = row
                row.close()
            entry.close()
    table.close()
    for name, meter in meters.items():
        _check_parent(name, meter, meters, rows[name])
    return {name: meter for name, meter in meters.items() if name in tags}


def _serves(row: Table, equipment: Mapping[str, Equipment]) -> str:
    serves = row.text("serves")
    if serves and (serves not in equipment or equipment[serves].level == "enterprise"):
        row.note("serves", f"{serves!r} is no site, area, line or unit of plant.toml")
    return serves


def _check_parent(name: str, meter: Meter, meters: Mapping[str, Meter], row: Table) -> None:
    if meter.parent is None:
        if meter.role == "check":
            row.note("parent", "a check meter must name the meter that has already booked what it measures")
        return
    parent = meters.get(meter.parent)
    if parent is None:
        row.note("parent", f"{meter.parent!r} is no meter of this file")
        return
    if (meter.carrier, meter.material, meter.stream) != (parent.carrier, parent.material, parent.stream):
        row.note("parent", f"{meter.parent!r} measures another carrier, material or stream")
    if parent.role == "check":
        row.note("parent", f"{meter.parent!r} is a check meter; a parent must be a billing meter")
    seen: list[str] = [name]
    above = meter.parent
    while above in meters:
        if above in seen:
            row.note("parent", f"goes round in a circle: {' > '.join([*seen, above])}")
            return
        seen.append(above)
        above = meters[above].parent or ""


def _factor(row: Table, register: str | None, unit: str, molar_mass: float) -> float:
    """Units of consumption per unit of the register: `share` (kg per kg, default 1), and where a volume is counted as
    mass, `density` (kg/m3) or `molarity` (kmol/m3, that is mol/L) as well. `register` None: the tag is not known.
    """
    share = row.number("share", 1.0)
    per_m3 = row.number("density", math.nan)
    if row.has("molarity"):
        if row.has("density"):
            row.note("molarity", "give density and share, or molarity, not both")
        if math.isnan(molar_mass):
            row.note("molarity", "needs the molar_mass (g/mol) of the material")
        per_m3 = row.number("molarity") * molar_mass
    row.allow("molarity")
    if share <= 0 or per_m3 <= 0:
        row.note("", "share, density, molarity and molar_mass must be above 0")
    if register is None or register not in KNOWN or unit not in KNOWN:
        return math.nan
    try:
        if math.isnan(per_m3):
            factor = convert(share, register, unit)
        else:
            factor = convert(1.0, register, "m3") * convert(per_m3 * share, "kg", unit)
    except IncompatibleUnits as error:
        row.note("", f"{error} To count a volume as mass, give density and share, or molarity.")
        return math.nan
    return float(f"{factor:.12g}")
