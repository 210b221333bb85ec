"""What can go wrong at the site: seeds/faults.toml, checked against the plant. Takes text, does no I/O.

A fault says what it acts on, what it may strike, how strong it is at severity 1, and what an onlooker must see:
tags that move by three sigma of their noise within a time, and tags that stay as if nothing had been.
"""

from __future__ import annotations

import fnmatch
import re
import tomllib
from collections.abc import Mapping
from dataclasses import fields
from typing import Literal

import msgspec

from hefa_contract.plant import Plant
from hefa_edge.plant.disturbances import Disturbances

FILE = "faults.toml"
SENSOR = ("drift", "bias", "stuck", "spike", "dropout", "noise", "fouling")
REGISTER = ("swap", "reset", "rollover")
GATEWAY = ("link", "clock")
_PLANT = tuple(field.name for field in fields(Disturbances))
_PART = re.compile(r"(\d+(?:\.\d+)?)([smhd])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_LONGEST = 3660 * 86_400  # s: what lasts longer is a slip of the pen


class FaultError(ValueError):
    """A file or a wish that cannot be used; the text says where, why, and what is allowed."""


class Fault(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One kind of fault.

    `on` is what changes: a field of `Disturbances` (acts = "plant"), a way of measuring wrong ("sensor"), of counting
    wrong ("register"), or of failing to deliver ("gateway"). `full` is that value at severity 1. It may strike the
    `units` or units of the `templates`, a sensor fault any gauge with one of the `suffixes`, or the whole site where
    neither is given. `wander_h` makes it come and go by chance, with that memory in hours. In `moves` and `still`
    `{unit}` is what is struck; `example` is what the promise was tested on.
    """

    description: str
    source: str
    acts: Literal["plant", "sensor", "register", "gateway"]
    on: str
    full: float = 1.0
    templates: list[str] = []
    units: list[str] = []
    suffixes: list[str] = []
    trips: list[str] = []
    wander_h: float = 0.0
    lasts: str = ""
    example: str = ""
    within: str = ""
    moves: list[str] = []
    still: list[str] = []

    @property
    def strikes_tags(self) -> bool:
        """Whether its target is a tag; else a unit, a line or the site."""
        return self.acts in ("sensor", "register")


class Catalogue:
    """All faults of a plant, by id."""

    def __init__(self, plant: Plant, faults: Mapping[str, Fault]) -> None:
        self.faults = dict(faults)
        self._plant = plant
        self._by_name = {equipment.name: path for path, equipment in plant.equipment.items()}

    def fault(self, fault_id: str) -> Fault:
        """Find a fault. Raises FaultError."""
        if fault_id not in self.faults:
            raise FaultError(f"there is no fault {fault_id!r}; there are {', '.join(self.faults)}")
        return self.faults[fault_id]

    def target(self, fault_id: str, name: str) -> str:
        """Say what is struck: a tag, a path of equipment, or the site. Raises FaultError for what cannot be."""
        fault = self.fault(fault_id)
        allowed = self.targets(fault_id)
        path = name if fault.strikes_tags else self._by_name.get(name, name)
        if not name and len(allowed) == 1:
            return allowed[0]
        if path in allowed:
            return path
        # Whoever names a unit where a tag is wanted, is shown the unit's.
        near = [one for one in allowed if name and fault.strikes_tags and f".{name}." in f".{one}"]
        shown = [one if fault.strikes_tags else one.rsplit(".", 1)[-1] for one in near or allowed]
        some = ", ".join(shown[:12]) + (f" and {len(shown) - 12} more" if len(shown) > 12 else "")
        what = f"cannot strike {name!r}" if name else "needs to know what it strikes"
        raise FaultError(f"{fault_id} {what}; it may strike {some}")

    def targets(self, fault_id: str) -> list[str]:
        """List all that a fault may strike, in the order of the plant model."""
        fault = self.fault(fault_id)
        if fault.strikes_tags:
            kind = "counter" if fault.acts == "register" else "gauge"
            return [
                tag.name
                for tag in self._plant.tags.values()
                if tag.kind == kind
                and (not fault.suffixes or tag.suffix in fault.suffixes)
                and (not fault.templates or tag.template in fault.templates)
                and tag.template != "GATEWAY"
            ]
        if not fault.templates and not fault.units:
            return [self._plant.site]
        units = {tag.equipment: tag.template for tag in self._plant.tags.values()}
        named = [self._by_name[unit] for unit in fault.units if unit in self._by_name]
        return [*named, *(path for path, template in units.items() if template in fault.templates)]

    def moved(self, fault_id: str, target: str) -> list[str]:
        """The tags that move visibly when `target` is struck."""
        return self._matching(self.fault(fault_id).moves, target)

    def still(self, fault_id: str, target: str) -> list[str]:
        """The tags that stay bit for bit what they would have been."""
        moved = set(self.moved(fault_id, target))
        fault = self.fault(fault_id)
        touched = {target} if fault.strikes_tags else set()
        return [name for name in self._matching(fault.still, target) if name not in moved | touched]

    def _matching(self, patterns: list[str], target: str) -> list[str]:
        wanted = [pattern.replace("{unit}", target) for pattern in patterns]
        return [name for name in self._plant.tags if any(fnmatch.fnmatchcase(name, one) for one in wanted)]


def read(texts: Mapping[str, str], plant: Plant) -> Catalogue:
    """Read the catalogue from the texts of the seeds, empty where they have none. Raises FaultError with every mistake."""
    if FILE not in texts:
        return Catalogue(plant, {})
    try:
        faults = msgspec.convert(tomllib.loads(texts[FILE]), dict[str, Fault])
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise FaultError(f"{FILE}: {error}") from None
    catalogue = Catalogue(plant, faults)
    wrong = [f"{FILE}: {name}: {problem}" for name in faults for problem in _problems(catalogue, name)]
    if wrong:
        raise FaultError("\n".join(wrong))
    return catalogue


def duration(text: str) -> int:
    """Turn a duration such as 90m, 36h or 1d12h into µs. Raises FaultError."""
    parts = _PART.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise FaultError(f"{text!r} is no duration such as 90m, 36h or 1d12h")
    seconds = sum(float(number) * _SECONDS[unit] for number, unit in parts)
    if seconds > _LONGEST:
        raise FaultError(f"{text!r} is longer than ten years; say 90m, 36h or 1d12h")
    return round(seconds * 1e6)


def _problems(catalogue: Catalogue, name: str) -> list[str]:
    fault = catalogue.faults[name]
    allowed = {"plant": _PLANT, "sensor": SENSOR, "register": REGISTER, "gateway": GATEWAY}[fault.acts]
    found = []
    if fault.on not in allowed:
        found.append(f"on = {fault.on!r}: a fault that acts on the {fault.acts} changes one of {', '.join(allowed)}")
    for text in filter(None, (fault.lasts, fault.within)):
        try:
            duration(text)
        except FaultError as error:
            found.append(str(error))
    if not catalogue.targets(name):
        found.append("there is nothing in the plant that it may strike; look at templates, units and suffixes")
    elif fault.example:
        try:
            target = catalogue.target(name, fault.example)
        except FaultError as error:
            return [*found, str(error)]
        if fault.moves and not catalogue.moved(name, target):
            found.append("no tag of the plant matches moves")
    return found
