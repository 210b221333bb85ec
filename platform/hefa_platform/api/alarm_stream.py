"""Server-sent events: the newest readings as they change, or alarms as they are raised, seen, put aside and over."""

import asyncio
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Header, Query, Request
from pydantic import Field
from starlette.responses import StreamingResponse

from hefa_platform.api.alarms import Alarm, Change, Priority, change, shown
from hefa_platform.api.guard import Caller, Viewer
from hefa_platform.api.params import Answer, Asked, TagName, Text
from hefa_platform.api.plant import known
from hefa_platform.api.problems import invalid, responses
from hefa_platform.api.stream import Item, Listener, Wanted, events
from hefa_platform.store import alarms as store
from hefa_platform.store import tags
from hefa_platform.store.database import Database

router = APIRouter(prefix="/v1", tags=["readings"])

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
    """What to hear of, and of which tags; all that is given must hold. `core` is for readings, `priority` for alarms."""

    event: Annotated[Literal["latest", "alarm"], Field(description="Newest readings, or changes of alarms")] = "latest"
    tag: Annotated[list[TagName], Field(default_factory=list, max_length=200)]
    area: Annotated[Text | None, Field(examples=["A2-SX"])] = None
    core: bool | None = None
    priority: Annotated[list[Priority], Field(default_factory=list)]


_EXAMPLE = (
    'event: latest\ndata: {"items":[{"tag":"A2-SX.SXA.MS-A01.ph","ts":"2026-11-22T08:00:00Z","value":3.02}]}\n\n'
    'id: 812\nevent: alarm\ndata: {"change":{"at":"2026-11-22T08:00:05Z","from":null,"to":"UNACK","by":"system","comment":""},'
    '"alarm":{"id":97,"tag":"A2-SX.SXA.MS-A01.ph","limit":"h","state":"UNACK","active":true}}\n\n'
)


@router.get(
    "/stream",
    summary="Newest readings, or changes of alarms, as they happen",
    response_class=StreamingResponse,
    responses=responses(404)
    | {
        200: {
            "description": 'Events `latest` with `data: {"items": […]}` as of /v1/latest, or `alarm` with the change and '
            "the alarm as it is now; a comment every 15 s",
            "content": {"text/event-stream": {"schema": {"type": "string"}, "example": _EXAMPLE}},
        }
    },
)
async def stream(
    caller: Viewer,
    request: Request,
    query: Annotated[Ask, Query()],
    last_event_id: Annotated[
        str | None,
        Header(max_length=40, description="Of alarms: `id` of the last event heard; what was missed comes first"),
    ] = None,
) -> StreamingResponse:
    """An event about once a second with the items that changed, of the tags named or all the filters leave.

    With `event=alarm`: an event for each change of an alarm, from ten seconds ago on, or after `Last-Event-ID`, which
    browsers send by themselves. A change may be told twice; whoever missed more than a thousand gets an event `missed`:
    ask `/v1/alarms` again.

    The one async route: it holds a socket, not a thread. The stream ends when the server stops or the listener lags;
    browsers connect again by themselves.
    """
    if query.event == "latest" and query.priority:
        raise invalid("query.priority", "Readings have no priority: ask with event=alarm.")
    if query.event == "alarm" and query.core is not None:
        raise invalid("query.core", "Alarms are not told apart by core: ask with area or tag.")
    if query.tag:
        await asyncio.to_thread(known, caller, query.tag)

    def wanted(row: Any) -> bool:
        return _is_wanted(row, query, caller.site)

    missed = b""
    last = last_event_id or ""
    if query.event == "alarm" and last.isascii() and last.isdigit() and int(last) < 2**63:
        missed = await asyncio.to_thread(_missed, caller, int(last), wanted)
    return await events(request, Listener(wanted, asyncio.get_running_loop(), query.event), missed)


def _is_wanted(row: tags.Tag | store.Newly, query: Ask, site: str) -> bool:
    if isinstance(row, tags.Tag):
        name, area, fits = row.name, row.area, query.core is None or row.core == query.core
    else:
        name, area, fits = (
            row.alarm.tag or "",
            row.alarm.area,
            not query.priority or row.alarm.priority in query.priority,
        )
    return fits and site in ("*", row.site) and (not query.tag or name in query.tag) and query.area in (None, area)


def _missed(caller: Caller, last: int, wanted: Wanted) -> bytes:
    """What changed after the event `last`, for somebody who comes back."""
    _, rows = store.newly(caller.database, _EVER, after=last, limit=MISSED + 1)
    if len(rows) > MISSED:
        return b"event: missed\ndata: {}\n\n"
    return b"".join(_told(row) for row in rows if wanted(row))


def _told(row: store.Newly) -> bytes:
    told = Changed(change=change(row.change), alarm=shown(row.alarm, datetime.now(UTC)))
    return f"id: {row.change_id}\nevent: alarm\ndata: {told.model_dump_json(by_alias=True)}\n\n".encode()
