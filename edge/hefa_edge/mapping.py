"""What messages of gateways that do not speak our envelope mean: a mapping file, and its rules applied.

Pure: text in, readings out. The file is TOML; `read` names every mistake in it at once. A message is never dropped:
what a rule cannot read becomes `Unreadable` and goes to the platform's quarantine.
"""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Annotated, Any, Literal, NamedTuple, cast

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from hefa_contract import strictjson, topics
from hefa_contract.envelope import BAD, GOOD, MAX_TS, UNCERTAIN, is_tag_name
from hefa_contract.rejection import Rejected
from hefa_edge.config import ConfigError

_STEP = re.compile(r"""\.([A-Za-z0-9_\-]+)|\[(\d{1,6})\]|\["([^"]+)"\]""")
_PLACE = re.compile(r"\{([^{}]*)\}")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_UNITS = {"s": 1e6, "ms": 1e3, "us": 1.0}
_WORDS = {"true": 1.0, "on": 1.0, "false": 0.0, "off": 0.0}
_SHOWN = 300  # bytes of a payload that nobody could read

Finite = Annotated[float, Field(allow_inf_nan=False)]


class Reading(NamedTuple):
    """One reading, ready for an envelope; `value` is NaN where there is none."""

    tag: str
    ts: int
    value: float
    quality: int


class Unreadable(NamedTuple):
    """A message that a rule could not read. `tag` is where it belongs, `text` says from where, why, and what came."""

    tag: str
    ts: int
    why: str
    text: str


class Rule(BaseModel):
    """One value in the messages of one topic filter."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    filter: Annotated[str, Field(min_length=1, max_length=500)]
    tag: Annotated[str, Field(min_length=1, max_length=128)]
    payload: Literal["text", "json"] = "text"
    value: str = "$"
    time: str | None = None
    time_unit: Literal["s", "ms", "us", "rfc3339"] = "ms"
    quality: str | None = None
    qualities: dict[str, Annotated[int, Field(ge=0, le=255)]] = {}
    words: dict[str, Finite] = {}
    scale: Finite = 1.0
    offset: Finite = 0.0
    optional: bool = False

    @field_validator("filter")
    @classmethod
    def _is_filter(cls, text: str) -> str:
        levels = text.split("/")
        if any("+" in level and level != "+" for level in levels) or any("#" in level for level in levels[:-1]):
            raise ValueError("is no topic filter: + stands for a whole level, # only at the end")
        if "#" in levels[-1] and levels[-1] != "#":
            raise ValueError("is no topic filter: # stands for whole levels")
        if text.startswith(("$", "hefa/")) or _overlap(levels, [*topics.PREFIX.split("/"), "+", "+"]):
            raise ValueError(f"would take in what is not foreign: $share, $SYS or our own {topics.PREFIX}/…")
        return text

    @field_validator("value", "time", "quality")
    @classmethod
    def _is_path(cls, text: str | None) -> str | None:
        if text is not None and _steps(text) is None:
            raise ValueError(f'{text!r} is no path such as $.d.temp, $.values[0] or $["a b"]')
        return text

    @model_validator(mode="after")
    def _fits(self) -> Rule:
        levels = len(self.filter.removesuffix("/#").split("/"))
        for name in _PLACE.findall(self.tag):
            if not name.isdigit() or not 1 <= int(name) <= levels:
                raise ValueError(f"tag: {{{name}}} is none of {{1}} to {{{levels}}}, the levels of the filter")
        if not is_tag_name(_PLACE.sub("x", self.tag)):
            raise ValueError("tag: a name has 1 to 128 characters, without control characters, + and #")
        if self.payload == "text" and (self.value != "$" or self.time or self.quality):
            raise ValueError('payload: value, time and quality are fields of payload = "json"')
        return self

    @cached_property
    def paths(self) -> tuple[list[str | int], list[str | int] | None, list[str | int] | None]:
        """The paths of value, time and quality, taken apart."""
        value, time, quality = (
            None if path is None else _steps(path) for path in (self.value, self.time, self.quality)
        )
        return value or [], time, quality

    def matches(self, levels: Sequence[str]) -> bool:
        """Say whether the filter takes in a topic of these levels; `a/#` takes in `a` too, as MQTT has it."""
        wanted = self.filter.split("/")
        if wanted[-1] == "#":
            wanted = wanted[:-1]
            levels = levels[: len(wanted)]
        return len(levels) == len(wanted) and all(w in ("+", level) for w, level in zip(wanted, levels, strict=True))


class Mapping(BaseModel):
    """A mapping file: the gateway's name on the platform, and its rules."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    edge: str
    rule: Annotated[list[Rule], Field(min_length=1, max_length=2000)]

    @field_validator("edge")
    @classmethod
    def _is_edge(cls, name: str) -> str:
        if not topics.is_edge_name(name):
            raise ValueError(f"{name!r} is no name of a gateway: {topics.EDGE_NAME.pattern}, not state, ingest or api")
        return name

    @model_validator(mode="after")
    def _apart(self) -> Mapping:
        filters = self.filters
        for at, one in enumerate(filters):
            for other in filters[at + 1 :]:
                if _overlap(one.split("/"), other.split("/")):
                    raise ValueError(
                        f"rule: {one} and {other} overlap, so that a broker may send a message twice: "
                        "give the rules the same filter, or filters apart"
                    )
        return self

    @cached_property
    def filters(self) -> list[str]:
        """Every filter once."""
        return list(dict.fromkeys(rule.filter for rule in self.rule))

    def translate(self, topic: str, payload: bytes, arrived: int) -> list[Reading | Unreadable]:
        """What a message says, rule by rule; `arrived` (µs) is the time of values that bring none."""
        levels = topic.split("/")
        found: list[Reading | Unreadable] = []
        for rule in self.rule:
            if not rule.matches(levels):
                continue
            tag = _PLACE.sub(lambda place: levels[int(place[1]) - 1], rule.tag)
            reading: Reading | Unreadable | None
            try:
                reading = _apply(rule, tag, payload, arrived)
            except _Unfit as unfit:
                reading = _unreadable(tag, topic, payload, str(unfit), arrived)
            if reading is not None and not is_tag_name(tag):
                reading = _unreadable(topic, topic, payload, f"{tag!r} is no name of a tag", arrived)
            if reading is not None:
                found.append(reading)
        return found or ([] if self._silent(levels) else [_unreadable(topic, topic, payload, "no rule", arrived)])

    def _silent(self, levels: Sequence[str]) -> bool:
        return any(rule.optional and rule.matches(levels) for rule in self.rule)


