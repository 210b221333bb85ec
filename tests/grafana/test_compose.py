"""Grafana in the compose stack, as far as can be told without its image: shut, on loopback, and with what it reads."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from hefa_grafana.frame import FOLDER_UID
from hefa_grafana.query import DATASOURCE_TYPE, DATASOURCE_UID
from hefa_platform.secrets import PARTS

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def service() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text("utf-8"))["services"]["grafana"]
    return loaded


def provisioned(kind: str) -> Any:
    return yaml.safe_load((ROOT / "deploy/grafana/provisioning" / kind / "hefa.yaml").read_text("utf-8"))


def test_nobody_gets_in_without_signing_in(service: dict[str, Any]) -> None:
    environment = service["environment"]
    assert environment["GF_AUTH_ANONYMOUS_ENABLED"] == "false"
    assert environment["GF_USERS_ALLOW_SIGN_UP"] == "false"
    assert not [name for name in environment if re.search(r"PASSWORD|SECRET_KEY", name) and not name.endswith("__FILE")]
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])
    assert "profiles" not in service
    assert re.search(r":-[\w/]+:\d+\.\d+\.\d+}$", service["image"])  # pinned


def test_it_reads_the_secrets_of_its_part_only(service: dict[str, Any]) -> None:
    text = repr(service["environment"]) + repr(provisioned("datasources"))
    assert set(re.findall(r"/run/hefa/(\w+)", text)) == set(PARTS["grafana"])
    [secrets] = [volume for volume in service["volumes"] if isinstance(volume, dict)]
    assert secrets["volume"] == {"subpath": "for/grafana"}
    assert secrets["read_only"] is True


def test_what_it_mounts_is_there_and_fits_together(service: dict[str, Any]) -> None:
    mounts = [volume.split(":") for volume in service["volumes"] if isinstance(volume, str)]
    mounted = {target: ROOT / source for source, target, *_ in mounts if source.startswith("./")}
    [provider] = provisioned("dashboards")["providers"]
    assert list(mounted[provider["options"]["path"]].glob("*.json"))
    assert provider["folderUid"] == FOLDER_UID
    home = Path(service["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"])
    assert (mounted[str(home.parent)] / home.name).is_file()
    assert (mounted["/etc/grafana/provisioning"] / "datasources" / "hefa.yaml").is_file()
    [source] = provisioned("datasources")["datasources"]
    assert (source["uid"], source["type"], source["user"]) == (DATASOURCE_UID, DATASOURCE_TYPE, "hefa_read")
    assert source["editable"] is False
