"""What the pipeline has done with what it was given, per gateway, and how fast."""

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter
from pydantic import Field

from hefa_platform.api.guard import Viewer
from hefa_platform.api.params import Answer
from hefa_platform.api.problems import responses
from hefa_platform.store import pipeline as store

router = APIRouter(prefix="/v1", tags=["pipeline"])

FRESHNESS_MINUTES = 5


class Account(Answer):
    """Readings taken in: received = stored + duplicate + conflict + quarantined. Undecodable are messages, apart."""

    received: int
    stored: int
    duplicate: int
    conflict: int
    quarantined: int
    undecodable: int


class EdgeAccount(Account):
    edge: str


class Edge(EdgeAccount):
    """A gateway. `online` is its own last word or its will's; null: it never said. `age_s` since its last message."""

    description: str
    online: bool | None
    status_at: datetime | None
    seen_at: datetime | None
    age_s: float | None
    events: int
    lost: int = Field(description="Readings that the gateway said will never come")
    tags: int


class Edges(Answer):
    items: list[Edge]
    next: None = None


class Freshness(Answer):
    """Time from sensor to commit of live readings, over the last `minutes`; null where none came."""

    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    readings: int
    minutes: int


class Worker(Answer):
    """A process of the platform and its last sign of life."""

    task: str
    name: str
    ready: bool
    detail: str
    seen_at: datetime
    age_s: float


class Pipeline(Answer):
    edges: list[EdgeAccount]
    totals: Account
    identity_holds: bool = Field(description="Whether the account balances for every gateway")
    unattributed: Annotated[int, Field(description="Messages on topics of no gateway we know")]
    freshness: Freshness
    workers: list[Worker]


@router.get("/edges", summary="Gateways", responses=responses())
def edges(caller: Viewer) -> Edges:
    """Every gateway with its state and its account."""
    return Edges(
        items=[
            Edge(
                **_account(row), edge=row.edge, description=row.description, online=row.online,
                status_at=row.status_at, seen_at=row.seen_at,
                age_s=_age(row.seen_at) if row.seen_at else None,
                events=row.events, lost=row.gaps, tags=row.tags,
            )
            for row in store.edges(caller.database, caller.site)
        ]
    )  # fmt: skip


@router.get("/pipeline", summary="The accounting identity and freshness", responses=responses())
def pipeline(caller: Viewer) -> Pipeline:
    """What came in and what became of it, per gateway, from counters kept in the same transactions as the readings."""
    rows = store.edges(caller.database, caller.site)
    accounts = [EdgeAccount(edge=row.edge, **_account(row)) for row in rows]
    totals = {name: sum(getattr(account, name) for account in accounts) for name in Account.model_fields}
    fresh = store.freshness(caller.database, FRESHNESS_MINUTES)
    return Pipeline(
        edges=accounts,
        totals=Account(**totals),
        identity_holds=all(row.balanced for row in rows),
        unattributed=store.undecodable(caller.database),
        freshness=Freshness(
            p50_ms=fresh.p50_ms, p95_ms=fresh.p95_ms, p99_ms=fresh.p99_ms, readings=fresh.readings,
            minutes=fresh.minutes,
        ),
        workers=[Worker(**asdict(row), age_s=_age(row.seen_at)) for row in store.workers(caller.database)],
    )  # fmt: skip


def _age(seen_at: datetime) -> float:
    return round(max(0.0, (datetime.now(UTC) - seen_at).total_seconds()), 3)


def _account(row: store.Edge) -> dict[str, int]:
    return {name: getattr(row, name) for name in Account.model_fields}
