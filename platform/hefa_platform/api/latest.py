"""The newest reading of each tag: what a wall shows."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

import msgspec
from fastapi import APIRouter, Query, Request
from pydantic import Field
from starlette.responses import Response

from hefa_platform.api.answers import OR_CSV, to_csv, wants_csv
from hefa_platform.api.guard import Viewer
from hefa_platform.api.params import Answer, TagName, example, from_cursor, to_cursor
from hefa_platform.api.plant import TagFilter, known
from hefa_platform.api.problems import invalid, responses
from hefa_platform.store import tags as store

router = APIRouter(prefix="/v1", tags=["readings"])

STALE_HEARTBEATS = 2


class Latest(Answer):
    """The newest reading of a tag by the time it was taken, not by when it came.

    `quality` is OPC's: 192 good, 64 uncertain, 0 bad. `stale`: older than two heartbeats of the tag. `state` is the
    value's name, for tags of kind state. A tag that has never reported has no `ts` and is stale.
    """

    model_config = example(
        tag="A1-FEED.DISS.P-131.run", ts="2026-11-22T08:00:00.25Z", value=1.0, quality=192, unit="1", stale=False,
        age_s=12.4, kind="state", state="running", equipment="A1-FEED.DISS.P-131", area="A1-FEED",
        line="A1-FEED.DISS", description="running",
    )  # fmt: skip

    tag: str
    ts: datetime | None
    value: float | None
    quality: int | None
    unit: str | None
    stale: bool
    age_s: float | None
    kind: Literal["gauge", "counter", "state", "setpoint"]
    state: str | None
    equipment: str | None
    area: str | None
    line: str | None
    description: str


class Latests(Answer):
    items: list[Latest]
    next: str | None


class LatestFilter(TagFilter):
    """Which tags: those named, or those that the other filters leave."""

    tag: Annotated[list[TagName], Field(default_factory=list, max_length=200, examples=[["A2-SX.SXA.MS-A01.ph"]])]
    limit: Annotated[int, Field(ge=1, le=5000, description="Items per page")] = 2000


@router.get("/latest", summary="Newest readings", responses=OR_CSV | responses(404), response_model=Latests)
def latest(caller: Viewer, request: Request, query: Annotated[LatestFilter, Query()]) -> Response:
    """The newest reading of the tags named, or of all that the filters leave, by name."""
    if query.tag:
        if query.model_fields_set - {"tag", "limit"}:
            raise invalid("query.tag", "tag names the tags: leave the other filters and the cursor away.")
        rows: Sequence[store.Tag | store.Newest] = known(caller, query.tag, newest=True)
        more = False
    else:
        after = from_cursor(query.cursor, tuple[str])
        rows = store.newest(
            caller.database, query.of(caller.site), after=after[0] if after else None, limit=query.limit + 1
        )
        more, rows = len(rows) > query.limit, rows[: query.limit]
    now = datetime.now(UTC)
    items = [newest(row, now) for row in rows]
    if wants_csv(request):
        columns = ("tag", "ts", "value", "quality", "unit", "state", "stale", "age_s")
        return to_csv("latest", columns, ([item[name] for name in columns] for item in items))
    content = {"items": items, "next": to_cursor(items[-1]["tag"]) if more else None}
    return Response(msgspec.json.encode(content), media_type="application/json")


def newest(row: store.Tag | store.Newest, now: datetime) -> dict[str, Any]:
    """A tag's newest reading as it looks at `now`, a `Latest`. A clock ahead of ours makes it 0 s old, not younger."""
    age = max(0.0, (now - row.ts).total_seconds()) if row.ts is not None else None
    state = None
    if row.states is not None and row.value is not None:
        state = row.states.get(f"{row.value:.0f}" if row.value.is_integer() else str(row.value))
    return {
        "tag": row.name, "ts": row.ts, "value": row.value, "quality": row.quality, "unit": row.unit,
        "stale": age is None or age > STALE_HEARTBEATS * row.heartbeat_s,
        "age_s": round(age, 3) if age is not None else None, "kind": row.kind, "state": state,
        "equipment": row.equipment, "area": row.area, "line": row.line, "description": row.description,
    }  # fmt: skip
