"""The pages of the production app: the morning, the lots, the handover log."""

from datetime import UTC, datetime
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from hefa_apps.page import App, rest
from hefa_apps.production import answers, downtime
from hefa_apps.production.api import router as api
from hefa_apps.production.formulas import BASIS, FORMULAS, MEMBERS, needs, watched
from hefa_apps.production.lots import lots_asked
from hefa_apps.production.measured import settings_asked
from hefa_apps.question import Question
from hefa_apps.session import Asking
from hefa_apps.view import AskedMorning, page, reckoned

TABS = ("overview", "lots", "log")

router = APIRouter()
router.include_router(api)
APP = App("production", router, formulas=FORMULAS, members=MEMBERS, basis=BASIS)


def _page(request: Request, asking: Asking, question: Question, tab: str) -> Response:
    r = reckoned(request, asking, question)
    if tab != "log" and (later := rest(request, r.hours)):
        return page(request, r, question, f"production/{tab}", TABS, rest=later)
    more: dict[str, Any] = {}
    if tab == "overview":
        r.ahead((*needs(r), *downtime.needs(r), r.looking(watched(r))))
        more = {
            "figures": [r.figure(id) for id in answers.headline(r)],
            "a": answers.overview(r),
            "made": answers.output(r),
            "stops": answers.downtime(r),
        }
    elif tab == "lots":
        r.ahead((lots_asked(r), settings_asked(r, "target")))
        more = {"a": answers.work(r, datetime.now(UTC))}
    else:
        wish = {name: request.query_params.get(name, "")[:200] for name in ("subject", "kind")}
        places = [node.path for level in ("area", "line", "unit") for node in r.catalogue.root.below(level)]
        more = {"a": answers.log(r, datetime.now(UTC)), "wish": wish, "subjects": places}
    return page(request, r, question, f"production/{tab}", TABS, **more)


@router.get("/production", include_in_schema=False)
def overview(request: Request, asking: Asking, question: AskedMorning) -> Response:
    return _page(request, asking, question, "overview")


@router.get("/production/lots", include_in_schema=False)
def lots(request: Request, asking: Asking, question: AskedMorning) -> Response:
    return _page(request, asking, question, "lots")


@router.get("/production/log", include_in_schema=False)
def log(request: Request, asking: Asking, question: AskedMorning) -> Response:
    return _page(request, asking, question, "log")
