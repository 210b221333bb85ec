"""The one door to the platform: its REST API as typed calls, made with the key of the person who asks.

Hides HTTP, paging, retries and the wire's JSON. Every failure is one of four: `Unavailable` (wait), `Denied` (the
key), `Missing` (no such thing) or `Refused` (the question; its text tells what to change). Nothing is cached but the
catalogue (assets and tags), for `CATALOGUE_TTL` seconds and per key, because two keys may see different sites.
"""

import threading
import time
from collections.abc import AsyncIterator, Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from typing import Annotated, Any, TypeVar, cast
from urllib.parse import quote
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import httpx2
from pydantic import Field, TypeAdapter, ValidationError

T = TypeVar("T")
Params = Mapping[str, str | int | Sequence[str] | None]

CATALOGUE_TTL = 20.0
PAGE = 2000  # items per request when a whole list is wanted: the most that the platform gives
_PAUSES = (0.15, 0.6)  # seconds before the second and third try of a read


class Unavailable(Exception):
    """The platform does not answer, or says that it cannot yet. The same request may succeed later."""


class Denied(Exception):
    """The platform does not accept this key for this request."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status  # 401: sign in again; 403: the key is good, its role is not enough
        self.detail = detail


class Refused(Exception):
    """The platform refuses the question itself; `detail` is its sentence about what to do."""

    def __init__(self, status: int, title: str, detail: str) -> None:
        super().__init__(detail or title)
        self.status, self.title, self.detail = status, title, detail


class Missing(Refused):
    """There is no such tag, edge or place."""


@dataclass(frozen=True)
class Node:
    """A place in the plant; `tags` counts its own, not those of places below it."""

    name: str
    level: str
    path: str
    description: str = ""
    tags: int = 0
    children: tuple["Node", ...] = ()

    def below(self, level: str) -> list["Node"]:
        """Return the nodes of one level at or under this one, in the plant model's order."""
        found = [self] if self.level == level else []
        return found + [node for child in self.children for node in child.below(level)]


@dataclass(frozen=True)
class Root(Node):
    """The top of the tree, with the facts of the site that calendars need."""

    site: str = ""
    timezone: str = "UTC"
    plantday: str = "08:00"
    shifts: tuple[str, ...] = ()
    unassigned: int = 0

    @property
    def zone(self) -> ZoneInfo:
        """The site's time zone; UTC when this machine's zone tables do not know it."""
        try:
            return ZoneInfo(self.timezone)
        except (ZoneInfoNotFoundError, ValueError):
            return ZoneInfo("UTC")


@dataclass(frozen=True)
class Limits:
    """Alarm limits of a gauge in its unit; None = none set."""

    ll: float | None = None
    l: float | None = None  # noqa: E741 - the plant's own name for it
    h: float | None = None
    hh: float | None = None


@dataclass(frozen=True)
class Meter:
    """What a register measures, and for whom."""

    stream: str
    serves: str
    role: str
    unit: str
    carrier: str | None = None
    material: str | None = None
    parent: str | None = None


@dataclass(frozen=True)
class Tag:
    """One measured quantity and what the plant model says about it; an unassigned tag knows little more than a name."""

    tag: str
    kind: str
    edge: str | None = None
    equipment: str | None = None
    area: str | None = None
    line: str | None = None
    template: str | None = None
    description: str = ""
    unit: str | None = None
    low: float | None = None
    high: float | None = None
    limits: Limits | None = None
    users: tuple[str, ...] = ()
    core: bool = False
    assigned: bool = True
    period_s: float | None = None
    heartbeat_s: float = 600.0
    states: dict[str, str] | None = None
    normal: float | None = None
    meter: Meter | None = None
    source: str | None = None


@dataclass(frozen=True)
class Latest:
    """The newest reading of a tag. `value` is None when the gateway said that it does not know."""

    tag: str
    ts: datetime
    value: float | None
    quality: int
    unit: str | None = None
    stale: bool = False
    age_s: float = 0.0
    state: str | None = None
    equipment: str | None = None
    description: str = ""


@dataclass(frozen=True)
class Series:
    """One tag over a range: `ts` in µs since the epoch, None where nothing is known."""

    tag: str
    agg: str
    ts: tuple[int, ...]
    value: tuple[float | None, ...]
    unit: str | None = None
    min: tuple[float | None, ...] | None = None
    max: tuple[float | None, ...] | None = None
    coverage: tuple[float | None, ...] | None = None
    quality: tuple[int | None, ...] | None = None


@dataclass(frozen=True)
class SeriesAnswer:
    """`step` is the one the platform chose when asked for `auto`."""

    from_: Annotated[datetime, Field(alias="from")]
    to: datetime
    step: str
    tz: str
    series: tuple[Series, ...]


@dataclass(frozen=True)
class Use:
    """What one key (site, area, line, meter) used of one carrier or material in [start, end).

    `value` = measured + estimated, None when both are absent; `coverage` 0–1 of the time that readings cover.
    """

    key: str
    unit: str
    start: datetime
    end: datetime
    value: float | None
    measured: float | None = None
    estimated: float | None = None
    unknown: float | None = None
    coverage: float | None = None
    carrier: str | None = None
    material: str | None = None

    @property
    def subject(self) -> str:
        """The carrier or the material."""
        return self.carrier or self.material or ""


