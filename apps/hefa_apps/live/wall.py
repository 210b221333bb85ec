"""The live wall: flowsheet, alarms, cascades, tanks, areas and gateways, as a page and as JSON.

Everything is asked of the platform side by side and joined here. What a reader waits for first is on the page as it
comes; `static/wall.js` keeps values moving by the stream and swaps the slow parts each fifteen seconds.
"""

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Body, Request
from starlette.responses import Response

from hefa_apps.client import Alarm, Caller, Catalogue, Edge, Latest, Pipeline, Series, Tag
from hefa_apps.live import cascade, tanks
from hefa_apps.live.flowsheet import HEIGHT, WIDTH, LayoutError, checked, sheet
from hefa_apps.live.model import Point, flows, points, summary, telling
from hefa_apps.live.outages import SHOWN
from hefa_apps.page import hues, pages, places, starting
from hefa_apps.period import resolve
from hefa_apps.publish import PREFIX
from hefa_apps.question import calendar
from hefa_apps.session import Asking
from hefa_apps.table import csv_answer

router = APIRouter(tags=["live"])

ON_WALL = 8  # tags of an area that the wall shows
CARRIERS = ("electricity", "water", "gas", "steam", "air")
LAYOUT = Path(__file__).with_name("layout.toml")
LEVELS_OVER = timedelta(hours=2)
MOVES_OVER = timedelta(hours=6)
PRIORITIES = ("high", "medium", "low")
LISTED = 100  # open alarms that an answer names; the counts are of all

Reference = Literal["model", "plantday", "week", "month"]


@dataclass(frozen=True)
class View:
    """Everything that the wall shows, joined."""

    catalogue: Catalogue
    points: Mapping[str, Point]  # of all tags that the plant model knows, by name
    strangers: tuple[Point, ...]
    latest: Mapping[str, Latest]
    edges: tuple[Edge, ...]
    pipeline: Pipeline
    alarms: tuple[Alarm, ...]  # open ones, the most urgent first

    @property
    def newest(self) -> datetime | None:
        return max((reading.ts for reading in self.latest.values()), default=None)

    @property
    def sending(self) -> bool:
        """Say whether any gateway was heard within a minute."""
        return any(edge.age_s is not None and edge.age_s < 60 for edge in self.edges)

    def of(self, area: str) -> list[Point]:
        """Return the points of one area."""
        return [point for point in self.points.values() if point.tag.area == area]


def read_layout(path: Path | None = None) -> dict[str, Any]:
    """Read a flowsheet's layout; that of the reference plant without a path. Raises `LayoutError`."""
    file = path or LAYOUT
    try:
        return checked(tomllib.loads(file.read_text("utf-8")))
    except (OSError, ValueError) as error:  # ValueError: not TOML, not UTF-8, or no layout
        raise LayoutError(f"the flowsheet {file} cannot be used: {error}") from None


@router.get("/live", include_in_schema=False)
def page(request: Request, asking: Asking, reference: Reference = "model", screen: str = "") -> Response:
    catalogue = asking.catalogue()
    shown = _shown(request, asking, catalogue, reference)
    return pages(request).render(
        request,
        "live/wall.html",
        root=catalogue.root,
        plant=next((node.description or node.name for node in catalogue.root.below("site")), ""),
        starting=not shown["heard"] and starting(request),
        screen=screen == "wall",
        **shown,
    )


@router.get("/live/parts", include_in_schema=False)
def parts(request: Request, asking: Asking, reference: Reference = "model") -> Response:
    """The parts of the wall that are swapped while it is open."""
    catalogue = asking.catalogue()
    shown = _shown(request, asking, catalogue, reference)
    return pages(request).render(request, "live/parts.html", root=catalogue.root, **shown)


@router.get("/api/live/overview", summary="The wall: areas, lines, what tells most of them, gateways, freshness")
def overview(asking: Asking) -> dict[str, Any]:
    """Counts of each area and line and the readings that the wall shows; refreshed by pages each ten seconds."""
    catalogue = asking.catalogue()
    view = _view(asking, catalogue)
    by_line: dict[str, list[Point]] = {}
    for point in view.points.values():
        by_line.setdefault(point.tag.line or "", []).append(point)
    return {
        "site": summary(list(view.points.values())),
        "areas": [
            {
                "area": area.path,
                "description": area.description,
                "summary": summary(view.of(area.path)),
                "tags": [plain(p) for p in telling(view.of(area.path), ON_WALL)],
            }
            for area in catalogue.root.below("area")
        ],
        "lines": {line: summary(found) for line, found in by_line.items() if line},
        "edges": view.edges,
        "freshness": view.pipeline.freshness,
        "identity_holds": view.pipeline.identity_holds,
        "alarms": _counts(view.alarms),
    }


