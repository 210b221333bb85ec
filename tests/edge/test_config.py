"""Settings: environment, secrets directory, command line on top."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from hefa_edge.config import ConfigError, Settings, read_seeds


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HEFA_MQTT_URL", "HEFA_SECRETS_DIR", "HEFA_DATA_DIR", "HEFA_SEEDS", "HEFA_PROFILE"):
        monkeypatch.delenv(name, raising=False)


def test_the_command_line_wins_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEFA_PROFILE", "core")
    monkeypatch.setenv("HEFA_DATA_DIR", "somewhere")
    assert Settings().profile == "core"
    assert Settings(profile="full").profile == "full"
    assert Settings().state_dir == Path("somewhere/edge")


@pytest.mark.parametrize(
    "wrong",
    [
        {"profile": "most"},
        {"log_level": "loud"},
        {"seed": -1},
        {"outbox_policy": "forget"},
        {"window": 0},
        {"outbox_max_bytes": 10},
    ],
)
def test_what_cannot_be_is_refused(wrong: dict) -> None:
    with pytest.raises(ValidationError):
        Settings(**wrong)


def test_where_a_gateway_finds_its_broker(tmp_path: Path) -> None:
    (tmp_path / "mqtt_url_gw-a1").write_text("mqtt://gw-a1:secret@host:1883\n")
    assert Settings(secrets_dir=tmp_path).broker_url("gw-a1") == "mqtt://gw-a1:secret@host:1883"
    one = Settings(mqtt_url="mqtt://{edge}:pw@host", secrets_dir=tmp_path)
    assert one.broker_url("gw-a4") == "mqtt://gw-a4:pw@host"
    with pytest.raises(ConfigError, match="mqtt_url_gw-a2"):
        Settings(secrets_dir=tmp_path).broker_url("gw-a2")
    with pytest.raises(ConfigError, match="HEFA_MQTT_URL"):
        Settings().broker_url("gw-a1")


def test_seeds_are_read_by_their_place(tmp_path: Path) -> None:
    (tmp_path / "templates").mkdir()
    (tmp_path / "plant.toml").write_text("a = 1")
    (tmp_path / "templates" / "pumps.toml").write_text("b = 2")
    (tmp_path / "README.md").write_text("words")
    assert read_seeds(tmp_path) == {"plant.toml": "a = 1", "templates/pumps.toml": "b = 2"}
    with pytest.raises(ConfigError, match="HEFA_SEEDS"):
        read_seeds(tmp_path / "nowhere")
    (tmp_path / "plant.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match=r"plant\.toml"):
        read_seeds(tmp_path)
