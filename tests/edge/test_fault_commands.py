"""The commands `faults` and `truth`, and a fault that is injected into a site that runs."""

import json
import sqlite3
from pathlib import Path

import pytest
from typer.testing import CliRunner

from hefa_contract.event import Fault
from hefa_edge.checkpoint import Checkpoint
from hefa_edge.cli import app
from hefa_edge.config import Settings
from hefa_edge.episodes import Episode
from hefa_edge.gateway import close_gateways
from hefa_edge.injections import Injections
from hefa_edge.site import Site

MINUTE = 60_000_000
STRIKES = (("pump-bearing-wear", "A2-SX.SXT.P-241"), ("comms-loss", "A6-UTIL.EDGE.GW-4"))


def invoke(*arguments: str) -> object:
    return CliRunner().invoke(app, list(arguments), catch_exceptions=False)


def test_every_fault_is_listed_with_what_one_must_see() -> None:
    items = json.loads(invoke("faults", "list", "--json").stdout)["items"]
    by_name = {item["fault"]: item for item in items}
    wear = by_name["pump-bearing-wear"]
    assert "A2-SX.SXT.P-241" in wear["strikes"]
    assert "A2-SX.SXT.P-241.vib" in wear["example"]["moves"]
    assert "A2-SX.SXA.MS-A01.ph" in wear["example"]["identical"]
    text = invoke("faults", "list").stdout
    assert all(name in text for name in by_name)


def test_inject_and_clear(tmp_path: Path) -> None:
    (tmp_path / "edge").mkdir()
    at = ("--data-dir", str(tmp_path))
    done = invoke("faults", "inject", "pump-bearing-wear", "--unit", "P-241", "--severity", ".6", "--for", "2h", *at)
    assert done.exit_code == 0
    assert "A2-SX.SXT.P-241 with severity 0.6" in done.stdout
    (there,) = Injections(tmp_path / "edge").read()
    assert there.start % MINUTE == 0
    assert there.end == there.start + 120 * MINUTE
    assert "ends at" in invoke("faults", "clear", "pump-bearing-wear", "--unit", "P-241", *at).stdout
    assert "nothing" in invoke("faults", "clear", *at).stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("faults", "inject", "rust"), "there is no fault 'rust'"),
        (("faults", "inject", "mvr-fouling", "--unit", "P-241"), "it may strike MVR-511, MVR-512"),
        (("faults", "inject", "weak-acid", "--severity", "3"), "not above 0 and up to 1"),
        (("faults", "inject", "weak-acid", "--for", "ever"), "no duration"),
        (("faults", "inject", "weak-acid", "--for", "0s"), "longer than 0"),
        (("faults", "inject", "weak-acid", "--for", "99999999d"), "longer than ten years"),
        (("faults", "inject", "sensor-bias", "--unit", "MS-A10"), "it may strike A2-SX.SXA.MS-A10.ph, "),
        (("faults", "inject", "weak-acid"), "no site has run"),
        (("truth", "--from", "2026-11-21T08:00:00"), "no time with offset"),
        (("truth", "--from", "2026-11-21T08:00:00Z"), "no truth ledger"),
        (("run", "--start", "2d"), "belong together"),
        (("run", "--speed", "60"), "belong together"),
        (("run", "--start", "2d", "--speed", "0.5"), "above 1 and up to 3600"),
        (("run", "--scenario", "holiday", "--mqtt-url", "mqtt://x"), "no scenario 'holiday'"),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence(tmp_path: Path, arguments: tuple[str, ...], said: str) -> None:
    done = invoke(*arguments, "--data-dir", str(tmp_path))
    assert done.exit_code == 2
    assert said in " ".join(done.output.split())


def test_a_running_site_hears_of_a_fault_labels_it_and_a_gateway_is_cut_off(plant, broker, platform, tmp_path) -> None:
    """Ticks are driven by hand, on a clock of our own: three minutes take a second."""
    settings = Settings(mqtt_url=broker.url("gw-a1"), data_dir=tmp_path, profile="core")
    now = [1_795_298_400.0]
    with Checkpoint(settings.state_dir) as checkpoint:
        site = Site(plant, settings, checkpoint, lambda: now[0])
        begin = round(now[0] * 1e6)
        told, cut = [], {}
        for gateway in site._gateways.values():
            record = gateway.record_or_skip

            def spy(*arguments: object, _record=record, **more: object) -> None:
                told.extend(event for event in arguments[4] if isinstance(event, Fault))
                _record(*arguments, **more)

            gateway.record_or_skip = spy  # type: ignore[method-assign]
        for gateway in site._gateways.values():
            gateway.start()
        for second in range(1, 151):
            for fault, target in STRIKES if second == 30 else ():
                Injections(settings.state_dir).add(
                    Episode(fault=fault, target=target, severity=0.6, start=begin + MINUTE, end=begin + 2 * MINUTE)
                )
            site._tick(begin + second * 1_000_000)
            cut[second] = [edge for edge, gateway in site._gateways.items() if gateway._cut]
        close_gateways(site._gateways.values())
        site._truth.close()
    assert {(event.fault, event.action, event.ts - begin) for event in told} == {
        (fault, action, k * MINUTE)
        for fault in ("pump-bearing-wear", "comms-loss")
        for action, k in (("start", 1), ("end", 2))
    }
    assert cut[59] == cut[120] == []
    assert cut[60] == cut[119] == ["gw-a4"]
    rows = sqlite3.connect(tmp_path / "truth.sqlite").execute("SELECT count(*) FROM books").fetchone()
    assert rows == (2,)
