"""HEAD wherever there is GET: the same headers (ETag, length), no body."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

_ENDLESS = frozenset({"/v1/stream"})


class Head:
    """ASGI middleware around the whole app, because FastAPI's routes know only the methods they name."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "HEAD" or scope["path"] in _ENDLESS:
            await self._app(scope, receive, send)
            return

        async def send_without_body(message: Message) -> None:
            if message["type"] != "http.response.body":
                await send(message)
            elif not message.get("more_body", False):
                await send({"type": "http.response.body", "body": b""})

        await self._app({**scope, "method": "GET"}, receive, send_without_body)
