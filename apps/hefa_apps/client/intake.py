"""How data gets in: gateways, freshness, the accounting identity."""

from dataclasses import dataclass
from datetime import datetime

from hefa_apps.client.connection import Asking


@dataclass(frozen=True)
class Edge:
    """A gateway; `online` is None when it never told its status."""

    edge: str
    description: str = ""
    online: bool | None = None
    status_at: datetime | None = None
    seen_at: datetime | None = None
    age_s: float | None = None
    received: int = 0
    stored: int = 0
    duplicate: int = 0
    conflict: int = 0
    quarantined: int = 0
    undecodable: int = 0
    lost: int = 0
    tags: int = 0


@dataclass(frozen=True)
class Freshness:
    """Age of live readings when they were committed, in ms; None while there are none."""

    p50_ms: float | None = None
    p95_ms: float | None = None
    p99_ms: float | None = None


@dataclass(frozen=True)
class Pipeline:
    """How the intake is doing; the identity is received = stored + duplicate + conflict + quarantined."""

    freshness: Freshness = Freshness()
    identity_holds: bool | None = None


class IntakeCalls(Asking):
    """Edges and the pipeline."""

    def edges(self) -> list[Edge]:
        """Return all gateways."""
        return self._all(Edge, "edges", {})

    def pipeline(self) -> Pipeline:
        """Return freshness and whether the accounting identity holds."""
        return self._one(Pipeline, "pipeline", {})
