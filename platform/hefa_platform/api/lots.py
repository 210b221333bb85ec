"""Lots of material: what they are, what they were made of, where they went, what the laboratory found."""

from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Header, Path, Query, Response
from pydantic import Field

from hefa_platform.api import events
from hefa_platform.api.guard import Caller, Operator, Viewer, of_this_site
from hefa_platform.api.params import Answer, Asked, Instant, Page, Text, from_cursor, to_cursor
from hefa_platform.api.problems import Problem, invalid, not_found, responses
from hefa_platform.store import lots as store

router = APIRouter(prefix="/v1", tags=["records"])

State = Literal["named", "received", "started", "finished", "packed", "consumed"]
Action = Literal["received", "started", "finished", "packed", "consumed", "corrected"]
LotName = Annotated[Text, Path(examples=["PN-20261122-01"], description="Name of the lot")]
BALANCE = 1e-3  # of a lot's mass: how far what its parents gave may be from it


class Part(Answer):
    """How much went from a lot into another, kg REO."""

    lot: str
    kg: float


class Result(Answer):
    """A laboratory value: sampled is when, entered when it was typed in."""

    sample: str
    quantity: str
    value: float
    unit: str
    method: str
    sampled: datetime
    entered: datetime


class Told(Answer):
    """A record about the lot: an event of a gateway, or of a person (`edge` api)."""

    event: int
    ts: datetime
    equipment: str
    action: str
    kg: float | None
    parents: list[Part]
    edge: str
    received: datetime


class Lot(Answer):
    """A lot, kg REO. `gap_kg` is what its parents gave beyond its mass, `left_kg` what its children have not taken.

    `state` named: only known as what another was made of. `results` are those that hold; `records` and `children` are
    filled for a single lot.
    """

    lot: str
    kind: str
    material: str
    equipment: str
    state: State
    kg: float | None
    begun: datetime
    ended: datetime | None
    corrected: bool
    parents: list[Part]
    taken_kg: float
    left_kg: float | None
    gap_kg: float | None
    results: list[Result]
    children: list[Part] | None = None
    records: list[Told] | None = None


class Lots(Answer):
    items: list[Lot]
    next: str | None


class Ask(Page):
    """Which lots; all that is given must hold. `from` and `to`: those in work in the range."""

    kind: Annotated[Text | None, Field(examples=["packed"])] = None
    material: Annotated[Text | None, Field(examples=["PrNd oxide"])] = None
    state: Annotated[list[State], Field(default_factory=list)]
    subject: Annotated[Text | None, Field(description="Equipment, with everything below it")] = None
    from_: Annotated[Instant | None, Field(alias="from")] = None
    to: Instant | None = None


class TraceAsk(Asked):
    """Where from, or where to, and over how many lots."""

    dir: Literal["back", "forward"] = "back"
    depth: Annotated[int, Field(ge=1, le=50)] = 50


class Node(Answer):
    """A lot on the trace. `weight` is the share of the traced lot that passed through it, `kg` the same in kg.

    `stays` is the share that goes no further: it was not made of anything known, or nobody has taken it yet, or it came
    from or went to a site that the key is not for.
    """

    lot: str
    kind: str
    material: str
    depth: int
    kg: float | None
    weight: float
    stays: float
    end: bool


class Edge(Answer):
    """What went from one lot into another, as booked, kg REO."""

    parent: str
    child: str
    kg: float


class Trace(Answer):
    """A trace. `sum` is of all `stays`: 1, unless a lot is its own ancestor (`cycle`). `cut`: there is more beyond depth."""

    lot: str
    dir: Literal["back", "forward"]
    depth: int
    kg: float | None
    nodes: list[Node]
    edges: list[Edge]
    sum: float
    cut: bool
    cycle: bool


class Link(Answer):
    """A record's place in the chain."""

    n: int
    event: int
    hash: str
    ok: bool


class Head(Answer):
    """The newest link. Keep it somewhere else each day: then nobody can write the chain anew unseen."""

    n: int
    hash: str


class Verdict(Answer):
    """Whether the records of the lot are what was accepted. Tamper-evident; not a proof of who wrote them."""

    lot: str
    ok: bool
    records: list[Link]
    checked: int
    broken: int | None
    head: Head