def read(file: str, text: str) -> Mapping:
    """Read a mapping file called `file`. Raises ConfigError with every mistake, each with file, key and what is allowed."""
    try:
        return Mapping.model_validate(tomllib.loads(text))
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ConfigError(f"{file}: no TOML: {error}") from None
    except ValidationError as error:
        lines = [f"{file}: {_key(one['loc'])}{_said(one)}" for one in error.errors()]
        raise ConfigError("\n".join(lines)) from None


class _Unfit(Exception):
    """Why a rule cannot read a message."""


def _apply(rule: Rule, tag: str, payload: bytes, arrived: int) -> Reading | None:
    raw, time, grade = _fields(rule, payload)
    if raw is _ABSENT:
        if rule.optional:
            return None
        raise _Unfit(f"there is no {rule.value}")
    ts = arrived if rule.time is None else _time(time, rule)
    value = math.nan if raw is None else _value(raw, rule.words) * rule.scale + rule.offset
    if raw is not None and not math.isfinite(value):
        raise _Unfit("the value is beyond double precision")
    quality = GOOD if rule.quality is None else _quality(grade, rule.qualities)
    if rule.time is None:
        quality = min(quality, UNCERTAIN)  # best effort: it was measured some time before
    return Reading(tag, ts, value, BAD if raw is None else quality)


_ABSENT = object()


def _fields(rule: Rule, payload: bytes) -> tuple[Any, Any, Any]:
    """Value, time and quality as they stand in the message."""
    if rule.payload == "text":
        try:
            return payload.decode().strip(), None, None
        except UnicodeDecodeError:
            raise _Unfit("the payload is not UTF-8") from None
    try:
        document = strictjson.loads(payload)
    except Rejected as error:
        raise _Unfit(f"no JSON: {error.detail}") from None
    value, time, quality = (None if path is None else _follow(document, path) for path in rule.paths)
    return value, time, quality


