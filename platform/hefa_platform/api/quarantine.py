"""Refused data, kept for people to look at and to decide about."""

from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query
from pydantic import Field

from hefa_contract.rejection import Code
from hefa_platform.api.guard import Caller, Engineer, Viewer
from hefa_platform.api.params import Answer, Asked, Page, Prose, Text, from_cursor, to_cursor
from hefa_platform.api.problems import Problem, responses
from hefa_platform.store import quarantine as decisions
from hefa_platform.store import records as store

router = APIRouter(prefix="/v1", tags=["pipeline"])

State = Literal["open", "retrying", "retried", "discarded"]


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
    payload: str | None = Field(description="The beginning of a refused message, as text")
    size: int | None
    state: State


class Quarantine(Answer):
    items: list[Quarantined]
    next: str | None


class Ask(Page):
    state: State | None = None
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
                "reading": row.reading, "payload": _text(row.payload), "size": row.size, "state": row.state,
            }
        )
        for row in rows[: query.limit]
    ]  # fmt: skip
    return Quarantine(items=items, next=to_cursor(items[-1].id) if len(rows) > query.limit else None)


def _text(payload: bytes | None) -> str | None:
    return None if payload is None else payload.decode("utf-8", "replace")


class Why(Asked):
    """Why somebody decided so; it stays with the data and in the audit."""

    reason: Annotated[Prose, Field(min_length=1, max_length=500, examples=["the tag is in the model now"])]


class Decided(Answer):
    id: int
    state: State


Id = Annotated[int, Path(ge=1, le=2**63 - 1, description="Id of the refused data")]


@router.post(
    "/quarantine/{id}/retry", summary="Try refused data again", status_code=202, responses=responses(400, 403, 404, 409)
)
def retry(caller: Engineer, id: Id, body: Why) -> Decided:
    """Have ingest judge it once more, by today's rules and model, within some seconds. Refused again, it comes again."""
    return _decide(caller, id, "retry", body)


@router.post("/quarantine/{id}/discard", summary="Discard refused data", responses=responses(400, 403, 404, 409))
def discard(caller: Engineer, id: Id, body: Why) -> Decided:
    """Say that it is not needed. It stays where it is, with the reason."""
    return _decide(caller, id, "discard", body)


def _decide(caller: Caller, id: int, decision: decisions.Decision, body: Why) -> Decided:
    by = caller.principal.key_id
    try:
        state = decisions.decide(caller.database, id, decision, site=caller.site, reason=body.reason, by=by)
    except decisions.NotOpen as error:
        detail = f"It is {error} already: only what is open can be decided about."
        raise Problem(409, "decided", "Decided already", detail) from None
    except decisions.NotWhole:
        detail = "Not all of it was kept, so it cannot be tried again: have the gateway send it, and discard this."
        raise Problem(409, "not-whole", "Not whole", detail) from None
    if state is None:
        raise Problem(
            404, "quarantine-unknown", "Unknown id", f"There is no refused data with the id {id} for this key."
        )
    return Decided.model_validate({"id": id, "state": state})
