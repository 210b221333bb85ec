"""Units of measure by their UCUM codes: those of the plant model, and the common ones to convert them to.

A table of our own: libraries do not read annotations such as `m3{n}`. An annotation is a dimension of its own here,
on purpose: a normal cubic metre is not a cubic metre (at this site it differs by 13 %), and reactive energy is not energy.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Unit:
    """`factor` and `offset` lead to the base unit of the dimension: base = value * factor + offset."""

    code: str
    label: str
    dimension: str
    factor: float
    offset: float


class IncompatibleUnits(ValueError):
    """The units do not measure the same thing, or one is not known. The text is a sentence that says what would do."""


def _table() -> dict[str, Unit]:
    units: dict[str, Unit] = {}

    def add(dimension: str, *members: tuple[str, str, float] | tuple[str, str, float, float]) -> None:
        for code, label, factor, *offset in members:
            units[code] = Unit(code, label, dimension, factor, offset[0] if offset else 0.0)

    add("ratio", ("1", "", 1.0), ("%", "%", 0.01), ("[ppth]", "‰", 1e-3), ("[ppm]", "ppm", 1e-6))
    add("acidity", ("[pH]", "pH", 1.0))
    add("turbidity", ("{NTU}", "NTU", 1.0))
    add("count", ("{count}", "", 1.0))
    add("count rate", ("{count}/h", "/h", 1.0), ("{count}/min", "/min", 60.0), ("{count}/d", "/d", 1 / 24))
    add("time", ("s", "s", 1.0), ("ms", "ms", 1e-3), ("us", "µs", 1e-6), ("min", "min", 60.0), ("h", "h", 3600.0),
        ("d", "d", 86400.0))  # fmt: skip
    add("frequency", ("Hz", "Hz", 1.0), ("/min", "rpm", 1 / 60), ("/s", "1/s", 1.0), ("/h", "1/h", 1 / 3600))
    add("length", ("m", "m", 1.0), ("mm", "mm", 1e-3), ("cm", "cm", 1e-2), ("um", "µm", 1e-6), ("km", "km", 1e3))
    add("velocity", ("m/s", "m/s", 1.0), ("mm/s", "mm/s", 1e-3))
    add("temperature", ("K", "K", 1.0), ("Cel", "°C", 1.0, 273.15), ("[degF]", "°F", 5 / 9, 459.67 * 5 / 9))
    add("pressure", ("Pa", "Pa", 1.0), ("hPa", "hPa", 100.0), ("kPa", "kPa", 1e3), ("MPa", "MPa", 1e6),
        ("mbar", "mbar", 100.0), ("bar", "bar", 1e5))  # fmt: skip
    add("mass", ("kg", "kg", 1.0), ("g", "g", 1e-3), ("mg", "mg", 1e-6), ("t", "t", 1e3))
    add("mass flow", ("kg/h", "kg/h", 1.0), ("g/h", "g/h", 1e-3), ("t/h", "t/h", 1e3), ("kg/s", "kg/s", 3600.0),
        ("kg/min", "kg/min", 60.0), ("t/d", "t/d", 1e3 / 24))  # fmt: skip
    add("volume", ("m3", "m³", 1.0), ("L", "L", 1e-3), ("mL", "mL", 1e-6), ("dm3", "dm³", 1e-3))
    add("volume flow", ("m3/h", "m³/h", 1.0), ("L/h", "L/h", 1e-3), ("L/min", "L/min", 0.06), ("L/s", "L/s", 3.6),
        ("m3/min", "m³/min", 60.0), ("m3/s", "m³/s", 3600.0), ("m3/d", "m³/d", 1 / 24))  # fmt: skip
    add("normal volume", ("m3{n}", "Nm³", 1.0), ("L{n}", "NL", 1e-3))
    add("normal volume flow", ("m3{n}/h", "Nm³/h", 1.0), ("m3{n}/min", "Nm³/min", 60.0), ("m3{n}/s", "Nm³/s", 3600.0),
        ("m3{n}/d", "Nm³/d", 1 / 24))  # fmt: skip
    add("density or mass concentration", ("kg/m3", "kg/m³", 1.0), ("g/L", "g/L", 1.0), ("kg/L", "kg/L", 1e3),
        ("mg/L", "mg/L", 1e-3), ("mg/m3", "mg/m³", 1e-6), ("g/m3", "g/m³", 1e-3), ("ug/m3", "µg/m³", 1e-9))  # fmt: skip
    add("amount concentration", ("mol/L", "mol/L", 1.0), ("mmol/L", "mmol/L", 1e-3), ("mol/m3", "mol/m³", 1e-3),
        ("kmol/m3", "kmol/m³", 1.0))  # fmt: skip
    add("amount", ("mol", "mol", 1.0), ("mmol", "mmol", 1e-3), ("kmol", "kmol", 1e3))
    add("amount flow", ("kmol/h", "kmol/h", 1.0), ("mol/h", "mol/h", 1e-3), ("mol/s", "mol/s", 3.6))
    add("energy", ("J", "J", 1.0), ("kJ", "kJ", 1e3), ("MJ", "MJ", 1e6), ("GJ", "GJ", 1e9), ("TJ", "TJ", 1e12),
        ("W.h", "Wh", 3.6e3), ("kW.h", "kWh", 3.6e6), ("MW.h", "MWh", 3.6e9), ("GW.h", "GWh", 3.6e12))  # fmt: skip
    add("power", ("W", "W", 1.0), ("kW", "kW", 1e3), ("MW", "MW", 1e6), ("GW", "GW", 1e9), ("kJ/h", "kJ/h", 1e3 / 3600),
        ("MJ/h", "MJ/h", 1e6 / 3600), ("GJ/h", "GJ/h", 1e9 / 3600))  # fmt: skip
    add(
        "reactive power",
        ("V.A{reactive}", "var", 1.0),
        ("kV.A{reactive}", "kvar", 1e3),
        ("MV.A{reactive}", "Mvar", 1e6),
    )
    add("reactive energy", ("V.A.h{reactive}", "varh", 1.0), ("kV.A.h{reactive}", "kvarh", 1e3),
        ("MV.A.h{reactive}", "Mvarh", 1e6))  # fmt: skip
    add("apparent power", ("V.A", "VA", 1.0), ("kV.A", "kVA", 1e3), ("MV.A", "MVA", 1e6))
    add("voltage", ("V", "V", 1.0), ("mV", "mV", 1e-3), ("kV", "kV", 1e3))
    add("current", ("A", "A", 1.0), ("mA", "mA", 1e-3), ("kA", "kA", 1e3))
    add("conductivity", ("S/m", "S/m", 1.0), ("mS/cm", "mS/cm", 0.1), ("uS/cm", "µS/cm", 1e-4))
    add("heat transfer coefficient", ("W/(m2.K)", "W/(m²·K)", 1.0), ("kW/(m2.K)", "kW/(m²·K)", 1e3))
    add("area", ("m2", "m²", 1.0), ("cm2", "cm²", 1e-4))
    return units


KNOWN: dict[str, Unit] = _table()


def conversion(from_ucum: str, to_ucum: str) -> tuple[float, float]:
    """The scale and shift with which `value * scale + shift` turns the one unit into the other; for whole columns.

    Raises IncompatibleUnits. A difference (a rise in temperature, an increment) takes the scale alone.
    """
    source, target = KNOWN.get(from_ucum), KNOWN.get(to_ucum)
    if from_ucum == to_ucum:
        return 1.0, 0.0
    if source is None:
        raise IncompatibleUnits(f"The unit {from_ucum!r} is not known, so it cannot be converted to {to_ucum!r}.")
    if target is None or target.dimension != source.dimension:
        reason = "is not a known UCUM code" if target is None else f"measures {target.dimension}"
        convertible = ", ".join(unit for unit in compatible(from_ucum) if unit != from_ucum) or "nothing else"
        raise IncompatibleUnits(
            f"{from_ucum!r} measures {source.dimension} and {to_ucum!r} {reason}; "
            f"{from_ucum!r} can be converted to: {convertible}."
        )
    return source.factor / target.factor, (source.offset - target.offset) / target.factor


def convert(value: float, from_ucum: str, to_ucum: str) -> float:
    """The value in the other unit. Raises IncompatibleUnits with a sentence that names the units that would do."""
    scale, shift = conversion(from_ucum, to_ucum)
    return value * scale + shift


def compatible(ucum: str) -> tuple[str, ...]:
    """The codes of the same dimension, itself included; empty for a code that is not known."""
    unit = KNOWN.get(ucum)
    return tuple(code for code, other in KNOWN.items() if unit is not None and other.dimension == unit.dimension)


def label(ucum: str) -> str:
    """What people read: `kWh`, `m³`, `Nm³`, `°C`; nothing for a plain number; the code itself when it is not known."""
    unit = KNOWN.get(ucum)
    return ucum if unit is None else unit.label