def _follow(document: Any, steps: list[str | int]) -> Any:
    for step in steps:
        if type(document) is not (list if isinstance(step, int) else dict):
            return _ABSENT
        try:
            document = cast(Any, document)[step]
        except LookupError:
            return _ABSENT
    return document


def _value(raw: Any, words: dict[str, float]) -> float:
    spelt = _spelt(raw)
    if spelt is not None and spelt in words:
        return words[spelt]
    # What the mapping says of a word holds: written with other capitals it is a mistake, not our own meaning of it.
    if spelt is not None and spelt.lower() in _WORDS and spelt.lower() not in map(str.lower, words):
        return _WORDS[spelt.lower()]
    if isinstance(raw, (int, float)) and not isinstance(raw, bool):
        try:
            return float(raw)
        except OverflowError:
            return math.inf
    if isinstance(raw, str) and _NUMBER.fullmatch(raw):
        return float(raw)
    raise _Unfit("the value is no number")


def _time(raw: Any, rule: Rule) -> int:
    """µs since the epoch."""
    found: float | None = None
    if rule.time_unit == "rfc3339":
        try:
            moment = datetime.fromisoformat(raw) if isinstance(raw, str) else None
        except ValueError:
            moment = None
        if moment is not None and moment.tzinfo is not None:
            found = (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    elif isinstance(raw, int) and not isinstance(raw, bool):
        found = raw * int(_UNITS[rule.time_unit])  # exact
    elif isinstance(raw, float) and math.isfinite(raw):
        found = raw * _UNITS[rule.time_unit]
    if found is None or not 0 <= found <= MAX_TS:
        wanted = "an RFC 3339 time with offset" if rule.time_unit == "rfc3339" else f"a time in {rule.time_unit}"
        raise _Unfit(f"{rule.time} is not {wanted}")
    return round(found)


def _quality(raw: Any, qualities: dict[str, int]) -> int:
    spelt = _spelt(raw)
    if spelt is not None and spelt in qualities:
        return qualities[spelt]
    if isinstance(raw, int) and not isinstance(raw, bool) and 0 <= raw <= 255 and not qualities:
        return raw
    raise _Unfit("the quality is none of the mapping's" if qualities else "the quality is no OPC quality (0 to 255)")


def _spelt(raw: Any) -> str | None:
    """A text, a whole number or a truth value as a mapping's words and qualities write it; None for anything else."""
    if isinstance(raw, bool):
        return "true" if raw else "false"
    return str(raw) if isinstance(raw, (str, int)) else None


def _unreadable(tag: str, topic: str, payload: bytes, why: str, arrived: int) -> Unreadable:
    name = re.sub(r"[\x00-\x1f\x7f+#]", "_", tag)[:128]
    return Unreadable(name or "unnamed", arrived, why, f"{topic[:100]}: {why}: {payload[:_SHOWN]!r}"[:480])


def _steps(path: str) -> list[str | int] | None:
    """$.a[0] becomes ["a", 0]; None for what is no path."""
    if not path.startswith("$"):
        return None
    at, steps = 1, list[str | int]()
    while at < len(path):
        found = _STEP.match(path, at)
        if found is None:
            return None
        steps.append(int(found[2]) if found[2] else found[1] or found[3])
        at = found.end()
    return steps


def _overlap(one: list[str], other: list[str]) -> bool:
    """Whether a topic can match both filters."""
    for k in range(max(len(one), len(other))):
        a, b = one[k] if k < len(one) else None, other[k] if k < len(other) else None
        if "#" in (a, b):
            return True
        if a is None or b is None:
            return False
        if a != b and "+" not in (a, b):
            return False
    return True


def _key(where: tuple[int | str, ...]) -> str:
    """rule.0.filter becomes rule 1: filter:."""
    words = [f"rule {part + 1}" if isinstance(part, int) else str(part) for part in where if part != "rule"]
    return f"{', '.join(words)}: " if words else ""


def _said(error: Any) -> str:
    if error["type"] == "extra_forbidden":
        allowed = Rule.model_fields if len(error["loc"]) > 1 else Mapping.model_fields
        return f"unknown key; allowed here: {', '.join(allowed)}"
    if error["type"] == "missing":
        return "is missing"
    return str(error["msg"]).removeprefix("Value error, ")
