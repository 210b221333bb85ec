"""`hefa-grafana push` against a real HTTP server that checks each request against Grafana's documented API.

The table is written from Grafana's HTTP API reference (v11.0 and later): developers/http_api/folder ("Get folder by uid",
"Create folder"), /data_source ("Get a single data source by UID", "Create", "Update an existing data source by UID"),
/dashboard ("Create / Update dashboard", "Get dashboard by uid") and /alerting_provisioning (rule groups), below
https://grafana.com/docs/grafana/v11.0/. `/api/frontend/settings` is what grafana-client asks for the version.
"""

from __future__ import annotations

import copy
import json
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from typer.testing import CliRunner

from hefa_contract.plant import Plant
from hefa_grafana import alerts, build
from hefa_grafana.commands import app
from hefa_grafana.frame import FOLDER_TITLE, FOLDER_UID
from hefa_grafana.push import Content, PushFailed, push

ROOT = Path(__file__).parents[2]
TOKEN = "glsa_test"
DATASOURCE = {
    "uid": "hefa",
    "name": "hefa",
    "type": "grafana-postgresql-datasource",
    "access": "proxy",
    "url": "db.example:5432",
    "user": "hefa_read",
    "jsonData": {"database": "hefa", "sslmode": "require"},
}
Answer = tuple[int, Any]


def folder_body(body: dict[str, Any]) -> None:
    assert set(body) <= {"uid", "title", "parentUid"}
    assert isinstance(body["title"], str)
    assert len(body["uid"]) <= 40


def dashboard_body(body: dict[str, Any]) -> None:
    assert set(body) == {"dashboard", "folderUid", "message", "overwrite"}
    assert body["overwrite"] is True
    model = body["dashboard"]
    assert model["id"] is None  # "Set to null to create a new dashboard"; with a uid that is there: an update
    assert len(model["uid"]) <= 40
    assert model["title"]
    assert isinstance(model["schemaVersion"], int)
    assert isinstance(model["panels"], list)


def datasource_body(body: dict[str, Any]) -> None:
    assert {"name", "type", "url", "access", "uid"} <= set(body)
    assert body["access"] == "proxy"
    assert "password" not in body  # only below secureJsonData, where Grafana encrypts it


def rules_body(body: dict[str, Any]) -> None:
    assert {"title", "folderUid", "interval", "rules"} == set(body)
    assert isinstance(body["interval"], int)
    required = {
        "uid",
        "title",
        "ruleGroup",
        "folderUID",
        "condition",
        "data",
        "noDataState",
        "execErrState",
        "for",
        "orgID",
    }
    for rule in body["rules"]:
        assert required <= set(rule)
        assert rule["noDataState"] in {"Alerting", "NoData", "OK", "KeepLast"}
        assert rule["execErrState"] in {"Alerting", "Error", "OK", "KeepLast"}
        assert rule["condition"] in {query["refId"] for query in rule["data"]}
        for query in rule["data"]:
            assert {"refId", "relativeTimeRange", "datasourceUid", "model"} <= set(query)


# (method, path) -> what the body must be; None: there must be none.
DOCUMENTED: dict[tuple[str, str], Callable[[dict[str, Any]], None] | None] = {
    ("GET", r"/api/frontend/settings"): None,
    ("GET", r"/api/folders/(?P<uid>[\w-]+)"): None,
    ("POST", r"/api/folders"): folder_body,
    ("GET", r"/api/datasources/uid/(?P<uid>[\w-]+)"): None,
    ("POST", r"/api/datasources"): datasource_body,
    ("PUT", r"/api/datasources/uid/(?P<uid>[\w-]+)"): datasource_body,
    ("GET", r"/api/dashboards/uid/(?P<uid>[\w-]+)"): None,
    ("POST", r"/api/dashboards/db"): dashboard_body,
    ("GET", r"/api/v1/provisioning/folder/(?P<uid>[\w-]+)/rule-groups/(?P<group>[^/]+)"): None,
    ("PUT", r"/api/v1/provisioning/folder/(?P<uid>[\w-]+)/rule-groups/(?P<group>[^/]+)"): rules_body,
}