@dataclass(frozen=True)
class Consumption:
    """`GET /v1/consumption` as answered; `step` is None when each key has one row for the whole range."""

    from_: Annotated[datetime, Field(alias="from")]
    to: datetime
    tz: str
    by: str
    rows: tuple[Use, ...]
    step: str | None = None


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


@dataclass(frozen=True)
class Check:
    """One thing the platform needs in order to be ready."""

    name: str
    ok: bool
    detail: str = ""


@dataclass(frozen=True)
class Ready:
    """The platform's own word on whether it is ready, or that nobody answers there."""

    ready: bool
    checks: tuple[Check, ...] = ()
    reachable: bool = True


@dataclass(frozen=True)
class Catalogue:
    """The plant as one key sees it: the tree and every tag by name."""

    root: Root
    tags: dict[str, Tag] = field(default_factory=dict)


@dataclass(frozen=True)
class _Newest:
    """A latest item on the wire: a tag that never reported is there, without time, value and quality."""

    tag: str
    ts: datetime | None
    value: float | None
    quality: int | None
    unit: str | None = None
    stale: bool = True
    age_s: float | None = None
    state: str | None = None
    equipment: str | None = None
    description: str = ""


@dataclass(frozen=True)
class _Page:
    items: list[Any]
    next: str | None = None


class Platform:
    """The platform at one address. Thread-safe; holds one connection pool until `close`."""

    def __init__(self, base_url: str, *, timeout: float = 20.0, sleep: Callable[[float], None] = time.sleep) -> None:
        self._base = base_url.rstrip("/")
        self._sleep = sleep
        self._http = httpx2.Client(
            base_url=self._base,
            timeout=httpx2.Timeout(timeout, connect=2.0),
            limits=httpx2.Limits(max_connections=40, max_keepalive_connections=20),
            follow_redirects=False,
        )
        self._lock = threading.Lock()
        self._catalogues: dict[str, tuple[float, Catalogue]] = {}

    def close(self) -> None:
        """Close all connections."""
        self._http.close()

    def caller(self, key: str) -> "Caller":
        """Return the API as seen with `key`."""
        return Caller(self, key)

    def ready(self) -> Ready:
        """Ask whether the platform can serve. Never raises: that it does not answer is an answer."""
        try:
            response = self._http.get("/v1/ready", timeout=5.0)
            return _decode(Ready, response.content)
        except (httpx2.HTTPError, Unavailable):
            return Ready(ready=False, reachable=False)

    async def stream(self, key: str, params: Params) -> "Stream":
        """Open the platform's server-sent events. Raises what any call raises; the caller closes the stream."""
        timeout = httpx2.Timeout(5.0, read=40.0)  # the platform sends a heartbeat each 15 s
        http = httpx2.AsyncClient(base_url=self._base, timeout=timeout)
        try:
            request = http.build_request("GET", "/v1/stream", params=_query(params), headers=_bearer(key))
            response = await http.send(request, stream=True)
            if not response.is_success:
                await response.aread()
                _raise(response)
        except httpx2.TransportError as error:
            await http.aclose()
            raise Unavailable(f"the live stream cannot be opened: {error}") from error
        except BaseException:
            await http.aclose()
            raise
        return Stream(http, response)

    def _get(self, key: str, path: str, params: Params) -> bytes:
        """GET with retries: a read may be repeated, and a platform that restarts is back in a second."""
        for pause in (*_PAUSES, None):
            try:
                response = self._http.get(f"/v1/{path}", params=_query(params), headers=_bearer(key))
            except httpx2.TimeoutException as error:
                raise Unavailable(f"no answer to {path} in time") from error
            except httpx2.TransportError as error:
                if pause is None:
                    raise Unavailable(f"the platform cannot be reached: {error}") from error
            else:
                if response.status_code != httpx2.codes.SERVICE_UNAVAILABLE or pause is None:
                    _raise(response)
                    return response.content
            self._sleep(pause)
        raise AssertionError("unreachable")

    def _catalogue(self, key: str, load: Callable[[], Catalogue]) -> Catalogue:
        now = time.monotonic()
        with self._lock:
            held = self._catalogues.get(key)
        if held and now - held[0] < CATALOGUE_TTL:
            return held[1]
        fresh = load()
        with self._lock:
            if len(self._catalogues) >= 64:
                self._catalogues.clear()
            self._catalogues[key] = (now, fresh)
        return fresh


