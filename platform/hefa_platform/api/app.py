"""Put the parts together: routes, errors, the wall around them, and their description."""

import json
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from hefa_platform.access import Access
from hefa_platform.api import (
    alarm_stream,
    alarms,
    audit,
    consumption,
    docs,
    events,
    explain,
    health,
    imports,
    keys,
    latest,
    lots,
    notes,
    outages,
    pipeline,
    plant,
    problems,
    quarantine,
    readings,
    series,
    settings,
    storage,
    swaps,
)
from hefa_platform.api.compressed import Compressed
from hefa_platform.api.guard import Limits, Parts
from hefa_platform.api.head import Head
from hefa_platform.api.health import Figures
from hefa_platform.api.stream import Broadcaster
from hefa_platform.api.wall import Wall
from hefa_platform.store.database import Database
from hefa_platform.store.entry import Rules

# Of the API, not of the program: it changes when a caller would have to know.
VERSION = "1.0"

_ABOUT = """\
Every number of the plant, with what it is worth: unit, coverage, quality.

Send `Authorization: Bearer hefa_…` with every request but `health` and `ready`. Times are RFC 3339 with offset, `Z` in
answers; ranges are [from, to). Lists in a query repeat the parameter (`tag=a&tag=b`); lists in answers are
`{"items", "next"}`, and `next` is the `cursor` of the following page. Units are UCUM codes. Errors are
`application/problem+json` with a sentence that tells what to do.
"""

_TAGS = [
    {
        "name": "readings",
        "description": "What was measured: newest, over time, as it comes; entered by people, alone or as a file",
    },
    {"name": "consumption", "description": "What was used, of which carrier or material, where"},
    {"name": "explain", "description": "How any figure came about: the same URL, with `explain` in front"},
    {"name": "plant", "description": "The plant model: equipment and tags"},
    {"name": "events", "description": "What happened in the plant"},
    {"name": "alarms", "description": "What is beyond its limits, and what people did about it"},
    {"name": "records", "description": "What people decide and keep: settings, lots, notes, the audit"},
    {"name": "pipeline", "description": "Gateways, the accounting identity, refused data"},
    {"name": "access", "description": "Keys"},
    {"name": "health", "description": "For those who run it"},
]


def create_app(
    database: Database, limits: Limits | None = None, rules: Rules | None = None, disk: Path | None = None
) -> FastAPI:
    """The API on `database` (role hefa_api). Needs no database to start: until there is one, answers are 503.

    `disk` is a folder on the database's disk, if this process sees it.
    """
    limits = limits or Limits()
    app = _routes()
    access = Access(
        database,
        rate=limits.rate,
        burst=limits.burst,
        address_rate=limits.address_rate,
        address_burst=limits.address_burst,
        guess_rate=limits.guess_rate,
        guess_burst=limits.guess_burst,
    )
    app.state.parts = Parts(database, access, limits, rules or Rules(), disk)
    app.state.figures = Figures(database)
    app.state.scale = storage.Scale(database)
    app.state.broadcaster = Broadcaster(database, alarm_stream.Changes(database), capacity=limits.streams)
    app.add_middleware(Compressed)  # inside the wall, which counts what was asked
    app.add_middleware(Wall, body=limits.body, files={imports.PATH: limits.file}, figures=app.state.figures)
    app.add_middleware(Head)
    return app


def openapi_json() -> str:
    """The description of the API as committed in docs/openapi.json: indented, with a newline at its end."""
    return json.dumps(_routes().openapi(), indent=2, ensure_ascii=False) + "\n"


def _routes() -> FastAPI:
    app = FastAPI(
        title="hefa platform", version=VERSION, description=_ABOUT, openapi_tags=_TAGS, docs_url=None, redoc_url=None,
        generate_unique_id_function=lambda route: route.name,
    )  # fmt: skip
    problems.install(app)
    for module in (
        latest,
        series,
        alarm_stream,
        readings,
        imports,
        consumption,
        explain,
        plant,
        events,
        outages,
        alarms,
        settings,
        lots,
        notes,
        swaps,
        pipeline,
        storage,
        quarantine,
        keys,
        audit,
        health,
    ):
        app.include_router(module.router)
    docs.install(app)

    def describe() -> dict[str, Any]:
        if app.openapi_schema is None:
            schema = get_openapi(
                title=app.title, version=app.version, description=app.description, routes=app.routes, tags=_TAGS
            )
            schema["components"]["schemas"]["Problem"] = problems.SCHEMA
            app.openapi_schema = schema
        return app.openapi_schema

    app.openapi = describe  # type: ignore[method-assign]
    return app
