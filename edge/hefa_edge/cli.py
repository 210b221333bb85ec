"""The command `hefa-edge`: parses, builds, runs, and turns errors into sentences and exit codes."""

from __future__ import annotations

import fnmatch
import logging
import re
import signal
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from threading import Event
from typing import Annotated, Any

import msgspec
import typer
from pydantic import ValidationError
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from hefa_contract.plant import Plant, PlantError, load
from hefa_edge import backfill as backfills
from hefa_edge import mapping as mappings
from hefa_edge.adapter import Adapter
from hefa_edge.catalogue import FaultError
from hefa_edge.checkpoint import Checkpoint, Occupied
from hefa_edge.config import ConfigError, Settings, read_seeds
from hefa_edge.fault_commands import faults_app, truth_command
from hefa_edge.operating_point import steady_command
from hefa_edge.simulation import OWN_TEMPLATE
from hefa_edge.site import TICK, GatewayFailed, Haste, Site, simulate, tags_of

app = typer.Typer(
    name="hefa-edge",
    help="The edge of hefa: a simulated plant, its sensors, and gateways that lose nothing.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
logger = logging.getLogger(__name__)

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(s|m|h|d)")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def _duration(text: str | float) -> float:
    if isinstance(text, float):  # a default
        return text
    found = _DURATION.fullmatch(text.strip())
    if found is None or float(found[1]) <= 0:
        raise typer.BadParameter(f"{text!r} is no duration such as 10s, 90m, 36h or 2d")
    return float(found[1]) * _SECONDS[found[2]]


def _instant(text: str) -> int:
    try:
        instant = datetime.fromisoformat(text)
    except ValueError:
        instant = None
    if instant is None or instant.tzinfo is None:
        raise typer.BadParameter(f"{text!r} is no time with offset such as 2026-11-21T08:00:00+08:00")
    return round(instant.timestamp() * 1e6)


Seeds = Annotated[Path | None, typer.Option("--seeds", help="Directory of the plant model. (HEFA_SEEDS)")]
DataDir = Annotated[
    Path | None, typer.Option("--data-dir", help="Where checkpoint and outboxes are kept. (HEFA_DATA_DIR)")
]
Secrets = Annotated[
    Path | None, typer.Option("--secrets", help="Directory with mqtt_url_<edge> files. (HEFA_SECRETS_DIR)")
]
MqttUrl = Annotated[
    str | None,
    typer.Option("--mqtt-url", help="One broker URL for all; {edge} stands for the gateway. (HEFA_MQTT_URL)"),
]
ProfileOption = Annotated[str | None, typer.Option("--profile", help="core: 752 key tags; full: all. (HEFA_PROFILE)")]
ModelOption = Annotated[
    str | None,
    typer.Option("--model", help="dynamic: the plant with its physics; steady: near normal values. (HEFA_MODEL)"),
]
ScenarioOption = Annotated[
    str | None, typer.Option("--scenario", help="A story, such as busy-month; none: the design feed. (HEFA_SCENARIO)")
]
SeedOption = Annotated[int | None, typer.Option("--seed", help="The same seed gives the same readings. (HEFA_SEED)")]
LogLevel = Annotated[str | None, typer.Option("--log-level", help="DEBUG, INFO, WARNING or ERROR. (HEFA_LOG_LEVEL)")]


@app.command()
def run(
    start: Annotated[
        float | None,
        typer.Option(
            "--start",
            parser=_duration,
            metavar="DURATION",
            help="Begin this long ago, or where the site was left if that is later. Needs --speed.",
        ),
    ] = None,
    speed: Annotated[
        float | None,
        typer.Option("--speed", help="Let time run so many times as fast until it meets the present; never beyond."),
    ] = None,
    seeds: Seeds = None,
    data_dir: DataDir = None,
    secrets: Secrets = None,
    mqtt_url: MqttUrl = None,
    profile: ProfileOption = None,
    model: ModelOption = None,
    scenario: ScenarioOption = None,
    seed: SeedOption = None,
    log_level: LogLevel = None,
) -> None:
    """Simulate the site and publish it, until stopped (Ctrl-C or SIGTERM)."""
    with _explained():
        if (start is None) != (speed is None):
            raise typer.BadParameter("--start and --speed belong together: --start 2d --speed 60")
        if speed is not None and not 1 < speed <= 3600:
            raise typer.BadParameter("--speed is above 1 and up to 3600")
        haste = None if start is None or speed is None else Haste(start, speed)
        settings = _settings(
            seeds=seeds,
            data_dir=data_dir,
            secrets_dir=secrets,
            mqtt_url=mqtt_url,
            profile=profile,
            model=model,
            scenario=scenario,
            seed=seed,
            log_level=log_level,
        )
        plant = _plant(settings)
        with Checkpoint(settings.state_dir) as checkpoint:
            site = Site(plant, settings, checkpoint, haste=haste)
            _on_signal(site.stop)
            site.run()


@app.command()
def backfill(
    history: Annotated[
        float, typer.Option("--history", parser=_duration, metavar="DURATION", help="How far back.", show_default="2d")
    ] = 2 * 86_400.0,
    to: Annotated[
        int | None,
        typer.Option("--to", parser=_instant, metavar="TIME", help="End earlier than now: an RFC 3339 time."),
    ] = None,
    progress: Annotated[str, typer.Option("--progress", help="bar, json (a line a step) or none.")] = "bar",
    seeds: Seeds = None,
    data_dir: DataDir = None,
    secrets: Secrets = None,
    mqtt_url: MqttUrl = None,
    profile: ProfileOption = None,
    model: ModelOption = None,
    scenario: ScenarioOption = None,
    seed: SeedOption = None,
    log_level: LogLevel = None,
) -> None:
    """Publish the plant's past, one reading a minute, up to now; ends when the platform has all of it.

    Goes on where the site was left (at most the given history ago). Can be killed and started again.
    """
    with _explained():
        if progress not in ("bar", "json", "none"):
            raise typer.BadParameter("--progress is one of bar, json, none")
        settings = _settings(
            seeds=seeds,
            data_dir=data_dir,
            secrets_dir=secrets,
            mqtt_url=mqtt_url,
            profile=profile,
            model=model,
            scenario=scenario,
            seed=seed,
            log_level=log_level,
        )
        plant = _plant(settings)
        with Checkpoint(settings.state_dir) as checkpoint:
            work = backfills.Backfill(plant, settings, checkpoint, history, to)
            stopped_by = _on_signal(work.stop)
            with _shown(progress) as show:
                finished = work.run(show)
        if not finished:
            raise typer.Exit(128 + stopped_by[0])


@app.command()
def adapt(
    mapping: Annotated[Path, typer.Option("--mapping", help="TOML: what the foreign messages mean.", dir_okay=False)],
    data_dir: DataDir = None,
    secrets: Secrets = None,
    mqtt_url: MqttUrl = None,
    source_url: Annotated[
        str | None,
        typer.Option(help="Broker of the foreign messages, where it is another one. (HEFA_SOURCE_URL)", metavar="URL"),
    ] = None,
    check: Annotated[bool, typer.Option("--check", help="Only say whether the mapping is right.")] = False,
    log_level: LogLevel = None,
) -> None:
    """Be the gateway of devices that cannot speak our envelope: one value a topic, or JSON. Runs until stopped."""
    with _explained():
        try:
            rules = mappings.read(str(mapping), mapping.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"cannot read {mapping}: {error}") from None
        if check:
            typer.echo(f"{mapping}: {len(rules.rule)} rules, {len(rules.filters)} filters, gateway {rules.edge}")
            return
        settings = _settings(
            data_dir=data_dir, secrets_dir=secrets, mqtt_url=mqtt_url, source_url=source_url, log_level=log_level
        )
        with Checkpoint(settings.state_dir):
            adapter = Adapter(rules, settings)
            _on_signal(adapter.stop)
            adapter.run()


@app.command()
def preview(
    duration: Annotated[
        float,
        typer.Option("--for", parser=_duration, metavar="DURATION", help="How long to watch.", show_default="10s"),
    ] = 10.0,
    tag: Annotated[
        list[str] | None, typer.Option("--tag", help="Only these tags; * and ? are wildcards. Repeat it for more.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a reading.")] = False,
    seeds: Seeds = None,
    profile: ProfileOption = None,
    model: ModelOption = None,
    seed: SeedOption = None,
) -> None:
    """Print what the gateways would send, without a broker. Keeps nothing."""
    with _explained():
        settings = _settings(seeds=seeds, profile=profile, model=model, seed=seed)
        patterns = tag or ["*"]
        tags = [
            one
            for one in tags_of(_plant(settings), settings.profile)
            if one.template != OWN_TEMPLATE and any(fnmatch.fnmatchcase(one.name, pattern) for pattern in patterns)
        ]
        if not tags:
            raise ConfigError(f"no tag matches {', '.join(patterns)}; a tag is named like A2-SX.SXA.MS-A01.ph")
        stop = Event()
        _on_signal(stop)
        plant = _plant(settings)
        ts = round(time.time() * 1e6) // TICK * TICK
        simulation = simulate(plant, settings, tags, ts - TICK)
        end = time.monotonic() + duration
        while not stop.is_set() and time.monotonic() < end:
            tick = simulation.advance(ts)
            for column, value, quality in zip(tick.tag, tick.value.tolist(), tick.quality.tolist(), strict=True):
                _print_reading(tags[column].name, ts, value, tags[column].ucum, quality, as_json)
            sys.stdout.flush()
            ts += TICK
            stop.wait(max(0.0, ts / 1e6 - time.time()))


app.command("steady")(steady_command)
app.command("truth")(truth_command)
app.add_typer(faults_app, name="faults")


def main() -> None:
    """Entry point of the console script."""
    app()


def _settings(**given: Any) -> Settings:
    settings = Settings(**{key: value for key, value in given.items() if value is not None})
    logging.basicConfig(
        level=settings.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s %(message)s", stream=sys.stderr
    )
    return settings


def _plant(settings: Settings) -> Plant:
    return load(read_seeds(settings.seeds))


def _on_signal(stop: Event) -> list[int]:
    """Let SIGTERM and Ctrl-C set `stop`; the list tells which it was."""
    received = [signal.SIGTERM.value]

    def note(number: int, _frame: object) -> None:
        received[0] = number
        stop.set()

    signal.signal(signal.SIGTERM, note)
    signal.signal(signal.SIGINT, note)
    return received


@contextmanager
def _explained() -> Iterator[None]:
    """End with a sentence and exit code 2 where the reader can mend it; bugs keep their traceback."""
    try:
        yield
    except ValidationError as error:
        for problem in error.errors():
            name = ".".join(map(str, problem["loc"]))
            typer.echo(f"setting {name}: {problem['msg']} (HEFA_{name.upper()})", err=True)
        raise typer.Exit(2) from None
    except (PlantError, ConfigError, FaultError, Occupied) as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(2) from None
    except sqlite3.DatabaseError as error:
        typer.echo(f"an outbox cannot be used: {error}", err=True)
        raise typer.Exit(1) from None
    except GatewayFailed as error:
        typer.echo(f"gateway {error} failed; what it recorded is kept, start again", err=True)
        raise typer.Exit(1) from None


def _print_reading(tag: str, ts: int, value: float, unit: str, quality: int, as_json: bool) -> None:
    if as_json:
        reading = {"tag": tag, "ts": ts, "value": value, "quality": quality}
        typer.echo(msgspec.json.encode(reading).decode())
    else:
        at = datetime.fromtimestamp(ts / 1e6, UTC)
        mark = "" if quality == 192 else f"  quality {quality}"
        typer.echo(f"{at:%H:%M:%S}Z  {tag:<40} {value:>14.10g} {unit}{mark}")


@contextmanager
def _shown(style: str) -> Iterator[Callable[[backfills.Progress], None]]:
    """Show progress: lines of JSON on stdout, or a bar on stderr."""
    if style == "none":
        yield lambda _: None
    elif style == "json":

        def line(step: backfills.Progress) -> None:
            sys.stdout.write(msgspec.json.encode(step._asdict()).decode() + "\n")
            sys.stdout.flush()

        yield line
    else:
        with Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
        ) as bar:
            task = bar.add_task("history")
            words = {"generate": "simulating minutes", "publish": "publishing envelopes", "done": "history is complete"}

            def move(step: backfills.Progress) -> None:
                bar.update(task, description=words[step.phase], completed=step.done, total=step.total)

            yield move
