"""`hefa-apps`: parses the command line, wires settings into the portal, serves it until SIGTERM or Ctrl-C."""

import logging
from importlib.metadata import PackageNotFoundError, version
from types import FrameType
from typing import Annotated, NoReturn

import typer
import uvicorn
from pydantic import ValidationError

from hefa_apps.client import Platform
from hefa_apps.config import Settings
from hefa_apps.host import create_app
from hefa_apps.live.flowsheet import LayoutError
from hefa_apps.metrics import Desk
from hefa_apps.publish import Publisher
from hefa_apps.session import Sessions

logger = logging.getLogger(__name__)

cli = typer.Typer(
    no_args_is_help=True, add_completion=False, help="The portal: the live wall and the apps of the departments."
)


@cli.callback()
def _group() -> None:
    """Keep `serve` a named command while it is the only one."""


@cli.command()
def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on. [HEFA_PORTAL_HOST]")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on, 0 for a free one. [HEFA_PORTAL_PORT]")] = None,
    api_url: Annotated[str | None, typer.Option(help="The platform's REST API. [HEFA_API_URL]")] = None,
) -> None:
    """Serve the portal. It comes up without the platform and says so on its pages."""
    given = {"portal_host": host, "portal_port": port, "api_url": api_url}
    try:
        settings = Settings(**{name: value for name, value in given.items() if value is not None})  # type: ignore[arg-type]
    except ValidationError as error:
        _fail("\n".join(f"HEFA_{str(one['loc'][0]).upper()}: {one['msg']}" for one in error.errors()))
    logging.basicConfig(level=settings.log_level, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    logging.getLogger("httpx2").setLevel(logging.WARNING)  # a line per request is nothing for a log
    key, lasting = settings.sealing_key()
    if not lasting:
        logger.warning("no session key: everybody signs in again after a restart (set HEFA_SESSION_KEY)")
    platform = Platform(settings.api_url)
    try:
        app = create_app(
            platform,
            Sessions(key, hours=settings.session_hours),
            simulated=settings.simulated,
            version=_version(),
            layout=settings.flowsheet,
        )
    except LayoutError as error:
        _fail(str(error))
    config = uvicorn.Config(
        app,
        host=settings.portal_host,
        port=settings.portal_port,
        log_config=None,
        access_log=False,
        server_header=False,
        forwarded_allow_ips=settings.forwarded_allow_ips,
        timeout_graceful_shutdown=2,
        h11_max_incomplete_event_size=1 << 16,  # 200 tags in a URL
    )
    publisher = _publisher(settings, platform, app.state.desk)
    try:
        _Server(config).run()
    finally:
        if publisher is not None:
            publisher.stop()
        platform.close()


def _publisher(settings: Settings, platform: Platform, desk: Desk) -> Publisher | None:
    """Start publishing where there is a key for it."""
    key = settings.publishing_key()
    metrics = [name.strip() for name in settings.publish.split(",") if name.strip()]
    if not key or not metrics:
        return None
    publisher = Publisher(platform.caller(key), desk, metrics)
    publisher.start()
    return publisher


def _fail(message: str) -> NoReturn:
    typer.echo(message, err=True)
    raise typer.Exit(2)


class _Server(uvicorn.Server):
    """Ends the open streams when asked to stop; uvicorn alone would wait for their readers."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        closing = getattr(self.config.app.state, "closing", None)  # type: ignore[union-attr]
        if closing is not None:
            closing.set()
        super().handle_exit(sig, frame)


def _version() -> str:
    try:
        return version("hefa")
    except PackageNotFoundError:
        return "0"


def main() -> None:
    """Run the command line."""
    cli()
