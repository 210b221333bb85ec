"""Refused data, kept for people to look at."""

from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from pydantic import Field

from hefa_contract.rejection import Code
from hefa_platform.api.guard import Viewer
from hefa_platform.api.params import Answer, Page, Text, from_cursor, to_cursor
from hefa_platform.api.problems import responses
from hefa_platform.store import records as store

router = APIRouter(prefix="/v1", tags=["pipeline"])


class Quarantined(Answer):
    """Refused data with the code of the contract. `i` is null where the whole message of `size` bytes was refused."""

    id: int
    edge: str
    epoch: str | None
    seq: int | None
    i: int | None
    code: str
    detail: str
    received: datetime
    topic: str
    reading: dict[str, Any] | None = Field(description="The refused reading as it was received")
    size: int | None
    state: Literal["open", "retried", "discarded"]


class Quarantine(Answer):
    items: list[Quarantined]
    next: str | None


class Ask(Page):
    state: Literal["open", "retried", "discarded"] | None = None
    edge: Text | None = None
    code: Code | None = None


@router.get("/quarantine", summary="Refused data", responses=responses())
def quarantine(caller: Viewer, query: Annotated[Ask, Query()]) -> Quarantine:
    """What was refused, newest first."""
    before = from_cursor(query.cursor, tuple[int])
    rows = store.quarantine(
        caller.database, caller.site, state=query.state, edge=query.edge, code=query.code,
        before=before[0] if before else None, limit=query.limit + 1,
    )  # fmt: skip
    items = [
        Quarantined.model_validate(
            {
                "id": row.quarantine_id, "edge": row.edge, "epoch": row.epoch, "seq": row.seq, "i": row.i,
                "code": row.code, "detail": row.detail, "received": row.received_at, "topic": row.topic,
                "reading": row.reading, "size": row.size, "state": row.state,
            }
        )
        for row in rows[: query.limit]
    ]  # fmt: skip
    return Quarantine(items=items, next=to_cursor(items[-1].id) if len(rows) > query.limit else None)
