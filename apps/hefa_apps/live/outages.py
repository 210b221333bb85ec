"""What is out of service, as JSON: alarms of what is being worked on are kept and announced to nobody, until a time."""

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Body

from hefa_apps.client import Outage
from hefa_apps.session import Asking

router = APIRouter(tags=["live"])

MOST_MINUTES = 366 * 24 * 60
SHOWN = 100


@router.get("/api/live/outages", summary="What is out of service now")
def outages(asking: Asking) -> dict[str, Any]:
    """The latest first, at most a hundred."""
    return {"items": [plain(one) for one in asking.outages(most=SHOWN)], "next": None}


@router.post("/api/live/outages", summary="Take a tag, a place or a gateway out of service", status_code=201)
def take_out(
    asking: Asking,
    of: Annotated[str, Body(min_length=1, max_length=200, description="its name; a place with all below it")],
    minutes: Annotated[float, Body(gt=0, le=MOST_MINUTES)],
    reason: Annotated[str, Body(min_length=1, max_length=500)],
) -> dict[str, Any]:
    """Needs the role engineer. Its alarms are found and listed meanwhile, as out of service."""
    name = of.strip()
    if name in asking.catalogue().tags:
        return plain(asking.take_out("tag", name, minutes, reason))
    gateway = any(edge.edge == name for edge in asking.edges())
    return plain(asking.take_out("edge" if gateway else "equipment", name, minutes, reason))


@router.post("/api/live/outages/{outage}/end", summary="Put back into service before its time")
def put_back(asking: Asking, outage: int) -> dict[str, Any]:
    """Needs the role engineer. What is active is announced anew within seconds."""
    return plain(asking.put_back(outage))


def plain(outage: Outage) -> dict[str, Any]:
    """Return it as JSON, `of` telling what it is of."""
    return {"of": outage.of} | asdict(outage)
