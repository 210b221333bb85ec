"""The page of the material app, and the same as JSON and CSV."""

from functools import partial
from typing import Any

from fastapi import APIRouter, Request
from markupsafe import Markup
from starlette.responses import Response, StreamingResponse

from hefa_apps.material.model import MATERIALS, mass, specific, subscript
from hefa_apps.material.question import AskedNetwork, judged
from hefa_apps.metrics.desk import reckoning
from hefa_apps.page import App, Pages, pages
from hefa_apps.report import Asked, Field, document, fields, report, table
from hefa_apps.session import Asking

FIELD = Field("material", MATERIALS)

router = APIRouter(tags=["material"])
APP = App("material", router)


@router.get("/material", include_in_schema=False)
def page(request: Request, asking: Asking, question: Asked, material: str = "") -> Response:
    catalogue = asking.catalogue()
    period, mistake = question.shown(catalogue)
    r = reckoning(request, asking, catalogue, period)
    shown = fields(request, r, FIELD, question, period, material)
    found = shown["report"]
    shown_on = pages(request)
    return shown_on.render(
        request,
        "material/material.html",
        root=catalogue.root,
        mistake=mistake,
        mass=mass,
        specific=specific(found.tiles) if found else {},
        named=partial(_named, shown_on),
        **shown,
    )


@router.get("/api/material/use", summary="Use of the materials over a period, one of them in detail")
def use(request: Request, asking: Asking, question: Asked, material: str = "") -> dict[str, Any]:
    """Reagents and products in kg of pure substance: totals, the period before, shares by area, line or meter, bars."""
    catalogue = asking.catalogue()
    period = question.period(catalogue)
    found = report(reckoning(request, asking, catalogue, period), FIELD, period, question.by, material)
    return document(found)


@router.get("/api/material/use.csv", summary="The same rows as CSV", response_class=StreamingResponse)
def use_csv(request: Request, asking: Asking, question: Asked, material: str = "") -> Response:
    """A row per key and step, with measured, estimated and unknown parts and coverage."""
    catalogue = asking.catalogue()
    period = question.period(catalogue)
    found = report(reckoning(request, asking, catalogue, period), FIELD, period, question.by, material)
    return table(found, "material")


@router.post("/api/material/reconcile", summary="Data reconciliation of any network that you send")
def reconciliation(asking: Asking, network: AskedNetwork) -> dict[str, Any]:
    """Weighted least squares: `reconciled` closes every node; the tests say whether a meter is off, and which it may be.

    `chi2` above `chi2_limit` rejects; `z` is each stream's own test against `z_limit` (null: no balance checks it).
    `suspects` names every stream that may be off, those that no test can tell apart together. A stream of value null
    is estimated where the balances determine it, else null and listed in `unobservable`. Nothing is stored.
    """
    asking.root()  # a key that opens nothing here reckons nothing either
    return judged(network)


def _named(shown: Pages, material: str) -> Markup:
    """Write a formula with its indices set low."""
    parts = subscript(shown.words.get(f"subject.{material}", material))
    inner = Markup("").join(Markup("<sub>{}</sub>").format(part) if low else part for part, low in parts)
    return Markup("<span>{}</span>").format(inner)
