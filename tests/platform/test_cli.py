"""The commands as an operator or a container runs them: what they need, what they say, how they end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo
from typer.testing import CliRunner

from hefa_platform import cli

NOWHERE = "postgresql://nobody@127.0.0.1:1/none"


def environment(**more: str) -> dict[str, str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("HEFA_")}
    return clean | {f"HEFA_{name.upper()}": value for name, value in more.items()}


def run(*arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "hefa_platform.cli", *arguments]
    return subprocess.run(command, env=environment(**settings), capture_output=True, text=True, timeout=60)


def test_from_nothing_to_a_loaded_plant(database: Any, role_passwords: dict[str, str], tmp_path: Path) -> None:
    """As the demo and compose do it: secrets, migrate, load; each of them twice."""
    folder = tmp_path / "secrets"
    for _ in range(2):
        assert run("secrets", "--dir", str(folder)).returncode == 0
    # The test server's own addresses and passwords; roles are shared by all databases of a server.
    name = f"{database.name}_cli"
    for role, password in role_passwords.items():
        (folder / f"password_{role}").write_text(password)
        (folder / f"dsn_{role.removeprefix('hefa_')}").write_text(
            getattr(database, role.removeprefix("hefa_")).replace(database.name, name)
        )
    (folder / "dsn_admin").write_text(database.admin.replace(database.name, name))
    with psycopg.connect(database.admin, autocommit=True) as admin:
        admin.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        try:
            assert run("check", "database", secrets_dir=str(folder)).returncode == 1
            said = [run(command, secrets_dir=str(folder)) for command in ("migrate", "migrate", "load", "load")]
            assert [done.returncode for done in said] == [0, 0, 0, 0], [done.stderr for done in said]
            words = [done.stdout.strip() for done in said]
            assert words[0].startswith("migrated: 0001_plant")
            assert words[1] == "the schema is current"
            assert "new" in words[2]
            assert "unchanged" in words[3]
            assert words[3].endswith(" settings, 0 of them new")
            assert run("check", "database", secrets_dir=str(folder)).returncode == 0
            with psycopg.connect((folder / "dsn_admin").read_text()) as loaded:
                own = [(folder / name).read_text().split("_")[1] for name in ("admin_key", "publish_key")]
                there = loaded.execute("SELECT key_id, role FROM api_key ORDER BY role").fetchall()
                assert there == list(zip(own, ("admin", "engineer"), strict=True))
        finally:
            admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.mark.parametrize(
    ("arguments", "settings", "words"),
    [
        (["ingest"], {}, "HEFA_MQTT_URL"),
        (["ingest"], {"mqtt_url": "mqtt://x"}, "HEFA_DSN"),
        (["ingest"], {"mqtt_url": "http://x", "dsn": NOWHERE}, "mqtt://user:password@host:port"),
        (["maintain"], {"dsn": NOWHERE, "log_level": "loud"}, "HEFA_LOG_LEVEL"),
        (["maintain"], {}, "HEFA_SECRETS_DIR"),
        (["migrate"], {"secrets_dir": "/nowhere"}, "dsn_admin"),
        (["load"], {"dsn": NOWHERE, "seeds": "/nowhere"}, "HEFA_SEEDS"),
        (["check", "world"], {"dsn": NOWHERE}, "database, ingest, maintain"),
        (["maintain"], {"dsn": NOWHERE, "raw_retention_days": "0", "group_messages": "x"}, "HEFA_RAW_RETENTION_DAYS"),
    ],
)
def test_what_is_missing_is_said_in_a_sentence(arguments: list[str], settings: dict[str, str], words: str) -> None:
    done = run(*arguments, **settings)
    assert done.returncode == 2
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_mistakes_in_settings_are_listed_together() -> None:
    done = run("maintain", dsn=NOWHERE, raw_retention_days="0", group_messages="x")
    assert "HEFA_RAW_RETENTION_DAYS" in done.stderr
    assert "HEFA_GROUP_MESSAGES" in done.stderr


@pytest.mark.parametrize("command", ["ingest", "maintain", "migrate", "load"])
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_without_a_database_it_waits_and_stops_when_told(command: str, how: signal.Signals, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with log.open("w") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "hefa_platform.cli", command],
            env=environment(dsn=NOWHERE, mqtt_url="mqtt://127.0.0.1:1"), stdout=file, stderr=file,
        )  # fmt: skip
        try:
            deadline = time.monotonic() + 60
            while "waiting" not in log.read_text() and time.monotonic() < deadline:
                time.sleep(0.1)
            assert "waiting" in log.read_text()
            assert process.poll() is None
            process.send_signal(how)
            process.wait(60)  # alone it takes a fraction of a second
        finally:
            process.kill()
            process.wait()
    assert "Traceback" not in log.read_text()
    assert log.read_text().count("waiting") == 1, "said once, not at each attempt"


def test_a_check_of_an_absent_database_fails(tmp_path: Path) -> None:
    done = run("check", "ingest", dsn=NOWHERE)
    assert done.returncode == 1
    assert "no connection" in done.stderr


def test_migrate_ends_where_the_server_refuses_it(postgres: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The secrets were lost and made anew, the database was kept: nobody is to wait for ever."""
    monkeypatch.setattr(cli, "REFUSED_S", 0.5)
    done = CliRunner().invoke(cli.app, ["migrate", "--dsn", make_conninfo(postgres, dbname="hefa_none")])
    assert (done.exit_code, "ALTER ROLE" in done.stderr) == (2, True)
