"""Pages of one area, of one tag and of a search, the JSON behind them, and the stream that keeps pages moving."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal, cast

from fastapi import APIRouter, Query, Request
from starlette.responses import Response, StreamingResponse

from hefa_apps.client import Caller, Catalogue, Missing, Node, Note, Platform, SeriesAnswer, Stream, Tag
from hefa_apps.live import outages, wall
from hefa_apps.live.model import STRANGERS, Point, points, search, summary
from hefa_apps.live.wall import plain
from hefa_apps.page import App, hues, pages, places, starting
from hefa_apps.session import Asking, key_of

router = APIRouter(tags=["live"])
router.include_router(wall.router)
router.include_router(outages.router)
APP = App("live", router)

Span = Literal["1h", "24h", "7d"]
_SPANS = {"1h": timedelta(hours=1), "24h": timedelta(hours=24), "7d": timedelta(days=7)}
_JUST_LEFT = timedelta(minutes=1)  # a note of this moment belongs to the range that ends now
_MOST_POINTS = 700  # a week by the quarter of an hour: finer hides the band from least to greatest


@router.get("/live/areas/{area}", include_in_schema=False)
def area_page(request: Request, asking: Asking, area: str) -> Response:
    catalogue = asking.catalogue()
    found = _area(asking, catalogue, area)
    lines: dict[str, dict[str, list[Point]]] = {}
    for point in found:
        lines.setdefault(point.tag.line or "", {}).setdefault(point.tag.equipment or "", []).append(point)
    return pages(request).render(
        request,
        "live/area.html",
        root=catalogue.root,
        area=area,
        node=_node(catalogue, area),
        names=places(catalogue),
        hue=hues(catalogue).get(area, 0),
        hues=hues(catalogue),
        lines=lines,
        summary=summary(found),
        starting=not any(p.reading for p in found) and starting(request),
    )


@router.get("/live/tags/{tag:path}", include_in_schema=False)
def tag_page(request: Request, asking: Asking, tag: str, span: Span = "1h") -> Response:
    catalogue = asking.catalogue()
    about = asking.tag(tag)
    newest, notes = asking.together(lambda: asking.latest(tags=[tag]), lambda: _notes(asking, about, span))
    point = points([about], {r.tag: r for r in newest})[0]
    children = [t for t in catalogue.tags.values() if t.meter and t.meter.parent == tag]
    beside = [t for t in catalogue.tags.values() if t.equipment and t.equipment == about.equipment and t.tag != tag]
    return pages(request).render(
        request,
        "live/tag.html",
        root=catalogue.root,
        point=point,
        tag=about,
        span=span,
        spans=tuple(_SPANS),
        names=places(catalogue),
        hue=hues(catalogue).get(about.area or "", 0),
        children=children,
        beside=beside,
        notes=notes,
        starting=point.reading is None and starting(request),
    )


@router.get("/live/parts/notes", include_in_schema=False)
def notes_part(request: Request, asking: Asking, tag: str, span: Span = "1h") -> Response:
    about = asking.tag(tag)
    shown = _notes(asking, about, span)
    return pages(request).render(request, "live/notes.html", root=asking.catalogue().root, tag=about, notes=shown)


@router.get("/api/live/notes", summary="Notes on a tag and its equipment over the last hour, day or week")
def notes_json(asking: Asking, tag: str, span: Span = "24h") -> dict[str, Any]:
    """The latest first. To leave one: `POST /api/production/log` with the tag as `subject`."""
    return {"tag": tag, "span": span, "notes": [_told(note) for note in _notes(asking, asking.tag(tag), span)]}


@router.get("/live/search", include_in_schema=False)
def search_page(request: Request, asking: Asking, q: str = "") -> Response:
    catalogue = asking.catalogue()
    names = places(catalogue)
    found = search(catalogue.tags.values(), names, q, 100)
    newest = {r.tag: r for r in asking.latest(tags=[t.tag for t in found])} if found else {}
    return pages(request).render(
        request,
        "live/search.html",
        root=catalogue.root,
        q=q,
        names=names,
        found=points(found, newest),
        hues=hues(catalogue),
    )


@router.get("/api/live/areas/{area}", summary="Every tag of an area with its newest reading")
def area_json(asking: Asking, area: str) -> dict[str, Any]:
    """`unassigned` stands for the tags that a gateway sent and the plant model does not know."""
    return {"area": area, "items": [plain(p) for p in _area(asking, asking.catalogue(), area)]}


@router.get("/api/live/search", summary="Find tags by words of their name, description or unit")
def search_json(asking: Asking, q: str, limit: Annotated[int, Query(ge=1, le=200)] = 12) -> dict[str, Any]:
    """Best first; every word must be found."""
    catalogue = asking.catalogue()
    names = places(catalogue)
    found = search(catalogue.tags.values(), names, q, limit)
    return {
        "items": [
            {
                "tag": t.tag,
                "description": t.description,
                "equipment": t.equipment,
                "name": names.get(t.equipment or "", ""),
                "area": t.area,
                "unit": t.unit,
            }
            for t in found
        ]
    }


@router.get("/api/live/tags/{tag:path}", summary="A tag, its facts and its newest reading")
def tag_json(asking: Asking, tag: str) -> dict[str, Any]:
    """`standing` is the worst thing to say about it: hh, ll, h, l, bad, silent, stale, uncertain or ok."""
    about = asking.tag(tag)
    point = points([about], {r.tag: r for r in asking.latest(tags=[tag])})[0]
    return asdict(about) | plain(point)


@router.get("/api/live/series", summary="Trends of some tags over the last hour, day or week", response_model=None)
def series(
    asking: Asking,
    tag: Annotated[list[str], Query(min_length=1, max_length=200)],
    span: Span = "1h",
    step: str = "auto",
) -> dict[str, Any]:
    """Times in µs since the epoch; `min` and `max` are those of each step; None where nothing is known."""
    now = datetime.now(UTC)
    answer = asking.series(tag, now - _SPANS[span], now, step, max_points=_MOST_POINTS if step == "auto" else None)
    return _series(answer)


@router.get("/api/live/stream", summary="Newest readings as they come (server-sent events)", response_model=None)
async def stream(
    request: Request,
    tag: Annotated[list[str] | None, Query(description="only these")] = None,
    area: Annotated[str | None, Query(description="only this area")] = None,
    core: Annotated[bool | None, Query(description="only tags of the core set")] = None,
) -> Response:
    """Events `latest` with `{"items":[…]}` about each second; only what changed."""
    platform = cast(Platform, request.app.state.platform)
    flag = None if core is None else str(core).lower()
    opened = await platform.stream(key_of(request), {"tag": tag or (), "area": area, "core": flag})
    return StreamingResponse(
        _relay(opened, request.app.state.closing),
        media_type="text/event-stream",
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
    )


async def _relay(opened: Stream, closing: asyncio.Event) -> AsyncIterator[bytes]:
    """Pass the platform's events on until either side ends, or the portal is told to stop."""
    chunks = opened.chunks()
    stop = asyncio.ensure_future(closing.wait())
    waiting: asyncio.Future[bytes | None] | None = None
    try:
        yield b"retry: 2000\n\n"
        while True:
            waiting = asyncio.ensure_future(anext(chunks, None))
            await asyncio.wait({waiting, stop}, return_when=asyncio.FIRST_COMPLETED)
            chunk = waiting.result() if waiting.done() else None
            if chunk is None:
                return
            yield chunk
    finally:
        stop.cancel()
        if waiting is not None:
            waiting.cancel()
        await opened.close()


