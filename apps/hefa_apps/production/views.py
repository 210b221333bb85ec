"""The pages of the production app: the morning, the lots, the handover log."""

from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from hefa_apps.metrics.desk import reckoning
from hefa_apps.page import App, pages
from hefa_apps.production import answers
from hefa_apps.production.api import router as api
from hefa_apps.production.formulas import FORMULAS, MEMBERS
from hefa_apps.production.measured import ask as ask_seen
from hefa_apps.question import Asked, Question
from hefa_apps.session import Asking

TABS = ("overview", "lots", "log")

router = APIRouter()
router.include_router(api)
APP = App("production", router, formulas=FORMULAS, members=MEMBERS)


class Morning(Question):
    """The period of a page that nobody picked one for: the last 24 hours."""

    def __init__(self, request: Request, question: Asked) -> None:
        super().__init__(question.name, question.back, question.start, question.end, question.step)
        if not {"period", "from"} & request.query_params.keys():
            self.name, self.back = "24h", 0


AskedMorning = Annotated[Morning, Depends(Morning)]


def _page(request: Request, asking: Asking, question: Question, tab: str) -> Response:
    catalogue = asking.catalogue()
    period, mistake = question.shown(catalogue)
    r = reckoning(request, asking, catalogue, period)
    shown = pages(request)
    more: dict[str, Any] = {}
    if tab == "overview":
        seen, _ = asking.together(lambda: ask_seen(r), lambda: asking.me())
        r.once(("production seen",), lambda: seen)
        more = {
            "figures": [r.figure(id) for id in answers.headline(r)],
            "a": answers.overview(r),
            "made": answers.output(r),
            "stops": answers.downtime(r),
        }
    elif tab == "lots":
        more = {"a": answers.work(r, datetime.now(UTC))}
    else:
        wish = {name: request.query_params.get(name, "")[:200] for name in ("subject", "kind")}
        places = [node.path for level in ("area", "line", "unit") for node in catalogue.root.below(level)]
        more = {"a": answers.log(r, datetime.now(UTC)), "wish": wish, "subjects": places}
    return shown.render(
        request,
        f"production/{tab}.html",
        root=catalogue.root,
        tabs=TABS,
        tab=tab,
        question=question,
        period=period,
        mistake=mistake,
        query=question.link()[1:],
        **more,
    )


@router.get("/production", include_in_schema=False)
def overview(request: Request, asking: Asking, question: AskedMorning) -> Response:
    return _page(request, asking, question, "overview")


@router.get("/production/lots", include_in_schema=False)
def lots(request: Request, asking: Asking, question: AskedMorning) -> Response:
    return _page(request, asking, question, "lots")


@router.get("/production/log", include_in_schema=False)
def log(request: Request, asking: Asking, question: AskedMorning) -> Response:
    return _page(request, asking, question, "log")
