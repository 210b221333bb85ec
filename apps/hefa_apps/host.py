"""The portal: mounts the apps, signs people in, and sets the rules that hold for every page.

A new app is a folder with an `APP` and one line in `APPS`. Pages answer with a designed page whatever happens, `/api`
with `application/problem+json`. Nothing is loaded from another host and no script stands in a page, so the content
security policy allows neither.
"""

import asyncio
import logging
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated
from urllib.parse import quote, urlsplit

from fastapi import FastAPI, Form, Request
from fastapi.exceptions import RequestValidationError
from fastapi.staticfiles import StaticFiles
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hefa_apps import business, data, energy, explain, live, material, production
from hefa_apps.client import Denied, Missing, Platform, Refused, Unavailable
from hefa_apps.live.wall import read_layout
from hefa_apps.metrics import Desk, load, use
from hefa_apps.page import STATIC, App, Pages, pages
from hefa_apps.period import PeriodError
from hefa_apps.session import COOKIE, VISIT, Guesses, Sessions, address_of, bearer, foreign, guessing, plausible
from hefa_apps.words import Words

logger = logging.getLogger(__name__)

APPS = (live.APP, energy.APP, material.APP, production.APP, business.APP, data.APP, explain.APP)

_Handler = Callable[[Request, Exception], Awaitable[Response]]

_CSP = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "font-src 'self'",
        "connect-src 'self'",
        "manifest-src 'self'",
        "base-uri 'none'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    )
)
_HEADERS = {
    "Content-Security-Policy": _CSP,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}


def create_app(
    platform: Platform,
    sessions: Sessions,
    *,
    simulated: bool = True,
    version: str = "0",
    layout: Path | None = None,
) -> FastAPI:
    """Return the portal in front of one platform. The caller closes `platform`. `layout` is that of the flowsheet."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        app.state.closing = asyncio.Event()  # set at SIGTERM: open streams end at once
        yield

    app = FastAPI(
        title="hefa portal",
        version=version,
        description="What the pages show, as JSON and CSV. Send a platform key as `Authorization: Bearer`.",
        openapi_url="/api/openapi.json",
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
    )
    app.state.platform = platform
    app.state.sessions = sessions
    app.state.guesses = Guesses()
    app.state.layout = read_layout(layout)
    app.state.desk = desk_of(APPS)
    app.state.pages = Pages(tuple(a.name for a in APPS if a.listed), simulated=simulated, words=Words())
    app.mount("/static", _Static(directory=STATIC), name="static")
    for one in APPS:
        app.include_router(one.router)
    _sign_in_routes(app, sessions, platform)
    _error_pages(app)
    app.add_middleware(GZipMiddleware, minimum_size=1000, compresslevel=5)
    app.add_middleware(_Headers)
    return app


def desk_of(apps: Sequence[App]) -> Desk:
    """Return the desk with the formulas of all apps. Raises `ValueError` where two define the same metric."""
    formulas, members = dict(use.FORMULAS), dict(use.MEMBERS)
    for one in apps:
        if twice := (formulas.keys() & one.formulas.keys()):
            raise ValueError(f"{one.name}: these metrics have a formula already: {', '.join(sorted(twice))}")
        formulas |= one.formulas
        members |= one.members
    return Desk(load(), formulas, members, [one.basis for one in apps if one.basis])


class _Static(StaticFiles):
    """Static files; those asked for by their version never change."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        versioned = b"v=" in scope.get("query_string", b"")
        response.headers["Cache-Control"] = "public, max-age=31536000, immutable" if versioned else "no-cache"
        return response


