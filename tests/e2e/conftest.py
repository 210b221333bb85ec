"""The tiers as processes, on a database and a broker of one test."""

from __future__ import annotations

import json
import os
import secrets
import sysconfig
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from hefa_demo.broker import Broker
from hefa_demo.ports import free_port
from hefa_demo.process import Child, wait_until
from hefa_platform.store.migrations import migrate


@dataclass(frozen=True)
class Stack:
    """The tiers as processes on a database and a broker of this test."""

    api: str
    portal: str
    key: str

    def get(self, path: str) -> tuple[int, Any]:
        return self._ask(self.api + path)

    def get_figures(self, path: str) -> tuple[int, Any]:
        """Ask the portal."""
        return self._ask(self.portal + path)

    def serves(self) -> bool:
        """Whether both the platform and the portal answer, which know nothing of each other's start."""
        return self.get("/v1/ready")[0] == 200 and self._ask(self.portal + "/healthz")[0] == 200

    def _ask(self, url: str) -> tuple[int, Any]:
        request = urllib.request.Request(url, headers={"Authorization": f"Bearer {self.key}"})
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=60) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)
        except OSError:
            return 0, None


@pytest.fixture
def stack(database: Any, broker: Broker, seeds_dir: Path, tmp_path: Path) -> Iterator[Stack]:
    key = f"hefa_{secrets.token_hex(6)}_{secrets.token_urlsafe(32)}"
    migrate(database.admin, api_keys={"admin": key})
    api, portal = free_port(), free_port()
    children: list[Child] = []

    def child(name: str, *argv: str, **env: str) -> Child:
        command = Path(sysconfig.get_path("scripts")) / argv[0]
        environment = {k: v for k, v in os.environ.items() if not k.startswith("HEFA_")}
        environment |= {"HEFA_SEEDS": str(seeds_dir), **env}
        made = Child(name, [str(command), *argv[1:]], tmp_path / f"{name}.log", env=environment)
        made.start()
        children.append(made)
        return made

    try:
        load = child("load", "hefa-platform", "load", HEFA_DSN=database.owner)
        child("ingest", "hefa-platform", "ingest", HEFA_DSN=database.ingest, HEFA_MQTT_URL=broker.url("ingest"))
        child("maintain", "hefa-platform", "maintain", HEFA_DSN=database.jobs)
        child("api", "hefa-platform", "serve", "--port", str(api), HEFA_DSN=database.api)
        child("apps", "hefa-apps", "serve", "--port", str(portal), HEFA_API_URL=f"http://127.0.0.1:{api}")
        assert load.wait(120) == 0, load.tail()
        running = Stack(f"http://127.0.0.1:{api}", f"http://127.0.0.1:{portal}", key)
        if not wait_until(running.serves, 120, interval=0.1):
            pytest.fail("\n".join(f"--- {c.name}\n{c.tail()}" for c in children))
        yield running
    finally:
        for each in reversed(children):
            each.ask_to_stop()
        for each in children:
            each.stop()
