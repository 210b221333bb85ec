"""Alarms: what is beyond its limit, not heard or not to be believed, who has seen it, and how good the alarms are."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query
from pydantic import Field

from hefa_platform.api.guard import Caller, Operator, Viewer
from hefa_platform.api.params import Answer, Asked, Instant, Page, TagName, Text, from_cursor, to_cursor
from hefa_platform.api.problems import Problem, invalid, responses
from hefa_platform.store import alarm_figures
from hefa_platform.store import alarms as store

router = APIRouter(prefix="/v1", tags=["alarms"])

State = Literal["UNACK", "ACKED", "RTN_UNACK", "LATCHED", "SHELVED", "SUPPRESSED_BY_DESIGN", "OUT_OF_SERVICE", "NORM"]
Priority = Literal["high", "medium", "low"]
Limit = Literal["ll", "l", "h", "hh", "bad", "stale", "silent"]
Id = Annotated[int, Path(ge=1, le=2**63 - 1, description="Id of the alarm")]

STALE = timedelta(hours=24)  # active for longer: nobody acts on it any more
SHELF = timedelta(days=30)  # the longest an alarm may be put aside
FIGURES = 200_000  # alarms that one answer of figures is made of


class Change(Answer):
    """A state the alarm went into: when it was known, by whom (a key's id, or `system`)."""

    at: datetime
    from_: State | None = Field(alias="from")
    to: State
    by: str
    comment: str


class Alarm(Answer):
    """A tag beyond a limit: `crossed` is the reading that passed it, `raised` when that had lasted for the on-delay.

    Or, with no `limit_value` and no `value`: a signal of `bad` quality, or `stale`, that is not heard while its gateway
    talks of others; a gateway (`edge`, no `tag`) that is `silent`, or with many signals `bad` or `stale` at once.

    States: UNACK active and not seen yet; ACKED active and seen; RTN_UNACK over and not seen yet; LATCHED over and seen,
    to be reset; SHELVED put aside by people, SUPPRESSED_BY_DESIGN by the alarm rules, OUT_OF_SERVICE for maintenance;
    NORM done with. `stale`: active for more than a day. `late`: over long before its readings came. `withdrawn`:
    readings that came later show that there was none.
    """

    id: int
    tag: str | None
    edge: Annotated[str | None, Field(description="Gateway, or the one of the tag")]
    area: str | None
    equipment: str | None
    description: str
    unit: str | None
    limit: Limit
    limit_value: float | None
    priority: Priority
    state: State
    active: bool
    crossed: datetime
    raised: datetime
    returned: datetime | None
    value: float | None
    extreme: float | None
    stale: bool
    latching: Annotated[bool, Field(description="Over and seen, it stays LATCHED until it is reset")]
    late: bool
    withdrawn: bool
    acked: datetime | None
    acked_by: str | None
    shelved_until: datetime | None
    changes: list[Change] | None = Field(None, description="Of a single alarm: every state it was in")


class Alarms(Answer):
    items: list[Alarm]
    next: str | None


class Ask(Page):
    """Which alarms; all that is given must hold. `from` and `to`: those active in the range."""

    state: Annotated[list[State], Field(default_factory=list)]
    area: Annotated[Text | None, Field(examples=["A2-SX"])] = None
    tag: Annotated[list[TagName], Field(default_factory=list, max_length=200)]
    edge: Annotated[Text | None, Field(description="A gateway and its tags", examples=["gw-a2"])] = None
    of: Annotated[list[Limit], Field(default_factory=list, description="Limits and conditions")]
    priority: Annotated[list[Priority], Field(default_factory=list)]
    active: bool | None = None
    withdrawn: Annotated[bool, Field(description="Also those that later readings have shown to be none")] = False
    from_: Annotated[Instant | None, Field(alias="from")] = None
    to: Instant | None = None


class FigureAsk(Asked):
    """Of which time and area; default: the last 24 hours."""

    area: Annotated[Text | None, Field(examples=["A2-SX"])] = None
    from_: Annotated[Instant | None, Field(alias="from")] = None
    to: Instant | None = None


class Comment(Asked):
    """What there is to say about it; it stays with the alarm."""

    comment: Annotated[Text, Field(max_length=500)] | None = None


class Shelving(Asked):
    """For how long, and why. Give `minutes` or `until`."""

    minutes: Annotated[float, Field(gt=0, le=SHELF.total_seconds() / 60)] | None = None
    until: Instant | None = None
    reason: Annotated[Text, Field(max_length=500, examples=["probe is being cleaned"])]


class Reading(Answer):
    """A reading near the begin or the end of an alarm."""

    ts: datetime
    value: float | None
    quality: int


class Explained(Answer):
    """How an alarm came about: in words and as a formula, and the readings that decided, as far as they are kept.

    `lasted_s` is how long the value had been beyond the limit when it was raised. `count` readings lie in the alarm's
    time, `usable` of them with quality 64 or better. `engine` is the database that was asked.
    """

    alarm: Alarm
    text: str
    formula: str
    unit: str | None
    lasted_s: float
    count: int
    usable: int
    readings: list[Reading]
    engine: str


class FloodOf(Answer):
    """A time with more than ten alarms in every ten minutes; `peak`: the most in ten minutes."""

    start: datetime
    end: datetime
    alarms: int
    peak: int


class Chatterer(Answer):
    """A limit that raised at least three alarms within a minute."""

    tag: str
    limit: Limit
    alarms: int
    worst_per_min: int


class Frequent(Answer):
    """One of the ten limits with the most alarms; `share` of all alarms."""

    tag: str
    limit: Limit
    alarms: int
    share: float


class PriorityShare(Answer):
    """Alarms of a priority; `goal` is the share that ISA-18.2 aims at."""

    alarms: int
    share: float | None
    goal: float


class Figures(Answer):
    """How good the alarms of a time are. `per_hour` up to 6 is acceptable for one operator, up to 12 manageable.

    `active`, `unacknowledged` and `stale` are as of now; the others of [from, to).
    """

    from_: datetime = Field(alias="from")
    to: datetime
    raised: int
    per_hour: float
    active: int
    unacknowledged: int
    floods: list[FloodOf]
    flood_share: float = Field(description="Share of the time that was flooded")
    chattering: list[Chatterer]
    stale: list[Alarm]
    top: list[Frequent]
    top_share: float | None
    priorities: dict[Priority, PriorityShare]


@router.get("/alarms", summary="Alarms", responses=responses())
def alarms(caller: Viewer, query: Annotated[Ask, Query()]) -> Alarms:
    """Alarms of every state, the latest raised first. For what is on now ask `active=true`, or name the states."""
    before = from_cursor(query.cursor, tuple[datetime, int])
    if before is not None and (before[0].tzinfo is None or not -(2**63) <= before[1] < 2**63):
        raise invalid("query.cursor", "The cursor is not one of ours: use 'next' of the page before, unchanged.")
    rows = store.alarms(
        caller.database, caller.site, states=query.state or None, area=query.area, tags=query.tag or None,
        edge=query.edge, levels=query.of or None, priorities=query.priority or None, active=query.active, start=query.from_, end=query.to,
        withdrawn=query.withdrawn, before=before, limit=query.limit + 1,
    )  # fmt: skip
    page = rows[: query.limit]
    following = to_cursor(page[-1].raised_at, page[-1].alarm_id) if len(rows) > query.limit else None
    now = datetime.now(UTC)
    return Alarms(items=[shown(row, now) for row in page], next=following)


@router.get("/alarms/kpi", summary="How good the alarms are", responses=responses())
def alarm_kpi(caller: Viewer, query: Annotated[FigureAsk, Query()]) -> Figures:
    """Rate, floods, chattering, stale alarms, the ten most frequent, priorities (ISA-18.2)."""
    now = datetime.now(UTC)
    end = query.to or now
    start = query.from_ or end - timedelta(days=1)
    if start >= end:
        raise invalid("query.to", "The range ends before it begins: to must be later than from.")
    raised = store.raised(caller.database, caller.site, start, end, query.area, FIGURES + 1)
    if len(raised) > FIGURES:
        raise invalid("query.from", f"More than {FIGURES} alarms: ask for a shorter range or one area.")
    active = store.alarms(caller.database, caller.site, area=query.area, active=True, limit=FIGURES)
    waiting = store.alarms(
        caller.database, caller.site, area=query.area, states=["UNACK", "RTN_UNACK"], limit=FIGURES
    )  # fmt: skip
    floods = alarm_figures.floods([at for at, *_ in raised])
    chatter = alarm_figures.chattering([((tag, limit), at) for at, tag, limit, _ in raised])
    top = alarm_figures.top([(tag, limit) for _, tag, limit, _ in raised])
    of_priority = Counter(priority for *_, priority in raised)
    count, span = len(raised), (end - start).total_seconds()
    return Figures.model_validate(
        {
            "from": start, "to": end, "raised": count, "per_hour": count / span * 3600, "active": len(active),
            "unacknowledged": len(waiting),
            "floods": [flood._asdict() for flood in floods],
            "flood_share": sum((flood.end - flood.start).total_seconds() for flood in floods) / span,
            "chattering": [
                {"tag": tag, "limit": limit, "alarms": c.alarms, "worst_per_min": c.worst}
                for (tag, limit), c in sorted(chatter.items(), key=lambda item: -item[1].alarms)
            ],
            "stale": [shown(row, now) for row in active if now - row.raised_at > STALE],
            "top": [{"tag": tag, "limit": limit, "alarms": n, "share": n / count} for (tag, limit), n in top],
            "top_share": sum(n for _, n in top) / count if count else None,
            "priorities": {
                priority: {"alarms": of_priority[priority], "goal": goal,
                           "share": of_priority[priority] / count if count else None}
                for priority, goal in alarm_figures.GOALS.items()
            },
        }
    )  # fmt: skip


@router.get("/alarms/{id}", summary="One alarm", responses=responses(404))
def alarm(caller: Viewer, id: Id) -> Alarm:
    """An alarm with every state it was in, and who changed it."""
    return _single(caller, id, store.alarm(caller.database, caller.site, id))


AROUND, MOST = timedelta(minutes=10), 50  # readings that an explanation shows

_LIMIT = (
    "The value passed the limit and stayed beyond it for the on-delay, counted from the reading that passed. It ends when "
    "the value is inside by the deadband for the off-delay. A reading holds until the next one, at most two heartbeats; "
    "bad or missing readings neither raise nor end an alarm. Delays and deadband: GET /v1/settings/alarm."
)
_OTHERS = {
    "bad": "The quality of its newest reading has been below 64 for the on-delay; it ends when it is 64 or better again for "
    "the off-delay. Judged as of when the platform knew. Delays: GET /v1/settings/alarm.",
    "stale": "Its gateway went on telling of others, but of this one nothing for two heartbeats and the on-delay; it ends "
    "with its next reading. Judged as of when the platform knew. Delays: GET /v1/settings/alarm.",
    "silent": "The gateway took its leave, or nothing came from it for two of its shortest heartbeats, for the on-delay; it "
    "ends when something comes. Of its tags nothing is judged meanwhile. Delays: GET /v1/settings/alarm.",
}
_MANY = (
    "More than ten signals of this gateway were so at once: this alarm stands for theirs until there are at most five."
)
_RULES = {
    "bad": "raised: quality < 64 for the on-delay; returned: quality >= 64 for the off-delay",
    "stale": "raised: age > two heartbeats + on-delay, by the newest reading of the gateway; returned: age <= two heartbeats",
    "silent": "raised: offline, or nothing received for two of its shortest heartbeats, + on-delay; returned: something received",
}


@router.get("/explain/alarms/{id}", summary="How an alarm came about", responses=responses(404), tags=["explain"])
def explain_alarm(caller: Viewer, id: Id) -> Explained:
    """The rule and the readings that raised and ended an alarm."""
    row = store.alarm(caller.database, caller.site, id)
    single = _single(caller, id, row)
    assert row is not None
    count, usable, near = store.readings(caller.database, row, AROUND, MOST)
    if row.limit_value is None:
        text, formula = _OTHERS[row.level], _RULES[row.level]
        if row.tag is None and row.level != "silent":
            text = f"{_MANY} Of each: {text}"
    else:
        sign, back = (">", "<=") if row.level in ("h", "hh") else ("<", ">=")
        inside = "limit - deadband" if row.level in ("h", "hh") else "limit + deadband"
        text = _LIMIT
        formula = f"raised: value {sign} {row.limit_value:g} for the on-delay; returned: value {back} {inside} for the off-delay"
    return Explained(
        alarm=single, text=text, unit=row.unit, count=count, usable=usable, engine=caller.database.engine.version,
        formula=formula,
        lasted_s=(row.raised_at - row.crossed_at).total_seconds(),
        readings=[Reading(ts=r.ts, value=r.value, quality=r.quality) for r in near],
    )  # fmt: skip


@router.post("/alarms/{id}/ack", summary="Acknowledge an alarm", responses=responses(400, 403, 404, 409))
def ack_alarm(caller: Operator, id: Id, body: Comment) -> Alarm:
    """Say that it was seen, and with it the older alarms of the same limit. Again changes nothing."""
    try:
        row = store.ack(caller.database, caller.site, id, by=caller.principal.key_id, comment=body.comment or "")
    except store.NotNow as error:
        raise _not_now(error, "there is nothing to acknowledge") from None
    return _single(caller, id, row)


@router.post("/alarms/{id}/reset", summary="Reset a latched alarm", responses=responses(400, 403, 404, 409))
def reset_alarm(caller: Operator, id: Id, body: Comment) -> Alarm:
    """Let go of an alarm that is over and was seen, and of the older ones of the same limit."""
    try:
        row = store.reset(caller.database, caller.site, id, by=caller.principal.key_id, comment=body.comment or "")
    except store.NotNow as error:
        raise _not_now(error, "only what is latched can be reset") from None
    return _single(caller, id, row)


@router.post("/alarms/{id}/shelve", summary="Shelve an alarm", responses=responses(400, 403, 404, 409))
def shelve_alarm(caller: Operator, id: Id, body: Shelving) -> Alarm:
    """Put this limit of the tag aside for a while: nothing of it is announced until then. Again sets another time."""
    now = datetime.now(UTC)
    if (body.minutes is None) == (body.until is None):
        raise invalid("body.until", "Give minutes or until, one of the two.")
    until = body.until or now + timedelta(minutes=body.minutes or 0)
    if not now < until <= now + SHELF:
        raise invalid("body.until", f"until must lie ahead, at most {SHELF.days} days: disable the limit in the alarm rules for longer.")  # fmt: skip
    try:
        row = store.shelve(
            caller.database, caller.site, id, until=until, by=caller.principal.key_id, reason=body.reason
        )  # fmt: skip
    except store.NotNow as error:
        raise _not_now(error, "only what is active can be shelved") from None
    return _single(caller, id, row)


@router.post("/alarms/{id}/unshelve", summary="Take an alarm off its shelf", responses=responses(400, 403, 404, 409))
def unshelve_alarm(caller: Operator, id: Id, body: Comment) -> Alarm:
    """Announce it again before its time: what is active has to be acknowledged anew."""
    try:
        row = store.unshelve(caller.database, caller.site, id, by=caller.principal.key_id, comment=body.comment or "")
    except store.NotNow as error:
        raise _not_now(error, "it is on no shelf") from None
    return _single(caller, id, row)


def _not_now(error: store.NotNow, what: str) -> Problem:
    return Problem(409, "alarm-state", "Not in this state", f"The alarm is {error}: {what}.")


def _single(caller: Caller, id: int, row: store.Alarm | None) -> Alarm:
    if row is None:
        raise Problem(404, "alarm-unknown", "Unknown alarm", f"There is no alarm {id} for this key.")
    single = shown(row, datetime.now(UTC))
    single.changes = [change(c) for c in store.changes(caller.database, id)]
    return single


def change(c: store.Change) -> Change:
    """A change as the API answers it."""
    return Change.model_validate({"at": c.at, "from": c.from_state, "to": c.to_state, "by": c.by, "comment": c.comment})


def shown(row: store.Alarm, now: datetime) -> Alarm:
    """An alarm as the API answers it, without its changes."""
    active = row.returned_at is None and not row.withdrawn
    return Alarm(
        id=row.alarm_id, tag=row.tag, edge=row.edge, area=row.area, equipment=row.equipment, description=row.description,
        unit=row.unit, limit=row.level, limit_value=row.limit_value, priority=row.priority, state=row.state,
        active=active, crossed=row.crossed_at, raised=row.raised_at, returned=row.returned_at, value=row.value,
        extreme=row.extreme, stale=active and now - row.raised_at > STALE, latching=row.latching, late=row.late, withdrawn=row.withdrawn,
        acked=row.acked_at, acked_by=row.acked_by, shelved_until=row.shelved_until, changes=None,
    )  # fmt: skip