class NewPart(Asked):
    """A lot that this one was made from, and how much of it."""

    lot: Text
    kg: Annotated[float, Field(gt=0, le=1e9)]


class NewRecord(Asked):
    """What happened to a lot. `corrected` replaces kg and parents, where given; everything said before stays on record."""

    lot: Annotated[Text, Field(examples=["PN-20261122-01"])]
    action: Action
    ts: Instant
    material: Text
    equipment: Text
    kg: Annotated[float, Field(ge=0, le=1e9)] | None = None
    parents: Annotated[list[NewPart], Field(default_factory=list, max_length=500)]
    kind: Annotated[Text, Field(max_length=50)] | None = None


_RECORD = {
    "lot": "FD-20261122-07", "action": "received", "ts": "2026-11-22T08:00:00+08:00", "material": "RE carbonate",
    "equipment": "A1-FEED.RECV", "kg": 10449.6, "kind": "feed",
}  # fmt: skip


@router.get("/lots", summary="Lots", responses=responses())
def lots(caller: Viewer, query: Annotated[Ask, Query()]) -> Lots:
    """Lots, the latest begun first, with the laboratory results that hold."""
    before = from_cursor(query.cursor, tuple[datetime, str])
    if before is not None and before[0].tzinfo is None:
        raise invalid("query.cursor", "The cursor is not one of ours: use 'next' of the page before, unchanged.")
    rows = store.lots(
        caller.database, caller.site, kind=query.kind, material=query.material, state=query.state or None,
        subject=query.subject, start=query.from_, end=query.to, before=before, limit=query.limit + 1,
    )  # fmt: skip
    page = rows[: query.limit]
    found: dict[str, list[store.Result]] = {row.lot: [] for row in page}
    for result in store.results(caller.database, list(found)):
        found[result.lot].append(result)
    following = to_cursor(page[-1].begun, page[-1].lot) if len(rows) > query.limit else None
    return Lots(items=[_lot(row, found[row.lot]) for row in page], next=following)


# Before `/lots/{lot}`: names may hold slashes, so that the longer paths must be tried first.
@router.get("/lots/{lot:path}/trace", summary="Where a lot came from or went", responses=responses(404))
def trace_lot(caller: Viewer, lot: LotName, query: Annotated[TraceAsk, Query()]) -> Trace:
    """The genealogy with mass: what the lot consists of (back), or where what was in it is now (forward)."""
    _known(caller, lot)
    try:
        found = store.trace(caller.database, caller.site, lot, query.dir, query.depth)
    except store.TooMany:
        raise invalid("query.depth", "The trace meets too many lots: ask with a smaller depth.") from None
    return Trace(
        lot=lot, dir=query.dir, depth=query.depth, kg=found.kg,
        nodes=[
            Node(lot=node.lot, kind=node.kind, material=node.material, depth=node.depth,
                 kg=None if found.kg is None else node.weight * found.kg, weight=node.weight, stays=node.stays,
                 end=node.stays > 1e-12)
            for node in found.nodes
        ],
        edges=[Edge(parent=part.parent, child=part.child, kg=part.kg) for part in found.parts],
        sum=sum(node.stays for node in found.nodes), cut=found.cut, cycle=found.cycle,
    )  # fmt: skip


@router.get("/lots/{lot:path}/verify", summary="Are a lot's records unchanged", responses=responses(404))
def verify_lot(caller: Viewer, lot: LotName) -> Verdict:
    """Recompute the chain of hashes over all records of lots, and compare this lot's events with it."""
    _known(caller, lot)
    found = store.verify(caller.database, lot)
    return Verdict(
        lot=lot, ok=found.broken is None and all(link.ok for link in found.links),
        records=[Link(n=link.n, event=link.event_id, hash=link.hash, ok=link.ok) for link in found.links],
        checked=found.checked, broken=found.broken, head=Head(n=found.checked, hash=found.head),
    )  # fmt: skip


@router.get("/lots/{lot:path}", summary="One lot", responses=responses(404))
def lot(caller: Viewer, lot: LotName) -> Lot:
    """A lot with its records, results and what was made of it."""
    return _single(caller, _known(caller, lot))


