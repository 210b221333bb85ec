"""The pages of the energy app.

The morning and the bill are reckoned from the same answers: they come whole, over a long period by `page.rest`. Other
pages come as parts that ask for different things, fetched beside each other by `static/energy.js`.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Annotated, Any, Literal, NamedTuple
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from hefa_apps.client import Refused
from hefa_apps.energy import answers, outlook
from hefa_apps.energy.api import FIELD, Asks, Compared, Comparing, Name, Shifting
from hefa_apps.energy.api import router as api
from hefa_apps.energy.carbon import REGION
from hefa_apps.energy.formulas import BASIS, FORMULAS, MEMBERS
from hefa_apps.energy.model import load, rate_unit
from hefa_apps.energy.registers import ELECTRICITY, carriers
from hefa_apps.metrics import Reckoning, targets
from hefa_apps.metrics.desk import reckoning
from hefa_apps.page import App, Pages, hues, pages, rest, starting
from hefa_apps.period import Period
from hefa_apps.question import Asked, Question
from hefa_apps.report import Asked as AskedUse
from hefa_apps.report import fields
from hefa_apps.session import Asking
from hefa_apps.view import Morning

TABS = ("overview", "use", "cost", "flows", "carbon", "baseline", "outlook")

router = APIRouter()
router.include_router(api)
APP = App("energy", router, formulas=FORMULAS, members=MEMBERS, basis=BASIS)

Tab = Literal["flows", "carbon", "baseline", "outlook"]


class Yesterday(Morning):
    """The period of a page that nobody picked one for: yesterday's plant day, or a week where days are compared."""

    def __init__(self, request: Request, question: Asked) -> None:
        super().__init__(request, question)
        if not self.picked:
            self.name, self.back = ("7d", 0) if request.url.path.endswith("/baseline") else ("plantday", 1)


AskedYesterday = Annotated[Yesterday, Depends(Yesterday)]


@router.get("/energy", include_in_schema=False)
def overview(request: Request, asking: Asking, question: AskedYesterday) -> Response:
    catalogue = asking.catalogue()
    period, mistake = question.shown(catalogue)
    r = reckoning(request, asking, catalogue, period)
    if not question.picked and ELECTRICITY in carriers(catalogue) and r.figure(f"use.{ELECTRICITY}").value is None:
        question.back = 0  # a young site knows nothing of yesterday
        period, mistake = question.shown(catalogue)
        r = reckoning(request, asking, catalogue, period)
    if later := rest(request, r.hours):
        return _page(request, r, "overview", question, period, mistake, rest=later)
    answers.prepare(r)
    figures = _told(lambda: [r.figure(id) for id in answers.overview(r)])
    nothing = all(figure.value is None for figure in figures.a or ())
    return _page(
        request, r, "overview", question, period, mistake, figures=figures, bill=_bill(r, ELECTRICITY),
        nothing=nothing, starting=nothing and starting(request),
    )  # fmt: skip


@router.get("/energy/cost", include_in_schema=False)
def cost(request: Request, asking: Asking, question: AskedYesterday, tariff: Name = ELECTRICITY) -> Response:
    catalogue = asking.catalogue()
    period, mistake = question.shown(catalogue)
    r = reckoning(request, asking, catalogue, period)
    if later := rest(request, r.hours):
        return _page(request, r, "cost", question, period, mistake, rest=later)
    answers.prepare(r, tariff)
    return _page(request, r, "cost", question, period, mistake, bill=_bill(r, tariff))


@router.get("/energy/use", include_in_schema=False)
def use(request: Request, asking: Asking, question: AskedUse, carrier: Name = "") -> Response:
    catalogue = asking.catalogue()
    period, mistake = question.shown(catalogue)
    r = reckoning(request, asking, catalogue, period)
    shown = fields(request, r, FIELD, question, period, carrier)
    found = shown.pop("report")
    shown_on = pages(request)
    return shown_on.render(
        request,
        "energy/use.html",
        root=catalogue.root,
        tabs=TABS,
        tab="use",
        mistake=mistake,
        report=found,
        load=load(found.usage.stack) if found else None,
        rate_unit=rate_unit,
        named=partial(_named, shown_on),
        **shown,
    )


