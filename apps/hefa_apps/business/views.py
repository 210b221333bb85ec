"""The pages of the business app: the manager's morning, what a lot earns."""

from datetime import UTC, datetime
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from hefa_apps.business import answers, lots
from hefa_apps.business.api import How, Wishing
from hefa_apps.business.api import router as api
from hefa_apps.business.formulas import BASIS, FORMULAS, MEMBERS
from hefa_apps.client import Refused
from hefa_apps.metrics import Reckoning
from hefa_apps.page import App, rest
from hefa_apps.question import Question
from hefa_apps.session import Asking
from hefa_apps.view import AskedMorning, page, reckoned

TABS = ("overview", "what-if", "lots")

router = APIRouter()
router.include_router(api)
APP = App("business", router, formulas=FORMULAS, members=MEMBERS, basis=BASIS)


def _page(request: Request, r: Reckoning, question: Question, tab: str, **more: Any) -> Response:
    return page(request, r, question, f"business/{tab}", TABS, **more)


@router.get("/business", include_in_schema=False)
def overview(request: Request, asking: Asking, question: AskedMorning) -> Response:
    r = reckoned(request, asking, question)
    if later := rest(request, r.hours):
        return _page(request, r, question, "overview", rest=later)
    answers.prepare(r)
    return _page(
        request, r, question, "overview",
        figures=[r.figure(id) for id in answers.HEADLINE],
        a=answers.margin(r), lights=answers.lights(r), footprint=answers.footprint(r),
    )  # fmt: skip


@router.get("/business/what-if", include_in_schema=False)
def what_if(request: Request, asking: Asking, question: AskedMorning, wished: Wishing) -> Response:
    r = reckoned(request, asking, question)
    if later := rest(request, r.hours):
        return _page(request, r, question, "what-if", rest=later)
    return _page(request, r, question, "what-if", a=answers.scenario(r, wished.wishes))


@router.get("/business/lots", include_in_schema=False)
def lot(
    request: Request, asking: Asking, question: AskedMorning, lot: str = "", allocation: How = "economic"
) -> Response:
    r = reckoned(request, asking, question)
    if later := rest(request, r.hours):
        return _page(request, r, question, "lots", rest=later)
    found, refused = None, None
    if lot:
        try:
            found = lots.margin(r, lot[:200], lots.allocation(allocation), datetime.now(UTC))
        except Refused as error:
            refused = str(error)
    offered = answers.offered(asking.lots(start=r.start, end=r.end))
    return _page(
        request, r, question, "lots", a=found, refused=refused, offered=offered, lot=lot[:200], allocation=allocation
    )