@router.post(
    "/lots",
    summary="Enter a record of a lot",
    status_code=201,
    responses=responses(400, 403, 409, 413)
    | {200: {"model": Lot, "description": "This request was here before: the lot as it is now"}},
    openapi_extra={"requestBody": {"content": {"application/json": {"example": _RECORD}}}},
)
def enter_lot(
    caller: Operator,
    body: NewRecord,
    response: Response,
    idempotency_key: Annotated[
        str | None,
        Header(max_length=128, pattern=r"^[!-~]+$", description="The same key again enters nothing twice"),
    ] = None,
) -> Lot:
    """Keep what happened to a lot, as an event of the gateway `api`. Masses must add up; nothing is overwritten."""
    of_this_site(caller)
    _check(caller, body)
    sent: dict[str, Any] = {"lot": body.lot, "action": body.action, "material": body.material}
    if body.kg is not None:
        sent["kg"] = body.kg
    if body.parents:
        sent["parents"] = [(part.lot, part.kg) for part in body.parents]
    if body.kind:
        sent["kind"] = body.kind
    event = events.NewEvent.model_validate({"type": "lot", "ts": body.ts, "subject": body.equipment, **sent})
    _, new = events.keep(caller, event, idempotency_key)
    response.status_code = 201 if new else 200
    return _single(caller, _known(caller, body.lot))


def _check(caller: Caller, body: NewRecord) -> None:
    """What a person enters must be possible; a gateway's word is kept as it is and shown with its gap."""
    names = [part.lot for part in body.parents]
    if len(set(names)) < len(names):
        raise invalid("body.parents", "A parent is named twice: add its amounts up.")
    if body.lot in names:
        raise invalid("body.parents", "A lot cannot be made of itself.")
    told = sum(part.kg for part in body.parents)
    if names and body.kg is not None and abs(told - body.kg) > BALANCE * max(body.kg, told):
        raise invalid(
            "body.kg", f"The parents give {told:g} kg and the lot has {body.kg:g} kg: they must be equal within 0.1 %."
        )
    known = store.lots(caller.database, "*", lot=body.lot)
    if known and caller.site not in ("*", known[0].site):
        raise Problem(409, "lot-taken", "Name taken", f"Another site has a lot {body.lot!r}: choose another name.")
    if names and known:
        made = store.trace(caller.database, "*", body.lot, "forward", 50)
        rounds = sorted({node.lot for node in made.nodes} & set(names))
        if rounds:
            raise invalid("body.parents", f"{rounds[0]} was made of {body.lot}: it cannot be its parent too.")


def _known(caller: Caller, name: str) -> store.Lot:
    rows = store.lots(caller.database, caller.site, lot=name)
    if not rows:
        raise not_found("lot", name, store.names(caller.database, caller.site))
    return rows[0]


def _single(caller: Caller, row: store.Lot) -> Lot:
    database = caller.database
    single = _lot(row, store.results(database, [row.lot]))
    single.children = [Part(lot=part.child, kg=part.kg) for part in store.children(database, caller.site, row.lot)]
    single.records = [
        Told(
            event=record.event_id, ts=record.ts, equipment=record.subject, action=record.body["action"],
            kg=record.body.get("kg"), edge=record.edge, received=record.received_at,
            parents=[Part(lot=parent, kg=kg) for parent, kg in record.body.get("parents", [])],
        )
        for record in store.records(database, caller.site, row.lot)
    ]  # fmt: skip
    return single


def _lot(row: store.Lot, results: list[store.Result]) -> Lot:
    return Lot.model_validate(
        {
            "lot": row.lot, "kind": row.kind, "material": row.material, "equipment": row.equipment,
            "state": row.state, "kg": row.kg, "begun": row.begun, "ended": row.ended, "corrected": row.corrected,
            "parents": row.parents, "taken_kg": row.taken_kg,
            "left_kg": None if row.kg is None else row.kg - row.taken_kg,
            "gap_kg": None if row.kg is None or row.told_kg is None else row.told_kg - row.kg,
            "results": [
                {"sample": r.sample, "quantity": r.quantity, "value": r.value, "unit": r.unit, "method": r.method,
                 "sampled": r.sampled, "entered": r.entered}
                for r in results if r.holds
            ],
        }
    )  # fmt: skip
