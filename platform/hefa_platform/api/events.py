"""Events of the plant: what gateways reported, and what people enter. One rule book for both: the contract's."""

import hashlib
import secrets
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal, get_args

import msgspec
from fastapi import APIRouter, Header, Query, Response
from pydantic import BaseModel, ConfigDict, Field

from hefa_contract import envelope
from hefa_contract.event import TYPES, AnyEvent
from hefa_contract.rejection import Rejected
from hefa_platform.api.guard import Caller, Operator, Viewer, of_this_site
from hefa_platform.api.params import (
    Answer,
    Instant,
    Page,
    Text,
    from_cursor,
    instant,
    micros,
    moment,
    rfc3339,
    to_cursor,
)
from hefa_platform.api.problems import Problem, invalid, responses
from hefa_platform.store import records as store

router = APIRouter(prefix="/v1", tags=["events"])

AHEAD = timedelta(minutes=5)  # how far a clock may be ahead of ours
_INSTANTS = ("entered", "until")  # fields beyond ts that are µs on the wire and RFC 3339 here

EventType = Literal["fault", "lab_result", "lot", "meter_swap", "note", "shift"]
assert get_args(EventType) == TYPES


class Event(Answer):
    """What happened to `subject` at `ts`; `body` are the fields of its type."""

    id: int
    edge: str
    type: str
    ts: datetime
    subject: str
    body: dict[str, Any]
    received: datetime


class Events(Answer):
    items: list[Event]
    next: str | None


class Ask(Page):
    type: EventType | None = None
    subject: Annotated[Text | None, Field(examples=["A2-SX.SXA"])] = None
    from_: Annotated[Instant | None, Field(alias="from")] = None
    to: Annotated[Instant | None, Field(description="Events before it; default: also those to come")] = None


class NewEvent(BaseModel):
    """An event as a gateway would send it, but with RFC 3339 times: type, ts, subject and the fields of the type."""

    model_config = ConfigDict(extra="allow")

    type: EventType
    ts: Instant
    subject: Text


_NOTE = {"type": "note", "ts": "2026-11-22T08:00:00Z", "subject": "A2-SX.SXA", "text": "Interface high in MS-A07", "author": "shift B"}  # fmt: skip


@router.get("/events", summary="Events", responses=responses())
def events(caller: Viewer, query: Annotated[Ask, Query()]) -> Events:
    """Events of a range, of a type, of a subject, latest first."""
    before = from_cursor(query.cursor, tuple[datetime, int])
    if before is not None and before[0].tzinfo is None:
        raise invalid("query.cursor", "The cursor is not one of ours: use 'next' of the page before, unchanged.")
    rows = store.events(
        caller.database, caller.site, type=query.type, subject=query.subject, start=query.from_, end=query.to,
        before=before, limit=query.limit + 1,
    )  # fmt: skip
    page = rows[: query.limit]
    following = to_cursor(page[-1].ts, page[-1].event_id) if len(rows) > query.limit else None
    return Events(items=[shown(row) for row in page], next=following)


@router.post(
    "/events",
    summary="Enter an event",
    status_code=201,
    responses=responses(400, 403, 409, 413)
    | {200: {"model": Event, "description": "This request was here before: the event kept then"}},
    openapi_extra={"requestBody": {"content": {"application/json": {"example": _NOTE}}}},
)
def post_event(
    caller: Operator,
    body: NewEvent,
    response: Response,
    idempotency_key: Annotated[
        str | None,
        Header(max_length=128, pattern=r"^[!-~]+$", description="The same key again enters nothing twice"),
    ] = None,
) -> Event:
    """Keep an event under the gateway `api`, in the ledger like any other. Send an Idempotency-Key to repeat safely."""
    row, new = keep(caller, body, idempotency_key)
    response.status_code = 201 if new else 200
    return shown(row)


def keep(caller: Caller, body: NewEvent, idempotency_key: str | None) -> tuple[store.Event, bool]:
    """Judge an event by the contract and keep it; return it and whether it is new.

    422, also for one that the database has no use for, 409 for an Idempotency-Key used before, and 403 where the key is
    for another site.
    """
    of_this_site(caller)
    event = _judged(body)
    content = msgspec.json.encode(event, order="sorted")
    epoch = epoch_of(caller, idempotency_key or secrets.token_hex(16))
    try:
        return store.post_event(
            caller.database, type=body.type, ts=body.ts, subject=event.subject, body=event.body(), epoch=epoch,
            hash=hashlib.sha256(content).digest(), by=caller.principal.key_id,
        )  # fmt: skip
    except store.EventRefused as error:
        detail = f"Nothing was kept: {error}."
        raise invalid("body.ts" if error.code == "TS_TOO_OLD" else "body", detail, error.code) from None
    except store.KeyReused:
        raise Problem(
            409, "idempotency-key", "Key reused", "This Idempotency-Key was used for another event: choose a new one."
        ) from None


def epoch_of(caller: Caller, chosen: str) -> str:
    """A name in the ledger of its own for each key and Idempotency-Key, of the length an epoch may have."""
    return hashlib.sha256(f"{caller.principal.key_id} {chosen}".encode()).hexdigest()


def _judged(body: NewEvent) -> AnyEvent:
    """The event by the contract's rules, or a 422 with the contract's words."""
    if body.ts > datetime.now(UTC) + AHEAD:
        raise invalid("body.ts", "ts lies more than five minutes ahead of now.", "TS_FUTURE")
    more = dict(body.model_extra or {})
    for name in _INSTANTS:
        if name in more:
            try:
                more[name] = micros(instant(more[name]))
            except ValueError as error:
                raise invalid(f"body.{name}", f"{name}: {error}") from None
    sent = {"type": body.type, "ts": micros(body.ts), "subject": body.subject, **more}
    try:
        message = msgspec.json.encode({"v": 1, "epoch": "api", "seq": 0, "made": micros(body.ts), "events": [sent]})
        decoded = envelope.decode(message)
    except Rejected as error:
        raise invalid("body", error.detail, error.code) from None
    except (UnicodeEncodeError, RecursionError):
        raise invalid("body", "The event holds text that no UTF-8 can say, or is nested too deeply.") from None
    if decoded.flaws:
        raise invalid("body", decoded.flaws[0].detail.removeprefix("/events/0: "), decoded.flaws[0].code)
    assert isinstance(decoded.message, envelope.Events)
    event = decoded.message.events[0]
    unknown = more.keys() - set(event.__struct_fields__)
    if unknown:
        fields = ", ".join(name for name in event.__struct_fields__)
        raise invalid("body", f"{body.type} has no field {sorted(unknown)[0]!r}: it has {fields}.")
    return event


def shown(row: store.Event) -> Event:
    """An event as the API answers it."""
    body = {
        name: rfc3339(moment(value)) if name in _INSTANTS and isinstance(value, int) else value
        for name, value in row.body.items()
    }
    return Event(
        id=row.event_id, edge=row.edge, type=row.type, ts=row.ts, subject=row.subject, body=body,
        received=row.received_at,
    )  # fmt: skip
