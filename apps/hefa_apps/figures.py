"""Numbers, units, times and ages as people read them. Pure; the clock is an argument.

A number is never shown without its unit, an unknown one is a dash and never a zero. Units come as UCUM codes and are
shown as a plant writes them. `static/figures.js` formats the values that arrive later by the same rules.
"""

import math
from collections.abc import Iterable
from datetime import datetime, timedelta, tzinfo
from itertools import pairwise

DASH = "–"
THIN = "\u202f"  # between a number and its unit: never breaks

_UNITS = {
    "1": "",
    "%": "%",
    "[pH]": "pH",
    "Cel": "°C",
    "kW.h": "kWh",
    "MW.h": "MWh",
    "kV.A{reactive}": "kvar",
    "m3": "m³",
    "m3/h": "m³/h",
    "m3{n}": "Nm³",
    "m3{n}/h": "Nm³/h",
    "mg/m3": "mg/m³",
    "kg/m3": "kg/m³",
    "W/(m2.K)": "W/(m²·K)",
    "uS/cm": "µS/cm",
    "{NTU}": "NTU",
    "{count}": "",
    "m/s": "m/s",
}


def unit(ucum: str | None) -> str:
    """Return the unit as people write it; "" for none, a count or a plain number."""
    if not ucum:
        return ""
    known = _UNITS.get(ucum)
    if known is not None:
        return known
    top, slash, per = ucum.partition("/")
    if slash and (top in _UNITS or per in _UNITS) and "/" not in per:
        return f"{unit(top)}/{unit(per)}"
    return ucum.replace("{", "").replace("}", "").replace(".", "·").replace("m3", "m³").replace("m2", "m²")


def number(value: float | None, decimals: int | None = None) -> str:
    """Return the number with grouped thousands and a real minus; about four figures when no `decimals` are asked."""
    if value is None or not math.isfinite(value):
        return DASH
    places = figures(value) if decimals is None else decimals
    text = f"{value:,.{places}f}"
    if float(text.replace(",", "")) == 0:
        text = text.removeprefix("-")  # -0.00 is 0.00
    return text.replace("-", "\u2212")


def figures(value: float | None) -> int:
    """Return the decimals that show about four figures of `value`."""
    size = abs(value) if value is not None and math.isfinite(value) else 0.0
    if size >= 1000 or size == 0:
        return 0
    return 1 if size >= 100 else 2 if size >= 1 else 3


def decimals(low: float | None, high: float | None, marks: Iterable[float | None] = ()) -> int:
    """Return the decimals worth showing of a gauge: three figures of its range, and enough to tell its limits apart.

    `marks` are limits and the normal value: where they lie 0.1 apart, a reading needs two decimals to be judged.
    """
    places = 2
    if low is not None and high is not None and high > low:
        places = 3 - math.floor(math.log10(high - low))
    known = sorted({mark for mark in marks if mark is not None})
    gaps = [b - a for a, b in pairwise(known)]
    if gaps:
        places = max(places, math.ceil(0.7 - math.log10(min(gaps))))
    return max(0, min(3, places))


def quantity(value: float | None, ucum: str | None, places: int | None = None) -> str:
    """Return number and unit, held together."""
    label = unit(ucum)
    return f"{number(value, places)}{THIN}{label}" if label else number(value, places)


def exact(value: float | None, ucum: str | None = None) -> str:
    """Return a figure that somebody set, as it was set: 60 s, 0.5 s."""
    label = unit(ucum)
    text = DASH if value is None else f"{value:,.10g}".replace("-", "\u2212")
    return f"{text}{THIN}{label}" if label else text


def percent(part: float | None, places: int = 0) -> str:
    """Return a share 0–1 as per cent. Only what is complete reads 100 %, only what is nothing 0 %: what is less than the
    last digit tells reads `<0.1 %`.
    """
    if part is None or not math.isfinite(part):
        return DASH
    shown = round(part * 100, places)
    step = 10.0**-places
    if shown >= 100 and part < 1:
        shown = 100 - step
    if shown <= 0 and part > 0:
        return f"<{number(step, places)}{THIN}%"
    return f"{number(shown, places)}{THIN}%"


def change(part: float | None) -> str:
    """Return a relative change with its sign."""
    if part is None or not math.isfinite(part):
        return DASH
    return ("+" if part > 0 else "") + f"{number(part * 100, 1)}{THIN}%"


def clock(when: datetime, zone: tzinfo) -> str:
    """Return date and time in the zone, such as `22 Nov 2026 09:41`."""
    local = when.astimezone(zone)
    return f"{local.day} {local:%b %Y %H:%M}"


def age(seconds: float | None) -> tuple[str, int]:
    """Return the word id and the number of an age: `("age.min", 3)` for "3 min ago"."""
    if seconds is None:
        return "age.never", 0
    gone = timedelta(seconds=max(0.0, seconds))
    if gone < timedelta(seconds=5):
        return "age.now", 0
    if gone < timedelta(minutes=2):
        return "age.s", int(gone.total_seconds())
    if gone < timedelta(hours=2):
        return "age.min", int(gone.total_seconds() // 60)
    if gone < timedelta(days=2):
        return "age.h", int(gone.total_seconds() // 3600)
    return "age.d", gone.days
