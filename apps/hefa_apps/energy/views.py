"""The pages of the energy app. What takes longer than a blink comes as parts, fetched by `static/energy.js`."""

from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Annotated, Any, Literal

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
from hefa_apps.page import App, Pages, hues, pages, starting
from hefa_apps.period import Period
from hefa_apps.question import Asked, Question
from hefa_apps.report import Asked as AskedUse
from hefa_apps.report import fields
from hefa_apps.session import Asking
from hefa_apps.view import Morning

AT_ONCE = 49  # hours: figures of a longer period come as a part, so that the page stands at once
TABS = ("overview", "use", "cost", "flows", "carbon", "baseline", "outlook")

router = APIRouter()
router.include_router(api)
APP = App("energy", router, formulas=FORMULAS, members=MEMBERS, basis=BASIS)

Tab = Literal["cost", "flows", "carbon", "baseline", "outlook"]


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
    if period.hours > AT_ONCE:
        return _page(request, r, "overview", question, period, mistake, figures=None, nothing=False, starting=False)
    r.prepare(BASIS)
    shown = [r.figure(id) for id in answers.overview(r)]
    nothing = all(figure.value is None for figure in shown)
    return _page(
        request, r, "overview", question, period, mistake, figures=shown, starting=nothing and starting(request),
        nothing=nothing,
    )  # fmt: skip


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
        named=partial(_named, shown_on),
        query=request.url.query,
        lamp=partial(targets.lamp, r),
        **more,
    )


def _part(request: Request, view: Asks, name: str, ask: Callable[[], dict[str, Any]]) -> Response:
    """Render a part of a page; what cannot be answered is told in its place."""
    shown_on = pages(request)
    try:
        found, refused = ask(), None
    except Refused as error:
        found, refused = {}, str(error)
    return shown_on.render(
        request,
        f"energy/part_{name}.html" if refused is None else "energy/part_refused.html",
        root=view.r.catalogue.root,
        a=found,
        refused=refused,
        period=view.period,
        hues=hues(view.r.catalogue),
        named=partial(_named, shown_on),
        kept=[pair for pair in request.query_params.multi_items() if not pair[0].startswith("baseline_")],
    )


@router.get("/energy/parts/figures", include_in_schema=False)
def figures(request: Request, asking: Asking, question: Asked) -> Response:
    catalogue = asking.catalogue()
    r = reckoning(request, asking, catalogue, question.period(catalogue))
    r.prepare(BASIS)
    return pages(request).render(
        request,
        "energy/part_figures.html",
        root=catalogue.root,
        question=question,
        lamp=partial(targets.lamp, r),
        figures=[r.figure(id) for id in answers.overview(r)],
    )


@router.get("/energy/parts/demand", include_in_schema=False)
def demand(request: Request, view: Asks) -> Response:
    return _part(request, view, "demand", lambda: answers.demand(view.r, view.zone))


@router.get("/energy/parts/cost", include_in_schema=False)
def cost(request: Request, view: Asks, tariff: Name = ELECTRICITY) -> Response:
    return _part(request, view, "cost", lambda: answers.cost(view.r, view.zone, tariff))


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
