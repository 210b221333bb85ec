"""The description of the API: committed, complete, and kept by the API itself."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from hefa_platform.api import Limits, create_app, openapi_json
from hefa_platform.api.params import to_cursor

NOW = "2026-03-10T00:00:00Z"
COMMITTED = Path(__file__).parents[2] / "docs" / "openapi.json"


def operations() -> list[tuple[str, str, dict[str, Any]]]:
    paths = json.loads(openapi_json())["paths"]
    return [(path, method, operation) for path, item in paths.items() for method, operation in item.items()]


def test_the_committed_description_is_this_one() -> None:
    assert COMMITTED.read_text("utf-8") == openapi_json(), "run: make openapi"


@pytest.mark.parametrize(("path", "method", "operation"), operations(), ids=lambda value: str(value)[:40])
def test_every_operation_is_described(path: str, method: str, operation: dict[str, Any]) -> None:
    assert operation["summary"]
    assert operation["description"]
    assert operation["tags"]
    public = path in ("/v1/health", "/v1/ready")
    assert public or operation["security"] == [{"HTTPBearer": []}]
    assert public or {"401", "422", "429", "503"} <= operation["responses"].keys()
    for status, response in operation["responses"].items():
        if int(status) >= 400 and not public:
            assert list(response["content"]) == ["application/problem+json"]


@pytest.fixture(scope="module")
def asked(site: Any) -> dict[str, Any]:
    """How to ask an app on a database with some readings, as an admin."""
    now = datetime.now(UTC)
    site.record("A2-SX.SXA.MS-A01.ph", [(now - timedelta(minutes=i), 3.0, 192) for i in range(90)])
    site.record("A6-UTIL.METER.WM-MAIN.tot", [(now - timedelta(minutes=i), 900.0 - i / 10, 192) for i in range(90)])
    site.watermark(now - timedelta(days=1))
    app = create_app(site.api, Limits(rate=1e6, burst=1e6))
    return {"app": app, "headers": {"Authorization": f"Bearer {site.key('admin')}"}}


DESCRIBED = schemathesis.openapi.from_dict(json.loads(openapi_json()))
# A stream does not end: test_api_stream.py listens to it.
OPERATIONS = [found.ok() for found in DESCRIBED.get_all_operations() if "/v1/stream" not in found.ok().path]


@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)
@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.label)
def test_whatever_is_asked_the_answer_is_as_described(
    asked: dict[str, Any], operation: Any, mode: GenerationMode
) -> None:
    @settings(max_examples=25, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
    @given(case=operation.as_strategy(generation_mode=mode))
    def ask(case: schemathesis.Case) -> None:
        checks = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
        case.call_and_validate(**asked, checks=checks)

    try:
        ask()
    except Unsatisfiable:
        assert mode is GenerationMode.NEGATIVE  # nothing can be wrong with a request that has no parameters


def test_a_path_tells_all_methods_that_it_knows(client: Any) -> None:
    for path, operations in json.loads(COMMITTED.read_text("utf-8"))["paths"].items():
        answer = client.options(path.replace("{", "").replace("}", ""))
        assert answer.status_code == 405
        methods = {method.upper() for method in operations}
        assert set(answer.headers["allow"].split(", ")) == methods | ({"HEAD"} if "GET" in methods else set()), path


def test_a_parameter_that_is_no_list_is_given_once(client: Any) -> None:
    """Wherever the description has one; what is wrong besides is told by others."""
    asked = 0
    for path, method, operation in operations():
        for parameter in operation.get("parameters", []):
            name = parameter["name"]
            if parameter["in"] != "query" or (parameter["schema"].get("type") == "array" and "/stream" in path):
                continue
            twice = f"{path.replace('{', '').replace('}', '')}?{name}=1&{name}=1"
            answer = client.request(method, twice, json={})
            told = answer.json().get("errors", []) if answer.status_code == 422 else []
            found = [error for error in told if "more than once" in error["detail"]]
            if parameter["schema"].get("type") == "array":
                assert not found, twice
            else:
                assert [error["where"] for error in found] == [f"query.{name}"], (twice, answer.text)
                assert answer.json()["detail"].startswith(f"{name}: ")
                asked += 1
    assert asked > 80


def test_lists_are_repeated_and_others_are_not(client: Any) -> None:
    tags = "tag=A2-SX.SXA.MS-A01.ph&tag=A2-SX.SXA.MS-A01.ph"
    assert client.get(f"/v1/latest?{tags}&limit=1").status_code == 200
    assert "limit" in client.get(f"/v1/latest?{tags}&limit=1&limit=2").json()["detail"]
    assert "not a parameter" in client.get("/v1/latest?limits=1&limits=2").json()["detail"]


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/v1/quarantine/1/discard", {"reason": "not\x00needed"}),
        ("POST", "/v1/notes", {"subject": "A2-SX", "from": NOW, "text": "a\x00b"}),
        *(("GET", f"/v1/{names}?cursor={to_cursor(chr(0))}", None) for names in ("tags", "latest")),
        *(("GET", f"/v1/{names}?cursor={to_cursor(NOW, chr(0))}", None) for names in ("lots", "notes")),
    ],
)
def test_nul_which_no_text_of_a_database_can_hold_is_refused(client: Any, method: str, path: str, body: Any) -> None:
    answer = client.request(method, path, json=body)
    assert answer.status_code == 422, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
