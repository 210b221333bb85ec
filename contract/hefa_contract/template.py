"""One equipment template: what it says about its tags, and the tags of one unit made from it.

A mixer-settler is written once and there are 23. Where figures differ between units, the template computes them from
the unit's parameters by `base * times + plus`, and by nothing else: seeds are data, they are never run.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, get_args

from hefa_contract.model import Kind, Tag
from hefa_contract.seedfile import Table
from hefa_contract.units import KNOWN

MODULUS = 1e7  # seven digits before the point, as most registers have
NORMAL = "normal"
ABSENT = "-"

_Parameters = Mapping[str, float | str]


@dataclass(frozen=True, slots=True)
class Formula:
    """`base * times + plus`, the base being a parameter of the unit, the tag's own normal, or 0 for a plain number."""

    of: str | None = None
    times: float = 1.0
    plus: float = 0.0
    decimals: int | None = None

    def value(self, parameters: _Parameters) -> float:
        base = parameters.get(self.of, math.nan) if self.of else 0.0
        if isinstance(base, str):
            return math.nan
        exact = base * self.times + self.plus
        if math.isnan(exact):
            return exact
        # Twelve digits: 1.4 - 0.6 is 0.8 to those who write and read seeds.
        return round(exact, self.decimals) if self.decimals is not None else float(f"{exact:.12g}")


@dataclass(frozen=True, slots=True)
class Parameter:
    name: str
    text: bool
    default: float | str | None
    description: str


@dataclass(frozen=True, slots=True)
class TagTemplate:
    """One row of a template. Texts may hold `{parameter}`; formulas are evaluated for each unit."""

    suffix: str
    description: str
    ucum: str
    kind: Kind
    normal: Formula
    low: Formula
    high: Formula
    noise: Formula
    period: float
    limits: tuple[Formula | None, ...]
    users: tuple[str, ...]
    core: bool
    source: str
    states: Mapping[int, str] | None
    integrates: str | None
    per_hour: Formula | None
    resolution: Formula | None
    max_rate: Formula | None
    modulus: float | None


@dataclass(frozen=True, slots=True)
class Template:
    name: str
    description: str
    parameters: Mapping[str, Parameter]
    tags: Mapping[str, TagTemplate]


@dataclass(frozen=True, slots=True)
class Place:
    """Where in the plant a unit stands, and which edge writes its tags."""

    area: str
    line: str
    unit: str
    edge: str

    @property
    def path(self) -> str:
        return f"{self.area}.{self.line}.{self.unit}"


def read_template(name: str, table: Table, users: Mapping[str, str]) -> Template:
    """Read `[NAME]` of a template file. Mistakes are noted in the table's list."""
    description = table.text("description")
    source = table.text("source")
    parameters = {}
    declared = table.table("parameters", required=False)
    for key, entry in declared.tables():
        text = entry.text("type", "number", ("number", "text")) == "text"
        default = (entry.text("default") if text else entry.number("default")) if entry.has("default") else None
        parameters[key] = Parameter(key, text, default, entry.text("description"))
        entry.close()
        if key in (NORMAL, "template", "description", "source"):
            declared.note(key, "this name has a meaning of its own; choose another for the parameter")
    tags: dict[str, TagTemplate] = {}
    for suffix, row in table.table("tags").tables():
        tags[suffix] = _read_tag(suffix, row, source, parameters, users, tags)
    table.close()
    return Template(name, description, parameters, tags)


def instantiate(template: Template, place: Place, row: Table, source: str) -> tuple[Tag, ...]:
    """The tags of one unit, in the template's order. `row` is the unit in the plant file, `source` where its own
    parameters are from ('' = as the template says). Its meter and, for a counter, `max_rate` are not set yet.
    """
    parameters: dict[str, float | str] = {}
    for parameter in template.parameters.values():
        if parameter.text:
            default = parameter.default if isinstance(parameter.default, str) else None
            parameters[parameter.name] = row.text(parameter.name, default)
        else:
            number = parameter.default if isinstance(parameter.default, float) else None
            parameters[parameter.name] = row.number(parameter.name, number)
    return tuple(_tag(template, tag, place, parameters, row, source) for tag in template.tags.values())


