"""Carbon and coal equivalent of a period: which factor of the settings goes with which use."""

from dataclasses import dataclass

from hefa_apps.client import Setting
from hefa_apps.energy.emissions import Emission, Factor, Used, emission, total
from hefa_apps.energy.model import MADE_HERE
from hefa_apps.energy.registers import ELECTRICITY, METER_U, carriers, factor, factors
from hefa_apps.metrics import Reckoning
from hefa_apps.metrics.use import FEED

REGION = "China"


@dataclass(frozen=True)
class Carbon:
    """Emissions of a period in kg: `direct` is scope 1, the two views of electricity are scope 2; kgce by carrier."""

    direct: tuple[Emission, ...]
    location: Emission
    market: Emission
    kgce: dict[str, float | None]
    settings: tuple[Setting, ...]

    @property
    def scope1(self) -> tuple[float | None, float | None]:
        """Scope 1 with its uncertainty; unknown as long as one part of it is."""
        if not self.direct or any(part.value is None for part in self.direct):
            return None, None
        return total(self.direct)

    @property
    def coal(self) -> float | None:
        """All kgce; unknown as long as one carrier's is."""
        parts = list(self.kgce.values())
        return None if not parts or None in parts else sum(p for p in parts if p is not None)


def carbon(r: Reckoning, region: str = REGION) -> Carbon:
    """Return what was given off over the range, by the factors in force when it was used."""
    found: Carbon = r.once(("energy carbon", region), lambda: _carbon(r, region))
    return found


def regions(r: Reckoning) -> list[str]:
    """Return the regions whose grid has a location-based factor."""
    there = [s.value or {} for s in factors(r)]
    return sorted({str(v.get("region")) for v in there if v.get("of") == ELECTRICITY and v.get("method") == "location"})


def _carbon(r: Reckoning, region: str) -> Carbon:
    given = factors(r)

    def of(quantity: str, subject: str, **wanted: str) -> list[Factor]:
        return [
            factor(s, tonne=subject == FEED)
            for s in given
            if (v := s.value or {}).get("quantity") == quantity
            and v.get("of") == subject
            and all(v.get(name) == asked for name, asked in wanted.items())
        ]

    # A factor that changes within the range needs the use before and after it; else one sum is exact.
    edges = {s.start for s in given if s.start and s.start > r.start}
    step = "1d" if edges else None
    burnt = [c for c in carriers(r.catalogue) if c != ELECTRICITY and c not in MADE_HERE and of("CO2", c)]
    direct = [emission(c, _unit(r, c), _used(r, c, step), of("CO2", c)) for c in burnt]
    # Each process has its own factor on the same feed, so they are taken one by one.
    named = sorted({f.name for f in of("CO2", FEED)})
    direct += [
        emission(name.removeprefix("CO2 "), "kg", _used(r, FEED, step), [f for f in of("CO2", FEED) if f.name == name])
        for name in named
    ]
    power = _used(r, ELECTRICITY, step)
    unit = _unit(r, ELECTRICITY)
    coal = {
        c: emission(c, _unit(r, c), _used(r, c, step), of("kgce", c))
        for c in carriers(r.catalogue)
        if c not in MADE_HERE and of("kgce", c)
    }
    return Carbon(
        direct=tuple(direct),
        location=emission(ELECTRICITY, unit, power, of("CO2", ELECTRICITY, method="location", region=region)),
        market=emission(ELECTRICITY, unit, power, of("CO2", ELECTRICITY, method="market")),
        kgce={c: found.value for c, found in coal.items()},
        settings=tuple(given),
    )


def _unit(r: Reckoning, subject: str) -> str:
    return r.figure(f"use.{subject}").unit


def _used(r: Reckoning, subject: str, step: str | None) -> list[Used]:
    error = METER_U.get(subject, 0.02)
    if step is None:
        whole = r.figure(f"use.{subject}")
        return [Used(subject, r.start, whole.value, whole.unit, error)]

    def ask() -> list[Used]:
        fed = [subject] if subject == FEED else []
        bought = [] if subject == FEED else [subject]
        answer = r.caller.consumption(r.start, r.end, by="total", step=step, carriers=bought, materials=fed)
        return [Used(subject, row.start, row.value, row.unit, error) for row in answer.rows]

    found: list[Used] = r.once(("energy used", subject, step), ask)
    return found
