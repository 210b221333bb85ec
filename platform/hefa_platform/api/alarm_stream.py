"""Server-sent events: alarms as they are raised, seen, put aside and over."""

import asyncio
from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Header, Query, Request
from pydantic import Field
from starlette.responses import StreamingResponse

from hefa_platform.api.alarms import Alarm, Change, Priority, change, shown
from hefa_platform.api.guard import Caller, Viewer
from hefa_platform.api.params import Answer, Asked, TagName, Text
from hefa_platform.api.problems import responses
from hefa_platform.api.stream import Item, Listener, Wanted, events
from hefa_platform.store import alarms as store
from hefa_platform.store.database import Database

router = APIRouter(prefix="/v1", tags=["alarms"])

MISSED = 1000  # changes that who comes back is told
_EVER = datetime(1970, 1, 1, tzinfo=UTC)


class Changed(Answer):
    """A change of an alarm, and the alarm as it is now."""

    change: Change
    alarm: Alarm


class Changes:
    """The changes of all alarms as they are noted; what changed a moment before it is asked first is new as well."""

    event = "alarm"

    def __init__(self, database: Database) -> None:
        self._database = database
        self._since: datetime | None = None
        self._told: set[int] = set()

    def ask(self) -> list[Item]:
        now, rows = store.newly(self._database, self._since)
        self._since = now - store.MOMENT
        fresh = [row for row in rows if row.change_id not in self._told]
        self._told = {row.change_id for row in rows}
        return [(row, _told(row)) for row in fresh]

    def rest(self) -> None:
        self._since = None
        self._told = set()

    def message(self, items: list[bytes]) -> bytes:
        return b"".join(items)


class Ask(Asked):
    """Which alarms to hear of; all that is given must hold."""

    area: Annotated[Text | None, Field(examples=["A2-SX"])] = None
    edge: Annotated[Text | None, Field(description="A gateway and its tags", examples=["gw-a2"])] = None
    tag: Annotated[list[TagName], Field(default_factory=list, max_length=200)]
    priority: Annotated[list[Priority], Field(default_factory=list)]


_EXAMPLE = (
    'id: 812\nevent: alarm\ndata: {"change":{"at":"2026-11-22T08:00:05Z","from":null,"to":"UNACK","by":"system","comment":""},'
    '"alarm":{"id":97,"tag":"A2-SX.SXA.MS-A01.ph","limit":"h","state":"UNACK","active":true}}\n\n'
)


@router.get(
    "/alarms/stream",
    summary="Changes of alarms as they happen",
    response_class=StreamingResponse,
    responses=responses()
    | {
        200: {
            "description": "Events `alarm` with the change and the alarm as it is now; a comment every 15 s",
            "content": {"text/event-stream": {"schema": {"type": "string"}, "example": _EXAMPLE}},
        }
    },
)
async def alarm_stream(
    caller: Viewer,
    request: Request,
    query: Annotated[Ask, Query()],
    last_event_id: Annotated[
        str | None,
        Header(max_length=40, description="`id` of the last event heard: what was missed since is told first"),
    ] = None,
) -> StreamingResponse:
    """An event for each change of an alarm, within seconds: raised, seen, put aside, over. Ask `/v1/alarms` for what is.

    Begins with the last ten seconds, or with what came after `Last-Event-ID`, which browsers send by themselves; a
    change may be told twice. Whoever missed more than a thousand gets an event `missed`: ask `/v1/alarms` again.
    """

    def wanted(row: store.Newly) -> bool:
        return (
            caller.site in ("*", row.site)
            and query.area in (None, row.alarm.area)
            and query.edge in (None, row.alarm.edge)
            and (not query.tag or row.alarm.tag in query.tag)
            and (not query.priority or row.alarm.priority in query.priority)
        )

    last = int(last_event_id) if last_event_id and last_event_id.isascii() and last_event_id.isdigit() else None
    missed = b""
    if last is not None and last < 2**63:
        missed = await asyncio.to_thread(_missed, caller, last, wanted)
    return await events(request, Listener(wanted, asyncio.get_running_loop(), "alarm"), missed)


def _missed(caller: Caller, last: int, wanted: Wanted) -> bytes:
    """What changed after the event `last`, for somebody who comes back."""
    _, rows = store.newly(caller.database, _EVER, after=last, limit=MISSED + 1)
    if len(rows) > MISSED:
        return b"event: missed\ndata: {}\n\n"
    return b"".join(_told(row) for row in rows if wanted(row))


def _told(row: store.Newly) -> bytes:
    told = Changed(change=change(row.change), alarm=shown(row.alarm, datetime.now(UTC)))
    return f"id: {row.change_id}\nevent: alarm\ndata: {told.model_dump_json(by_alias=True)}\n\n".encode()
