"""The pages of the material app."""

from functools import partial
from typing import Any

from fastapi import APIRouter, Request
from markupsafe import Markup
from starlette.responses import Response

from hefa_apps.client import Caller
from hefa_apps.material import answers, supplies
from hefa_apps.material.api import FIELD, Name, species
from hefa_apps.material.api import router as api
from hefa_apps.material.balance import ALL
from hefa_apps.material.diagram import BOX, diagram
from hefa_apps.material.formulas import BASIS, FORMULAS, MEMBERS
from hefa_apps.material.model import mass, specific, subscript
from hefa_apps.material.plant import plan
from hefa_apps.metrics.desk import reckoning
from hefa_apps.page import App, Pages, hues, pages, rest
from hefa_apps.question import Asked
from hefa_apps.report import Asked as AskedUse
from hefa_apps.report import fields
from hefa_apps.session import Asking
from hefa_apps.view import page as show
from hefa_apps.view import reckoned

TABS = ("use", "balance", "reagents", "water", "advice")

router = APIRouter()
router.include_router(api)
APP = App("material", router, formulas=FORMULAS, members=MEMBERS, basis=BASIS)


@router.get("/material", include_in_schema=False)
def page(request: Request, asking: Asking, question: AskedUse, material: Name = "") -> Response:
    catalogue = asking.catalogue()
    period, mistake = question.shown(catalogue)
    r = reckoning(request, asking, catalogue, period)
    shown_on = pages(request)
    shown = fields(request, r, FIELD, question, period, material)
    found = shown["report"]
    return shown_on.render(
        request,
        "material/material.html",
        root=catalogue.root,
        tabs=TABS,
        tab="use",
        mistake=mistake,
        mass=mass,
        specific=specific(found.tiles) if found else {},
        named=partial(_named, shown_on),
        **shown,
    )


@router.get("/material/balance", include_in_schema=False)
def balance(request: Request, asking: Asking, question: Asked, element: Name = ALL) -> Response:
    asked = species(element)
    the_plan = plan()

    def more(r: Any, words: Any) -> dict[str, Any]:
        told = answers.balance(r, asked, words)
        return {
            "a": told,
            "elements": answers.elements(r, words),
            "yields": answers.yields(r)["rows"],
            "figures": [r.figure("yield"), *(r.figure(row["metric"]) for row in answers.yields(r)["rows"][1:])],
            "streams": {one["name"]: one for one in told["streams"]},
            "nodes": {one["name"]: one for one in told["nodes"]},
            "drawing": diagram(the_plan.parts, [flow.name for flow in the_plan.flows]),
            "box": BOX,
            "element": asked,
        }

    return _page(request, asking, question, "balance", more)


@router.get("/material/reagents", include_in_schema=False)
def reagents(request: Request, asking: Asking, question: Asked) -> Response:
    return _page(
        request, asking, question, "reagents", lambda r, words: {"a": supplies.dosed(r), "stock": supplies.stores(r)}
    )


@router.get("/material/water", include_in_schema=False)
def water(request: Request, asking: Asking, question: Asked) -> Response:
    def more(r: Any, words: Any) -> dict[str, Any]:
        told = supplies.water_of(r, words)
        figures = [r.figure(id) for id in supplies.REUSE]
        return {"a": told, "figures": figures, "ledger": supplies.ledger(r, words)}

    return _page(request, asking, question, "water", more)


@router.get("/material/advice", include_in_schema=False)
def advice(request: Request, asking: Asking, question: Asked) -> Response:
    return _page(request, asking, question, "advice", lambda r, words: {"a": supplies.advised(r, words)})


def _page(request: Request, asking: Caller, question: Asked, tab: str, more: Any) -> Response:
    r = reckoned(request, asking, question)
    shown_on = pages(request)
    later = rest(request, r.hours)
    return show(
        request, r, question, f"material/{tab}", TABS, rest=later,
        hues=hues(r.catalogue), mass=mass, named=partial(_named, shown_on), **({} if later else more(r, shown_on.words)),
    )  # fmt: skip


def _named(shown: Pages, material: str) -> Markup:
    """Write a formula with its indices set low."""
    parts = subscript(shown.words.get(f"subject.{material}", material))
    inner = Markup("").join(Markup("<sub>{}</sub>").format(part) if low else part for part, low in parts)
    return Markup("<span>{}</span>").format(inner)
