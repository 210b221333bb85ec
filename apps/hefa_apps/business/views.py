"""The pages of the business app: the manager's morning, what a lot earns."""

from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from hefa_apps.business import answers, lots
from hefa_apps.business.api import How, Wishing
from hefa_apps.business.api import router as api
from hefa_apps.business.formulas import FORMULAS, MEMBERS
from hefa_apps.client import Refused
from hefa_apps.metrics import Reckoning
from hefa_apps.metrics.desk import reckoning
from hefa_apps.page import App, pages
from hefa_apps.question import Asked, Question
from hefa_apps.session import Asking

TABS = ("overview", "what-if", "lots")

router = APIRouter()
router.include_router(api)
APP = App("business", router, formulas=FORMULAS, members=MEMBERS)


class Morning(Question):
    """The period of a page that nobody picked one for: the last 24 hours."""

    def __init__(self, request: Request, question: Asked) -> None:
        super().__init__(question.name, question.back, question.start, question.end, question.step)
        if not {"period", "from"} & request.query_params.keys():
            self.name, self.back = "24h", 0


AskedMorning = Annotated[Morning, Depends(Morning)]


def _page(request: Request, r: Reckoning, question: Question, tab: str, **more: Any) -> Response:
    period, mistake = question.shown(r.catalogue)
    return pages(request).render(
        request,
        f"business/{tab}.html",
        root=r.catalogue.root,
        tabs=TABS,
        tab=tab,
        question=question,
        period=period,
        mistake=mistake,
        query=question.link()[1:],
        **more,
    )


def _reckon(request: Request, asking: Asking, question: Question) -> Reckoning:
    catalogue = asking.catalogue()
    return reckoning(request, asking, catalogue, question.shown(catalogue)[0])


@router.get("/business", include_in_schema=False)
def overview(request: Request, asking: Asking, question: AskedMorning) -> Response:
    r = _reckon(request, asking, question)
    return _page(
        request, r, question, "overview",
        figures=[r.figure(id) for id in answers.HEADLINE],
        a=answers.margin(r), lights=answers.lights(r), footprint=answers.footprint(r),
    )  # fmt: skip


@router.get("/business/what-if", include_in_schema=False)
def what_if(request: Request, asking: Asking, question: AskedMorning, wished: Wishing) -> Response:
    r = _reckon(request, asking, question)
    return _page(request, r, question, "what-if", a=answers.scenario(r, wished.wishes))


@router.get("/business/lots", include_in_schema=False)
def lot(
    request: Request, asking: Asking, question: AskedMorning, lot: str = "", allocation: How = "economic"
) -> Response:
    r = _reckon(request, asking, question)
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
