"""The commands `faults` and `truth`: what can go wrong, letting it go wrong in a running site, and what truly was."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from hefa_contract.plant import Plant, PlantError, load
from hefa_edge import catalogue, truth
from hefa_edge.catalogue import Catalogue, FaultError
from hefa_edge.config import ConfigError, Settings, read_seeds
from hefa_edge.episodes import Episode
from hefa_edge.injections import Injections, next_minute
from hefa_edge.truth import TruthError

faults_app = typer.Typer(help="What can go wrong at the site, and letting it go wrong.", no_args_is_help=True)

Seeds = Annotated[Path | None, typer.Option("--seeds", help="Directory of the plant model. (HEFA_SEEDS)")]
DataDir = Annotated[Path | None, typer.Option("--data-dir", help="Where the site keeps its state. (HEFA_DATA_DIR)")]
AsJson = Annotated[bool, typer.Option("--json", help="For machines.")]
Unit = Annotated[str, typer.Option("--unit", help="What it strikes: a unit, a line, or for sensor faults a tag.")]


@faults_app.command("list")
def list_faults(as_json: AsJson = False, seeds: Seeds = None) -> None:
    """List the faults, what each may strike, and what one must see of it."""

    def work() -> None:
        _, known = _read(_settings(seeds, None))
        if as_json:
            typer.echo(json.dumps({"items": [_described(known, name) for name in known.faults]}, indent=2))
            return
        for name, fault in known.faults.items():
            units = known.targets(name)
            shown = f"{len(units)} tags" if fault.strikes_tags else ", ".join(u.rsplit(".", 1)[-1] for u in units[:6])
            more = " …" if not fault.strikes_tags and len(units) > 6 else ""
            typer.echo(f"{name:<20} {fault.description}\n{'':<20} strikes {shown}{more}")

    _explained(work)


@faults_app.command("inject")
def inject(
    fault: Annotated[str, typer.Argument(help="Id of the fault: `hefa-edge faults list`.")],
    unit: Unit = "",
    severity: Annotated[float, typer.Option("--severity", help="Above 0 up to 1.")] = 1.0,
    lasts: Annotated[
        str, typer.Option("--for", metavar="DURATION", help="How long, such as 90s or 2h; else until it is cleared.")
    ] = "",
    data_dir: DataDir = None,
    seeds: Seeds = None,
) -> None:
    """Let a fault begin in a running site, from its next minute on."""

    def work() -> None:
        settings = _settings(seeds, data_dir)
        _, known = _read(settings)
        target = known.target(fault, unit)
        if not 0 < severity <= 1:
            raise FaultError(f"--severity {severity:g} is not above 0 and up to 1")
        start = next_minute(round(time.time() * 1e6))
        length = lasts or known.fault(fault).lasts
        end = start + catalogue.duration(length) if length else None
        if end == start:
            raise FaultError(f"--for {lasts} is no time: a fault lasts longer than 0")
        _injections(settings).add(Episode(fault=fault, target=target, severity=severity, start=start, end=end))
        until = f" until {_clock(end)}" if end else ""
        typer.echo(f"{fault} strikes {target} with severity {severity:g} from {_clock(start)}{until}")

    _explained(work)


@faults_app.command("clear")
def clear(
    fault: Annotated[str, typer.Argument(help="Id of a fault; without it all that was injected.")] = "",
    unit: Unit = "",
    data_dir: DataDir = None,
    seeds: Seeds = None,
) -> None:
    """End what was injected, from the site's next minute on. A scenario goes on."""

    def work() -> None:
        settings = _settings(seeds, data_dir)
        _, known = _read(settings)
        if fault:
            known.fault(fault)
        at = next_minute(round(time.time() * 1e6))

        def matching(one: Episode) -> bool:
            return fault in ("", one.fault) and (not unit or one.target == unit or one.target.endswith("." + unit))

        ended = _injections(settings).clear(matching, at)
        for one in ended:
            typer.echo(f"{one.fault} on {one.target} ends at {_clock(at)}")
        if not ended:
            typer.echo("nothing that was injected goes on beyond the next minute")

    _explained(work)


