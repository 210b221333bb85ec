"""`hefa-platform`: the platform's commands. Parses, builds, calls; what it calls knows nothing of the command line."""

import logging
import os
import re
import shutil
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, TypeVar

import typer
from pydantic import ValidationError

from hefa_contract import plant as plant_model
from hefa_contract import setting as setting_seeds
from hefa_contract import topics
from hefa_platform import memory, secrets
from hefa_platform.config import ConfigError, Role, Settings, read_seeds
from hefa_platform.store.database import Database, NotAdmitted, Unavailable

if TYPE_CHECKING:
    from hefa_platform.store.entry import Rules

logger = logging.getLogger(__name__)
app = typer.Typer(help=__doc__, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
_T = TypeVar("_T")

FULL_SOON_DAYS = 14
REFUSED_S = 20.0  # a server that is just being set up may refuse for a moment
API_CONNECTIONS = 12  # fewer than the threads of the server: a query that waits for one is told so, not queued for ever

DsnOption = Annotated[str | None, typer.Option("--dsn", help="PostgreSQL DSN of this command's role.", metavar="DSN")]
SecretsOption = Annotated[
    Path | None, typer.Option("--secrets", help="Directory written by `hefa-platform secrets`.", metavar="DIR")
]
WorkerOption = Annotated[
    str | None,
    typer.Option("--worker", envvar="HEFA_WORKER", help="Name of this process among its like.", metavar="NAME"),
]
SeedsOption = Annotated[Path | None, typer.Option("--seeds", help="Directory of the plant model.", metavar="DIR")]


@app.command("secrets")
def make_secrets(
    directory: Annotated[Path, typer.Option("--dir", help="Where to write; made if missing.")],
    postgres_host: str = "127.0.0.1",
    postgres_port: int = 5433,
    database: str = "hefa",
    mqtt_host: str = "127.0.0.1",
    mqtt_port: int = 1883,
    mqtt_public: Annotated[
        str | None, typer.Option(help="The broker as people reach it, where it differs.", metavar="HOST:PORT")
    ] = None,
    api_url: str = "http://127.0.0.1:8000",
    portal_url: str = "http://127.0.0.1:8080",
    group: Annotated[int | None, typer.Option(help="Numeric id of a group that may read the files.")] = None,
    grant: Annotated[
        list[str] | None,
        typer.Option(help="Right of a further broker user: 'gw-hall3 read hall3/#'. Repeat it.", metavar="GRANT"),
    ] = None,
    parts: Annotated[
        bool, typer.Option("--parts", help="Also give each service of Compose a folder of its own.")
    ] = False,
    broker_host: Annotated[
        list[str] | None, typer.Option(help="With --parts: a name in the broker's certificate. Repeat it.")
    ] = None,
    seeds: SeedsOption = None,
) -> None:
    """Make every password of a stack, once; what is there is kept."""
    settings = _settings(seeds=seeds)
    places = secrets.Places(
        postgres_host=postgres_host,
        postgres_port=postgres_port,
        database=database,
        mqtt_host=mqtt_host,
        mqtt_port=mqtt_port,
        mqtt_public=mqtt_public,
        api_url=api_url,
        portal_url=portal_url,
    )
    plant = _plant(settings)
    edges = [name for name in plant.edges if name != "api"]
    try:
        secrets.write(directory, places, edges, group, grant or ())
    except secrets.GrantError as error:
        _fail(str(error))
    if parts:
        from hefa_platform import certificates

        try:
            certificates.make(directory / "tls", broker_host or (), secrets.gateways(directory))
        except certificates.CertificateError as error:
            _fail(str(error))
        secrets.divide(directory, sorted({tag.edge for tag in plant.tags.values()}), group)
        typer.echo("URLs and the administrator's API key: docker compose exec api cat /run/hefa/stack.json")
        return
    typer.echo(f"secrets are in {directory}; the administrator's API key is in {directory / 'admin_key'}")


@app.command("certs")
def make_certificates(
    gateways: Annotated[
        list[str] | None, typer.Argument(help="Names of gateways, as the broker shall know them.")
    ] = None,
    directory: Annotated[Path, typer.Option("--dir", help="Where to write; made if missing.")] = Path("certs"),
    host: Annotated[
        list[str] | None, typer.Option(help="Name or address under which gateways reach the broker. Repeat it.")
    ] = None,
    revoke: Annotated[
        list[str] | None, typer.Option(help="A gateway whose certificate shall not be taken any more. Repeat it.")
    ] = None,
) -> None:
    """Make an authority, the broker's certificate and the gateways', or revoke some; what is there and good is kept."""
    from hefa_platform import certificates

    names = gateways or []
    wrong = [name for name in names if not topics.is_edge_name(name)]
    if wrong:
        _fail(f"no names of gateways: {', '.join(wrong)}; lower case, digits, - and _, such as gw-hall3")
    try:
        for name in revoke or []:
            certificates.revoke(directory, name)
            typer.echo(f"revoked: {name}")
        if names or host or not revoke:
            made = certificates.make(directory, host or (), names)
            typer.echo(f"made in {directory}: {', '.join(made) or 'nothing, all are there and good'}")
    except certificates.CertificateError as error:
        _fail(str(error))


@app.command()
def migrate(dsn: DsnOption = None, secrets_dir: SecretsOption = None) -> None:
    """Bring the database to this program's schema, as its administrator. Safe to run again."""
    from hefa_platform.store.migrations import MigrationError
    from hefa_platform.store.migrations import migrate as bring

    settings = _settings(dsn=dsn, secrets_dir=secrets_dir)
    known = secrets.passwords(settings.secrets_dir) if settings.secrets_dir else {}
    keys = secrets.api_keys(settings.secrets_dir) if settings.secrets_dir else {}
    admin = _need(lambda: settings.dsn_of("admin"))
    try:
        with _stopping() as stop:
            done = _insist(stop, lambda: bring(admin, known, keys), REFUSED_S)
    except MigrationError as error:
        _fail(str(error))
    typer.echo(f"migrated: {', '.join(done)}" if done else "the schema is current")


@app.command("load")
def load_plant(dsn: DsnOption = None, secrets_dir: SecretsOption = None, seeds: SeedsOption = None) -> None:
    """Load the plant model and the settings from the seeds. Safe to run again; what people entered stays."""
    from hefa_platform.store import settings as dated
    from hefa_platform.store.plant_model import load

    settings = _settings(dsn=dsn, secrets_dir=secrets_dir, seeds=seeds)
    plant = _plant(settings)
    try:
        figures = setting_seeds.load(_need(lambda: read_seeds(settings.seeds)), plant.timezone)
    except setting_seeds.SeedError as error:
        _fail(f"the settings in {settings.seeds} have mistakes:\n{error}")

    def enter(database: Database) -> dated.Seeded:
        with database.connection() as connection:
            return dated.load(connection, plant.site, figures)

    with _stopping() as stop, _database(settings, "owner", "hefa-load") as database:
        done = _insist(stop, lambda: load(database, plant))
        seeded = _insist(stop, lambda: enter(database))
    if done.changed:
        typer.echo(f"{done.tags} tags: {done.added} new, {done.assigned} newly assigned, {done.retired} retired")
    else:
        typer.echo(f"{done.tags} tags, unchanged")
    typer.echo(f"{len(figures)} settings, {seeded.entered} of them new")
    if seeded.kept:
        typer.echo(f"left as people have entered them: {', '.join(seeded.kept)}")


@app.command()
def ingest(
    dsn: DsnOption = None,
    mqtt_url: Annotated[str | None, typer.Option(help="mqtt://user:password@host:port", metavar="URL")] = None,
    secrets_dir: SecretsOption = None,
    worker: WorkerOption = None,
    workers: Annotated[int, typer.Option(min=1, max=64, help="Processes that share the load.")] = 1,
    leash: Annotated[bool, typer.Option("--leash", hidden=True)] = False,
) -> None:
    """Take what gateways send: MQTT in, database, acks out."""
    from hefa_platform import vigil
    from hefa_platform.ingest import Limits, Worker
    from hefa_platform.pool import Pool, on_leash, worker_command
    from hefa_platform.store.intake import Intake

    settings = _settings(dsn=dsn, mqtt_url=mqtt_url, secrets_dir=secrets_dir)
    name = worker or _worker_name("ingest")
    url = _need(lambda: settings.ingest_mqtt_url)
    if workers > 1:
        found = {"HEFA_DSN": _need(lambda: settings.dsn_of("ingest")), "HEFA_MQTT_URL": url}
        pool = Pool(name, workers, worker_command, os.environ | found)
        with _stopping() as stop:
            stop.then(pool.stop)
            raise typer.Exit(pool.run())
    limits = Limits(
        settings.receive_maximum,
        settings.group_messages,
        settings.group_readings,
        settings.session_expiry_s,
        settings.silence_s,
    )
    with (
        _stopping() as stop,
        _database(settings, "ingest", "hefa-ingest", max_size=2, patience_s=3.0, tried=False) as database,
    ):
        intake = Intake(
            database,
            name,
            raw_retention_days=settings.raw_retention_days,
            tag_quota_per_hour=settings.tag_quota_per_hour,
            edge_limit=settings.edge_limit,
        )
        process = Worker(database, intake, url, name, limits)
        vigil.keep(database, stop)
        stop.then(process.stop)
        if leash:
            on_leash(process.stop)
        memory.settle()
        process.run()


@app.command()
def maintain(dsn: DsnOption = None, secrets_dir: SecretsOption = None, worker: WorkerOption = None) -> None:
    """Keep rollups, partitions and retention. One works at a time, others wait to take over."""
    from hefa_platform.maintain import Keeper

    settings = _settings(dsn=dsn, secrets_dir=secrets_dir)
    with _stopping() as stop, _database(settings, "jobs", "hefa-maintain", max_size=2) as database:
        keeper = Keeper(database, worker or _worker_name("maintain"), raw_retention_days=settings.raw_retention_days)
        stop.then(keeper.stop)
        keeper.run()


@app.command()
def refill(dsn: DsnOption = None, secrets_dir: SecretsOption = None) -> None:
    """After the database came back from a backup: have the gateways send again what they still hold.

    What is there already is recognised; what was acknowledged after the backup comes back.
    """
    from hefa_platform.store.upkeep import renew_incarnation

    settings = _settings(dsn=dsn, secrets_dir=secrets_dir)

    def renew(database: Database) -> str:
        with database.connection() as connection:
            return renew_incarnation(connection)

    with _stopping() as stop, _database(settings, "owner", "hefa-refill", max_size=1) as database:
        incarnation = _insist(stop, lambda: renew(database))
    typer.echo(f"the database is {incarnation} from now on; gateways hear of it within some seconds")


@app.command("import")
def import_file(
    file: Annotated[Path, typer.Argument(help="CSV: tag,ts,value,quality.", dir_okay=False, exists=True)],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would happen, and change nothing.")] = False,
    tz: Annotated[
        str | None, typer.Option(help="IANA zone of times without offset; without it they are refused.", metavar="ZONE")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
    dsn: DsnOption = None,
    secrets_dir: SecretsOption = None,
) -> None:
    """Enter a file of readings, by the rules that hold for gateways. Safe to run again with the same file.

    Exit code 0: every row is stored, or was there. 1: some rows went to quarantine, or the database is away.
    """
    from hefa_platform.import_command import run

    settings = _settings(dsn=dsn, secrets_dir=secrets_dir)
    with _database(settings, "api", "hefa-import", max_size=2) as database:
        code = run(database, _rules(settings), file, tz=tz, dry_run=dry_run, as_json=as_json)
    raise typer.Exit(code)


@app.command()
def backup(
    file: Annotated[Path, typer.Argument(help="Where to write; must not exist.")],
    dsn: DsnOption = None,
    secrets_dir: SecretsOption = None,
) -> None:
    """Write the whole database to one file, of one moment, while everything runs. Signs in as hefa_owner."""
    from hefa_platform.store import backup as store

    settings = _settings(dsn=dsn, secrets_dir=secrets_dir)
    owner = _need(lambda: settings.dsn_of("owner"))
    try:
        done = store.backup(owner, file, _progress)
    except (store.BackupError, Unavailable) as error:
        _fail(str(error))
    typer.echo(f"{file}: {done.readings} readings, {file.stat().st_size} bytes, {done.engine}, {done.made}")


@app.command()
def restore(
    file: Annotated[Path, typer.Argument(help="Written by `hefa-platform backup`, on any engine.")],
    force: Annotated[bool, typer.Option("--force", help="Replace a database that holds readings.")] = False,
    dsn: DsnOption = None,
    secrets_dir: SecretsOption = None,
) -> None:
    """Make the database what a backup says, or leave it as it is. As its administrator.

    Gateways then send again what they still hold, so that what was acknowledged after the backup comes back.
    """
    from hefa_platform.store import backup as store
    from hefa_platform.store.migrations import MigrationError

    settings = _settings(dsn=dsn, secrets_dir=secrets_dir)
    known = secrets.passwords(settings.secrets_dir) if settings.secrets_dir else {}
    keys = secrets.api_keys(settings.secrets_dir) if settings.secrets_dir else {}
    admin = _need(lambda: settings.dsn_of("admin"))
    try:
        done = store.restore(admin, file, known, keys, force=force, progress=_progress)
    except (store.BackupError, MigrationError, Unavailable) as error:
        _fail(str(error))
    typer.echo(
        f"restored {done.readings} readings as of {done.made}, all figures equal; gateways send again what they hold"
    )


@app.command()
def serve(
    dsn: DsnOption = None,
    secrets_dir: SecretsOption = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; 0 takes a free one.")] = None,
) -> None:
    """Serve the REST API."""
    from hefa_platform.api import create_app
    from hefa_platform.api import serve as listen

    settings = _settings(dsn=dsn, secrets_dir=secrets_dir, api_host=host, api_port=port)
    timeout = settings.statement_timeout_ms
    with _database(settings, "api", "hefa-api", statement_timeout_ms=timeout, max_size=API_CONNECTIONS) as database:
        listen(create_app(database, rules=_rules(settings), disk=settings.disk), settings.api_host, settings.api_port)


@app.command("openapi")
def describe() -> None:
    """Print the description of the REST API as committed in docs/openapi.json."""
    from hefa_platform.api import openapi_json

    typer.echo(openapi_json(), nl=False)


@app.command()
def check(
    what: Annotated[str, typer.Argument(help="database, ingest, maintain or storage")],
    dsn: DsnOption = None,
    secrets_dir: SecretsOption = None,
    worker: WorkerOption = None,
    disk: Annotated[
        Path | None, typer.Option(envvar="HEFA_DISK", help="storage: a folder on the database's disk.", metavar="DIR")
    ] = None,
) -> None:
    """Exit with 0 when it works, else 1 and the reason: for the health checks of containers.

    `storage` prints bytes per reading, per tag and day, and with --disk the days until the disk is full; under 14 is 1.
    """
    from hefa_platform.store.health import Unhealthy, check_schema, check_worker

    settings = _settings(dsn=dsn, secrets_dir=secrets_dir)
    roles: dict[str, Role] = {"database": "api", "ingest": "ingest", "maintain": "jobs", "storage": "api"}
    if what not in roles:
        _fail(f"{what!r} is none of {', '.join(roles)}")
    with _database(settings, roles[what], "hefa-check", max_size=1, patience_s=3.0) as database:
        try:
            if what == "database":
                check_schema(database)
            elif what == "storage":
                _forecast(database, disk, settings.raw_retention_days)
            else:
                check_worker(database, what, worker or _worker_name(what))
        except (Unavailable, Unhealthy) as error:
            typer.echo(str(error), err=True)
            raise typer.Exit(1) from None


def _forecast(database: Database, disk: Path | None, raw_retention_days: int) -> None:
    from hefa_platform.store.health import Unhealthy
    from hefa_platform.store.storage import days_until_full, measure

    found = measure(database)
    typer.echo(
        f"database {found.database:,} B: raw {found.raw:,}, minutes {found.minutes:,}, hours {found.hours:,}; "
        f"{found.readings_per_day:,} readings in the last day"
    )
    if found.bytes_per_reading is None or found.bytes_per_tag_and_day is None:
        typer.echo("nothing is rolled up yet: ask again tomorrow")
        return
    typer.echo(
        f"{found.bytes_per_reading:.1f} B per reading, {found.bytes_per_tag_and_day:,.0f} B per tag and day, "
        f"{(found.raw_per_day + found.rollups_per_day) / 1e6:,.1f} MB a day"
    )
    if disk is None:
        return
    try:
        free = shutil.disk_usage(disk).free
    except OSError as error:
        _fail(f"--disk {disk}: {error.strerror}")
    days = days_until_full(found, free, raw_retention_days)
    if days is None:
        typer.echo(f"{free:,} B free: not filling")
        return
    typer.echo(f"{free:,} B free: full in {days:,.0f} days")
    if days < FULL_SOON_DAYS:
        raise Unhealthy(f"the disk is full in {days:.1f} days: make room, or lower HEFA_RAW_RETENTION_DAYS")


def _progress(what: str) -> None:
    logger.info("%s", what)


def _worker_name(task: str) -> str:
    """A name of its own for each host, in the form that topics allow."""
    host = re.sub("[^a-z0-9_-]", "-", socket.gethostname().lower())
    return f"{task}-{host}"[:63]


def _rules(settings: Settings) -> "Rules":
    from hefa_platform.store.entry import Rules

    return Rules(settings.raw_retention_days, settings.tag_quota_per_hour)


def _plant(settings: Settings) -> plant_model.Plant:
    try:
        return plant_model.load(_need(lambda: read_seeds(settings.seeds)))
    except plant_model.PlantError as error:
        _fail(f"the plant model in {settings.seeds} has mistakes:\n{error}")


def _settings(**given: Any) -> Settings:
    """Environment and command line together; every mistake is listed at once."""
    try:
        settings = Settings(**{name: value for name, value in given.items() if value is not None})
    except ValidationError as error:
        problems = [f"HEFA_{str(e['loc'][0]).upper()}: {e['msg']}" for e in error.errors()]
        _fail("\n".join(problems))
    logging.basicConfig(
        level=settings.log_level.upper(),
        format="%(asctime)s %(levelname)s %(name)s %(message)s",
        datefmt="%Y-%m-%dT%H:%M:%S",
    )
    # The pool reports each failed attempt to connect; we say once that the database is gone, and once that it is back.
    logging.getLogger("psycopg.pool").setLevel(logging.ERROR)
    return settings


def _database(settings: Settings, role: Role, application: str, **more: Any) -> Database:
    return Database(_need(lambda: settings.dsn_of(role)), application=application, **more)


class _Stop(threading.Event):
    """Set by the first SIGTERM or Ctrl-C."""

    def __init__(self) -> None:
        super().__init__()
        self._actions: list[Callable[[], None]] = []

    def then(self, action: Callable[[], None]) -> None:
        """Call `action` when it is set, or now if it is."""
        self._actions.append(action)
        if self.is_set():
            action()

    def now(self) -> None:
        self.set()
        for action in self._actions:
            action()


@contextmanager
def _stopping() -> Iterator[_Stop]:
    """While the block runs, signals ask it to end in order; a second one ends it at once."""
    stop = _Stop()

    def ask(number: int, frame: object) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        # In a thread: a signal handler may interrupt the very code whose lock the action needs.
        threading.Thread(target=stop.now, name="stop").start()

    before = {number: signal.signal(number, ask) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _insist(stop: threading.Event, attempt: Callable[[], _T], refused_s: float | None = None) -> _T:
    """Do it as soon as the database allows; says once why it waits.

    A server that is there but does not let us in is given up after `refused_s` seconds; None: never.
    """
    told, delay = "", 0.2
    refused_since: float | None = None
    while True:
        try:
            return attempt()
        except Unavailable as error:
            refused_since = (refused_since or time.monotonic()) if isinstance(error, NotAdmitted) else None
            if refused_s is not None and refused_since is not None and time.monotonic() - refused_since >= refused_s:
                _fail(
                    f"the database server is there, but refuses us: {error}\n"
                    "If the secrets were made anew while the database was kept (their volume was lost), put the old "
                    "secrets back, or give the server's administrator the new password: ALTER ROLE … PASSWORD …"
                )
            if str(error) != told:
                told = str(error)
                logger.warning("waiting for the database: %s", told)
        if stop.wait(delay):
            raise typer.Exit(130)
        delay = min(delay * 1.6, 3.0)


def _need(find: Callable[[], _T]) -> _T:
    try:
        return find()
    except ConfigError as error:
        _fail(str(error))


def _fail(message: str) -> NoReturn:
    typer.echo(message, err=True)
    raise typer.Exit(2)


def main() -> None:
    """Entry point of `hefa-platform`."""
    app()


if __name__ == "__main__":
    main()
