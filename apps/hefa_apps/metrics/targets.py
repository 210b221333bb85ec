"""Targets of the settings, and the light that a figure earns by its own: met, missed down to `warn`, missed by more.

A target is a dated setting that is named after a metric. A figure without one has no light.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from hefa_apps.client import Setting
from hefa_apps.metrics.reckoning import Figure, Need, Reckoning

Colour = Literal["green", "amber", "red", "unknown"]

_LEAST_KNOWN = 0.5  # share of the period: with less known a light says nothing


@dataclass(frozen=True)
class Lamp:
    """A figure's light with the target that it is judged by; `reason` says why nothing can be said."""

    colour: Colour
    target: float
    unit: str
    better: str
    warn: float | None
    reason: str | None
    example: bool
    source: str

    def off(self, value: float | None) -> float | None:
        """Return how far a value lies above the target, as a share of it."""
        return None if value is None or not self.target else (value - self.target) / abs(self.target)


def asked(r: Reckoning) -> Need:
    """Return the question for the targets in force at the end of the range."""
    return r.need(("targets",), lambda: r.caller.settings("target", at=r.end))


def given(r: Reckoning) -> dict[str, dict[str, Any]]:
    """Return the targets in force by name: what each says, whether it is an example, and its source."""
    found: list[Setting] = r.answer(asked(r))
    return {one.name: {**(one.value or {}), "example": one.example, "source": one.source} for one in found if one.value}


def lamp(r: Reckoning, figure: Figure) -> Lamp | None:
    """Return the light of a figure; None where there is no target for it."""
    aim = given(r).get(figure.id)
    return judged(figure, aim) if aim else None


def judged(figure: Figure, aim: Mapping[str, Any]) -> Lamp:
    """Judge a figure by a target."""
    unit = f"{aim['unit']}/{aim['per']}" if aim.get("per") else str(aim["unit"])
    target, better = float(aim["value"]), str(aim.get("better", "higher"))
    warn = None if aim.get("warn") is None else float(aim["warn"])
    colour, reason = light(figure.value, target, better, warn, figure.coverage), figure.reason or None
    if unit != figure.unit:
        colour = "unknown"
        reason = f"The target is in {unit}, the figure in {figure.unit}: bring them to the same unit."
    elif colour == "unknown" and not reason:
        reason = "Too little of this period is known."
    return Lamp(colour, target, unit, better, warn, reason, bool(aim.get("example")), str(aim.get("source") or ""))


def light(value: float | None, target: float, better: str, warn: float | None, coverage: float | None = None) -> Colour:
    """Return green where the target is met, amber down to `warn` (red at once without), unknown where too little is."""
    if value is None or (coverage is not None and coverage < _LEAST_KNOWN):
        return "unknown"
    sign = 1 if better == "higher" else -1
    if sign * (value - target) >= 0:
        return "green"
    return "amber" if warn is not None and sign * (value - warn) >= 0 else "red"
