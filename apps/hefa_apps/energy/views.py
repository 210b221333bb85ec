"""The page of the energy app, and the same as JSON and CSV."""

from functools import partial
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response, StreamingResponse

from hefa_apps.energy.formulas import FORMULAS, MEMBERS
from hefa_apps.energy.model import CARRIERS, load, rate_unit
from hefa_apps.metrics.desk import reckoning
from hefa_apps.page import App, Pages, pages
from hefa_apps.report import Asked, Field, document, fields, report, table
from hefa_apps.session import Asking

FIELD = Field("carrier", CARRIERS)

router = APIRouter(tags=["energy"])
APP = App("energy", router, formulas=FORMULAS, members=MEMBERS)


@router.get("/energy", include_in_schema=False)
def page(request: Request, asking: Asking, question: Asked, carrier: str = "") -> Response:
    catalogue = asking.catalogue()
    period, mistake = question.shown(catalogue)
    r = reckoning(request, asking, catalogue, period)
    shown = fields(request, r, FIELD, question, period, carrier)
    found = shown["report"]
    shown_on = pages(request)
    return shown_on.render(
        request,
        "energy/energy.html",
        root=catalogue.root,
        mistake=mistake,
        load=load(found.usage.stack) if found else None,
        rate_unit=rate_unit,
        named=partial(_named, shown_on),
        **shown,
    )


@router.get("/api/energy/use", summary="Use of the carriers over a period, one of them in detail")
def use(request: Request, asking: Asking, question: Asked, carrier: str = "") -> dict[str, Any]:
    """Electricity, water, gas and steam with totals, the period before, shares by area, line or meter, and bars."""
    catalogue = asking.catalogue()
    period = question.period(catalogue)
    found = report(reckoning(request, asking, catalogue, period), FIELD, period, question.by, carrier)
    return document(found)


@router.get("/api/energy/use.csv", summary="The same rows as CSV", response_class=StreamingResponse)
def use_csv(request: Request, asking: Asking, question: Asked, carrier: str = "") -> Response:
    """A row per key and step, with measured, estimated and unknown parts and coverage."""
    catalogue = asking.catalogue()
    period = question.period(catalogue)
    found = report(reckoning(request, asking, catalogue, period), FIELD, period, question.by, carrier)
    return table(found, "energy")


def _named(shown: Pages, carrier: str) -> str:
    return shown.words.get(f"subject.{carrier}", carrier)