def _tag(
    template: Template, tag: TagTemplate, place: Place, parameters: Mapping[str, float | str], row: Table, source: str
) -> Tag:
    known = {**parameters, NORMAL: tag.normal.value(parameters)}

    def fill(text: str) -> str:
        for name, value in parameters.items():
            if isinstance(value, str):
                text = text.replace(f"{{{name}}}", value)
        return text

    ll, l, h, hh = (limit.value(known) if limit else None for limit in tag.limits)  # noqa: E741
    noise = tag.noise.value(known)
    from_unit = source and tag.normal.of in template.parameters
    made = Tag(
        name=f"{place.path}.{tag.suffix}",
        equipment=place.path,
        area=place.area,
        line=place.line,
        unit=place.unit,
        template=template.name,
        suffix=tag.suffix,
        description=fill(tag.description),
        ucum=fill(tag.ucum),
        kind=tag.kind,
        normal=tag.normal.value(parameters),
        low=tag.low.value(known),
        high=tag.high.value(known),
        noise_sd=noise,
        period_s=tag.period,
        heartbeat_s=min(3600.0, max(60.0, 10 * tag.period)),
        deadband=2 * noise,
        ll=ll,
        l=l,
        h=h,
        hh=hh,
        users=tag.users,
        core=tag.core,
        edge=place.edge,
        source=f"normal: {source}; otherwise {tag.source}" if from_unit and source != tag.source else tag.source,
        states=tag.states,
    )
    _check(made, row)
    if tag.kind != "counter":
        return made
    flow = fill(tag.integrates) if tag.integrates else None
    return replace(
        made,
        integrates=flow if flow is None or "." in flow else f"{place.path}.{flow}",
        per_hour=tag.per_hour.value(known) if tag.per_hour else 1.0,
        modulus=tag.modulus,
        high=tag.modulus or made.high,
        resolution=tag.resolution.value(known) if tag.resolution else math.nan,
        max_rate=tag.max_rate.value(known) if tag.max_rate else None,
    )


def _check(tag: Tag, row: Table) -> None:
    if tag.ucum not in KNOWN:
        row.note(tag.suffix, f"{tag.ucum!r} is not a UCUM code that hefa_contract.units knows")
    if tag.low >= tag.high:
        row.note(tag.suffix, f"the range {tag.low:g}..{tag.high:g} is empty")
    if not math.isnan(tag.normal) and not tag.low <= tag.normal <= tag.high:
        row.note(tag.suffix, f"the normal value {tag.normal:g} is outside the range {tag.low:g}..{tag.high:g}")
    limits = [limit for limit in (tag.ll, tag.l, tag.h, tag.hh) if limit is not None]
    if any(lower >= upper for lower, upper in pairwise(limits)):
        row.note(tag.suffix, f"the limits LL L H HH must rise, they are {', '.join(f'{x:g}' for x in limits)}")
    if tag.noise_sd < 0:
        row.note(tag.suffix, f"the noise {tag.noise_sd:g} is negative")


def _read_tag(
    suffix: str,
    row: Table,
    source: str,
    parameters: Mapping[str, Parameter],
    users: Mapping[str, str],
    earlier: Mapping[str, TagTemplate],
) -> TagTemplate:
    """Read one row. With `like = "suffix"` it starts from an earlier row and says only what differs."""
    base: TagTemplate | None = None
    if row.has("like"):
        like = row.text("like")
        base = earlier.get(like)
        if base is None:
            row.note("like", f"{like!r} is no earlier tag of this template; allowed: {', '.join(earlier) or 'none'}")
    kind_text = row.text("kind", base.kind if base else "gauge", get_args(Kind))
    kind: Kind = kind_text if kind_text in get_args(Kind) else "gauge"  # type: ignore[assignment]
    numbers = _Formulas(row, parameters)
    ucum = row.text("ucum", base.ucum if base else ("1" if kind == "state" else None))
    if ucum and "{" not in ucum and ucum not in KNOWN:
        row.note("ucum", f"{ucum!r} is not a UCUM code that hefa_contract.units knows")
    letters = row.text("users", "".join(base.users) if base else None)
    for letter in letters:
        if letter not in users:
            row.note("users", f"{letter!r} is no user of the plant file; allowed: {', '.join(users)}")
    states = _states(row, kind) if kind == "state" else None
    codes = (min(states, default=0), max(states, default=0)) if states else (0, 0)
    counter = kind == "counter"
    if kind == "state":
        low, high = Formula(plus=codes[0]), Formula(plus=codes[1])
    elif counter:
        low, high = Formula(), Formula(plus=MODULUS)
    else:
        low, high = numbers.pair("range", (base.low, base.high) if base else None)
    quiet = kind != "gauge"
    if counter:
        modulus = row.number("modulus", MODULUS)
        high = Formula(plus=modulus)
    read = TagTemplate(
        suffix=suffix,
        description=row.text("description", base.description if base else None),
        ucum=ucum,
        kind=kind,
        normal=numbers.one("normal", base.normal if base else None),
        low=low,
        high=high,
        noise=Formula() if quiet else numbers.one("noise", base.noise if base else None),
        period=row.number("period", base.period if base else (0.0 if kind in ("state", "setpoint") else None)),
        limits=(None,) * 4 if quiet else numbers.limits("limits", base.limits if base else (None,) * 4),
        users=tuple(letters),
        core=row.flag("core", base.core if base else True),
        source=row.text("source", base.source if base else source),
        states=states,
        integrates=row.text("integrates", "") or None if counter else None,
        per_hour=numbers.one("per_hour", Formula(plus=1.0)) if counter else None,
        resolution=numbers.one("resolution", None) if counter else None,
        max_rate=numbers.one("max_rate", Formula()) if counter and row.has("max_rate") else None,
        modulus=modulus if counter else None,
    )
    row.close()
    return read


