"""The compose file and what it mounts, looked at without an engine: every service hardened, every one-shot waited for."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from hefa_apps.config import Settings as AppsSettings
from hefa_edge.config import Settings as EdgeSettings
from hefa_platform.config import Settings as PlatformSettings
from hefa_platform.secrets import PARTS

ROOT = Path(__file__).parents[2]
ONCE = {"secrets", "guard", "migrate", "load"}
STACK: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = STACK["services"]
# The only ones that begin as root, with what they are allowed beyond nothing.
CAPABILITIES = {"guard": ["DAC_READ_SEARCH"], "database": ["CHOWN", "DAC_OVERRIDE", "FOWNER", "SETGID", "SETUID"]}

every_service = pytest.mark.parametrize("name", SERVICES)


@every_service
def test_a_service_has_nothing_that_it_does_not_need(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service.get("cap_add", []) == CAPABILITIES.get(name, [])
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not service.get("privileged")
    assert "ulimits" not in service
    assert "network_mode" not in service or service["network_mode"] == "none"
    assert service["restart"] == ("no" if name in ONCE else "unless-stopped")
    assert not any("docker.sock" in str(volume) for volume in service.get("volumes", []))


def test_all_of_it_fits_two_cores_and_four_gigabytes() -> None:
    limits = {name: service["deploy"]["resources"]["limits"] for name, service in SERVICES.items()}
    running = {name: limit for name, limit in limits.items() if name not in ONCE}
    assert sum(int(limit["memory"].removesuffix("m")) for limit in running.values()) <= 4096
    assert all(limit["pids"] <= 200 for limit in limits.values())
    assert all(float(limit["cpus"]) <= 2 for limit in running.values())


def test_each_service_reads_its_own_secrets_only() -> None:
    """`secrets` writes the volume; everybody else has one folder of it, and cannot write."""
    for name, service in SERVICES.items():
        for volume in service.get("volumes", []):
            if (
                name == "secrets"
                or (volume["source"] if isinstance(volume, dict) else volume.split(":")[0]) != "secrets"
            ):
                continue
            folder = volume["volume"]["subpath"]
            if folder == "mark":
                assert volume.get("read_only", False) == (name != "migrate")
                continue
            assert volume["read_only"], name
            shared = {"load": "migrate"}
            assert folder == f"for/{shared.get(name, name)}"
            assert folder.removeprefix("for/") in PARTS


TIERS = {"edge": EdgeSettings, "apps": AppsSettings, **dict.fromkeys(("ingest", "maintain", "api"), PlatformSettings)}
# What Compose settles itself, and what only makes sense for one service of several: a compose.override.yaml is for that.
NOT_FROM_ENV = {
    "HEFA_SECRETS_DIR", "HEFA_SEEDS", "HEFA_DATA_DIR", "HEFA_API_HOST", "HEFA_API_URL", "HEFA_PORTAL_HOST",
    "HEFA_DSN", "HEFA_MQTT_URL", "HEFA_SOURCE_URL", "HEFA_DISK", "HEFA_FLOWSHEET", "HEFA_SESSION_KEY",
}  # fmt: skip


def test_a_setting_of_env_reaches_those_whom_it_concerns_and_nobody_else() -> None:
    """Nothing of .env is handed to all: each service names what it takes, and each setting is taken by somebody."""
    assert not [name for name, service in SERVICES.items() if "env_file" in service]
    taken: set[str] = set()
    for name, service in SERVICES.items():
        mine = {key for key, value in service.get("environment", {}).items() if value is None}
        known = TIERS.get(name, PlatformSettings).model_fields
        assert {key.removeprefix("HEFA_").lower() for key in mine} <= set(known), name
        taken |= mine
    assert not taken & NOT_FROM_ENV
    example = set(re.findall(r"^#(HEFA_\w+)=", (ROOT / ".env.example").read_text(), re.MULTILINE))
    used = taken | set(re.findall(r"\$\{(HEFA_\w+):-", (ROOT / "docker-compose.yml").read_text()))
    own = {"HEFA_API_PORT", "HEFA_PORTAL_PORT", "HEFA_CHROMIUM"}
    own |= {name for name in example if name.startswith("HEFA_TEST_")}
    assert example - used - own == NOT_FROM_ENV & example


def test_only_loopback_is_published_and_never_the_database() -> None:
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert published.keys() <= {"broker", "api", "apps", "grafana"}
    for ports in published.values():
        assert all(re.match(r"(127\.0\.0\.1|\$\{HEFA_MQTTS_BIND:-127\.0\.0\.1\}):", port) for port in ports), ports


def test_zones() -> None:
    """The data zone has no way out; only ingest stands in it and in the gateways' zone."""
    zones = {name: set(service.get("networks", [])) for name, service in SERVICES.items()}
    assert STACK["networks"]["data"]["internal"] is True
    assert {name for name, of in zones.items() if {"edge", "data"} <= of} == {"ingest"}
    assert not {name for name, of in zones.items() if {"edge", "users"} <= of}
    assert zones["database"] == {"data"}


