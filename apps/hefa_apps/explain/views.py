"""The metric catalogue, and each metric's figure with its inputs over a period."""

from dataclasses import asdict
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from hefa_apps.metrics import Input, plain, targets
from hefa_apps.metrics.desk import desk, reckoning
from hefa_apps.page import App, pages
from hefa_apps.question import Asked
from hefa_apps.session import Asking

router = APIRouter(tags=["metrics"])
APP = App("explain", router, listed=False)


@router.get("/explain", include_in_schema=False)
def catalogue_page(request: Request, asking: Asking) -> Response:
    plant = asking.catalogue()
    return pages(request).render(
        request, "explain/catalogue.html", root=plant.root, metrics=desk(request).metrics(plant)
    )


@router.get("/explain/{metric:path}", include_in_schema=False)
def metric_page(request: Request, asking: Asking, question: Asked, metric: str) -> Response:
    plant = asking.catalogue()
    period, mistake = question.shown(plant)
    r = reckoning(request, asking, plant, period)
    figure = r.figure(metric)
    return pages(request).render(
        request,
        "explain/metric.html",
        root=plant.root,
        question=question,
        period=period,
        mistake=mistake,
        figure=figure,
        inputs=figure.inputs,
        lamp=targets.lamp(r, figure),
        before=r.over(*period.before).figure(metric),
    )


@router.get("/api/metrics", summary="The metric catalogue")
def metrics(request: Request, asking: Asking) -> dict[str, Any]:
    """Every metric of this site with its definition (fields of ISO 22400-1)."""
    return {"items": [asdict(metric) for metric in desk(request).metrics(asking.catalogue())], "next": None}


@router.get("/api/explain/{metric:path}", summary="A metric's definition, its figure over a period, and the inputs")
def explain(request: Request, asking: Asking, question: Asked, metric: str) -> dict[str, Any]:
    """The figure that every page shows, what it was reckoned from, and where each input came from."""
    plant = asking.catalogue()
    period = question.period(plant)
    figure = reckoning(request, asking, plant, period).figure(metric)
    return {
        **asdict(figure.metric),
        **plain(figure),
        "period": period.name,
        "tz": plant.root.timezone,
        "tags": figure.tags,
        "inputs": [_input(one) for one in figure.inputs],
    }


def _input(one: Input) -> dict[str, Any]:
    return {name: value if value != "" else None for name, value in asdict(one).items()}
