"""A meter was replaced: what the old register showed last and the new one first, so that nothing in between is made up."""

from typing import Annotated

from fastapi import APIRouter, Header, Response
from pydantic import Field

from hefa_platform.api import events
from hefa_platform.api.guard import Operator
from hefa_platform.api.params import Asked, Instant, TagPath, Text
from hefa_platform.api.plant import known
from hefa_platform.api.problems import invalid, responses

router = APIRouter(prefix="/v1", tags=["events"])

Register = Annotated[float, Field(ge=-1e15, le=1e15, allow_inf_nan=False)]


class Swap(Asked):
    """Registers in the counter's unit, as the two meters showed them at `ts`."""

    ts: Instant
    final: Annotated[Register, Field(description="Last value of the meter that was taken away", examples=[812345.6])]
    initial: Annotated[Register, Field(description="First value of the meter in its place", examples=[0.0])]
    reason: Annotated[Text, Field(max_length=500)] | None = None


_SWAP = {"ts": "2026-11-22T08:00:00Z", "final": 812345.6, "initial": 0.0, "reason": "calibration due"}


@router.post(
    "/meters/{tag:path}/swap",
    summary="Declare a meter swap",
    status_code=201,
    responses=responses(400, 403, 404, 409, 413)
    | {200: {"model": events.Event, "description": "This request was here before: the event kept then"}},
    openapi_extra={"requestBody": {"content": {"application/json": {"example": _SWAP}}}},
)
def declare_swap(
    caller: Operator,
    tag: TagPath,
    body: Swap,
    response: Response,
    idempotency_key: Annotated[
        str | None,
        Header(max_length=128, pattern=r"^[!-~]+$", description="The same key again enters nothing twice"),
    ] = None,
) -> events.Event:
    """Declare that the meter behind a counter was replaced. Consumption counts up to `final`, and on from `initial`.

    Another declaration for the same time corrects the earlier one.
    """
    (row,) = known(caller, [tag])
    if row.kind != "counter" or row.role is None:
        what = f"a {row.kind}" if row.kind != "counter" else "a counter that no meter is booked on"
        raise invalid("path.tag", f"{tag} is {what}: only meters can be swapped; /v1/tags?kind=counter lists counters.")
    sent = {"final": body.final, "initial": body.initial, "reason": body.reason or ""}
    event = events.NewEvent.model_validate({"type": "meter_swap", "ts": body.ts, "subject": tag, **sent})
    kept, new = events.keep(caller, event, idempotency_key)
    response.status_code = 201 if new else 200
    return events.shown(kept)