@dataclass
class Server:
    """A server that keeps what it is sent and adds fields of its own, as the documented answers show."""

    version: str = "12.1.0"
    prefix: str = ""
    port: int = 0
    requests: list[tuple[str, str]] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    answers: dict[tuple[str, str], Answer | str | float] = field(default_factory=dict)
    kept: dict[str, Any] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}{self.prefix}"

    @property
    def writes(self) -> list[tuple[str, str]]:
        return [request for request in self.requests if request[0] != "GET"]

    def answer(self, method: str, path: str, headers: Any, body: Any) -> Answer:
        """Check a request against the table, and answer it."""
        self.requests.append((method, path))
        if not path.startswith(self.prefix + "/api/"):
            return 404, {"message": "Not found"}
        path = path.removeprefix(self.prefix)
        if headers.get("Authorization") != f"Bearer {TOKEN}":
            return 401, {"message": "Invalid API key"}
        for (documented, pattern), check in DOCUMENTED.items():
            found = re.fullmatch(pattern, path)
            if documented == method and found:
                if check is None:
                    assert body is None, f"{method} {path} has a body"
                else:
                    assert headers.get("Content-Type", "").startswith("application/json")
                    check(body)
                return self.keep(method, path, body, headers)
        raise AssertionError(f"{method} {path} is not in the documentation")

    def keep(self, method: str, path: str, body: Any, headers: Any) -> Answer:
        if path == "/api/frontend/settings":
            return 200, {"buildInfo": {"version": self.version, "commit": "x"}}
        if method == "GET":
            return (200, self.kept[path]) if path in self.kept else (404, {"message": "not found"})
        body = copy.deepcopy(body)
        if path == "/api/folders":
            self.kept[f"/api/folders/{body['uid']}"] = {**body, "id": 1, "version": 1, "canEdit": True}
            return 200, {"uid": body["uid"]}
        if path.startswith("/api/datasources"):
            secure = body.pop("secureJsonData", {})
            stored = {**body, "id": 1, "orgId": 1, "readOnly": False, "secureJsonFields": dict.fromkeys(secure, True)}
            self.kept[f"/api/datasources/uid/{body['uid']}"] = stored
            return 200, {"datasource": stored, "id": 1, "message": "Datasource added", "name": body["name"]}
        if path == "/api/dashboards/db":
            model = body["dashboard"]
            where = f"/api/dashboards/uid/{model['uid']}"
            version = self.kept[where]["dashboard"]["version"] + 1 if where in self.kept else 1
            self.kept[where] = {
                "dashboard": {**model, "id": 7, "version": version},
                "meta": {"folderUid": body["folderUid"], "provisioned": False},
            }
            return 200, {"id": 7, "uid": model["uid"], "status": "success", "version": version}
        assert headers.get("X-Disable-Provenance") == "true"  # people may change the rules in Grafana
        rules = [
            {**rule, "id": at, "orgID": 2, "updated": "2026-01-01T00:00:00Z"} for at, rule in enumerate(body["rules"])
        ]
        self.kept[path] = {**body, "rules": rules}
        return 200, self.kept[path]


