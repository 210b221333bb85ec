"""One equipment template: what it says about its tags, and the tags of one unit made from it.

A mixer-settler is written once and there are 23. A unit gives the template's parameters, may leave tags out
(`without`) and may say single fields of a tag otherwise (`override`).
"""

import math
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import cast, get_args

from hefa_contract.formula import NORMAL, Formula, Formulas
from hefa_contract.model import Kind, Tag
from hefa_contract.seedfile import Table
from hefa_contract.units import KNOWN

MODULUS = 1e7  # seven digits before the point, as most registers have
RESERVED = (NORMAL, "template", "description", "source", "without", "override")
NO_LIMITS: tuple[Formula | None, ...] = (None,) * 4
_SUFFIX = re.compile(r"[a-z][a-z0-9_]*")
_PLACEHOLDER = re.compile(r"\{([a-z_]+)\}")


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
    states: Mapping[int, str] | None = None
    integrates: str | None = None
    per_hour: Formula | None = None
    resolution: Formula | None = None
    max_rate: Formula | None = None
    modulus: float | None = None


@dataclass(frozen=True, slots=True)
class Template:
    """`numbers` and `texts` are the parameters, with their defaults; None = the unit must say it."""

    name: str
    description: str
    source: str
    numbers: Mapping[str, float | None]
    texts: Mapping[str, str | None]
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


def read_template(name: str, table: Table, users: Collection[str]) -> Template:
    """Read `[NAME]` of a template file. Mistakes are noted in the table's list."""
    numbers: dict[str, float | None] = {}
    texts: dict[str, str | None] = {}
    parameters = table.table("parameters", required=False)
    for key, entry in parameters.tables():
        entry.text("description")
        given = entry.has("default")
        if entry.text("type", "number", ("number", "text")) == "text":
            texts[key] = entry.text("default") if given else None
        else:
            numbers[key] = entry.number("default") if given else None
        entry.allow("default")
        entry.close()
        if key in RESERVED:
            parameters.note(key, "this name has a meaning of its own; choose another for the parameter")
    tags: dict[str, TagTemplate] = {}
    template = Template(name, table.text("description"), table.text("source"), numbers, texts, tags)
    for suffix, row in table.table("tags").tables():
        if not _SUFFIX.fullmatch(suffix):
            row.note("", "a tag's name is a small letter and then small letters, digits and '_'")
        tags[suffix] = _read_tag(suffix, row, template, users, _liked(row, tags))
    table.close()
    return template


def instantiate(template: Template, place: Place, row: Table, users: Collection[str]) -> list[Tag]:
    """The tags of one unit, in the template's order. `row` is the unit in the plant file; mistakes are noted there.
    Its meter and, for a counter, `max_rate` may still be to be set.
    """
    source = row.text("source", "")
    numbers = {name: row.number(name, default) for name, default in template.numbers.items()}
    texts = {name: row.text(name, default) for name, default in template.texts.items()}
    wanted = dict(template.tags)
    for suffix in row.texts("without"):
        if wanted.pop(suffix, None) is None:
            row.note("without", f"{suffix!r} is no tag of {template.name}; allowed: {', '.join(template.tags)}")
    for suffix, entry in row.table("override", required=False).tables():
        if suffix in wanted:
            wanted[suffix] = _read_tag(suffix, entry, template, users, wanted[suffix])
        else:
            entry.note("", f"is no tag of this unit; allowed: {', '.join(wanted)}")
    made = [_tag(tag, template.name, place, numbers, texts, source) for tag in wanted.values()]
    for tag in made:
        _check(tag, row)
    row.close()
    return made


def _tag(
    tag: TagTemplate, template: str, place: Place, numbers: Mapping[str, float], texts: Mapping[str, str], source: str
) -> Tag:
    normal = tag.normal.value(numbers)
    bases = {**numbers, NORMAL: normal}
    noise = tag.noise.value(bases)
    # A unit's own source speaks of its parameters; the rest of the row is still the template's.
    mixed = source and tag.normal.of and source != tag.source
    ll, l, h, hh = (limit.value(bases) if limit else None for limit in tag.limits)  # noqa: E741
    made = Tag(
        name=f"{place.path}.{tag.suffix}",
        equipment=place.path,
        area=place.area,
        line=place.line,
        unit=place.unit,
        template=template,
        suffix=tag.suffix,
        description=_filled(tag.description, texts),
        ucum=_filled(tag.ucum, texts),
        kind=tag.kind,
        normal=normal,
        low=tag.low.value(bases),
        high=tag.high.value(bases),
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
        source=f"normal: {source}; otherwise {tag.source}" if mixed else tag.source,
        states=tag.states,
    )
    if tag.kind != "counter":
        return made
    flow = _filled(tag.integrates, texts) if tag.integrates else None
    return replace(
        made,
        integrates=f"{place.path}.{flow}" if flow and "." not in flow else flow,
        per_hour=tag.per_hour.value(bases) if tag.per_hour else math.nan,
        resolution=tag.resolution.value(bases) if tag.resolution else math.nan,
        max_rate=tag.max_rate.value(bases) if tag.max_rate else None,
        modulus=tag.modulus,
    )


