"""What every request passes: a limit on its body, and headers that tell browsers to expect nothing but data."""

import time
from collections.abc import Mapping

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

    def __init__(self, app: ASGIApp, *, body: int, files: Mapping[str, int], figures: Figures) -> None:
        """`body`: bytes that a body may have; `files`: paths that take more."""
        self._app, self._body, self._files, self._figures = app, body, files, figures

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
        most = self._files.get(scope["path"], self._body)
        if declared.isdigit() and int(declared) > most:
            await render(_too_large(most))(scope, receive, send_safely)
            return
        await self._app(scope, self._limited(receive, most), send_safely)

    def _limited(self, receive: Receive, most: int) -> Receive:
        left = most

        async def receive_some() -> Message:
            nonlocal left
            message = await receive()
            left -= len(message.get("body", b""))
            if left < 0:
                raise HTTPException(413, _too_large(most).detail)
            return message

        return receive_some

    def _count(self, scope: Scope, status: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path_format", "none")  # never the path itself: callers choose it
        self._figures.requests.labels(scope["method"], route, status).inc()
        self._figures.seconds.labels(scope["method"], route).observe(seconds)


def _too_large(most: int) -> Problem:
    return Problem(413, "too-large", "Body too large", f"The body is larger than {most} bytes: send it in parts.")
