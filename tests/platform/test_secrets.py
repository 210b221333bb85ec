"""One directory of passwords: made once, readable by nobody else, and accepted by the broker."""

from __future__ import annotations

import base64
import json
import os
import stat
from pathlib import Path

import pytest

from hefa_platform import secrets
from hefa_platform.secrets import Places
from hefa_platform.store import keys

EDGES = ["gw-a1", "gw-guest"]


def contents(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text("utf-8") for path in folder.iterdir()}


def test_everything_is_made_and_kept(tmp_path: Path) -> None:
    folder = tmp_path / "secrets"
    secrets.write(folder, Places(), EDGES)
    made = contents(folder)
    assert {
        "postgres_password", "dsn_admin", "dsn_owner", "dsn_ingest", "dsn_jobs", "dsn_api", "dsn_read",
        "password_hefa_owner", "mqtt_password_gw-a1", "mqtt_url_gw-a1", "mqtt_url_gw-guest", "mqtt_url_ingest",
        "mqtt_password_health", "mosquitto.passwd", "mosquitto.acl", "admin_key", "publish_key", "session_key", "stack.json",
    } <= made.keys()  # fmt: skip
    secrets.write(folder, Places(), EDGES)
    assert contents(folder) == made


def test_only_addresses_change_when_the_stack_moves(tmp_path: Path) -> None:
    secrets.write(tmp_path, Places(), EDGES)
    before = contents(tmp_path)
    secrets.write(tmp_path, Places(postgres_port=5999, mqtt_host="broker", api_url="http://x:1"), EDGES)
    after = contents(tmp_path)
    changed = {name for name in after if after[name] != before[name]}
    assert all(name.startswith(("dsn_", "mqtt_url_")) or name == "stack.json" for name in changed)
    assert ":5999/" in after["dsn_read"]
    assert "@broker:" in after["mqtt_url_ingest"]


def test_a_new_gateway_joins_and_the_others_keep_their_passwords(tmp_path: Path) -> None:
    secrets.write(tmp_path, Places(), EDGES)
    before = contents(tmp_path)
    secrets.write(tmp_path, Places(), [*EDGES, "gw-new"])
    after = contents(tmp_path)
    assert after["mqtt_url_gw-a1"] == before["mqtt_url_gw-a1"]
    users = [line.split(":")[0] for line in after["mosquitto.passwd"].splitlines()]
    assert users == ["gw-a1", "gw-guest", "gw-new", "health", "ingest"]


@pytest.mark.parametrize(("group", "folder_mode", "file_mode"), [(None, 0o700, 0o600), (os.getgid(), 0o750, 0o640)])
def test_nobody_else_may_read(tmp_path: Path, group: int | None, folder_mode: int, file_mode: int) -> None:
    folder = tmp_path / "secrets"
    secrets.write(folder, Places(), EDGES, group)
    assert stat.S_IMODE(folder.stat().st_mode) == folder_mode
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {file_mode}


def test_modes_are_put_right(tmp_path: Path) -> None:
    secrets.write(tmp_path, Places(), EDGES)
    (tmp_path / "dsn_admin").chmod(0o644)
    secrets.write(tmp_path, Places(), EDGES)
    assert stat.S_IMODE((tmp_path / "dsn_admin").stat().st_mode) == 0o600


def test_the_stack_document_has_what_a_client_needs(tmp_path: Path) -> None:
    secrets.write(tmp_path, Places(), EDGES)
    stack = json.loads((tmp_path / "stack.json").read_text("utf-8"))
    assert stack.keys() == {"portal", "api", "mqtt", "database", "key"}
    assert stack["mqtt"].startswith("mqtt://gw-guest:")
    assert "hefa_read:" in stack["database"]
    assert keys.parse(stack["key"]) is not None
    assert secrets.api_keys(tmp_path)["admin"] == stack["key"]
    assert secrets.api_keys(tmp_path)["engineer"] not in (stack["key"], "")
    assert secrets.passwords(tmp_path)["hefa_read"] in stack["database"]


def test_the_brokers_hash_is_the_one_mosquitto_makes() -> None:
    made = (  # by mosquitto_passwd 2.0.11
        "$7$101$Aq6H2SsXAvYBIR33$"
        "rDvLBJyCYwc9UN3Yc0+A17wRX77Kz2qRjuPyP21EdqaVDtHUNY4yKgx4E6Z1l+9CcGsAc1ZNRlatWxC1OsYLCw=="
    )
    assert secrets.password_hash("secret", base64.b64decode("Aq6H2SsXAvYBIR33"), 101) == made


def test_a_grant_is_a_user_with_a_right_and_stays(tmp_path: Path) -> None:
    secrets.write(tmp_path, secrets.Places(), ["gw-a1"], grants=["gw-hall3 read hall3/#", "plc write hall3/#"])
    secrets.write(tmp_path, secrets.Places(), ["gw-a1"])
    acl = (tmp_path / "mosquitto.acl").read_text()
    assert acl.endswith("user gw-hall3\ntopic read hall3/#\nuser plc\ntopic write hall3/#\n")
    assert "plc:" in (tmp_path / "mosquitto.passwd").read_text()
    assert (tmp_path / "mqtt_url_gw-hall3").exists()


@pytest.mark.parametrize(
    "grant",
    ["", "x", "a read b c", "ingest write x/#", "a own x", "a read hefa/v1/#", "a read $SYS/#", "a read x\nuser b"],
)
def test_what_is_no_grant_is_refused(tmp_path: Path, grant: str) -> None:
    with pytest.raises(secrets.GrantError):
        secrets.write(tmp_path, secrets.Places(), ["gw-a1"], grants=[grant])


def test_each_service_gets_its_own_part_and_nothing_else(tmp_path: Path) -> None:
    secrets.write(tmp_path, Places(), ["gw-a1", "hall2"], grants=["gw-hall3 read hall3/#"])
    secrets.divide(tmp_path, ["gw-a1", "hall2"])
    parts = {part.name: {path.name for path in part.iterdir()} for part in (tmp_path / "for").iterdir()}
    assert parts == {
        "database": {"postgres_password"},
        "broker": {"mosquitto.passwd", "mosquitto.acl", "mosquitto_sub"},
        "migrate": {
            "dsn_admin",
            "dsn_owner",
            "admin_key",
            "publish_key",
            *(f"password_hefa_{r}" for r in secrets._ROLES),
        },
        "ingest": {"dsn_ingest", "mqtt_url_ingest"},
        "maintain": {"dsn_jobs"},
        "api": {"dsn_api", "stack.json"},
        "apps": {"session_key", "publish_key"},
        "edge": {"mqtt_url_gw-a1", "mqtt_url_hall2"},  # neither the spare gateway's nor the adapter's
        "grafana": {"password_hefa_read", "grafana_password"},
    }
    everything = [tmp_path / "for", *(tmp_path / "for").rglob("*")]
    assert {stat.S_IMODE(path.stat().st_mode) for path in everything} == {0o700, 0o600}


def test_a_part_follows_what_changed(tmp_path: Path) -> None:
    secrets.write(tmp_path, Places(), ["gw-a1"])
    secrets.divide(tmp_path, ["gw-a1"])
    (tmp_path / "dsn_api").write_text("postgresql://elsewhere")
    (tmp_path / "mqtt_url_gw-a1").unlink()
    secrets.divide(tmp_path, ["gw-a1"])
    assert (tmp_path / "for/api/dsn_api").read_text() == "postgresql://elsewhere"
    assert not (tmp_path / "for/edge/mqtt_url_gw-a1").exists()