def test_every_one_shot_is_waited_for_and_every_other_service_says_how_it_is() -> None:
    waited = {
        dependency
        for service in SERVICES.values()
        for dependency, how in service.get("depends_on", {}).items()
        if how["condition"] == "service_completed_successfully"
    }
    assert waited == ONCE
    assert {name for name, service in SERVICES.items() if "healthcheck" in service} == SERVICES.keys() - ONCE


def test_no_image_floats_and_nothing_is_fetched_for_the_build() -> None:
    images = {service["image"] for service in SERVICES.values()}
    assert not [image for image in images if image.endswith(":latest") or ":" not in image]
    dockerfile = (ROOT / "Dockerfile").read_text()
    assert "# syntax=" not in dockerfile
    assert "USER 10001:10001" in dockerfile
    assert not re.search(r"^ADD |curl|wget", dockerfile, re.MULTILINE)
    assert dockerfile.count("pip install") + dockerfile.count("python install") == len(
        re.findall(r"--require-hashes|--no-index", dockerfile)
    )
    assert "version" not in STACK


@pytest.mark.parametrize(
    ("volume", "mark", "code", "says"),
    [
        (None, False, 0, "will be made"),
        (None, True, 1, "is the right volume mounted there?"),
        ("17", True, 0, "fits"),
        ("17", False, 0, "fits"),
        ("16", True, 1, "The volume holds PostgreSQL 16, the image is PostgreSQL 17"),
        ("17 of timescaledb", True, 1, "which this image does not have"),
    ],
)
def test_the_guard_before_the_database(tmp_path: Path, volume: str | None, mark: bool, code: int, says: str) -> None:
    """deploy/guard.sh with a volume and an image made up of files."""
    data, marks, programs = (tmp_path / name for name in ("data", "mark", "bin"))
    for folder in (data, marks, programs):
        folder.mkdir()
    if volume is not None:
        (data / "PG_VERSION").write_text(f"{volume[:2]}\n")
        preload = "shared_preload_libraries='timescaledb'\n" if "timescaledb" in volume else "port=1\n"
        (data / "postgresql.conf").write_text(preload)
    if mark:
        (marks / "database_made").touch()
    for name, prints in (("postgres", "postgres (PostgreSQL) 17.6 (Debian 17.6-1)"), ("pg_config", str(programs))):
        (programs / name).write_text(f"#!/bin/sh\necho '{prints}'\n")
        (programs / name).chmod(0o755)
    environ = {"PGDATA": str(data), "MARK": str(marks), "PATH": f"{programs}:/usr/bin:/bin"}
    done = subprocess.run(
        ["sh", ROOT / "deploy" / "guard.sh"], env=environ, capture_output=True, text=True, check=False
    )
    assert (done.returncode, says in done.stdout + done.stderr) == (code, True), done


def test_compose_itself_takes_the_file() -> None:
    """Undefined names, wrong keys and ports: `docker compose config` needs no engine."""
    try:
        subprocess.run(["docker", "compose", "version"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no docker compose here: install it to have the file checked")
    done = subprocess.run(
        ["docker", "compose", "config", "--quiet"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
