"""Serve an app over HTTP until told to stop."""

import socket
from types import FrameType

import uvicorn
from fastapi import FastAPI

from hefa_platform.api.stream import Broadcaster

STOP_S = 3  # for requests under way; streams end at once


class _Server(uvicorn.Server):
    """Ends the open streams first: they would outlive any patience. A second signal ends it at once."""

    def __init__(self, config: uvicorn.Config, broadcaster: Broadcaster) -> None:
        super().__init__(config)
        self._broadcaster = broadcaster

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        # Not uvicorn's own, which raises the signal again afterwards: to stop when asked is no failure.
        self.force_exit = self.should_exit
        self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._broadcaster.close()
        await super().shutdown(sockets)


def serve(app: FastAPI, host: str, port: int) -> None:
    """Serve until SIGTERM or SIGINT; streams end at once, other requests within three seconds."""
    server(app, host, port).run()


def server(app: FastAPI, host: str, port: int) -> uvicorn.Server:
    """A server that has not started yet. Port 0 takes a free one."""
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=STOP_S,
        h11_max_incomplete_event_size=1 << 16,  # 200 tags in a URL
    )
    return _Server(config, app.state.broadcaster)
