"""The connection to the platform: HTTP, keys, paging, retries, and what each failure means.

Reads are repeated when the platform is away for a moment. Writes are repeated only when they never left this machine,
or when they carry an `Idempotency-Key`, with which a second arrival counts for nothing.
"""

import hashlib
import threading
import time
from collections.abc import AsyncIterator, Callable, Hashable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any, TypeVar, cast

import httpx2
from pydantic import TypeAdapter, ValidationError

from hefa_apps.client.failures import Denied, Missing, Refused, Unavailable

T = TypeVar("T")
Params = Mapping[str, str | int | Sequence[str] | None]

PAGE = 2000  # items per request when a whole list is wanted: the most that the platform gives
_AT_ONCE = 8  # questions of all readers that wait for the platform side by side
_PAUSES = (0.15, 0.6)  # seconds before the second and third try


@dataclass(frozen=True)
class Check:
    """One thing the platform needs in order to be ready."""

    name: str
    ok: bool
    detail: str = ""


@dataclass(frozen=True)
class Ready:
    """The platform's own word on whether it is ready; not, and without checks, where nobody answers."""

    ready: bool
    checks: tuple[Check, ...] = ()


@dataclass(frozen=True)
class _Page:
    items: list[Any]
    next: str | None = None


class Connection:
    """The platform at one address. Thread-safe; holds one pool of connections and one of threads until `close`."""

    def __init__(self, base_url: str, *, timeout: float = 20.0, sleep: Callable[[float], None] = time.sleep) -> None:
        self._base = base_url.rstrip("/")
        self._sleep = sleep
        self._http = httpx2.Client(
            base_url=self._base,
            timeout=httpx2.Timeout(timeout, connect=2.0),
            limits=httpx2.Limits(max_connections=40, max_keepalive_connections=20),
            follow_redirects=False,
        )
        self._threads = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="asking")
        self._lock = threading.Lock()
        self._held: dict[Hashable, tuple[float, Any]] = {}
        self._renewing: set[Hashable] = set()
        self._accepted: set[bytes] = set()  # digests of keys that the platform let in

    def close(self) -> None:
        """Close all connections."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._http.close()

    def ready(self) -> Ready:
        """Ask whether the platform can serve. Never raises: that it does not answer is an answer."""
        try:
            response = self._http.get("/v1/ready", timeout=5.0)
            return decode(Ready, response.content)
        except (httpx2.HTTPError, Unavailable):
            return Ready(ready=False)

    async def stream(self, key: str, params: Params) -> "Stream":
        """Open the platform's server-sent events. Raises what any call raises; the caller closes the stream."""
        timeout = httpx2.Timeout(5.0, read=40.0)  # the platform sends a heartbeat each 15 s
        http = httpx2.AsyncClient(base_url=self._base, timeout=timeout)
        try:
            request = http.build_request("GET", "/v1/stream", params=_query(params), headers=_bearer(key))
            response = await http.send(request, stream=True)
            if not response.is_success:
                await response.aread()
                raise_for(response)
        except httpx2.TransportError as error:
            await http.aclose()
            raise Unavailable(f"the live stream cannot be opened: {error}") from error
        except BaseException:
            await http.aclose()
            raise
        return Stream(http, response)

    def get(self, key: str, path: str, params: Params) -> bytes:
        """Read `/v1/<path>`; a read may be repeated, and a platform that restarts is back in a second."""
        return self._ask("GET", key, path, params=params, repeatable=True)

    def send(self, method: str, key: str, path: str, body: Any, headers: Mapping[str, str] | None = None) -> bytes:
        """Write to `/v1/<path>`; `body` is anything that JSON can hold, None for nothing."""
        extra = {"Content-Type": "application/json"} | dict(headers or {})
        return self._ask(method, key, path, params={}, repeatable="Idempotency-Key" in extra, body=body, headers=extra)

    def _ask(
        self,
        method: str,
        key: str,
        path: str,
        *,
        params: Params,
        repeatable: bool,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
    ) -> bytes:
        for pause in (*_PAUSES, None):
            try:
                response = self._http.request(
                    method,
                    f"/v1/{path}",
                    params=_query(params),
                    headers=_bearer(key) | dict(headers or {}),
                    content=None if body is None else _json(body),
                )
            except httpx2.ConnectError as error:
                if pause is None:
                    raise Unavailable(f"the platform cannot be reached: {error}") from error
            except httpx2.TimeoutException as error:
                raise Unavailable(f"no answer to {path} in time") from error
            except httpx2.TransportError as error:
                if pause is None or not repeatable:
                    raise Unavailable(f"the platform cannot be reached: {error}") from error
            else:
                if response.status_code != httpx2.codes.SERVICE_UNAVAILABLE or pause is None or not repeatable:
                    raise_for(response)
                    self._accept(key)
                    return response.content
            self._sleep(pause)
        raise AssertionError("unreachable")

    def accepted(self, key: str) -> bool:
        """Say whether the platform has let this key in before: then it is no guess."""
        return _digest(key) in self._accepted

    def _accept(self, key: str) -> None:
        with self._lock:
            if len(self._accepted) >= 10_000:
                self._accepted.clear()
            self._accepted.add(_digest(key))

    def held(self, key: Hashable, seconds: float, load: Callable[[], T], *, older: float = 0.0) -> T:
        """Return what `load` gave at most `seconds` ago for this key, else load it.

        For `older` seconds more it is given as it is, and loaded anew beside for whoever asks next.
        """
        with self._lock:
            kept = self._held.get(key)
            age = time.monotonic() - kept[0] if kept else 0.0
            late = kept is not None and seconds <= age < seconds + older
            renew = late and key not in self._renewing
            if renew:
                self._renewing.add(key)
        if renew:
            self._threads.submit(self._renew, key, load)
        return cast(T, kept[1]) if kept and (late or age < seconds) else self._hold(key, load)

    def _hold(self, key: Hashable, load: Callable[[], T]) -> T:
        now = time.monotonic()
        fresh = load()
        with self._lock:
            if len(self._held) >= 256:
                self._held.clear()
            self._held[key] = (now, fresh)
        return fresh

    def _renew(self, key: Hashable, load: Callable[[], Any]) -> None:
        try:
            self._hold(key, load)
        except (Unavailable, Denied, Refused):
            with self._lock:
                self._held.pop(key, None)  # whoever asks next is told why
        finally:
            with self._lock:
                self._renewing.discard(key)

    def together(self, asks: Sequence[Callable[[], Any]]) -> list[Any]:
        """Run questions side by side and return their answers in order; the first failure is raised."""
        if len(asks) < 2:
            return [ask() for ask in asks]
        waiting = [self._threads.submit(ask) for ask in asks]
        return [future.result() for future in waiting]


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


