"""The audit: who wrote what, and when."""

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import Field

from hefa_platform.api.guard import Admin
from hefa_platform.api.params import Answer, Instant, Page, Text, from_cursor, to_cursor
from hefa_platform.api.problems import invalid, responses
from hefa_platform.store import audit as store

router = APIRouter(prefix="/v1", tags=["access"])


class Entry(Answer):
    """A write. `by` is a key's id, `name` what the key is called; `body` what was written, with what was there before."""

    id: int
    at: datetime
    by: str
    name: str | None
    action: str
    subject: str
    body: dict[str, Any] | None


class Audit(Answer):
    items: list[Entry]
    next: str | None


class Ask(Page):
    """Which writes; all that is given must hold."""

    action: Annotated[Text | None, Field(description="One sort, or several: `alarm.` is all of alarms", examples=["setting.enter"])] = None  # fmt: skip
    subject: Text | None = None
    by: Annotated[Text | None, Field(description="Id of a key")] = None
    from_: Annotated[Instant | None, Field(alias="from")] = None
    to: Instant | None = None


@router.get("/audit", summary="Who wrote what", responses=responses(403))
def audit(caller: Admin, query: Annotated[Ask, Query()]) -> Audit:
    """Every write, the latest first: of all keys, or for an administrator of one site of its keys."""
    before = from_cursor(query.cursor, tuple[int])
    if before is not None and not 0 <= before[0] < 2**63:
        raise invalid("query.cursor", "The cursor is not one of ours: use 'next' of the page before, unchanged.")
    rows = store.entries(
        caller.database, caller.site, action=query.action, subject=query.subject, by=query.by, start=query.from_,
        end=query.to, before=before[0] if before else None, limit=query.limit + 1,
    )  # fmt: skip
    page = rows[: query.limit]
    return Audit(
        items=[
            Entry(id=row.audit_id, at=row.at, by=row.by, name=row.name, action=row.action, subject=row.subject,
                  body=row.body)
            for row in page
        ],
        next=to_cursor(page[-1].audit_id) if len(rows) > query.limit else None,
    )  # fmt: skip
