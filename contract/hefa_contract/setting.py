"""Settings: what people decide and what changes on a day. Tariffs, prices, factors, targets, plan, alarm rules, baselines.

`judge` is the one rule book for them, whether they come from seeds/settings/*.toml (`load`) or by REST. A setting has a
kind, a name and a value; each version of it is valid from an instant on. Money is per unit of measure, never per tag.
"""

import math
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from itertools import pairwise
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

import msgspec
from msgspec import Meta, Struct

from hefa_contract import units
from hefa_contract.seedfile import Problem, Table

FOLDER = "settings/"
DAY_MIN = 24 * 60

Text = Annotated[str, Meta(min_length=1, max_length=100)]
Price = Annotated[float, Meta(ge=-1e9, le=1e9)]
Amount = Annotated[float, Meta(ge=0, le=1e12)]
Currency = Annotated[str, Meta(pattern=r"^[A-Z]{3}$")]
Clock = Annotated[str, Meta(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$|^24:00$")]
Carrier = Literal["electricity", "water", "gas", "steam", "air"]
Level = Literal["ll", "l", "h", "hh", "bad", "stale", "silent"]
Priority = Literal["high", "medium", "low"]
LIMITS: tuple[Level, ...] = ("ll", "l", "h", "hh")


class _Value(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What every value has: fields checked by type, and nothing beyond them."""


class Capacity(_Value, frozen=True, kw_only=True):
    """What the connection costs a month, for each `unit` of contracted or highest demand."""

    price: Price
    unit: Text


class DayHours(_Value, frozen=True, kw_only=True):
    """Which band holds when, local time of the site, on days of a type in some months. Bands fill the 24 hours."""

    hours: Annotated[dict[str, list[tuple[Clock, Clock]]], Meta(min_length=1, max_length=12)]
    months: Annotated[list[Annotated[int, Meta(ge=1, le=12)]], Meta(min_length=1, max_length=12)] = msgspec.field(
        default_factory=lambda: list(range(1, 13))
    )
    days: Literal["all", "workday", "weekend"] = "all"

    def __post_init__(self) -> None:
        spans = sorted((_minutes(a), _minutes(b), band) for band, parts in self.hours.items() for a, b in parts)
        for start, end, band in spans:
            if start >= end:
                raise ValueError(f"{_clock(start)}-{_clock(end)} of {band!r} does not end after it begins")
        edges = [(0, 0, ""), *spans, (DAY_MIN, DAY_MIN, "")]
        for (_, before, _), (after, _, _) in pairwise(edges):
            if before != after:
                what = "no band" if before < after else "two bands"
                low, high = sorted((before, after))
                raise ValueError(f"{what} from {_clock(low)} to {_clock(high)}: bands must fill 00:00 to 24:00 once")


class Tariff(_Value, frozen=True, kw_only=True):
    """Time-of-use price of a carrier: a price per `unit` for each band, and a calendar that says which band holds.

    Prices are given as `bands`, or as `base` with `multipliers`, from which `bands` follow. The first calendar rule
    that fits a month and a type of day decides. `power_factor` is the one below which the utility charges more.
    """

    carrier: Carrier
    currency: Currency
    unit: Text
    calendar: Annotated[list[DayHours], Meta(min_length=1, max_length=48)]
    bands: dict[str, Price] = {}
    base: Price | None = None
    multipliers: dict[str, Annotated[float, Meta(ge=0, le=100)]] | None = None
    capacity: Capacity | None = None
    power_factor: Annotated[float, Meta(gt=0, le=1)] | None = None
    rule: Annotated[str, Meta(max_length=1000)] = ""

    def __post_init__(self) -> None:
        _known(self.unit)
        if (self.base is None) != (self.multipliers is None):
            raise ValueError("base and multipliers go together")
        if self.multipliers is not None and self.base is not None:
            implied = {band: round(self.base * times, 6) for band, times in self.multipliers.items()}
            if self.bands and self.bands != implied:
                raise ValueError("bands differ from base x multipliers: give one of the two")
            msgspec.structs.force_setattr(self, "bands", implied)
        if not self.bands:
            raise ValueError("needs bands with their prices, or base and multipliers")
        for rule in self.calendar:
            for band in rule.hours:
                if band not in self.bands:
                    raise ValueError(f"the calendar names the band {band!r}, which has no price")
        for month in range(1, 13):
            for day in ("workday", "weekend"):
                if not any(month in rule.months and rule.days in ("all", day) for rule in self.calendar):
                    raise ValueError(f"no calendar rule fits a {day} in month {month}")


class Factor(_Value, frozen=True, kw_only=True):
    """What a unit of something stands for: `value` in `unit` of `quantity` (CO2, kgce …) for each `per` of `of`."""

    quantity: Text
    of: Text
    value: Price
    unit: Text
    per: Text
    scope: Literal[1, 2, 3] | None = None
    method: Literal["", "location", "market"] = ""
    region: Annotated[str, Meta(max_length=100)] = ""

    def __post_init__(self) -> None:
        _known(self.unit)
        _known(self.per)


class Cost(_Value, frozen=True, kw_only=True):
    """What a thing costs or earns: `value` in `currency` for each `per`. `strength` is kg of pure substance per kg."""

    group: Literal["energy", "water", "reagent", "product", "feed", "waste"]
    value: Price
    currency: Currency
    per: Text
    strength: Annotated[float, Meta(gt=0, le=1)] = 1.0

    def __post_init__(self) -> None:
        _known(self.per)


class Target(_Value, frozen=True, kw_only=True):
    """What a metric should be, in `unit` (for each `per`, where there is one). Missed, it is amber down to `warn`, and red beyond; without one it is red at once."""

    value: Price
    unit: Text
    better: Literal["higher", "lower"]
    per: Text | None = None
    warn: Price | None = None

    def __post_init__(self) -> None:
        _known(self.unit)
        if self.per is not None:
            _known(self.per)
        if self.warn is not None and (self.warn > self.value if self.better == "higher" else self.warn < self.value):
            raise ValueError(
                f"warn {self.warn:g} is better than the target {self.value:g}, and {self.better} is better"
            )


class Stop(_Value, frozen=True, kw_only=True):
    """A planned stop: from the first local day on, up to the last one, not included."""

    from_: date = msgspec.field(name="from")
    to: date

    def __post_init__(self) -> None:
        if self.from_ >= self.to:
            raise ValueError("an overhaul must end after it begins")


class Plan(_Value, frozen=True, kw_only=True):
    """What a product's plan says: t a day and a month, the rated rate, planned busy hours a day, stops."""

    t_per_day: Amount
    t_per_month: Amount | None = None
    rated_t_per_h: Annotated[float, Meta(gt=0, le=1e6)]
    busy_h_per_day: Annotated[float, Meta(ge=0, le=24)] = 24.0
    overhaul: Annotated[list[Stop], Meta(max_length=50)] = []


class While(_Value, frozen=True, kw_only=True):
    """While another tag shows one of these values: the tag named, or the one with this suffix on the same equipment."""

    values: Annotated[list[Price], Meta(min_length=1, max_length=50)]
    tag: Annotated[str, Meta(min_length=1, max_length=128)] | None = None
    suffix: Text | None = None

    def __post_init__(self) -> None:
        if (self.tag is None) == (self.suffix is None):
            raise ValueError("needs tag or suffix, one of the two")


class AlarmRule(_Value, frozen=True, kw_only=True):
    """What holds for the alarms of some tags: the first rule that fits decides each field it says.

    `limits` are the alarms it speaks of: those of limits unless it says others, `bad` and `stale` of signals, `silent`
    of gateways, which a rule names as `tag`. `latching`: over and seen, it stays until it is reset.
    """

    template: Text | None = None
    suffix: Text | None = None
    area: Text | None = None
    tag: Text | None = None
    limits: list[Level] = msgspec.field(default_factory=lambda: list(LIMITS))
    priority: Priority | None = None
    on_delay_s: Annotated[float, Meta(ge=0, le=3600)] | None = None
    off_delay_s: Annotated[float, Meta(ge=0, le=3600)] | None = None
    deadband_percent: Annotated[float, Meta(ge=0, le=50)] | None = None
    enabled: bool | None = None
    latching: bool | None = None
    suppressed_while: While | None = None


class Alarms(_Value, frozen=True, kw_only=True):
    """How alarms are judged: delays, deadband in % of the engineering span, priority by limit, exceptions.

    `signal_delay_s` is the on-delay of bad and stale signals and of silent gateways.
    """

    on_delay_s: Annotated[float, Meta(ge=0, le=3600)] = 5.0
    signal_delay_s: Annotated[float, Meta(ge=0, le=86_400)] = 60.0
    off_delay_s: Annotated[float, Meta(ge=0, le=3600)] = 10.0
    deadband_percent: Annotated[float, Meta(ge=0, le=50)] = 1.0
    priorities: dict[Level, Priority] = {}
    rules: Annotated[list[AlarmRule], Meta(max_length=500)] = []


class Baseline(_Value, frozen=True, kw_only=True):
    """Which whole days an energy baseline stands on, from the first local day up to `to`, and what shall explain them."""

    carrier: Carrier
    from_: date = msgspec.field(name="from")
    to: date
    area: Text | None = None
    drivers: Annotated[list[Literal["production", "temperature"]], Meta(max_length=2)] = msgspec.field(
        default_factory=lambda: ["production", "temperature"]
    )

    def __post_init__(self) -> None:
        if not 0 < (self.to - self.from_).days <= 1100:
            raise ValueError("a baseline must end after it begins, by three years at most")
        if len(set(self.drivers)) != len(self.drivers):
            raise ValueError("a driver is named twice")


Kind = Literal["tariff", "factor", "price", "target", "plan", "alarm", "baseline"]
KINDS: Mapping[str, type[_Value]] = {
    "tariff": Tariff, "factor": Factor, "price": Cost, "target": Target, "plan": Plan, "alarm": Alarms,
    "baseline": Baseline,
}  # fmt: skip


class SettingError(ValueError):
    """The value is none of its kind. The text says where and what would do."""


def judge(kind: str, value: object) -> dict[str, Any]:
    """The value of a setting by the rules of its kind, with defaults filled in, as plain JSON. Raises SettingError."""
    if kind not in KINDS:
        raise SettingError(f"{kind!r} is no kind of setting: there are {', '.join(KINDS)}")
    strange = next(_strange(value, "value"), None)
    if strange is not None:
        raise SettingError(strange)
    try:
        read = msgspec.convert(value, KINDS[kind])
    except msgspec.ValidationError as error:
        text = str(error).replace("`$", "`value")
        fields = ", ".join(field.encode_name for field in msgspec.structs.fields(KINDS[kind]))
        raise SettingError(f"{text}; a {kind} has {fields}") from None
    plain: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(read))
    return plain


@dataclass(frozen=True, slots=True)
class Seed:
    """A version of a setting as the seeds have it; `example` figures are plausible, not anybody's contract."""

    kind: str
    name: str
    valid_from: datetime
    valid_to: datetime | None
    value: dict[str, Any]
    source: str
    example: bool


class SeedError(ValueError):
    """The settings in the seeds have mistakes. `problems` has every one found, the text one per line."""

    def __init__(self, problems: list[Problem]) -> None:
        self.problems = tuple(dict.fromkeys(problems))
        super().__init__("\n".join(str(problem) for problem in self.problems))


def load(texts: Mapping[str, str], timezone: str) -> list[Seed]:
    """Read every settings/*.toml of the seeds: {path below the seeds folder: text}.

    A file holds arrays of tables by kind (`[[price]]`), each with name, valid_from, source and the fields of its value;
    `example = true` labels what is nobody's contract. A day without an offset begins in `timezone`. Raises SeedError.
    """
    problems: list[Problem] = []
    seeds: list[Seed] = []
    zone = ZoneInfo(timezone)
    for file, text in sorted(texts.items()):
        if not (file.startswith(FOLDER) and file.endswith(".toml")):
            continue
        try:
            data = tomllib.loads(text)
        except (tomllib.TOMLDecodeError, RecursionError) as error:
            problems.append(Problem(file, "", f"is not TOML: {error}"))
            continue
        table = Table(problems, file, "", data)
        for kind, entries in table.items():
            if kind not in KINDS or not isinstance(entries, list) or not all(isinstance(e, dict) for e in entries):
                table.note(kind, f"must be tables [[{kind}]] of one of {', '.join(KINDS)}")
                continue
            for n, entry in enumerate(entries):
                seed = _seed(kind, table.inline(f"{kind}.{n + 1}", entry), zone)
                if seed is not None:
                    seeds.append(seed)
    keys = [(seed.kind, seed.name, seed.valid_from) for seed in seeds]
    problems += [
        Problem(FOLDER, f"{kind} {name}", f"is there twice from {start.isoformat()} on")
        for kind, name, start in sorted(key for key in set(keys) if keys.count(key) > 1)
    ]
    if problems:
        raise SeedError(problems)
    return seeds


def _seed(kind: str, entry: Table, zone: ZoneInfo) -> Seed | None:
    name, source, example = entry.text("name"), entry.text("source"), entry.flag("example", False)
    valid_from = _instant(entry, "valid_from", zone)
    valid_to = _instant(entry, "valid_to", zone) if entry.has("valid_to") else None
    value = {key: given for key, given in entry.items() if key not in _BESIDE}
    named = 0 < len(name) <= 100
    if not named:
        entry.note("name", "must be 1 to 100 characters")
    if valid_from is None or not named:
        return None
    if valid_to is not None and valid_to <= valid_from:
        entry.note("valid_to", "must be after valid_from")
        return None
    try:
        return Seed(kind, name, valid_from, valid_to, judge(kind, value), source, example)
    except SettingError as error:
        entry.note("", str(error))
        return None


_BESIDE = ("name", "source", "example", "valid_from", "valid_to")


def _instant(entry: Table, key: str, zone: ZoneInfo) -> datetime | None:
    value = entry.raw(key)
    if isinstance(value, datetime):
        return (value if value.tzinfo else value.replace(tzinfo=zone)).astimezone(UTC)
    if isinstance(value, date):
        return datetime(value.year, value.month, value.day, tzinfo=zone).astimezone(UTC)
    entry.note(key, "must be a day such as 2026-01-01, or a time with offset")
    return None


def _strange(value: object, where: str) -> Iterator[str]:
    """What a JSON column or a calculation cannot hold, told with where it stands."""
    if isinstance(value, float) and not math.isfinite(value):
        yield f"{where} is no finite number"
    elif isinstance(value, int) and abs(value) > 1 << 53:
        yield f"{where} is beyond what a number can hold exactly"
    elif isinstance(value, str) and _UNPRINTABLE.search(value):
        yield f"{where} holds control characters"
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from _strange(key, f"a key of {where}")
            yield from _strange(inner, f"{where}.{key}"[:200])
    elif isinstance(value, list):
        for n, inner in enumerate(value):
            yield from _strange(inner, f"{where}[{n}]"[:200])


_UNPRINTABLE = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")


def _minutes(clock: str) -> int:
    return int(clock[:2]) * 60 + int(clock[3:])


def _clock(minutes: int) -> str:
    return f"{minutes // 60:02d}:{minutes % 60:02d}"


def _known(ucum: str) -> None:
    if ucum not in units.KNOWN:
        raise ValueError(f"{ucum!r} is no UCUM code known here, such as kW.h, m3, m3{{n}}, t, kg, %, 1")