class Asking:
    """What the calls of every noun are made of: one key's view of the platform. Cheap to make: one per request."""

    def __init__(self, connection: Connection, key: str) -> None:
        self._connection = connection
        self._key = key
        self._adding: list[datetime] = []

    @property
    def adding_from(self) -> datetime | None:
        """From when on late readings were still being added up in what this caller was told; None: nowhere."""
        return min(self._adding, default=None)

    def together(self, *asks: Callable[[], Any]) -> list[Any]:
        """Run several calls of this caller side by side and return their answers in order.

        For the calls themselves only: a question that asks questions `together` again could wait for itself.
        """
        return self._connection.together(asks)

    def _told(self, added_up_to: datetime | None, end: datetime) -> None:
        """Remember until when an answer over a range that ends at `end` was complete."""
        if added_up_to is not None and added_up_to < end:
            self._adding.append(added_up_to)

    def _one(self, kind: type[T], path: str, params: Params) -> T:
        return decode(kind, self._connection.get(self._key, path, params))

    def _all(self, kind: type[T], path: str, params: Params) -> list[T]:
        """Follow the cursor to the end of a list."""
        found: list[T] = []
        cursor: str | None = None
        while True:
            page = self._one(_Page, path, {**params, "limit": PAGE, "cursor": cursor})
            found += _python(list[kind], page.items)  # type: ignore[valid-type]
            if not (cursor := page.next):
                return found

    def _send(
        self, kind: type[T], method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None
    ) -> T:
        """Write, and return the platform's answer as `kind`."""
        return decode(kind, self._connection.send(method, self._key, path, body, headers))


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def decode(kind: type[T], body: bytes) -> T:
    """Read an answer. One that does not fit is `Unavailable`: portal and platform are of different versions."""
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


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()


def _bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def span(start: datetime, end: datetime) -> dict[str, Any]:
    """Return the parameters of a range [start, end)."""
    return {"from": start.isoformat(), "to": end.isoformat()}


def _json(body: Any) -> bytes:
    text: bytes = _adapter(Any).dump_json(body)
    return text


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


def raise_for(response: httpx2.Response) -> None:
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
