"""Whether this process lives and can answer, and its figures for Prometheus."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.metadata import version

from fastapi import APIRouter, Request
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from starlette.responses import Response

from hefa_platform.api.guard import Viewer, parts_of
from hefa_platform.api.params import Answer
from hefa_platform.api.problems import responses
from hefa_platform.store import pipeline as store
from hefa_platform.store.database import Database, Unavailable

router = APIRouter(prefix="/v1", tags=["health"])


class Health(Answer):
    status: str
    version: str


class Check(Answer):
    name: str
    ok: bool
    detail: str


class Engine(Answer):
    kind: str
    version: str


class Ready(Answer):
    """Whether questions can be answered; `engine` is null while the database is away."""

    ready: bool
    engine: Engine | None
    checks: list[Check]


class Figures:
    """What this process counts of its own, and how the pipeline's counters become metrics. One per app."""

    def __init__(self, database: Database) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "hefa_http_requests_total", "Requests answered", ["method", "route", "status"], registry=self.registry
        )
        self.seconds = Histogram(
            "hefa_http_request_seconds", "Time to the first byte of the answer", ["method", "route"],
            registry=self.registry,
            buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
        )  # fmt: skip
        self.registry.register(_Pipeline(database))


class _Pipeline(Collector):
    """The pipeline's counters, read when they are asked for, so that every API process tells the same."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def describe(self) -> list[Metric]:
        return []

    def collect(self) -> Iterator[Metric]:
        up = GaugeMetricFamily("hefa_database_up", "1 while the database answers")
        started = time.monotonic()
        try:
            edges = store.edges(self._database, "*")
            fresh = store.freshness(self._database, 5)
        except Unavailable:
            up.add_metric([], 0)
            yield up
            return
        up.add_metric([], 1)
        yield up
        readings = CounterMetricFamily(
            "hefa_intake_readings", "Readings taken in, by what became of them", labels=["edge", "outcome"]
        )
        messages = CounterMetricFamily("hefa_intake_undecodable", "Messages nobody could read", labels=["edge"])
        lost = CounterMetricFamily("hefa_edge_lost_readings", "Readings that will never come", labels=["edge"])
        age = GaugeMetricFamily("hefa_edge_age_seconds", "Time since the last message", labels=["edge"])
        online = GaugeMetricFamily("hefa_edge_online", "1 while the gateway says so", labels=["edge"])
        now = datetime.now(UTC)
        for edge in edges:
            for outcome in ("received", "stored", "duplicate", "conflict", "quarantined"):
                readings.add_metric([edge.edge, outcome], getattr(edge, outcome))
            messages.add_metric([edge.edge], edge.undecodable)
            lost.add_metric([edge.edge], edge.gaps)
            if edge.seen_at is not None:
                age.add_metric([edge.edge], max(0.0, (now - edge.seen_at).total_seconds()))
            if edge.online is not None:
                online.add_metric([edge.edge], edge.online)
        yield from (readings, messages, lost, age, online)
        quantiles = GaugeMetricFamily(
            "hefa_freshness_seconds", "Sensor to commit of live readings, last 5 minutes", labels=["quantile"]
        )
        for quantile, value in (("0.5", fresh.p50_ms), ("0.95", fresh.p95_ms), ("0.99", fresh.p99_ms)):
            if value is not None:
                quantiles.add_metric([quantile], value / 1000)
        yield quantiles
        took = GaugeMetricFamily("hefa_scrape_database_seconds", "Time the database took for this page")
        took.add_metric([], time.monotonic() - started)
        yield took


@router.get("/health", summary="Alive", responses={})
def health() -> Health:
    """The process answers. Needs no key and no database."""
    return Health(status="ok", version=version("hefa"))


@router.get(
    "/ready",
    summary="Able to answer",
    responses={503: {"model": Ready, "description": "Not yet; the checks say why"}},
)
def ready(request: Request, response: Response) -> Ready:
    """Whether database, schema and plant model are there. Needs no key."""
    database = parts_of(request).database
    try:
        engine = database.engine
        checks = [Check(name="database", ok=True, detail=engine.version)]
        checks += [Check(name=check.name, ok=check.ok, detail=check.detail) for check in store.checks(database)]
        answer = Ready(
            ready=all(check.ok for check in checks),
            engine=Engine(kind=engine.kind, version=engine.version),
            checks=checks,
        )
    except Unavailable:
        # Why in detail is in the log: the address of the database is nobody's business without a key.
        answer = Ready(ready=False, engine=None, checks=[Check(name="database", ok=False, detail="away")])
    response.status_code = 200 if answer.ready else 503
    return answer


@router.get(
    "/metrics",
    summary="Figures for Prometheus",
    response_class=Response,
    responses=responses()
    | {200: {"content": {"text/plain": {"schema": {"type": "string"}}}, "description": "Prometheus text"}},
)
def metrics(_: Viewer, request: Request) -> Response:
    """The pipeline's counters and this process's requests. Needs a key: give Prometheus one of a viewer."""
    figures: Figures = request.app.state.figures
    return Response(generate_latest(figures.registry), media_type=CONTENT_TYPE_LATEST)