def _states(row: Table, kind: Kind) -> Mapping[int, str]:
    codes: dict[int, str] = {}
    for code, name in row.table("states").items():
        if code.isdigit() and isinstance(name, str):
            codes[int(code)] = name
        else:
            row.note("states", f"{code} = {name!r} is not a whole number with the name of the state")
    return codes


class _Formulas:
    """The numeric fields of one row. A field is a number, the name of a parameter, or a table
    `{of = parameter, times, plus, decimals}`; lists of figures are a list of numbers, or a table whose `times` or
    `plus` is the list. `of` is the tag's own normal value when it is not said.
    """

    def __init__(self, row: Table, parameters: Mapping[str, Parameter]) -> None:
        self._row = row
        self._bases = [name for name, parameter in parameters.items() if not parameter.text]

    def one(self, key: str, default: Formula | None) -> Formula:
        value = self._row.raw(key)
        if value is None:
            if default is None:
                self._row.note(key, "is missing; it must be a number, a parameter or a formula")
            return default or Formula(plus=math.nan)
        if isinstance(value, str):
            return Formula(of=self._base(key, value, own=False))
        if not isinstance(value, dict):
            return Formula(plus=self._figure(key, value))
        of, entry = self._formula(key, value, own=key != NORMAL)
        decimals = entry.raw("decimals")
        if decimals is not None and (type(decimals) is not int or decimals < 0):
            entry.note("decimals", f"{decimals!r} is not a whole number")
            decimals = None
        made = Formula(of, entry.number("times", 1.0), entry.number("plus", 0.0), decimals)
        entry.close()
        return made

    def pair(self, key: str, default: tuple[Formula, Formula] | None) -> tuple[Formula, Formula]:
        if default is not None and not self._row.has(key):
            return default
        low, high = self._several(key, 2)
        if low is None or high is None:
            self._row.note(key, "needs a lowest and a highest value")
        return low or Formula(plus=math.nan), high or Formula(plus=math.nan)

    def limits(self, key: str, default: tuple[Formula | None, ...]) -> tuple[Formula | None, ...]:
        return self._several(key, 4) if self._row.has(key) else default

    def _several(self, key: str, count: int) -> tuple[Formula | None, ...]:
        value = self._row.raw(key)
        of, entry, field, figures = None, self._row, key, value
        if isinstance(value, dict):
            of, entry = self._formula(key, value, own=True)
            field = "times" if entry.has("times") else "plus"
            figures = entry.raw(field)
            entry.close()
        if not isinstance(figures, list) or len(figures) != count:
            absent = f", {ABSENT!r} where there is none" if count == 4 else ""
            entry.note(field, f"must be a list of {count} figures{absent}")
            return (None,) * count
        made: list[Formula | None] = []
        for figure in figures:
            if figure == ABSENT and count == 4:
                made.append(None)
            elif field == "times":
                made.append(Formula(of, times=self._figure(f"{key}.times", figure)))
            else:
                made.append(Formula(of, plus=self._figure(key, figure)))
        return tuple(made)

    def _formula(self, key: str, value: Mapping[str, Any], own: bool) -> tuple[str | None, Table]:
        entry = self._row.inline(key, value)
        base = entry.text("of", NORMAL if own else None)
        return self._base(f"{key}.of", base, own), entry

    def _base(self, key: str, name: str, own: bool) -> str | None:
        allowed = [NORMAL, *self._bases] if own else self._bases
        if name not in allowed:
            self._row.note(key, f"{name!r} is no numeric parameter of this template; allowed: {', '.join(allowed)}")
            return None
        return name

    def _figure(self, key: str, value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            self._row.note(key, f"{value!r} is not a number")
            return math.nan
        return float(value)
