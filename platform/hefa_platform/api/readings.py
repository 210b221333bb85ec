"""Readings entered by REST: a laboratory's result, a value read off a gauge, what a program has calculated."""

import hashlib
import secrets
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Request, Response
from pydantic import Field

from hefa_contract import strictjson
from hefa_contract.rejection import Code, Rejected
from hefa_platform.api.csv_rows import time_of
from hefa_platform.api.guard import Engineer, of_this_site
from hefa_platform.api.params import Answer
from hefa_platform.api.problems import Problem, invalid, responses
from hefa_platform.store import entry as store
from hefa_platform.store.entry import Fault, Row, Tally
from hefa_platform.store.records import KeyReused

router = APIRouter(prefix="/v1", tags=["readings"])


class RefusedReading(Answer):
    """A reading that went to quarantine: its index in the request, and why."""

    i: int
    tag: str
    code: str
    detail: str


class Entered(Answer):
    """What became of the readings: received = stored + duplicate + conflict + quarantined."""

    received: int
    stored: int
    duplicate: Annotated[int, Field(description="There already, with the same value and quality")]
    conflict: Annotated[int, Field(description="Another value is there: it stays, this one is kept beside it")]
    quarantined: int
    refused: Annotated[list[RefusedReading], Field(description="The quarantined, the first 200 of them")]
    unknown_tags: Annotated[
        list[str], Field(description="Nobody knew them: what is stored of them is outside the plant model")
    ]


_SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["readings"],
    "properties": {
        "readings": {
            "type": "array",
            "minItems": 1,
            "maxItems": 10_000,
            "items": {
                "type": "object",
                "required": ["tag", "ts", "value"],
                "properties": {
                    "tag": {"type": "string", "minLength": 1, "maxLength": 128},
                    "ts": {
                        "description": "RFC 3339 with offset, or µs since the epoch",
                        "anyOf": [{"type": "string", "format": "date-time"}, {"type": "integer", "minimum": 0}],
                    },
                    "value": {"type": ["number", "null"], "description": "null with quality 0 only"},
                    "quality": {"type": "integer", "minimum": 0, "maximum": 255, "default": 192},
                },
            },
        }
    },
}
_EXAMPLE = {"readings": [{"tag": "A2-SX.SXA.MS-A01.ph", "ts": "2026-11-22T08:00:00Z", "value": 3.02, "quality": 192}]}


async def _body(request: Request) -> bytes:
    return await request.body()


@router.post(
    "/readings",
    summary="Enter readings",
    status_code=201,
    responses=responses(400, 403, 409, 413)
    | {200: {"model": Entered, "description": "This request was here before: the answer given then"}},
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": _SCHEMA, "example": _EXAMPLE}},
        }
    },
)
def post(
    caller: Engineer,
    body: Annotated[bytes, Depends(_body)],
    response: Response,
    idempotency_key: Annotated[
        str | None,
        Header(max_length=128, pattern=r"^[!-~]+$", description="The same key again enters nothing twice"),
    ] = None,
) -> Entered:
    """Store readings of any tag of the site under the gateway `api`, by the rules that hold for gateways.

    The first value of a tag and time wins. What cannot be stored goes to quarantine and is told; the others are stored.
    """
    of_this_site(caller)
    rows = _rows(body, caller.parts.limits.readings)
    # A name in the ledger of its own for each key and Idempotency-Key, of the length an epoch may have.
    chosen = idempotency_key or secrets.token_hex(16)
    epoch = hashlib.sha256(f"readings {caller.principal.key_id} {chosen}".encode()).hexdigest()
    try:
        answer, new = store.post(
            caller.database, caller.parts.rules, rows, epoch=epoch, hash=hashlib.sha256(body).digest(),
            by=caller.principal.key_id, answer=_answer,
        )  # fmt: skip
    except KeyReused:
        detail = "This Idempotency-Key was used for other readings: choose a new one."
        raise Problem(409, "idempotency-key", "Key reused", detail) from None
    response.status_code = 201 if new else 200
    return Entered.model_validate(answer)


def _answer(tally: Tally) -> dict[str, Any]:
    return Entered(
        received=tally.received, stored=tally.stored, duplicate=tally.duplicate, conflict=tally.conflict,
        quarantined=tally.quarantined,
        refused=[RefusedReading(i=r.number, tag=r.tag, code=r.code, detail=r.detail) for r in tally.refused],
        unknown_tags=list(tally.unknown)[: store.SHOWN],
    ).model_dump()  # fmt: skip


def _rows(body: bytes, most: int) -> list[Row]:
    """The readings of a body. Raises a 400 or 422 for what is no list of readings."""
    try:
        document = strictjson.loads(body)
    except Rejected as error:
        raise Problem(400, "json", "Not JSON", f"The body cannot be read: {error.code}, {error.detail}.") from None
    readings = document.get("readings") if isinstance(document, dict) else None
    if not isinstance(readings, list) or not readings:
        raise invalid("body.readings", 'The body must be {"readings": [{"tag", "ts", "value", "quality"}, …]}.')
    if len(readings) > most:
        detail = f"{len(readings)} readings, at most {most}: send them in parts, or as a file to /v1/import."
        raise Problem(413, "too-large", "Too many readings", detail)
    return [_row(i, item) for i, item in enumerate(readings)]


def _row(i: int, item: Any) -> Row:
    if not isinstance(item, dict):
        return Row(i, None, None, None, None, Fault(Code.SCHEMA, "a reading is an object with tag, ts and value"))
    tag, ts, value, quality = item.get("tag"), item.get("ts"), item.get("value"), item.get("quality", 192)
    row = Row(i, tag, ts, value, quality)
    if not isinstance(tag, str):
        return row._replace(fault=Fault(Code.SCHEMA, "tag must be the name of a tag"))
    if "value" not in item:
        return row._replace(
            fault=Fault(Code.SCHEMA, "value is missing: send null, with quality 0, where there is none")
        )
    if isinstance(ts, int) and not isinstance(ts, bool):
        return row
    at = time_of(ts)
    return row._replace(fault=at) if isinstance(at, Fault) else row._replace(ts=at)