@router.get("/api/live/flowsheet", summary="The flowsheet: blocks with their newest readings, and what flows between")
def flowsheet_json(request: Request, asking: Asking) -> dict[str, Any]:
    """Blocks are places of the plant model; coordinates are those of the drawing."""
    catalogue = asking.catalogue()
    drawn = sheet(request.app.state.layout, catalogue, _view(asking, catalogue).points)
    return {
        "width": drawn.width,
        "height": drawn.height,
        "blocks": [
            {
                "name": b.name, "path": b.path, "description": b.description, "area": b.area, "x": b.x, "y": b.y,
                "summary": b.summary, "tags": [plain(p) for p in b.points],
            }
            for b in drawn.blocks
        ],
        "pipes": [{"of": pipe.of, "from": pipe.ends[0], "to": pipe.ends[1]} for pipe in drawn.pipes],
    }  # fmt: skip


@router.get("/api/live/cascades", summary="Cascades: pH and composition by stage against the reference profile")
def cascades_json(request: Request, asking: Asking, reference: Reference = "model") -> dict[str, Any]:
    """`distance` is the root of the mean squared deviation in tolerances: 1 is the average stage at its limit.

    `reference` is the plant model's normal values, or each stage's median over the last whole plant day, week or month.
    `moves` are the stages that left their place in the last six hours and are still away, the first to leave first.
    """
    catalogue = asking.catalogue()
    found = _cascades(request, asking, catalogue, reference)
    return {"reference": reference, "items": [_profile(profile, moved) for profile, moved in found], "next": None}


@router.get("/api/live/cascades.csv", summary="The same as CSV", response_model=None)
def cascades_csv(request: Request, asking: Asking, reference: Reference = "model") -> Response:
    """A row per measured stage."""
    catalogue = asking.catalogue()
    found = _cascades(request, asking, catalogue, reference)
    rows = [
        (p.name, s.number, s.point.tag.tag, s.value, s.reference, s.tolerance, s.deviation)
        for p, _ in found
        for s in p.stages
        if s.point
    ]
    return csv_answer("cascades", ("cascade", "stage", "tag", "ph", "reference", "tolerance", "deviation"), rows)


@router.get("/api/live/tanks", summary="Tanks: level, trend, hours to full or empty")
def tanks_json(asking: Asking) -> dict[str, Any]:
    """Soonest first. `slope` in % per hour, over the last two hours; `hours` None: standing, or beyond ten days."""
    return {"items": [_tank(tank) for tank in _tanks(asking)], "next": None}


@router.get("/api/live/tanks.csv", summary="The same as CSV", response_model=None)
def tanks_csv(asking: Asking) -> Response:
    """A row per tank."""
    rows = [_tank(tank) for tank in _tanks(asking)]
    columns = ("tank", "tag", "level", "unit", "volume", "volume_unit", "slope", "flow", "hours", "limit")
    return csv_answer("tanks", columns, [[row[name] for name in columns] for row in rows])


@router.get("/api/live/alarms", summary="Open alarms with their counts by priority")
def alarms_json(asking: Asking, area: str | None = None) -> dict[str, Any]:
    """Alarms that are not over and seen: unseen ones first, then by priority, then the newest. At most a hundred."""
    found = _urgent(asking.alarms(area=area))
    return {"counts": _counts(found), "items": [asdict(alarm) for alarm in found[:LISTED]], "next": None}


@router.post("/api/live/alarms/{alarm}/ack", summary="Acknowledge an alarm")
def acknowledge(asking: Asking, alarm: int, comment: Annotated[str | None, Body(embed=True)] = None) -> dict[str, Any]:
    """Needs the role operator."""
    return asdict(asking.acknowledge(alarm, comment))


@router.post("/api/live/alarms/{alarm}/reset", summary="Let go of an alarm that latched")
def reset(asking: Asking, alarm: int) -> dict[str, Any]:
    """Needs the role operator."""
    return asdict(asking.reset(alarm))


@router.post("/api/live/alarms/{alarm}/shelve", summary="Shelve an alarm for a while")
def shelve(
    asking: Asking,
    alarm: int,
    minutes: Annotated[int, Body(ge=1, le=7 * 24 * 60)],
    reason: Annotated[str, Body(min_length=1, max_length=500)],
) -> dict[str, Any]:
    """Needs the role operator, and a reason."""
    return asdict(asking.shelve(alarm, minutes, reason))


