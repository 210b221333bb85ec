"""UCUM codes as Grafana writes them: an id of its own where that shows the same unit, else a suffix.

Ids that scale by 1,000 on their own (`kwatt` shows 1.2 MW) are used where the prefix is wanted; a normal cubic metre,
pH and the like have no id of their own.
"""

from grafana_foundation_sdk.models import units

from hefa_contract.units import label

# No mass: Grafana would show 1,000 kg as 1 Mg, which nobody in a plant reads as a tonne.
_IDS: dict[str, str] = {
    "1": units.Number,
    "{count}": units.Number,
    "%": units.Percent,
    "Cel": units.Celsius,
    "W": units.Watt,
    "kW": units.KiloWatt,
    "MW": units.MegaWatt,
    "W.h": units.WattHour,
    "kW.h": units.KiloWattHour,
    "MW.h": units.MegaWattHour,
    "V": units.Volt,
    "kV": units.KiloVolt,
    "A": units.Ampere,
    "kV.A": units.KiloVoltAmpere,
    "kV.A{reactive}": units.KiloVoltAmpereReactive,
    "Hz": units.Hertz,
    "Pa": units.Pascals,
    "kPa": units.Kilopascals,
    "mm": units.Millimeter,
    "m": units.Meter,
    "mg/m3": units.MilligramPerCubicMeter,
    "s": units.Seconds,
    "ms": units.Milliseconds,
    "min": units.Minutes,
    "h": units.Hours,
    "m3": units.CubicMeter,
    "m3{n}": units.NormalCubicMeter,
}


def grafana_unit(ucum: str) -> str:
    """The unit of a panel's field. Unknown codes are shown as they are, never left out."""
    known = _IDS.get(ucum)
    if known is not None:
        return known
    text = label(ucum)
    return f"suffix: {text}" if text else units.Number
