"""The page of refused data and of the gateways' accounts, and the decisions made on it."""

import json
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Request
from pydantic import BaseModel, Field
from starlette.responses import Response

from hefa_apps.client.quarantine import Decision
from hefa_apps.page import App, pages
from hefa_apps.session import Asking

State = Literal["open", "retrying", "retried", "discarded"]
PAGE = 50
# Codes of the contract, by what people can do about them. Each has its words in words.*.toml.
CODES = (
    "TAG_FOREIGN", "TAG_UNKNOWN", "TAG_QUOTA", "TS_FUTURE", "TS_TOO_OLD", "TS_NOT_INTEGER", "VALUE_TYPE", "VALUE_RANGE",
    "VALUE_NAN", "EPOCH_REUSE", "SCHEMA", "UNSUPPORTED_VERSION", "PAYLOAD_TOO_LARGE", "PAYLOAD_NOT_UTF8", "JSON_SYNTAX",
    "JSON_DEPTH", "JSON_DUPLICATE_KEY", "TOPIC_INVALID",
)  # fmt: skip

router = APIRouter(tags=["data"])
APP = App("data", router)


@router.get("/data", include_in_schema=False)
def page(
    request: Request, asking: Asking, state: State = "open", edge: str = "", code: str = "", cursor: str = ""
) -> Response:
    chosen = code if code in CODES else ""
    root, pipeline, edges, found = asking.together(
        asking.root,
        asking.pipeline,
        asking.edges,
        lambda: asking.quarantine(
            state=state, edge=edge or None, code=chosen or None, cursor=cursor or None, limit=PAGE
        ),
    )
    return pages(request).render(
        request,
        "data/data.html",
        root=root,
        pipeline=pipeline,
        edges=edges,
        found=found,
        names=sorted({one.edge for one in edges} | {one.edge for one in found.items} | ({edge} if edge else set())),
        codes=CODES,
        written=written,
        moment=moment,
        asked={"state": state, "edge": edge, "code": chosen, "cursor": cursor},
    )


def written(reading: dict[str, Any]) -> str:
    """A refused reading as it was received, for people."""
    return json.dumps(reading, indent=2, ensure_ascii=False)


def moment(reading: dict[str, Any] | None) -> datetime | None:
    """The time of a refused reading, where it is one."""
    ts = reading.get("ts") if reading else None
    if not isinstance(ts, int) or not 0 <= ts < 4_102_444_800_000_000:  # to the year 2100
        return None
    return datetime.fromtimestamp(ts / 1e6, UTC)


@router.get("/api/data/quarantine", summary="Refused data, newest first")
def quarantine(
    asking: Asking, state: State | None = "open", edge: str | None = None, code: str | None = None,
    cursor: str | None = None,
) -> dict[str, Any]:  # fmt: skip
    """What the platform refused and keeps; a page of fifty."""
    return asdict(asking.quarantine(state=state, edge=edge, code=code, cursor=cursor, limit=PAGE))


class Why(BaseModel):
    """Why somebody decided so; it stays with the data and in the audit."""

    reason: Annotated[str, Field(min_length=1, max_length=500)]


@router.post("/api/data/quarantine/{refusal}/{decision}", summary="Try refused data again, or discard it")
def decide(
    asking: Asking, refusal: Annotated[int, Path(ge=1, le=2**63 - 1)], decision: Decision, why: Why
) -> dict[str, Any]:
    """The key needs the role engineer; the reason is kept."""
    return asdict(asking.decide(refusal, decision, why.reason.strip() or "-"))