class Stream:
    """An open stream of server-sent events, byte for byte as the platform sends them."""

    def __init__(self, http: httpx2.AsyncClient, response: httpx2.Response) -> None:
        self._http, self._response = http, response

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield what comes. Ends quietly when the platform ends it or goes away: the browser opens it again."""
        try:
            async for chunk in self._response.aiter_raw():
                yield chunk
        except httpx2.TransportError:
            return

    async def close(self) -> None:
        """Close the connection."""
        await self._response.aclose()
        await self._http.aclose()


class Caller:
    """The platform for one key. Cheap to make: one per request."""

    def __init__(self, platform: Platform, key: str) -> None:
        self._platform = platform
        self._key = key

    def catalogue(self) -> Catalogue:
        """Return the plant: the tree and all tags, at most `CATALOGUE_TTL` seconds old."""

        def load() -> Catalogue:
            tags = self._all(Tag, "tags", {})
            return Catalogue(self.root(), {tag.tag: tag for tag in tags})

        return self._platform._catalogue(self._key, load)

    def root(self) -> Root:
        """Return the asset tree, asked now."""
        return self._one(Root, "assets", {})

    def tag(self, name: str) -> Tag:
        """Return one tag, asked now. Raises `Missing`."""
        return self._one(Tag, f"tags/{quote(name, safe='')}", {})

    def latest(
        self, *, tags: Sequence[str] = (), area: str | None = None, assigned: bool | None = None
    ) -> list[Latest]:
        """Return the newest readings of at most 200 named tags, or of all; tags without any are absent."""
        flag = None if assigned is None else str(assigned).lower()
        newest = self._all(_Newest, "latest", {"tag": tags, "area": area, "assigned": flag})
        return [
            Latest(
                n.tag, n.ts, n.value, n.quality, n.unit, n.stale, n.age_s or 0.0, n.state, n.equipment, n.description
            )
            for n in newest
            if n.ts is not None and n.quality is not None
        ]

    def series(
        self,
        tags: Sequence[str],
        start: datetime,
        end: datetime,
        step: str = "auto",
        *,
        agg: str | None = None,
        max_points: int | None = None,
    ) -> SeriesAnswer:
        """Return at most 200 tags over [start, end)."""
        params = _range(start, end) | {"tag": tags, "step": step, "agg": agg, "max_points": max_points}
        return self._one(SeriesAnswer, "series", params)

    def consumption(
        self,
        start: datetime,
        end: datetime,
        *,
        by: str = "total",
        step: str | None = None,
        stream: str = "supply",
        carriers: Sequence[str] = (),
        materials: Sequence[str] = (),
    ) -> Consumption:
        """Return use over [start, end) of one stream; neither carriers nor materials: all carriers."""
        params = _range(start, end) | {"by": by, "step": step, "stream": stream}
        params |= {"carrier": carriers, "material": materials}
        return self._one(Consumption, "consumption", params)

    def edges(self) -> list[Edge]:
        """Return all gateways."""
        return self._all(Edge, "edges", {})

    def pipeline(self) -> Pipeline:
        """Return freshness and whether the accounting identity holds."""
        return self._one(Pipeline, "pipeline", {})

    def _one(self, kind: type[T], path: str, params: Params) -> T:
        return _decode(kind, self._platform._get(self._key, path, params))

    def _all(self, kind: type[T], path: str, params: Params) -> list[T]:
        """Follow the cursor to the end of a list."""
        found: list[T] = []
        cursor: str | None = None
        while True:
            page = self._one(_Page, path, {**params, "limit": PAGE, "cursor": cursor})
            found += _python(list[kind], page.items)  # type: ignore[valid-type]
            if not (cursor := page.next):
                return found


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def _decode(kind: type[T], body: bytes) -> T:
    try:
        decoded: T = _adapter(cast(Hashable, kind)).validate_json(body)
    except ValidationError as error:
        raise Unavailable(f"the platform's answer is not what this portal was written for: {error}") from error
    return decoded


def _python(kind: Any, items: list[Any]) -> Any:
    try:
        return _adapter(kind).validate_python(items)
    except ValidationError as error:
        raise Unavailable(f"the platform's answer is not what this portal was written for: {error}") from error


def _bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def _range(start: datetime, end: datetime) -> dict[str, Any]:
    return {"from": start.isoformat(), "to": end.isoformat()}


def _query(params: Params) -> list[tuple[str, str | int | float | bool | None]]:
    """Repeat the parameter for a list and leave out what is None."""
    pairs: list[tuple[str, str | int | float | bool | None]] = []
    for name, value in params.items():
        if value is None:
            continue
        if isinstance(value, str | int):
            pairs.append((name, value))
        else:
            pairs += [(name, item) for item in value]
    return pairs


def _raise(response: httpx2.Response) -> None:
    """Turn an answer that is not 2xx into the error it means."""
    if response.is_success:
        return
    title, detail = response.reason_phrase, ""
    try:
        problem = response.json()
    except ValueError:
        problem = None
    if isinstance(problem, dict):
        title = str(problem.get("title") or title)
        detail = str(problem.get("detail") or "")
    status = response.status_code
    if status in (401, 403):
        raise Denied(status, detail or title)
    if status == 404:
        raise Missing(status, title, detail)
    if status == 429:
        raise Unavailable(detail or "the platform is asked too much at once")
    if status >= 500:
        raise Unavailable(detail or title)
    raise Refused(status, title, detail)
