"""The plant model as loaded: equipment as a tree, and tags."""

from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request
from pydantic import Field
from starlette.responses import Response

from hefa_contract.envelope import is_tag_name
from hefa_platform.api.answers import OR_CSV, to_csv, wants_csv
from hefa_platform.api.guard import Caller, Engineer, Viewer, of_this_site
from hefa_platform.api.params import Answer, Asked, Page, TagName, TagPath, Text, from_cursor, to_cursor
from hefa_platform.api.problems import Problem, invalid, not_found, responses
from hefa_platform.store import tags as store
from hefa_platform.store import unassigned

router = APIRouter(prefix="/v1", tags=["plant"])


class Asset(Answer):
    """Equipment with what belongs to it; `tags` counts this node's own tags only."""

    name: str
    level: str
    path: str
    description: str
    tags: int
    children: list["Asset"] = Field(default_factory=list)


class Assets(Asset):
    """The enterprise, with what a calendar of its site needs.

    `timezone` is an IANA name; `plantday` and `shifts` are local times at which those begin. `unassigned` tags were
    sent by a gateway, but the plant model does not know them.
    """

    site: str
    timezone: str
    plantday: str = Field(examples=["08:00"])
    shifts: list[str] = Field(examples=[["00:00", "08:00", "16:00"]])
    unassigned: int


class AlarmLimits(Answer):
    """Alarm limits in the tag's unit: low-low, low, high, high-high."""

    ll: float | None
    l: float | None  # noqa: E741 - the plant's word
    h: float | None
    hh: float | None


class MeterOf(Answer):
    """What a counter meters: one carrier or one material, for the equipment it serves, in `unit`."""

    carrier: str | None
    material: str | None
    stream: str
    serves: str
    parent: str | None = Field(description="Tag of the meter whose reading contains this one's")
    role: Literal["billing", "check"]
    unit: str


class Tag(Answer):
    """One measured quantity. `unit` is a UCUM code; `low` and `high` are the engineering range."""

    tag: str
    equipment: str | None
    area: str | None
    line: str | None
    template: str | None
    description: str
    kind: Literal["gauge", "counter", "state", "setpoint"]
    unit: str | None
    low: float | None
    high: float | None
    limits: AlarmLimits
    users: list[str]
    core: bool
    edge: str | None
    assigned: bool
    retired: bool
    period_s: float | None
    heartbeat_s: float
    states: dict[str, str] | None
    normal: float | None
    meter: MeterOf | None
    source: str | None


class Tags(Answer):
    items: list[Tag]
    next: str | None


class NewTag(Asked):
    """What a tag outside the plant model is measured in: a UCUM code, or one of ours such as CNY/t."""

    tag: Annotated[TagName, Field(examples=["KPI.electricity.per_t"])]
    unit: Annotated[str, Field(min_length=1, max_length=40, pattern=r"^[!-~]+$", examples=["kW.h/t"])]
    description: Annotated[Text | None, Field(max_length=200)] = None


class TagFilter(Page):
    """Which tags; all that is given must hold."""

    asset: Annotated[Text | None, Field(description="Equipment path, with everything below it")] = None
    area: Annotated[Text | None, Field(examples=["A2-SX"])] = None
    line: Annotated[Text | None, Field(description="Path of a line", examples=["A2-SX.SXA"])] = None
    equipment: Annotated[Text | None, Field(description="Exactly this equipment")] = None
    template: Text | None = None
    kind: Literal["gauge", "counter", "state", "setpoint"] | None = None
    core: bool | None = None
    edge: Annotated[Text | None, Field(examples=["gw-a2"])] = None
    assigned: bool | None = None
    q: Annotated[Text | None, Field(description="Part of the name or the description, in any case")] = None

    def of(self, site: str) -> store.Filter:
        """This filter, for what `site` may see."""
        return store.Filter(
            site=site, asset=self.asset, area=self.area, line=self.line, equipment=self.equipment,
            template=self.template, kind=self.kind, core=self.core, edge=self.edge, assigned=self.assigned, q=self.q,
        )  # fmt: skip