@router.get("/energy/{tab}", include_in_schema=False)
def page(request: Request, asking: Asking, question: AskedYesterday, tab: Tab) -> Response:
    catalogue = asking.catalogue()
    period, mistake = question.shown(catalogue)
    r = reckoning(request, asking, catalogue, period)
    return _page(request, r, tab, question, period, mistake, carriers=carriers(catalogue))


def _page(
    request: Request, r: Reckoning, tab: str, question: Question, period: Period, mistake: str | None, **more: Any
) -> Response:
    shown_on = pages(request)
    return shown_on.render(
        request,
        f"energy/{tab}.html",
        root=r.catalogue.root,
        tabs=TABS,
        tab=tab,
        question=question,
        period=period,
        mistake=mistake,
        hues=hues(r.catalogue),
        named=partial(_named, shown_on),
        query=urlencode([pair for pair in request.query_params.multi_items() if pair[0] != "rest"]),
        lamp=partial(targets.lamp, r),
        **more,
    )


class Told(NamedTuple):
    """The answer `a` of a part of a page, or why it was refused."""

    a: Any
    refused: str | None = None


def _told(ask: Callable[[], Any]) -> Told:
    try:
        return Told(ask())
    except Refused as error:
        return Told(None, str(error))


def _bill(r: Reckoning, tariff: str) -> dict[str, Told]:
    """Return the parts `cost` and `demand` of a page."""
    zone = r.catalogue.root.zone
    return {
        "cost": _told(lambda: answers.cost(r, zone, tariff)),
        "demand": _told(lambda: answers.demand(r, zone)),
    }


def _part(request: Request, view: Asks, name: str, ask: Callable[[], dict[str, Any]]) -> Response:
    """Render a part of a page; what cannot be answered is told in its place."""
    shown_on = pages(request)
    told = _told(ask)
    return shown_on.render(
        request,
        f"energy/part_{name}.html" if told.refused is None else "energy/part_refused.html",
        root=view.r.catalogue.root,
        a=told.a,
        refused=told.refused,
        period=view.period,
        hues=hues(view.r.catalogue),
        named=partial(_named, shown_on),
        kept=[pair for pair in request.query_params.multi_items() if not pair[0].startswith("baseline_")],
    )


@router.get("/energy/parts/sankey", include_in_schema=False)
def sankey(request: Request, view: Asks, carrier: Name = "all") -> Response:
    return _part(request, view, "sankey", lambda: answers.sankey(view.r, carrier))


@router.get("/energy/parts/tree", include_in_schema=False)
def tree(request: Request, view: Asks, carrier: Name = ELECTRICITY) -> Response:
    asked = ELECTRICITY if carrier == "all" else carrier
    return _part(request, view, "tree", lambda: answers.meters(view.r, asked))


@router.get("/energy/parts/specific", include_in_schema=False)
def specific(request: Request, view: Asks) -> Response:
    return _part(request, view, "specific", lambda: answers.specific(view.r, "area"))


@router.get("/energy/parts/carbon", include_in_schema=False)
def carbon(request: Request, view: Asks, region: Name = REGION) -> Response:
    return _part(request, view, "carbon", lambda: answers.emissions(view.r, region))


@router.get("/energy/parts/baseline", include_in_schema=False)
def baseline(request: Request, asked: Comparing) -> Response:
    return _part(request, asked.view, "baseline", lambda: _study(asked))


def _study(asked: Compared) -> dict[str, Any]:
    saved = answers.saving(*asked.parts)
    fitted, summed = answers.baseline(*asked.parts), answers.cusum(*asked.parts)
    return fitted | saved | {"past": fitted["days"], "now": summed["days"]}


@router.get("/energy/parts/forecast", include_in_schema=False)
def forecast(request: Request, view: Asks) -> Response:
    return _part(request, view, "forecast", lambda: outlook.coming(view.r, datetime.now(UTC), view.words, view.zone))


@router.get("/energy/parts/shift", include_in_schema=False)
def shift(request: Request, asked: Annotated[Shifting, Depends(Shifting)]) -> Response:
    return _part(request, asked.view, "shift", lambda: asked.answer)


def _named(shown: Pages, carrier: str) -> str:
    return shown.words.get(f"subject.{carrier}", carrier)