def _view(asking: Caller, catalogue: Catalogue) -> View:
    return _view_and(asking, catalogue)[0]


def _view_and(asking: Caller, catalogue: Catalogue, *more: Callable[[], Any]) -> tuple[View, list[Any]]:
    """Ask for what the wall is made of, and for more side by side with it."""
    latest, edges, pipeline, alarms, *rest = asking.together(
        asking.latest, asking.edges, asking.pipeline, asking.alarms, *more
    )
    newest = {reading.tag: reading for reading in latest}
    known: list[Tag] = []
    strangers: list[Tag] = []
    areas = {area.path for area in catalogue.root.below("area")}
    for tag in catalogue.tags.values():
        if tag.area in areas:
            known.append(tag)
        elif not tag.assigned and not tag.tag.startswith(PREFIX):  # our own figures have their pages
            strangers.append(tag)
    view = View(
        catalogue=catalogue,
        points={point.tag.tag: point for point in points(known, newest)},
        strangers=tuple(points(strangers, newest)),
        latest=newest,
        edges=tuple(sorted(edges, key=lambda edge: (edge.tags == 0, edge.edge))),
        pipeline=pipeline,
        alarms=_urgent(alarms),
    )
    return view, rest


def _urgent(found: tuple[Alarm, ...]) -> tuple[Alarm, ...]:
    """Order alarms: those that nobody has seen first, then by priority, then the newest."""
    unseen = {"UNACK": 0, "RTN_UNACK": 1, "ACKED": 2, "LATCHED": 2}
    rank = {name: i for i, name in enumerate(PRIORITIES)}
    return tuple(sorted(found, key=lambda a: (unseen.get(a.state, 4), rank.get(a.priority, 3), -a.raised.timestamp())))


def _counts(alarms: tuple[Alarm, ...]) -> dict[str, int]:
    """Return how many alarms of each priority are active or unseen, and how many nobody has seen."""
    open_ = [alarm for alarm in alarms if alarm.state in ("UNACK", "RTN_UNACK", "ACKED", "LATCHED")]
    counts = {name: sum(alarm.priority == name for alarm in open_) for name in PRIORITIES}
    return counts | {"unseen": sum(alarm.state in ("UNACK", "RTN_UNACK") for alarm in open_)}


def _shown(request: Request, asking: Caller, catalogue: Catalogue, reference: Reference) -> dict[str, Any]:
    view, (found_tanks, lately, medians, outages) = _view_and(
        asking,
        catalogue,
        partial(_levels, asking, catalogue),
        partial(_lately, request, asking, catalogue),
        partial(_medians, request, asking, catalogue, reference),
        partial(asking.outages, most=SHOWN),
    )
    areas = catalogue.root.below("area")
    return {
        "view": view,
        "names": places(catalogue),
        "hues": hues(catalogue),
        "sheet": sheet(request.app.state.layout, catalogue, view.points),
        "block": (WIDTH, HEIGHT),
        "cascades": _joined(request, view, lately, medians),
        "reference": reference,
        "tanks": tanks.tanks(view.points, found_tanks),
        "areas": areas,
        "lines": catalogue.root.below("line"),
        "site": summary(list(view.points.values())),
        "summaries": {area.path: summary(view.of(area.path)) for area in areas},
        "points": {area.path: telling(view.of(area.path), ON_WALL) for area in areas},
        "flows": [
            (flow, view.points.get(flow.rate.tag) if flow.rate else None) for flow in flows(catalogue.tags, CARRIERS)
        ],
        "strangers": view.strangers,
        "edges": view.edges,
        "pipeline": view.pipeline,
        "heard": len(view.latest),
        "newest": view.newest,
        "sending": view.sending,
        "alarms": view.alarms,
        "counts": _counts(view.alarms),
        "outages": outages,
    }


def _levels(asking: Caller, catalogue: Catalogue) -> tuple[Series, ...]:
    now = datetime.now(UTC)
    wanted = tanks.levels(catalogue.tags.values())[:200]
    return asking.series(wanted, now - LEVELS_OVER, now, "1m").series if wanted else ()


def _tanks(asking: Caller) -> list[tanks.Tank]:
    catalogue = asking.catalogue()
    view, (trends,) = _view_and(asking, catalogue, partial(_levels, asking, catalogue))
    return tanks.tanks(view.points, trends)


