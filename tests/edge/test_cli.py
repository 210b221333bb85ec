"""The command `hefa-edge`: what it says, and with which exit code."""

import json
import shutil
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from hefa_edge.checkpoint import Checkpoint
from hefa_edge.cli import app


def invoke(*arguments: str) -> object:
    return CliRunner().invoke(app, list(arguments), catch_exceptions=False)


def test_preview_prints_readings_without_a_broker() -> None:
    began = time.time()
    done = invoke("preview", "--for", "1s", "--tag", "A6-UTIL.ELEC.PM-MAIN.*", "--tag", "*.GM-MAIN.tot", "--json")
    assert done.exit_code == 0
    readings = [json.loads(line) for line in done.stdout.splitlines()]
    assert {"A6-UTIL.ELEC.PM-MAIN.p", "A6-UTIL.ELEC.PM-MAIN.e", "A6-UTIL.METER.GM-MAIN.tot"} <= {
        r["tag"] for r in readings
    }
    assert all(set(reading) == {"tag", "ts", "value", "quality"} for reading in readings)
    assert all(began - 2 <= reading["ts"] / 1e6 <= time.time() for reading in readings)
    power = next(reading["value"] for reading in readings if reading["tag"].endswith("PM-MAIN.p"))
    assert power == pytest.approx(1900, rel=0.15)  # whatever the plant does at this hour


def test_preview_is_for_people_too_and_the_seed_matters() -> None:
    texts = [invoke("preview", "--for", "0.2s", "--tag", "*.PM-MAIN.p", "--seed", str(seed)).stdout for seed in (1, 2)]
    assert all("A6-UTIL.ELEC.PM-MAIN.p" in text and "kW" in text for text in texts)
    values = [text.split()[2] for text in texts]
    assert values[0] != values[1]


def test_preview_shows_what_has_no_value(plant) -> None:
    done = invoke("preview", "--for", "0.1s", "--profile", "core", "--json")
    assert len(done.stdout.splitlines()) >= 700


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("preview", "--tag", "NOWHERE.*"), "no tag matches NOWHERE.*"),
        (("preview", "--for", "soon"), "no duration"),
        (("preview", "--for", "0s"), "no duration"),
        (("preview", "--profile", "most"), "HEFA_PROFILE"),
        (("preview", "--seed", "-1"), "HEFA_SEED"),
        (("preview", "--seeds", "nowhere"), "no plant model"),
        (("backfill", "--history", "2 weeks"), "no duration"),
        (("backfill", "--to", "2026-11-21T08:00:00"), "offset"),
        (("backfill", "--progress", "loud", "--mqtt-url", "mqtt://x"), "bar, json, none"),
        (("run", "--mqtt-url", "http://x"), "mqtt://"),
        (("run", "--secrets", "nowhere"), "mqtt_url_gw-a1"),
        (("run",), "HEFA_MQTT_URL"),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], said: str
) -> None:
    monkeypatch.setenv("HEFA_DATA_DIR", str(tmp_path))
    for name in ("HEFA_MQTT_URL", "HEFA_SECRETS_DIR"):
        monkeypatch.delenv(name, raising=False)
    done = invoke(*arguments)
    assert done.exit_code == 2
    assert said in " ".join(done.output.split())
    assert "Traceback" not in done.output


def test_bad_seeds_are_listed(tmp_path: Path, seeds_dir: Path) -> None:
    seeds = shutil.copytree(seeds_dir, tmp_path / "seeds")
    text = (seeds / "plant.toml").read_text()
    (seeds / "plant.toml").write_text(text.replace("Asia/Shanghai", "Asia/Shangri-La"))
    (seeds / "edges.toml").unlink()
    done = invoke("run", "--seeds", str(seeds), "--data-dir", str(tmp_path / "data"), "--mqtt-url", "mqtt://x")
    assert done.exit_code == 2
    assert "edges.toml" in done.output
    assert not (tmp_path / "data").exists()


def test_one_process_a_site(tmp_path: Path) -> None:
    held = Checkpoint(tmp_path / "edge")
    done = invoke("run", "--data-dir", str(tmp_path), "--mqtt-url", "mqtt://127.0.0.1:9")
    held.release()
    assert done.exit_code == 2
    assert "another hefa-edge" in done.output


def test_a_file_that_is_no_outbox(tmp_path: Path) -> None:
    (tmp_path / "edge").mkdir()
    (tmp_path / "edge" / "outbox-gw-a2.sqlite").write_bytes(b"this is a text, and a long one, but no database" * 100)
    done = invoke("run", "--data-dir", str(tmp_path), "--mqtt-url", "mqtt://127.0.0.1:9")
    assert done.exit_code == 1
    assert "outbox" in done.output


@pytest.mark.parametrize("command", ["run", "backfill", "preview"])
def test_help_tells_what_can_be_set(command: str) -> None:
    done = invoke(command, "--help")
    assert done.exit_code == 0
    assert "HEFA_SEEDS" in done.output
