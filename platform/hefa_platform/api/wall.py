"""What every request passes: a limit on its body, and headers that tell browsers to expect nothing but data."""

import time

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hefa_platform.api.health import Figures
from hefa_platform.api.problems import Problem, render

_HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
]
_NOTHING = b"default-src 'none'; frame-ancestors 'none'"
# swagger-ui sets styles in its markup; its scripts are our files only.
_DOCS = (
    b"default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    b"connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)


class Wall:
    """ASGI middleware around the whole app."""

    def __init__(self, app: ASGIApp, *, body: int, figures: Figures) -> None:
        self._app, self._body, self._figures = app, body, figures

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()

        async def send_safely(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._count(scope, message["status"], time.perf_counter() - started)
                policy = _DOCS if scope["path"].startswith("/docs") else _NOTHING
                message["headers"] = [*message["headers"], *_HEADERS, (b"content-security-policy", policy)]
            await send(message)

        declared = dict(scope["headers"]).get(b"content-length", b"0")
        if declared.isdigit() and int(declared) > self._body:
            await render(self._too_large())(scope, receive, send_safely)
            return
        await self._app(scope, self._limited(receive), send_safely)

    def _limited(self, receive: Receive) -> Receive:
        left = self._body

        async def receive_some() -> Message:
            nonlocal left
            message = await receive()
            left -= len(message.get("body", b""))
            if left < 0:
                raise HTTPException(413, self._too_large().detail)
            return message

        return receive_some

    def _too_large(self) -> Problem:
        return Problem(
            413, "too-large", "Body too large", f"The body is larger than {self._body} bytes: send it in parts."
        )

    def _count(self, scope: Scope, status: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path_format", "none")  # never the path itself: callers choose it
        self._figures.requests.labels(scope["method"], route, status).inc()
        self._figures.seconds.labels(scope["method"], route).observe(seconds)
