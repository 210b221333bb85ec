"""Make the dashboards of a plant, and bring them to a Grafana."""

from pathlib import Path
from typing import Annotated, Any

import typer

from hefa_contract.plant import Plant, PlantError
from hefa_grafana import alerts, build
from hefa_grafana.frame import FOLDER_TITLE, FOLDER_UID
from hefa_grafana.push import Content, PushFailed
from hefa_grafana.push import push as push_to
from hefa_grafana.query import DATASOURCE_TYPE, DATASOURCE_UID

_CHECKOUT = Path(__file__).resolve().parents[3]

app = typer.Typer(no_args_is_help=True, add_completion=False, help=__doc__)

Seeds = Annotated[
    Path, typer.Option(envvar="HEFA_SEEDS", help="Directory of the plant model.", show_default="the checkout's seeds")
]
Portal = Annotated[str, typer.Option(help="Where the portal is, as people's browsers reach it.")]


@app.command("build")
def write(
    seeds: Seeds = _CHECKOUT / "seeds",
    out: Annotated[
        Path, typer.Option(help="Where dashboards/ and provisioning/ are.", show_default="deploy/grafana")
    ] = (_CHECKOUT / "deploy" / "grafana"),
    portal_url: Portal = "http://127.0.0.1:8080",
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; exit code 1 when a file would change.")
    ] = False,
) -> None:
    """Write the dashboards and alert rules as files for Grafana's provisioning."""
    texts = build.files(_plant(seeds), portal_url)
    stale = [
        name for name, text in texts.items() if not (out / name).is_file() or (out / name).read_text("utf-8") != text
    ]
    # A board that the plant no longer has would stay in Grafana for ever.
    gone = sorted(set(out.glob("dashboards/*.json")) - {out / name for name in texts})
    if check:
        for name in [*stale, *(path.name for path in gone)]:
            typer.echo(f"differs: {name}", err=True)
        raise typer.Exit(1 if stale or gone else 0)
    for name in stale:
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_text(texts[name], "utf-8")
    for path in gone:
        path.unlink()
    typer.echo(f"{len(texts)} files, {len(stale)} written, {len(gone)} removed, in {out}")


@app.command()
def push(
    url: Annotated[
        str, typer.Option(envvar="GRAFANA_URL", help="Address of the Grafana, with its path if it has one.")
    ],
    token: Annotated[
        str,
        typer.Option(envvar="GRAFANA_TOKEN", help="A service account's token; better in the environment than here."),
    ],
    seeds: Seeds = _CHECKOUT / "seeds",
    portal_url: Portal = "http://127.0.0.1:8080",
    database: Annotated[
        str | None,
        typer.Option(help="host:port/name of the database, as that Grafana reaches it. Without: no data source."),
    ] = None,
    password_file: Annotated[
        Path | None, typer.Option(help="File with the password of hefa_read: password_hefa_read of the secrets.")
    ] = None,
    sslmode: Annotated[str, typer.Option(help="disable, require, verify-ca or verify-full.")] = "require",
    with_alerts: Annotated[bool, typer.Option("--alerts/--no-alerts", help="The alert rules too.")] = True,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Write nothing; say what would be written.")] = False,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds to wait for each answer.")] = 10,
) -> None:
    """Bring folder, data source, dashboards and alert rules to an existing Grafana. Again and again, if you like."""
    content = Content(
        folder_uid=FOLDER_UID,
        folder_title=FOLDER_TITLE,
        datasource=_datasource(database, password_file, sslmode),
        dashboards=build.boards(_plant(seeds), portal_url),
        alerts=alerts.group() if with_alerts else None,
    )
    try:
        for step in push_to(url, token, content, dry_run=dry_run, timeout=timeout):
            typer.echo(f"{step.state:<9}  {step.kind} {step.name}")
    except PushFailed as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from error
    if dry_run:
        typer.echo("dry run: nothing was written")


def _plant(seeds: Path) -> Plant:
    try:
        return build.read_plant(seeds)
    except (PlantError, OSError) as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from error


def _datasource(database: str | None, password_file: Path | None, sslmode: str) -> dict[str, Any] | None:
    """The data source as Grafana's API takes it."""
    if database is None:
        return None
    address, _, name = database.partition("/")
    if not address or not name or "@" in address:
        typer.echo(f"{database!r} is not host:port/name; the role is always hefa_read, which only reads", err=True)
        raise typer.Exit(2)
    made: dict[str, Any] = {
        "uid": DATASOURCE_UID,
        "name": "hefa",
        "type": DATASOURCE_TYPE,
        "access": "proxy",
        "url": address,
        "user": "hefa_read",
        "jsonData": {"database": name, "sslmode": sslmode, "postgresVersion": 1500, "timescaledb": False},
    }
    if password_file is not None:
        try:
            made["secureJsonData"] = {"password": password_file.read_text("utf-8").strip()}
        except OSError as error:
            typer.echo(f"{password_file}: {error.strerror}", err=True)
            raise typer.Exit(1) from error
    return made
