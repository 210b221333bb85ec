"""The examples of docs/api.md are asked, and answered."""

import re
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

TEXT = (Path(__file__).parents[2] / "docs" / "api.md").read_text("utf-8")
EXAMPLES = re.findall(r"^GET (\S+)$", TEXT, re.MULTILINE)


def test_there_are_examples() -> None:
    assert len(EXAMPLES) >= 9


@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_is_answered(client: TestClient, example: str) -> None:
    answer = client.get(example)
    assert answer.status_code == 200, answer.text
