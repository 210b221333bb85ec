"""docs/apps.md: each example is run, and each endpoint has one."""

import csv
import io
import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest

TEXT = (Path(__file__).parents[2] / "docs" / "apps.md").read_text("utf-8")
EXAMPLES = [
    line.removeprefix("GET ") for block in re.findall(r"```http\n(.*?)```", TEXT, re.S) for line in block.splitlines()
]


@pytest.fixture(scope="module")
def client(portal: Any) -> Any:
    with portal.client() as opened:
        yield opened


@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_answers(client: httpx2.Client, example: str) -> None:
    answer = client.get(example)
    assert answer.status_code == 200, answer.text[:500]
    if urlsplit(example).path.endswith(".csv"):
        assert answer.headers["content-type"].startswith("text/csv")
        header, *rows = csv.reader(io.StringIO(answer.text))
        assert len(header) > 2
        assert all(len(row) == len(header) for row in rows)
    else:
        assert answer.headers["content-type"] == "application/json"
        assert answer.json()


def test_every_endpoint_has_an_example(portal: Any) -> None:
    shown = {urlsplit(example).path for example in EXAMPLES} | set(re.findall(r"`(?:GET|POST) ([^`?]+)", TEXT))
    for path, operations in httpx2.get(f"{portal.url}/api/openapi.json", timeout=60).json()["paths"].items():
        pattern = re.compile(re.sub(r"\\\{\w+\\\}", "[^/]+", re.escape(path)) + "$")
        if path.startswith("/api/") and "get" in operations:
            assert any(pattern.match(one) for one in shown), f"docs/apps.md has no example of {path}"
        elif path.startswith("/api/"):
            assert any(pattern.match(one) for one in shown), f"docs/apps.md does not name {path}"
