"""What can go wrong in the plant, as inputs of its models, and what is asked of it. A fault or a plan changes these;
nothing else changes.

Numbers are neutral by default. Mappings are by name of a unit or loop (`P-241`, `FIC-A-scrub`); who is not
named is well.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field


def _none() -> Mapping[str, float]:
    return {}


@dataclass(frozen=True, slots=True)
class Disturbances:
    """What acts on the plant within one minute."""

    prnd_factor: float = 1.0  # multiplies the PrNd share of the carbonate fed
    acid_strength: float = 1.0  # multiplies the strength of all hydrochloric acid
    saponification: float = 0.0  # points of saponification degree lost (negative) or gained
    gas_heat: float = 1.0  # multiplies the heating value of natural gas
    water_leak: float = 0.0  # m3/h of fresh water behind the main meter that nobody uses
    air_leak: float = 0.0  # share of the compressed air's use that leaks in addition
    ambient: float = 0.0  # K above the weather's temperature
    pace: float = 1.0  # share of the design feed that is planned; set-points of flows follow it
    automatic: bool = True  # set-points follow the process; else fixed, with an operator's correction each hour
    false_air: Mapping[str, float] = field(default_factory=_none)  # kiln: points of O2 by air that leaks in
    fouling: Mapping[str, float] = field(
        default_factory=_none
    )  # evaporator: resistance added, as share of a clean one's
    wear: Mapping[str, float] = field(default_factory=_none)  # pump or fan: 0 new to 1 destroyed
    cavitation: Mapping[str, float] = field(default_factory=_none)  # pump: 0 none to 1 full
    tripped: frozenset[str] = frozenset()  # pumps that do not run
    resting: frozenset[str] = frozenset()  # kilns that are kept warm and not fed
    stiction: Mapping[str, float] = field(default_factory=_none)  # loop: dead band of the valve, % of its output
    flow_scale: Mapping[str, float] = field(default_factory=_none)  # loop: what its meter shows per unit of true flow
    probe_bias: Mapping[str, float] = field(default_factory=_none)  # reactor: pH that its probe shows too much
    probe_lag: Mapping[str, float] = field(default_factory=_none)  # reactor: seconds of its probe, 8 when clean
    emulsion: Mapping[str, float] = field(default_factory=_none)  # cascade: 0 none to 1, raises the interface


CALM = Disturbances()
# What acts in the minute that begins at a time, µs since the epoch. A pure function.
Schedule = Callable[[int], Disturbances]


def undisturbed(_ts: int) -> Disturbances:
    """The schedule of a plant with nothing wrong."""
    return CALM
