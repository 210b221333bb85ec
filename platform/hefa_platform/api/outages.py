"""Out of service: alarms of what is being worked on are kept, and announced to nobody, until a time."""

from datetime import UTC, datetime, timedelta
from typing import Annotated

from fastapi import APIRouter, Path, Query
from pydantic import Field

from hefa_platform.api.alarms import Comment, Limit
from hefa_platform.api.guard import Caller, Engineer, Viewer
from hefa_platform.api.params import Answer, Asked, Instant, Page, TagName, Text, from_cursor, to_cursor
from hefa_platform.api.problems import Problem, invalid, not_found, responses
from hefa_platform.store import alarm_outages as store
from hefa_platform.store import pipeline, tags

router = APIRouter(prefix="/v1", tags=["alarms"])

LONGEST = timedelta(days=366)
Id = Annotated[int, Path(ge=1, le=2**63 - 1, description="Id of the outage")]


class Outage(Answer):
    """Something out of service: a tag, all below a place, or a gateway with its tags. `limit` null: all its alarms.

    `active`: in force now. `ended`: put back before its time. `by_name` is what the key `by` is called.
    """

    id: int
    tag: str | None
    equipment: str | None
    edge: str | None
    limit: Limit | None
    since: datetime
    until: datetime
    active: bool
    by: str
    by_name: str | None
    reason: str
    ended: datetime | None
    ended_by: str | None


class Outages(Answer):
    items: list[Outage]
    next: str | None


class Ask(Page):
    """`active`: those in force now, or with false those that are over."""

    active: bool | None = None


class Taking(Asked):
    """What to take out of service, one of `tag`, `equipment` and `edge`; for how long, `minutes` or `until`; and why."""

    tag: TagName | None = None
    equipment: Annotated[Text, Field(examples=["A4-CALC.K-401"])] | None = None
    edge: Annotated[Text, Field(examples=["gw-a4"])] | None = None
    limits: Annotated[
        list[Limit], Field(max_length=7, default_factory=list, description="Of these alarms; none: of all")
    ]
    minutes: Annotated[float, Field(gt=0, le=LONGEST.total_seconds() / 60)] | None = None
    until: Instant | None = None
    reason: Annotated[Text, Field(max_length=500, examples=["kiln relined"])]


@router.get("/alarms/out-of-service", summary="What is out of service", responses=responses())
def outages(caller: Viewer, query: Annotated[Ask, Query()]) -> Outages:
    """What was taken out of service, the latest first."""
    before = from_cursor(query.cursor, tuple[int])
    if before is not None and not -(2**63) <= before[0] < 2**63:
        raise invalid("query.cursor", "The cursor is not one of ours: use 'next' of the page before, unchanged.")
    rows = store.outages(
        caller.database, caller.site, active=query.active, before=before[0] if before else None, limit=query.limit + 1
    )
    page = rows[: query.limit]
    following = to_cursor(page[-1].outage_id) if len(rows) > query.limit else None
    return Outages(items=[_shown(row) for row in page], next=following)


@router.post(
    "/alarms/out-of-service", summary="Take out of service", status_code=201, responses=responses(400, 403, 404)
)
def take_out(caller: Engineer, body: Taking) -> Outages:
    """Announce no alarm of it until then: planned maintenance. They are found and listed as OUT_OF_SERVICE meanwhile."""
    given = [name for name in ("tag", "equipment", "edge") if getattr(body, name) is not None]
    if len(given) != 1:
        raise invalid("body", "Give one of tag, equipment and edge: it says what is out of service.")
    now = datetime.now(UTC)
    if (body.minutes is None) == (body.until is None):
        raise invalid("body.until", "Give minutes or until, one of the two.")
    until = body.until or now + timedelta(minutes=body.minutes or 0)
    if not now < until <= now + LONGEST:
        raise invalid("body.until", f"until must lie ahead, at most {LONGEST.days} days.")
    rows = store.begin(
        caller.database, caller.site, tag=body.tag, equipment=body.equipment, edge=body.edge,
        levels=sorted(set(body.limits)), until=until, by=caller.principal.key_id, reason=body.reason,
    )  # fmt: skip
    if not rows:
        raise not_found(given[0], getattr(body, given[0]), _names(caller, given[0]))
    return Outages(items=[_shown(row) for row in rows], next=None)


@router.post("/alarms/out-of-service/{id}/end", summary="Put back into service", responses=responses(400, 403, 404))
def put_back(caller: Engineer, id: Id, body: Comment) -> Outage:
    """Back before its time: what is active is announced anew within seconds. Again changes nothing."""
    row = store.end(caller.database, caller.site, id, by=caller.principal.key_id, comment=body.comment or "")
    if row is None:
        raise Problem(404, "outage-unknown", "Unknown outage", f"There is no outage {id} for this key.")
    return _shown(row)


def _names(caller: Caller, what: str) -> list[str]:
    """What could have been meant."""
    if what == "tag":
        return tags.names(caller.database, caller.site)
    if what == "equipment":
        return [node.path for node in tags.equipment(caller.database, caller.site)[0]]
    return [edge.edge for edge in pipeline.edges(caller.database, caller.site)]


def _shown(row: store.Outage) -> Outage:
    return Outage.model_validate(
        {
            "id": row.outage_id, "tag": row.tag, "equipment": row.equipment, "edge": row.edge, "limit": row.level,
            "since": row.since, "until": row.until, "by": row.by, "by_name": row.by_name, "reason": row.reason,
            "ended": row.ended_at, "active": row.ended_at is None and row.until > datetime.now(UTC), "ended_by": row.ended_by,
        }
    )  # fmt: skip