@pytest.fixture
def grafana() -> Iterator[Server]:
    server = Server()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_any(self) -> None:
            size = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(size)) if size else None
            path = unquote(self.path)
            forced = server.answers.get((self.command, path))
            if isinstance(forced, float):
                time.sleep(forced)
                forced = (200, {})
            try:
                status, answer = (
                    forced if isinstance(forced, tuple) else server.answer(self.command, path, self.headers, body)
                )
            except Exception as error:
                server.wrong.append(f"{self.command} {path}: {error!r}")
                status, answer = 418, {"message": repr(error)}
            html = isinstance(forced, str)
            text = forced if isinstance(forced, str) else json.dumps(answer)
            data = text.encode()
            self.send_response(200 if html else status)
            self.send_header("Content-Type", "text/html" if html else "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            try:
                self.wfile.write(data)
            except OSError:
                self.close_connection = True

        do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = handle_any

        def log_message(self, *_: Any) -> None:
            pass

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    httpd.daemon_threads = True
    server.port = httpd.server_address[1]
    thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    yield server
    httpd.shutdown()
    httpd.server_close()
    thread.join()
    assert server.wrong == []


@pytest.fixture(scope="module")
def content(plant: Plant) -> Content:
    return Content(FOLDER_UID, FOLDER_TITLE, DATASOURCE, build.boards(plant, "http://portal.example"), alerts.group())


def states(server: Server, content: Content, **options: Any) -> list[tuple[str, str]]:
    return [(step.kind, step.state) for step in push(server.url, TOKEN, content, **options)]


def test_a_push_makes_everything_and_a_second_one_changes_nothing(grafana: Server, content: Content) -> None:
    first = states(grafana, content)
    assert {state for _, state in first} == {"new"}
    assert [kind for kind, _ in first] == ["folder", "data source", *["dashboard"] * 6, "alert rules"]
    assert len(grafana.writes) == 9
    kept = copy.deepcopy(grafana.kept)
    grafana.requests.clear()
    assert {state for _, state in states(grafana, content)} == {"unchanged"}
    assert grafana.writes == []
    assert grafana.kept == kept


def test_what_differs_is_written_and_nothing_else(grafana: Server, content: Content) -> None:
    states(grafana, content)
    grafana.requests.clear()
    grafana.kept["/api/dashboards/uid/hefa-energy"]["dashboard"]["panels"][1]["title"] = "mine"
    grafana.kept["/api/datasources/uid/hefa"]["url"] = "elsewhere:5432"
    changed = [kind for kind, state in states(grafana, content) if state == "changed"]
    assert changed == ["data source", "dashboard"]
    assert grafana.writes == [("PUT", "/api/datasources/uid/hefa"), ("POST", "/api/dashboards/db")]
    assert grafana.kept["/api/dashboards/uid/hefa-energy"]["dashboard"]["version"] == 2


def test_a_dry_run_writes_nothing(grafana: Server, content: Content) -> None:
    assert {state for _, state in states(grafana, content, dry_run=True)} == {"new"}
    assert grafana.writes == []


def test_a_dashboard_in_another_folder_comes_back(grafana: Server, content: Content) -> None:
    states(grafana, content)
    grafana.kept["/api/dashboards/uid/hefa-area"]["meta"]["folderUid"] = "other"
    assert states(grafana, content).count(("dashboard", "changed")) == 1


def test_a_grafana_below_a_path(grafana: Server, content: Content) -> None:
    grafana.prefix = "/grafana"
    assert {state for _, state in states(grafana, content)} == {"new"}


DB = ("POST", "/api/dashboards/db")


@pytest.mark.parametrize(
    ("request_", "answer", "words"),
    [
        (("GET", "/api/folders/hefa"), (401, {"message": "Unauthorized"}), "token is wrong"),
        (DB, (403, {"message": "You'll need additional permissions"}), "role Admin"),
        (DB, (404, {"message": "folder not found"}), "folder not found"),
        (("POST", "/api/folders"), (409, {"message": "a folder with that name exists"}), "something else has that name"),
        (DB, (412, {"message": "The dashboard has been changed", "status": "version-mismatch"}), "somebody else"),
        (DB, (400, {"message": "bad dashboard"}), "bad dashboard"),
        (DB, (500, {"message": "database is locked"}), "500 (database is locked)"),
        (("GET", "/api/frontend/settings"), "<html>sign in</html>", "not Grafana's"),
        (("GET", "/api/frontend/settings"), (502, "<html>bad gateway</html>"), "502"),
        (("GET", "/api/frontend/settings"), (200, {"hello": "world"}), "not as a Grafana does"),
        (("GET", "/api/frontend/settings"), (200, {"buildInfo": {"version": "9.5.2"}}), "9.5.2"),
        (("GET", "/api/frontend/settings"), 3.0, "no answer in time"),
    ],
)  # fmt: skip
def test_a_refusal_says_what_to_do(
    grafana: Server, content: Content, request_: tuple[str, str], answer: Answer | str | float, words: str
) -> None:
    grafana.answers[request_] = answer
    with pytest.raises(PushFailed, match=re.escape(words)):
        states(grafana, content, timeout=1 if isinstance(answer, float) else 10)


def test_nobody_there(content: Content) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(PushFailed, match="cannot be reached"):
        list(push(f"http://127.0.0.1:{port}", TOKEN, content))
    with pytest.raises(PushFailed, match="no address"):
        list(push("grafana.example", TOKEN, content))


def test_the_command_says_what_it_did_and_keeps_the_password(grafana: Server, tmp_path: Path) -> None:
    password = tmp_path / "password"
    password.write_text("s3cret\n")
    argv = ["push", "--url", grafana.url, "--database", "db:5432/hefa", "--password-file", str(password)]
    done = CliRunner().invoke(app, argv, env={"GRAFANA_TOKEN": TOKEN, "HEFA_SEEDS": str(ROOT / "seeds")})
    assert done.exit_code == 0, done.output
    assert "new        folder hefa" in done.output
    assert "s3cret" not in done.output
    assert grafana.kept["/api/datasources/uid/hefa"]["secureJsonFields"] == {"password": True}
    wrong = CliRunner().invoke(app, argv, env={"GRAFANA_TOKEN": "other", "HEFA_SEEDS": str(ROOT / "seeds")})
    assert wrong.exit_code == 1
    assert "the token is wrong" in wrong.output


def test_the_command_build_writes_once(tmp_path: Path) -> None:
    argv = ["build", "--seeds", str(ROOT / "seeds"), "--out", str(tmp_path)]
    assert CliRunner().invoke(app, [*argv, "--check"]).exit_code == 1
    assert "7 written" in CliRunner().invoke(app, argv).output
    (tmp_path / "dashboards" / "gone.json").write_text("{}")
    assert "0 written, 1 removed" in CliRunner().invoke(app, argv).output
    assert CliRunner().invoke(app, [*argv, "--check"]).exit_code == 0
    missing = CliRunner().invoke(app, ["build", "--seeds", str(tmp_path), "--out", str(tmp_path)])
    assert missing.exit_code == 1
    assert "plant.toml" in missing.output


def test_the_command_without_its_extra_says_what_to_install() -> None:
    code = "import sys; sys.modules['grafana_client'] = None; from hefa_grafana.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1
    assert "pip install 'hefa[grafana]'" in done.stderr


def test_urllib3_is_its_own() -> None:
    """urllib3-future, which grafana-client brings, replaces it unless it was built as the Makefile says."""
    import schemathesis
    import urllib3

    assert [int(part) for part in urllib3.__version__.split(".")[:2]] < [
        2,
        100,
    ]  # urllib3-future counts its from 900 on
    assert "urllib3_future" not in urllib3.PoolManager.__module__
    assert schemathesis.__version__


@pytest.mark.needs_registry
def test_a_real_grafana_takes_it(content: Content) -> None:
    """The official image of docker-compose.yml, twice."""
    import httpx2
    from testcontainers.core.container import DockerContainer
    from testcontainers.core.wait_strategies import HttpWaitStrategy

    found = re.search(r"\$\{HEFA_GRAFANA_IMAGE:-([^}]+)\}", (ROOT / "docker-compose.yml").read_text("utf-8"))
    assert found
    image = DockerContainer(found[1]).with_exposed_ports(3000).with_env("GF_SECURITY_ADMIN_PASSWORD", "test-only")
    with image.waiting_for(HttpWaitStrategy(3000, "/api/health")) as container:
        url = f"http://{container.get_container_host_ip()}:{container.get_exposed_port(3000)}"
        with httpx2.Client(base_url=url, auth=("admin", "test-only")) as admin:
            account = admin.post("/api/serviceaccounts", json={"name": "hefa", "role": "Admin"}).json()
            token = admin.post(f"/api/serviceaccounts/{account['id']}/tokens", json={"name": "t"}).json()["key"]
        assert {step.state for step in push(url, token, content)} == {"new"}
        assert {step.state for step in push(url, token, content)} == {"unchanged"}