def _filled(text: str, texts: Mapping[str, str]) -> str:
    return _PLACEHOLDER.sub(lambda found: texts.get(found[1], found[0]), text)


def _check(tag: Tag, row: Table) -> None:
    if tag.ucum and tag.ucum not in KNOWN:
        row.note(tag.suffix, f"{tag.ucum!r} is not a UCUM code that hefa_contract.units knows")
    if tag.low > tag.high or (tag.low == tag.high and tag.kind != "state"):
        row.note(tag.suffix, f"the range {tag.low:g}..{tag.high:g} is empty")
    elif tag.normal < tag.low or tag.normal > tag.high:
        row.note(tag.suffix, f"the normal value {tag.normal:g} is outside the range {tag.low:g}..{tag.high:g}")
    limits = [limit for limit in (tag.ll, tag.l, tag.h, tag.hh) if limit is not None]
    if any(lower >= upper for lower, upper in pairwise(limits)):
        row.note(tag.suffix, f"the limits LL, L, H, HH must rise; they are {', '.join(f'{x:g}' for x in limits)}")
    if tag.noise_sd < 0:
        row.note(tag.suffix, f"the noise {tag.noise_sd:g} is negative")


def _liked(row: Table, earlier: Mapping[str, TagTemplate]) -> TagTemplate | None:
    """The earlier row that `like` names: the row says only what differs from it."""
    like = row.text("like", "")
    if like and like not in earlier:
        row.note("like", f"{like!r} is no earlier tag of this template; allowed: {', '.join(earlier) or 'none'}")
    return earlier.get(like)


def _read_tag(
    suffix: str, row: Table, template: Template, users: Collection[str], base: TagTemplate | None
) -> TagTemplate:
    """Read one row; what it does not say is as in `base`."""
    named = row.text("kind", base.kind if base else "gauge", get_args(Kind))
    kind = cast(Kind, named) if named in get_args(Kind) else "gauge"
    figures = Formulas(row, template.numbers)
    period = row.number("period", base.period if base else (0.0 if kind in ("state", "setpoint") else None))
    if period < 0:
        row.note("period", "must not be negative; 0 is: when it changes")
    read = TagTemplate(
        suffix=suffix,
        description=row.text("description", base.description if base else None),
        ucum=row.text("ucum", base.ucum if base else ("1" if kind == "state" else None)),
        kind=kind,
        normal=figures.one(NORMAL, base.normal if base else None),
        low=Formula(),
        high=Formula(),
        noise=Formula(),
        period=period,
        limits=NO_LIMITS,
        users=tuple(row.text("users", "".join(base.users) if base else None)),
        core=row.flag("core", base.core if base else True),
        source=row.text("source", base.source if base else template.source),
    )
    if kind in ("gauge", "setpoint"):
        low, high = figures.pair("range", (base.low, base.high) if base else None)
        read = replace(read, low=low, high=high)
    if kind == "gauge":
        noise = figures.one("noise", base.noise if base else None)
        read = replace(read, noise=noise, limits=figures.limits("limits", base.limits if base else NO_LIMITS))
    if kind == "state":
        states = _read_states(row, base.states if base else None)
        low, high = (Formula(plus=float(code(states, default=0))) for code in (min, max))
        read = replace(read, states=states, low=low, high=high)
    if kind == "counter":
        read = _read_counter(row, figures, read, base)
    _check_texts(row, read, template, users)
    row.close()
    return read


def _read_states(row: Table, base: Mapping[int, str] | None) -> Mapping[int, str]:
    if base and not row.has("states"):
        return base
    codes: dict[int, str] = {}
    table = row.table("states")
    for code, name in table.items():
        if re.fullmatch("[0-9]{1,9}", code) and isinstance(name, str):
            codes[int(code)] = name
        else:
            table.note(code, f"{name!r}: a state is a whole number with its name")
    return codes


def _read_counter(row: Table, figures: Formulas, read: TagTemplate, base: TagTemplate | None) -> TagTemplate:
    old = base or read
    modulus = row.number("modulus", old.modulus or MODULUS)
    max_rate = figures.one("max_rate") if row.has("max_rate") else old.max_rate
    row.allow("max_rate")
    return replace(
        read,
        high=Formula(plus=modulus),
        integrates=row.text("integrates", old.integrates or "") or None,
        per_hour=figures.one("per_hour", old.per_hour or Formula(plus=1.0)),
        resolution=figures.one("resolution", old.resolution),
        max_rate=max_rate,
        modulus=modulus,
    )


def _check_texts(row: Table, read: TagTemplate, template: Template, users: Collection[str]) -> None:
    for key, text in (("description", read.description), ("integrates", read.integrates or "")):
        for name in _PLACEHOLDER.findall(text):
            if name not in template.texts:
                row.note(key, f"{{{name}}} is no text parameter; allowed: {', '.join(template.texts) or 'none'}")
    # A code with a parameter in it can be checked only for the units that give the parameter.
    if read.ucum and read.ucum not in KNOWN and not any(f"{{{name}}}" in read.ucum for name in template.texts):
        row.note("ucum", f"{read.ucum!r} is not a UCUM code that hefa_contract.units knows")
    for letter in read.users:
        if letter not in users:
            row.note("users", f"{letter!r} is no user of the plant file; allowed: {', '.join(users)}")
