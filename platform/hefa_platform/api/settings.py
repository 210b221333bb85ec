"""Dated settings: tariffs, prices, factors, targets, the plan, alarm rules, baselines. What was entered is never overwritten."""

from datetime import UTC, datetime
from typing import Annotated, Any, Literal, get_args

from fastapi import APIRouter, Path, Query, Response
from pydantic import Field

from hefa_contract.setting import KINDS, SettingError, judge
from hefa_platform.api.guard import Engineer, Viewer
from hefa_platform.api.params import Answer, Asked, Instant, Page, Text, from_cursor, to_cursor
from hefa_platform.api.problems import invalid, responses
from hefa_platform.store import settings as store

router = APIRouter(prefix="/v1", tags=["records"])

Kind = Literal["tariff", "factor", "price", "target", "plan", "alarm", "baseline"]
assert get_args(Kind) == tuple(KINDS)
KindPath = Annotated[Kind, Path(description="Sort of setting")]
Name = Annotated[Text, Field(max_length=100)]


class Setting(Answer):
    """A version of a setting; `value` null: withdrawn. `example` figures came with the seeds and are nobody's contract.

    `start` and `end` are the part of the asked range in which it is in force.
    """

    id: int
    kind: str
    name: str
    valid_from: datetime
    valid_to: datetime | None
    value: dict[str, Any] | None
    source: str
    example: bool
    reason: str
    entered: datetime
    by: str
    start: datetime | None = None
    end: datetime | None = None


class Settings(Answer):
    items: list[Setting]
    next: str | None


class Ask(Page):
    """Which versions: those in force `at` a time (default: now), `from` and `to` for what held when, or `history`."""

    name: Annotated[list[Name], Field(default_factory=list, max_length=200)]
    at: Instant | None = None
    from_: Annotated[Instant | None, Field(alias="from")] = None
    to: Instant | None = None
    history: Annotated[bool, Field(description="Everything that was ever entered, the latest entry first")] = False


class NewSetting(Asked):
    """A version of a setting. Send `withdrawn` instead of `value` to take back what holds from `valid_from` on."""

    name: Annotated[Name, Field(examples=["gas"])]
    valid_from: Instant
    valid_to: Instant | None = None
    value: Annotated[dict[str, Any] | None, Field(description="The fields of the kind; a mistake names them all")] = (
        None
    )
    withdrawn: bool = False
    source: Annotated[Text, Field(max_length=500)] | None = None
    reason: Annotated[Text, Field(max_length=500)] | None = None


_PRICE = {
    "name": "gas", "valid_from": "2026-12-01T00:00:00+08:00", "source": "contract 4711, winter",
    "value": {"group": "energy", "value": 3.4, "currency": "CNY", "per": "m3{n}"},
}  # fmt: skip


@router.get("/settings/{kind}", summary="Settings of a kind", responses=responses())
def settings(caller: Viewer, kind: KindPath, query: Annotated[Ask, Query()]) -> Settings:
    """The versions in force at a time, what held when in a range, or the whole history."""
    names = query.name or None
    if query.history:
        if query.at is not None or query.from_ is not None or query.to is not None:
            raise invalid("query.history", "The history is of all times: leave out at, from and to.")
        before = from_cursor(query.cursor, tuple[int])
        rows = store.history(
            caller.database, caller.site, kind=kind, names=names, before=before[0] if before else None,
            limit=query.limit + 1,
        )  # fmt: skip
        page = rows[: query.limit]
        following = to_cursor(page[-1].setting_id) if len(rows) > query.limit else None
        return Settings(items=[_setting(row) for row in page], next=following)
    counting = store.versions(caller.database, caller.site, kind=kind, names=names)
    if query.from_ is not None:
        if query.at is not None:
            raise invalid("query.at", "Ask for one time (at) or for a range (from, to), not for both.")
        end = query.to or datetime.now(UTC)
        if query.from_ >= end:
            raise invalid("query.to", "The range ends before it begins: to must be later than from.")
        found = [_setting(s.setting, s.start, s.end) for s in store.segments(counting, query.from_, end)]
    elif query.to is not None:
        raise invalid("query.from", "A range needs a from; for one time use at.")
    else:
        found = [_setting(row) for row in store.in_force(counting, query.at or datetime.now(UTC))]
    start = from_cursor(query.cursor, tuple[int]) or (0,)
    if not 0 <= start[0] <= len(found):
        raise invalid("query.cursor", "The cursor is not one of ours: use 'next' of the page before, unchanged.")
    stop = start[0] + query.limit
    return Settings(items=found[start[0] : stop], next=to_cursor(stop) if stop < len(found) else None)


@router.post(
    "/settings/{kind}",
    summary="Enter a setting",
    status_code=201,
    responses=responses(400, 403, 413) | {200: {"model": Setting, "description": "It is so already"}},
    openapi_extra={"requestBody": {"content": {"application/json": {"example": _PRICE}}}},
)
def enter_setting(caller: Engineer, kind: KindPath, body: NewSetting, response: Response) -> Setting:
    """Add a version, audited. What holds before `valid_from` stays as it is; the same `valid_from` again corrects."""
    if body.valid_to is not None and body.valid_to <= body.valid_from:
        raise invalid("body.valid_to", "valid_to must be later than valid_from, or be left out.")
    if body.withdrawn != (body.value is None):
        raise invalid("body.value", "Send a value, or withdrawn = true without one.")
    value = None
    if body.value is not None:
        try:
            value = judge(kind, body.value)
        except SettingError as error:
            raise invalid("body.value", f"{error}.") from None
    row, new = store.enter(
        caller.database, caller.site, kind=kind, name=body.name, valid_from=body.valid_from, valid_to=body.valid_to,
        value=value, source=body.source or "", reason=body.reason or "", by=caller.principal.key_id,
    )  # fmt: skip
    response.status_code = 201 if new else 200
    return _setting(row)


def _setting(row: store.Setting, start: datetime | None = None, end: datetime | None = None) -> Setting:
    return Setting(
        id=row.setting_id, kind=row.kind, name=row.name, valid_from=row.valid_from, valid_to=row.valid_to,
        value=row.value, source=row.source, example=row.example, reason=row.reason, entered=row.entered_at,
        by=row.entered_by, start=start, end=end,
    )  # fmt: skip