@router.get("/assets", summary="The plant as a tree", responses=responses())
def assets(caller: Viewer) -> Assets:
    """Enterprise, site, areas, lines and units, in the plant model's order, with the number of tags of each."""
    rows, unassigned = store.equipment(caller.database, caller.site)
    calendar = store.calendar(caller.database, None)
    nodes: dict[str, Asset] = {}
    root = Assets(
        name="",
        level="enterprise",
        path="",
        description="No plant model is loaded",
        tags=0,
        site=next((row.name for row in rows if row.level == "site"), ""),
        timezone=calendar.zone.key,
        plantday=f"{calendar.plantday:%H:%M}",
        shifts=[f"{start:%H:%M}" for start in calendar.shifts],
        unassigned=unassigned,
    )
    for row in rows:
        fields = {"name": row.name, "level": row.level, "path": row.path, "description": row.description}
        if row.parent is None:
            root = root.model_copy(update=fields | {"tags": row.tags})
            nodes[row.path] = root
        else:
            node = Asset(**fields, tags=row.tags)
            nodes[row.parent].children.append(node)
            nodes[row.path] = node
    return root


@router.get("/tags", summary="Tags", responses=OR_CSV | responses(), response_model=Tags)
def tags(caller: Viewer, request: Request, query: Annotated[TagFilter, Query()]) -> Tags | Response:
    """Tags by name, filtered. Tags that the plant model has dropped are found at `/v1/tags/{tag}` only."""
    after = from_cursor(query.cursor, tuple[str])
    rows = store.tags(caller.database, query.of(caller.site), after=after[0] if after else None, limit=query.limit + 1)
    items = [_tag(row) for row in rows[: query.limit]]
    if wants_csv(request):
        flat = ("tag", "equipment", "area", "line", "template", "description", "kind", "unit", "low", "high", "edge",
                "core", "assigned", "period_s", "heartbeat_s", "normal")  # fmt: skip
        return to_csv("tags", flat, ([getattr(item, name) for name in flat] for item in items))
    return Tags(items=items, next=to_cursor(items[-1].tag) if len(rows) > query.limit else None)


@router.post(
    "/tags",
    summary="Say what a tag outside the plant model is",
    status_code=201,
    responses=responses(400, 403, 409, 413) | {200: {"model": Tag, "description": "It was there before"}},
)
def describe_tag(caller: Engineer, body: NewTag, response: Response) -> Tag:
    """Give a tag that the plant model does not know its unit and a description; audited, and the last word holds.

    One that nobody has sent yet is registered, as a gauge of the gateway `api`.
    """
    of_this_site(caller)
    if not is_tag_name(body.tag):
        raise invalid("body.tag", "A tag's name has 1 to 128 characters and none that cannot be seen.")
    try:
        new = unassigned.describe(
            caller.database, caller.site, body.tag, unit=body.unit, description=body.description or "",
            by=caller.principal.key_id,
        )  # fmt: skip
    except unassigned.Modelled:
        detail = f"The plant model knows {body.tag}: what it is measured in stands there, in seeds/."
        raise Problem(409, "tag-modelled", "In the plant model", detail) from None
    response.status_code = 201 if new else 200
    (row,) = known(caller, [body.tag])
    return _tag(row)


@router.get("/tags/{tag:path}", summary="One tag", responses=responses(404))
def tag(caller: Viewer, tag: TagPath) -> Tag:
    """A tag by its name, also one that the plant model has dropped."""
    return _tag(known(caller, [tag])[0])


def known(caller: Caller, names: list[TagName], *, newest: bool = False) -> list[store.Tag]:
    """The tags called `names`, in that order, each once. 404 for the first that does not exist for this caller."""
    found = {
        row.name: row for row in store.tags(caller.database, store.Filter(site=caller.site, names=names), newest=newest)
    }
    for name in names:
        if name not in found:
            raise not_found("tag", name, store.names(caller.database, caller.site))
    return [found[name] for name in dict.fromkeys(names)]


def _tag(row: store.Tag) -> Tag:
    meter = None
    if row.role is not None:
        meter = MeterOf.model_validate(
            {"carrier": row.carrier, "material": row.material, "stream": row.stream, "serves": row.serves,
             "parent": row.meter_parent, "role": row.role, "unit": row.meter_unit}
        )  # fmt: skip
    return Tag(
        tag=row.name, equipment=row.equipment, area=row.area, line=row.line, template=row.template,
        description=row.description, kind=row.kind, unit=row.unit, low=row.low, high=row.high,
        limits=AlarmLimits(ll=row.ll, l=row.l, h=row.h, hh=row.hh), users=row.users, core=row.core, edge=row.edge,
        assigned=row.assigned, retired=row.retired, period_s=row.period_s, heartbeat_s=row.heartbeat_s,
        states=row.states, normal=row.normal, meter=meter, source=row.source,
    )  # fmt: skip
