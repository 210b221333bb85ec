"""What callers may write in a query or a body: instants, names, zones, cursors. Each error says what would do."""

import base64
import binascii
import re
from collections import Counter
from datetime import UTC, datetime
from functools import cache
from typing import Annotated, Any, TypeVar, get_origin
from zoneinfo import ZoneInfo, available_timezones

import msgspec
from fastapi import Path, Request
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, WithJsonSchema

from hefa_platform.api.problems import Problem, invalid, nearest

_RFC3339 = re.compile(r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?([Zz]|[+ -]\d\d:\d\d)?", re.ASCII)
T = TypeVar("T")

_EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
_LATEST = datetime(2200, 1, 1, tzinfo=UTC)


def instant(text: object) -> datetime:
    """Read an RFC 3339 time with offset as an instant in UTC, to the µs.

    An offset's + that arrived as a space, because it was not escaped in the URL, is understood.
    """
    if isinstance(text, datetime):
        return text
    match = _RFC3339.fullmatch(text.strip()) if isinstance(text, str) else None
    if match is None:
        raise ValueError("must be an RFC 3339 time such as 2026-11-22T08:00:00Z or 2026-11-22T16:00:00+08:00")
    day, clock, fraction, offset = match.groups()
    if offset is None:
        raise ValueError(f"has no offset: write {day}T{clock}Z for UTC, or for local time {day}T{clock}+08:00")
    offset = "+00:00" if offset in "Zz" else offset.replace(" ", "+")
    try:
        read = datetime.fromisoformat(f"{day}T{clock}.{(fraction or '0')[:6]:0<6}{offset}").astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError("is not a time that exists: check month, day, hour, minute, second and offset") from None
    if not _EARLIEST <= read < _LATEST:
        raise ValueError("must lie between 1970 and 2199")
    return read


def micros(moment: datetime) -> int:
    """µs since the Unix epoch."""
    delta = moment - _EARLIEST
    return (delta.days * 86_400 + delta.seconds) * 1_000_000 + delta.microseconds


def moment(us: int) -> datetime:
    """The instant `us` µs after the Unix epoch."""
    return datetime.fromtimestamp(us // 1_000_000, UTC).replace(microsecond=us % 1_000_000)


def rfc3339(moment: datetime) -> str:
    """As in every answer: UTC, `Z`, µs only where there are any."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def zone(name: str | None) -> ZoneInfo | None:
    """The IANA zone called `name`. Raises a 422 that suggests one."""
    if name is None:
        return None
    if name not in _zones():
        near = nearest(name, _zones())
        advice = f"Did you mean {' or '.join(near)}?" if near else "Write it as Area/City."
        raise invalid("query.tz", f"{name!r} is not an IANA time zone such as Asia/Shanghai or UTC. {advice}")
    return ZoneInfo(name)


@cache
def _zones() -> frozenset[str]:
    return frozenset(available_timezones())


def _sound(text: str) -> str:
    if any(ch < " " or ch == "\x7f" or "\ud800" <= ch <= "\udfff" for ch in text):
        raise ValueError("must not hold control characters")
    return text


def _no_nul(text: str) -> str:
    if "\x00" in text:
        raise ValueError("must not hold NUL characters")
    return text


Instant = Annotated[
    datetime,
    BeforeValidator(instant),
    WithJsonSchema({"type": "string", "format": "date-time", "examples": ["2026-11-22T08:00:00Z"]}),
]
Text = Annotated[str, StringConstraints(min_length=1, max_length=200), AfterValidator(_sound)]
Prose = Annotated[str, AfterValidator(_no_nul)]
"""What people write, in lines. Say how long it may be."""
TagName = Annotated[str, StringConstraints(min_length=1, max_length=128), AfterValidator(_sound)]
TagPath = Annotated[TagName, Path(examples=["A2-SX.SXA.MS-A01.ph"], description="Name of the tag")]
Cursor = Annotated[
    str, StringConstraints(max_length=400), Field(description="`next` of the page before; absent for the first page")
]


def to_cursor(*position: object) -> str:
    """An opaque text that says where the next page begins."""
    return base64.urlsafe_b64encode(msgspec.json.encode(position)).decode().rstrip("=")


def from_cursor(text: str | None, shape: type[T]) -> T | None:
    """Read a cursor of ours; 422 for any other text."""
    if text is None:
        return None
    try:
        return msgspec.json.decode(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)), type=shape)
    except (msgspec.MsgspecError, binascii.Error, ValueError):
        raise invalid(
            "query.cursor", "The cursor is not one of ours: use 'next' of the page before, unchanged."
        ) from None


class Asked(BaseModel):
    """A query or a body. What it does not know is refused, so that a misspelt filter never means 'everything'."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=False)


def named_once(request: Request) -> None:
    """422 where a query repeats a parameter that is no list: which of the values holds would be a guess."""
    given = request.query_params.multi_items()
    if len(given) == len(request.query_params):
        return
    models = [field.field_info.annotation for field in request.scope["route"].dependant.query_params]
    single = {
        field.alias or name
        for model in models
        for name, field in model.model_fields.items()
        if get_origin(field.annotation) is not list
    }
    repeated = [name for name, count in Counter(name for name, _ in given).items() if count > 1 and name in single]
    if repeated:
        errors = [{"where": f"query.{name}", "detail": "is given more than once: give it once"} for name in repeated]
        detail = "; ".join(f"{name}: is given more than once: give it once" for name in repeated)
        raise Problem(422, "invalid", "Invalid request", detail, errors=errors)


class Page(Asked):
    """How much of a list."""

    limit: Annotated[int, Field(ge=1, le=2000, description="Items per page")] = 200
    cursor: Cursor | None = None


class Answer(BaseModel):
    """An answer. Times in it are UTC."""

    model_config = ConfigDict(ser_json_inf_nan="null")


def example(**fields: Any) -> ConfigDict:
    """Show an answer in the API's description."""
    return ConfigDict(json_schema_extra={"examples": [fields]})