class _Headers:
    """Puts the security headers on every answer, streams and errors included."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
                if scope.get("scheme") == "https":
                    headers.setdefault("Strict-Transport-Security", "max-age=31536000")
            await send(message)

        await self._app(scope, receive, with_headers if scope["type"] == "http" else send)


def _sign_in_routes(app: FastAPI, sessions: Sessions, platform: Platform) -> None:
    @app.get("/", include_in_schema=False)
    def home() -> Response:
        return RedirectResponse(f"/{APPS[0].name}", 303)

    @app.get("/healthz", summary="Says that this process serves; asks nobody else")
    def healthz() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/favicon.ico", include_in_schema=False)
    def favicon() -> Response:
        return RedirectResponse("/static/icon.svg", 301)

    @app.get("/sign-in", include_in_schema=False)
    def sign_in_form(request: Request, next: str = "/") -> Response:
        if sessions.open(request.cookies.get(COOKIE)):
            return RedirectResponse(_local(next), 303)
        return _sign_in_page(request, sessions, next, None)

    @app.post("/sign-in", include_in_schema=False)
    def sign_in(
        request: Request,
        key: Annotated[str, Form()] = "",
        token: Annotated[str, Form()] = "",
        next: Annotated[str, Form()] = "/",
    ) -> Response:
        visit = request.cookies.get(VISIT, "")
        if foreign(request) or not sessions.proves(visit, token):
            return _sign_in_page(request, sessions, next, "sign_in.error.form", 403)
        key = key.strip()
        if not plausible(key):
            return _sign_in_page(request, sessions, next, "sign_in.error.key", 401)
        if guessing(request, key):
            return _sign_in_page(request, sessions, next, "sign_in.error.guesses", 429)
        try:
            platform.caller(key).root()
        except Denied:
            _wrong_key(request)
            return _sign_in_page(request, sessions, next, "sign_in.error.key", 401)
        except Unavailable:
            return _sign_in_page(request, sessions, next, "sign_in.error.platform", 503)
        response = RedirectResponse(_local(next), 303)
        _cookie(request, response, COOKIE, sessions.seal(key), sessions.seconds)
        return response

    @app.post("/sign-out", include_in_schema=False)
    def sign_out(request: Request, token: Annotated[str, Form()] = "") -> Response:
        session = sessions.open(request.cookies.get(COOKIE))
        if session and (foreign(request) or not sessions.proves(session.nonce, token)):
            raise HTTPException(403)
        response = RedirectResponse("/sign-in", 303)
        response.delete_cookie(COOKIE)
        return response


def _sign_in_page(request: Request, sessions: Sessions, onward: str, error: str | None, status: int = 200) -> Response:
    visit = request.cookies.get(VISIT) or secrets.token_urlsafe(18)
    response = pages(request).render(
        request, "templates/sign_in.html", status=status, error=error, next=_local(onward), token=sessions.csrf(visit)
    )
    _cookie(request, response, VISIT, visit, None)
    return response


def _cookie(request: Request, response: Response, name: str, value: str, seconds: int | None) -> None:
    secure = request.url.scheme == "https"
    response.set_cookie(name, value, max_age=seconds, httponly=True, samesite="lax", secure=secure, path="/")


def _local(onward: str) -> str:
    """Return a path on this host only: an open redirect would make our sign-in page a bait."""
    parts = urlsplit(onward)
    safe = onward.startswith("/") and not onward.startswith(("//", "/\\")) and not parts.netloc and "\n" not in onward
    return onward if safe else "/"


def _error_pages(app: FastAPI) -> None:

    def on(kind: type[Exception] | int) -> Callable[[_Handler], _Handler]:
        def register(handler: _Handler) -> _Handler:
            app.add_exception_handler(kind, handler)
            return handler

        return register

    @on(Denied)
    async def denied(request: Request, error: Exception) -> Response:
        assert isinstance(error, Denied)
        if error.status == 401 and bearer(request):
            _wrong_key(request)
        if error.status == 401 and not _api(request):
            onward = quote(request.url.path + (f"?{request.url.query}" if request.url.query else ""), safe="/?=&")
            response: Response = RedirectResponse(f"/sign-in?next={quote(onward, safe='')}", 303)
            response.delete_cookie(COOKIE)  # a key that no longer opens the platform is no session
            return response
        return _problem(request, error.status, "denied", error.detail)

    @on(Unavailable)
    async def unavailable(request: Request, error: Exception) -> Response:
        logger.warning("platform unavailable path=%s reason=%s", request.url.path, error)
        return _problem(request, 503, "unavailable", str(error))

    @on(Missing)
    async def missing(request: Request, error: Exception) -> Response:
        return _problem(request, 404, "missing", str(error))

    @on(Refused)
    async def refused(request: Request, error: Exception) -> Response:
        return _problem(request, 422, "refused", str(error))

    @on(PeriodError)
    async def no_period(request: Request, error: Exception) -> Response:
        assert isinstance(error, PeriodError)
        return _problem(request, 422, "refused", pages(request).words(error.reason))

    @on(RequestValidationError)
    async def invalid(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        faults = "; ".join(f"{'.'.join(str(p) for p in e['loc'][1:])}: {e['msg']}" for e in error.errors())
        return _problem(request, 422, "refused", faults)

    @on(HTTPException)
    async def http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        kind = {404: "missing", 403: "denied"}.get(error.status_code, "refused")
        detail = "" if error.detail in ("Not Found", "Forbidden") else str(error.detail)
        return _problem(request, error.status_code, kind, detail)

    @on(500)
    async def bug(request: Request, error: Exception) -> Response:
        return _problem(request, 500, "bug", "")


def _wrong_key(request: Request) -> None:
    request.app.state.guesses.wrong(address_of(request))


def _api(request: Request) -> bool:
    return request.url.path.startswith("/api/")


def _problem(request: Request, status: int, kind: str, detail: str) -> Response:
    shown = pages(request)
    title = shown.words(f"error.{kind}.title")
    advice = shown.words(f"error.{kind}.advice")
    if _api(request):
        body = {"title": title, "status": status, "detail": detail or advice}
        said = {401: ("WWW-Authenticate", "Bearer"), 429: ("Retry-After", "60"), 503: ("Retry-After", "2")}
        headers = dict([said[status]] if status in said else [])
        return JSONResponse(body, status, media_type="application/problem+json", headers=headers)
    return shown.render(
        request, "templates/error.html", status=status, kind=kind, title=title, advice=advice, detail=detail
    )