def _stage_tags(request: Request, catalogue: Catalogue) -> list[str]:
    layout = request.app.state.layout.get("cascades", {})
    return [tag.tag for said in layout.values() for tag in cascade.stage_tags(said, catalogue)][:200]


def _lately(request: Request, asking: Caller, catalogue: Catalogue) -> tuple[Series, ...]:
    """Return how the stages moved lately."""
    now = datetime.now(UTC)
    wanted = _stage_tags(request, catalogue)
    return asking.series(wanted, now - MOVES_OVER, now, "15m").series if wanted else ()


def _medians(request: Request, asking: Caller, catalogue: Catalogue, reference: Reference) -> dict[str, float] | None:
    """Return the stages' medians over the period that is the reference; None: what the plant model calls normal."""
    wanted = _stage_tags(request, catalogue)
    if reference == "model" or not wanted:
        return None
    period = resolve(reference, datetime.now(UTC), calendar(catalogue.root), back=1)
    step = "15m" if reference == "plantday" else "1h"
    return cascade.medians(asking.series(wanted, period.start, period.end, step).series)


def _cascades(
    request: Request, asking: Caller, catalogue: Catalogue, reference: Reference
) -> list[tuple[cascade.Profile, list[cascade.Move]]]:
    view, (lately, medians) = _view_and(
        asking,
        catalogue,
        partial(_lately, request, asking, catalogue),
        partial(_medians, request, asking, catalogue, reference),
    )
    return _joined(request, view, lately, medians)


def _joined(
    request: Request, view: View, lately: tuple[Series, ...], medians: dict[str, float] | None
) -> list[tuple[cascade.Profile, list[cascade.Move]]]:
    found = []
    for profile in _profiles(request, view, medians):
        numbers = {stage.point.tag.tag: stage.number for stage in profile.stages if stage.point}
        found.append((profile, cascade.moves([one for one in lately if one.tag in numbers], numbers)))
    return found


def _profiles(request: Request, view: View, medians: dict[str, float] | None) -> list[cascade.Profile]:
    layout = request.app.state.layout.get("cascades", {})
    found = (cascade.profile(name, said, view.catalogue, view.points, medians) for name, said in layout.items())
    return [profile for profile in found if profile is not None]


def _profile(profile: cascade.Profile, moved: list[cascade.Move]) -> dict[str, Any]:
    return {
        "cascade": profile.name,
        "path": profile.path,
        "stages": [
            {
                "stage": stage.number, "tag": stage.point.tag.tag, "ph": stage.value, "reference": stage.reference,
                "tolerance": stage.tolerance, "deviation": stage.deviation, "standing": stage.point.standing,
            }
            for stage in profile.stages if stage.point
        ],
        "samples": [
            {
                "stage": sample.stage, "analyser": sample.name, "description": sample.description, "unit": "%",
                "shares": {e: p.reading.value if p.reading else None for e, p in sample.shares.items()},
                "prnd": sample.share(("pr", "nd")), "prnd_reference": sample.normal(("pr", "nd")),
            }
            for sample in profile.samples
        ],
        "measured": profile.measured,
        "of": len(profile.stages),
        "distance": profile.distance,
        "farthest": profile.farthest.number if profile.farthest else None,
        "moves": moved,
    }  # fmt: skip


def _tank(tank: tanks.Tank) -> dict[str, Any]:
    level, volume = tank.level.reading, tank.volume.reading if tank.volume else None
    return {
        "tank": tank.name,
        "tag": tank.level.tag.tag,
        "level": level.value if level else None,
        "unit": tank.level.tag.unit,
        "volume": volume.value if volume else None,
        "volume_unit": tank.volume.tag.unit if tank.volume else None,
        "slope": tank.slope,
        "flow": tank.flow,
        "hours": tank.hours,
        "limit": tank.limit,
        "standing": tank.level.standing,
    }


def plain(point: Point) -> dict[str, Any]:
    """Return one tag with its newest reading, as every answer of the wall writes it."""
    reading: Latest | None = point.reading
    return {
        "tag": point.tag.tag,
        "description": point.tag.description,
        "equipment": point.tag.equipment,
        "unit": point.tag.unit,
        "kind": point.tag.kind,
        "standing": point.standing,
        "ts": reading.ts if reading else None,
        "value": reading.value if reading else None,
        "state": reading.state if reading else None,
        "quality": reading.quality if reading else None,
        "stale": reading.stale if reading else None,
        "age_s": reading.age_s if reading else None,
    }
