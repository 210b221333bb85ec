"""A meter was replaced: what the old register showed last and the new one first, so that nothing in between is made up.

What was declared can be corrected, by another declaration for the same time, and withdrawn. Each of these is an event.
"""

from typing import Annotated

from fastapi import APIRouter, Header, Query, Response
from pydantic import Field

from hefa_platform.api import events
from hefa_platform.api.guard import Operator
from hefa_platform.api.params import Asked, Instant, TagPath, Text, rfc3339
from hefa_platform.api.plant import known
from hefa_platform.api.problems import Problem, invalid, responses
from hefa_platform.store import registers

router = APIRouter(prefix="/v1", tags=["events"])

Register = Annotated[float, Field(ge=-1e15, le=1e15, allow_inf_nan=False)]


class Swap(Asked):
    """Registers in the counter's unit, as the two meters showed them at `ts`."""

    ts: Instant
    final: Annotated[Register, Field(description="Last value of the meter that was taken away", examples=[812345.6])]
    initial: Annotated[Register, Field(description="First value of the meter in its place", examples=[0.0])]
    reason: Annotated[Text, Field(max_length=500)] | None = None


class Withdrawal(Asked):
    """Which declaration, and why."""

    ts: Annotated[Instant, Field(description="The very time it was declared for")]
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

    A swap may come before the readings of its meter, at most 100 days back. Where the readings around it are no longer
    kept, a 422 says since when swaps are taken, and nothing is kept. Another declaration for the same time corrects the
    earlier one, DELETE withdraws it.
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


@router.delete("/meters/{tag:path}/swap", summary="Withdraw a meter swap", responses=responses(403, 404, 409))
def withdraw_swap(caller: Operator, tag: TagPath, query: Annotated[Withdrawal, Query()]) -> events.Event:
    """Withdraw the swap declared for `ts`: the register is again what its readings say. The declaration stays on record."""
    (row,) = known(caller, [tag])
    found = registers.declared(caller.database, row.tag_id, query.ts)
    if found is None:
        detail = (
            f"No swap of {tag} is declared for {rfc3339(query.ts)}: take ts from "
            f"/v1/events?type=meter_swap&subject={tag}. One that was withdrawn is gone."
        )
        raise Problem(404, "swap-unknown", "No such swap", detail)
    swap, kept = found
    if not kept:
        detail = "The readings around this swap are no longer kept: what was counted there is final."
        raise Problem(409, "swap-final", "Swap is final", detail)
    told = {"final": swap.final, "initial": swap.initial, "reason": query.reason or "", "withdrawn": True}
    event = events.NewEvent.model_validate({"type": "meter_swap", "ts": query.ts, "subject": tag, **told})
    return events.shown(events.keep(caller, event, None)[0])