def truth_command(
    begin: Annotated[str, typer.Option("--from", metavar="TIME", help="RFC 3339 with offset.")],
    to: Annotated[
        str, typer.Option("--to", metavar="TIME", help="RFC 3339 with offset; now where it is left out.")
    ] = "",
    as_json: AsJson = False,
    data_dir: DataDir = None,
    seeds: Seeds = None,
) -> None:
    """Tell what truly was at the simulated site: energy, masses by element, lots, faults. Whatever instruments showed."""

    def work() -> None:
        settings = _settings(seeds, data_dir)
        start, end = _instant(begin), _instant(to) if to else round(time.time() * 1e6)
        if end <= start:
            raise TruthError("--to is not later than --from")
        found = truth.told(settings.truth_path, load(read_seeds(settings.seeds)), start, end)
        if as_json:
            typer.echo(json.dumps(_readable(found)))
            return
        typer.echo(f"{_clock(found['from'])} to {_clock(found['to'])}")
        for carrier, used in found["energy"].items():
            typer.echo(f"{carrier:<12} {used['value']:>14,.2f} {used['unit']}")
        for element, mass in found["masses"].items():
            typer.echo(
                f"{element:<12} in {mass['in']:>12,.2f} kg  out {mass['out']:>12,.2f}  held {mass['held_to']:>12,.2f}"
            )
        typer.echo(f"{len(found['lots'])} entries of lots, {len(found['faults'])} faults")

    _explained(work)


def _described(known: Catalogue, name: str) -> dict[str, Any]:
    fault = known.faults[name]
    target = known.target(name, fault.example)
    return {
        "fault": name,
        "description": fault.description,
        "acts": fault.acts,
        "on": fault.on,
        "at_severity_1": fault.full,
        "strikes": known.targets(name),
        "example": {
            "target": target,
            "within": fault.within or None,
            "moves": known.moved(name, target),
            "identical": known.still(name, target),
        },
        "source": fault.source,
    }


def _readable(found: dict[str, Any]) -> dict[str, Any]:
    """Times as text."""

    def text(value: dict[str, Any]) -> dict[str, Any]:
        return {
            k: _clock(v) if k in ("from", "to", "ts", "start", "end") and v is not None else v for k, v in value.items()
        }

    return {
        **text(found),
        "lots": [text(one) for one in found["lots"]],
        "faults": [text(one) for one in found["faults"]],
    }


def _settings(seeds: Path | None, data_dir: Path | None) -> Settings:
    given = {"seeds": seeds, "data_dir": data_dir}
    return Settings(**{name: path for name, path in given.items() if path is not None})  # type: ignore[arg-type]


def _read(settings: Settings) -> tuple[Plant, Catalogue]:
    texts = read_seeds(settings.seeds)
    plant = load(texts)
    return plant, catalogue.read(texts, plant)


def _injections(settings: Settings) -> Injections:
    if not settings.state_dir.is_dir():
        raise ConfigError(f"no site has run in {settings.data_dir}: name its directory by --data-dir")
    return Injections(settings.state_dir)


def _instant(text: str) -> int:
    try:
        instant = datetime.fromisoformat(text)
    except ValueError:
        instant = None
    if instant is None or instant.tzinfo is None:
        raise TruthError(f"{text!r} is no time with offset such as 2026-11-21T08:00:00+08:00")
    return round(instant.timestamp() * 1e6)


def _clock(ts: int) -> str:
    return datetime.fromtimestamp(ts / 1e6, UTC).isoformat().replace("+00:00", "Z")


def _explained(work: Callable[[], None]) -> None:
    """Do it, or end with a sentence and exit code 2 where the reader can mend it."""
    try:
        work()
    except (PlantError, ConfigError, FaultError, TruthError) as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(2) from None
