"""Notes: what people hand over to the next shift, kept with the tag, equipment or lot and the time they speak of."""

import secrets
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Header, Path, Query, Response
from pydantic import Field

from hefa_platform.api import events
from hefa_platform.api.guard import Caller, Operator, Viewer
from hefa_platform.api.params import Answer, Asked, Instant, Page, Prose, Text, from_cursor, to_cursor
from hefa_platform.api.problems import Problem, invalid, responses
from hefa_platform.store import notes as store

router = APIRouter(prefix="/v1", tags=["records"])

NotePath = Annotated[Text, Path(max_length=64, examples=["7c1f0e6a2b9d4c55"], description="Name of the note")]
Words = Annotated[
    Prose, Field(min_length=1, max_length=10_000, examples=["Interface high, two samples sent to the lab"])
]
IdempotencyKey = Annotated[
    str | None,
    Header(alias="Idempotency-Key", max_length=128, pattern=r"^[!-~]+$", description="The same key again enters nothing twice"),
]  # fmt: skip


class Version(Answer):
    """What a note said before it was edited."""

    version: int
    subject: str
    from_: datetime = Field(alias="from")
    to: datetime | None
    text: str
    kind: str
    author: str
    entered: datetime


class Note(Version):
    """A note as it is now. `to` null: of that moment. `versions` is filled for a single note, the oldest first."""

    note: str
    edge: str
    versions: list[Version] | None = None


class Notes(Answer):
    items: list[Note]
    next: str | None


class Ask(Page):
    """Which notes; all that is given must hold. `from` and `to`: those that speak of any of the range."""

    subject: Annotated[
        list[Text], Field(default_factory=list, max_length=200, description="Tag, equipment, lot or site")
    ]
    asset: Annotated[Text | None, Field(description="Equipment, with its tags and everything below it")] = None
    kind: Annotated[Text | None, Field(examples=["shift"])] = None
    from_: Annotated[Instant | None, Field(alias="from")] = None
    to: Instant | None = None


class Edit(Asked):
    """A new version: what is not sent stays as it was."""

    text: Words
    from_: Annotated[Instant | None, Field(alias="from")] = None
    to: Instant | None = None
    kind: Annotated[Text, Field(max_length=50)] | None = None
    author: Text | None = None


class NewNote(Asked):
    """A note on `subject`, about the time from `from` to `to` (or that moment)."""

    subject: Annotated[Text, Field(description="Tag, equipment, lot or site", examples=["A2-SX.SXA.MS-A07"])]
    from_: Annotated[Instant, Field(alias="from")]
    to: Instant | None = None
    text: Words
    kind: Annotated[Text, Field(max_length=50, examples=["shift"])] | None = None
    author: Annotated[Text | None, Field(description="Who says so; default: the key's name")] = None


_NOTE = {
    "subject": "A2-SX.SXA.MS-A07", "from": "2026-11-22T07:10:00Z", "to": "2026-11-22T08:00:00Z", "kind": "shift",
    "text": "Interface high, two samples sent to the lab",
}  # fmt: skip


@router.get("/notes", summary="Notes", responses=responses())
def notes(caller: Viewer, query: Annotated[Ask, Query()]) -> Notes:
    """Notes on a subject or in a range, each in its newest version, the latest first."""
    before = from_cursor(query.cursor, tuple[datetime, str])
    if before is not None and before[0].tzinfo is None:
        raise invalid("query.cursor", "The cursor is not one of ours: use 'next' of the page before, unchanged.")
    rows = store.notes(
        caller.database, caller.site, subjects=query.subject or None, asset=query.asset, kind=query.kind,
        start=query.from_, end=query.to, before=before, limit=query.limit + 1,
    )  # fmt: skip
    page = rows[: query.limit]
    following = to_cursor(page[-1].start, page[-1].note) if len(rows) > query.limit else None
    return Notes(items=[_note(row) for row in page], next=following)


@router.get("/notes/{note}", summary="One note", responses=responses(404))
def note(caller: Viewer, note: NotePath) -> Note:
    """A note with what it said before."""
    return _single(_versions(caller, note))


@router.post(
    "/notes",
    summary="Leave a note",
    status_code=201,
    responses=responses(400, 403, 409, 413)
    | {200: {"model": Note, "description": "This request was here before: the note as it is now"}},
    openapi_extra={"requestBody": {"content": {"application/json": {"example": _NOTE}}}},
)
def leave_note(caller: Operator, body: NewNote, response: Response, idempotency_key: IdempotencyKey = None) -> Note:
    """Leave a note. It is an event, in the ledger like any other."""
    # By the Idempotency-Key, so that the same request names the same note.
    name = idempotency_key and events.epoch_of(caller, idempotency_key)[:16]
    return _keep(
        caller, name or secrets.token_hex(8), body, body.subject, body.from_, body.to, idempotency_key, response
    )


@router.post(
    "/notes/{note}",
    summary="Edit a note",
    status_code=201,
    responses=responses(400, 403, 404, 409, 413)
    | {200: {"model": Note, "description": "This request was here before: the note as it is now"}},
    openapi_extra={"requestBody": {"content": {"application/json": {"example": {"text": "Interface normal again"}}}}},
)
def edit_note(
    caller: Operator, note: NotePath, body: Edit, response: Response, idempotency_key: IdempotencyKey = None
) -> Note:
    """Keep a new version; the ones before stay readable."""
    now = _versions(caller, note)[0]
    start, until = body.from_ or now.start, body.to or now.until
    more = body.model_copy(update={"kind": body.kind or now.kind or None, "author": body.author})
    return _keep(caller, now.note, more, now.subject, start, until, idempotency_key, response)


def _keep(
    caller: Caller,
    name: str,
    body: NewNote | Edit,
    subject: str,
    start: datetime,
    until: datetime | None,
    idempotency_key: str | None,
    response: Response,
) -> Note:
    if until is not None and until < start:
        raise invalid("body.to", "The note ends before it begins: to must not be earlier than from.")
    sent: dict[str, Any] = {"text": body.text, "author": body.author or caller.principal.name, "note": name}
    if until is not None:
        sent["until"] = until
    if body.kind:
        sent["kind"] = body.kind
    event = events.NewEvent.model_validate({"type": "note", "ts": start, "subject": subject, **sent})
    _, new = events.keep(caller, event, idempotency_key)
    response.status_code = 201 if new else 200
    return _single(_versions(caller, name))


def _versions(caller: Caller, name: str) -> list[store.Note]:
    rows = store.notes(caller.database, caller.site, note=name, every_version=True, limit=1000)
    if not rows:
        raise Problem(404, "note-unknown", "Unknown note", f"There is no note {name!r} for this key.")
    return sorted(rows, key=lambda row: -row.version)


def _single(rows: list[store.Note]) -> Note:
    single = _note(rows[0])
    single.versions = [Version.model_validate(_version(row)) for row in reversed(rows[1:])]
    return single


def _version(row: store.Note) -> dict[str, Any]:
    return {
        "version": row.version, "subject": row.subject, "from": row.start, "to": row.until, "text": row.text,
        "kind": row.kind, "author": row.author, "entered": row.entered,
    }  # fmt: skip


def _note(row: store.Note) -> Note:
    return Note.model_validate(_version(row) | {"note": row.note, "edge": row.edge})
