"""`hefa`: the whole stack on one machine, without Docker."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from hefa_demo.config import Options, parse_duration
from hefa_demo.drill import Drill, DrillError, report
from hefa_demo.screen import Screen
from hefa_demo.supervisor import DemoError, Supervisor

app = typer.Typer(help=__doc__, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


def _duration(text: str) -> float:
    try:
        return parse_duration(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


@app.command()
def demo(
    history: Annotated[
        str, typer.Option(help="History to fill in at the first start: 6h, 2d …; 0s for none.", metavar="TIME")
    ] = "2d",
    profile: Annotated[
        Literal["full", "core"], typer.Option(help="full: all tags; core: those that every plant has.")
    ] = "full",
    run_for: Annotated[
        str | None, typer.Option("--for", help="Stop this long after it is ready: 90s, 5m …", metavar="TIME")
    ] = None,
    data_dir: Annotated[
        Path, typer.Option(help="Where everything is kept; delete it to forget the demo.", envvar="HEFA_DATA_DIR")
    ] = Path(".hefa"),
    dsn: Annotated[
        str | None,
        typer.Option(
            help="Administrator's URL of a PostgreSQL or TimescaleDB server to use instead of the embedded one; "
            "the database hefa is made there unless the URL names another."
        ),
    ] = None,
    broker: Annotated[
        Literal["mosquitto", "iotcore"] | None,
        typer.Option(help="MQTT broker; without a wish mosquitto where it is installed, else the embedded iotcore."),
    ] = None,
    scenario: Annotated[
        str,
        typer.Option(
            help="A story from seeds/scenarios: what is made when, and what goes wrong. none: the plant at its design feed.",
            metavar="NAME",
        ),
    ] = "busy-month",
    fresh: Annotated[bool, typer.Option("--fresh", help="Forget what earlier runs kept, and begin anew.")] = False,
) -> None:
    """Run the plant, the gateways, the platform and the portal here, until Ctrl-C."""
    if fresh and dsn:
        raise typer.BadParameter("--fresh deletes files of ours, not a database on your server: drop that one yourself")
    length = None if run_for is None else _duration(run_for)
    options = Options(data_dir, _duration(history), profile, length, dsn, broker, fresh, scenario)
    screen = Screen()
    try:
        code = Supervisor(options, screen).run()
    except DemoError as error:
        screen.failed(str(error))
        code = 1
    raise typer.Exit(code)


@app.command()
def drill(
    data_dir: Annotated[Path, typer.Option(help="The folder of the running demo.", envvar="HEFA_DATA_DIR")] = Path(
        ".hefa"
    ),
) -> None:
    """Break the running demo on purpose, and show that nothing was lost: about four minutes, in a second terminal."""
    screen = Screen()
    try:
        blows, accounts, energy = Drill(data_dir, screen).run()
    except DrillError as error:
        screen.failed(str(error))
        raise typer.Exit(1) from None
    for line in report(blows, accounts, energy):
        typer.echo(line)
    raise typer.Exit(0 if accounts and all(account.holds for account in accounts) else 1)


def main() -> None:
    """Entry point of `hefa`."""
    if sys.platform == "win32":
        sys.exit("hefa demo runs on Linux and macOS; on Windows use Docker Compose or WSL")
    app()


if __name__ == "__main__":
    main()