def _notes(asking: Caller, about: Tag, span: Span) -> list[Note]:
    now = datetime.now(UTC)
    subjects = [name for name in (about.tag, about.equipment) if name]
    return asking.notes(now - _SPANS[span], now + _JUST_LEFT, subjects=subjects)


def _told(note: Note) -> dict[str, Any]:
    body = asdict(note)
    return {"from": body.pop("from_")} | body


def _area(asking: Caller, catalogue: Catalogue, area: str) -> list[Point]:
    if area == STRANGERS:
        tags = [t for t in catalogue.tags.values() if not t.assigned]
        newest = asking.latest(assigned=False)
    else:
        _node(catalogue, area)
        tags = [t for t in catalogue.tags.values() if t.area == area]
        newest = asking.latest(area=area)
    place = {unit.path: i for i, unit in enumerate(catalogue.root.below("unit"))}
    tags.sort(key=lambda tag: (place.get(tag.equipment or "", len(place)), tag.tag))
    return points(tags, {r.tag: r for r in newest})


def _node(catalogue: Catalogue, area: str) -> Node | None:
    """Return the area; None for the strangers, who have no place. Raises `Missing`."""
    if area == STRANGERS:
        return None
    for node in catalogue.root.below("area"):
        if node.path == area:
            return node
    known = ", ".join(n.path for n in catalogue.root.below("area"))
    raise Missing(404, "no such area", f"there is no area {area}; the areas are {known}")


def _series(answer: SeriesAnswer) -> dict[str, Any]:
    body = asdict(answer)
    body["from"] = body.pop("from_")
    return body
