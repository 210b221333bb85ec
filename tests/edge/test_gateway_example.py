"""docs/examples/gateway.py as a stranger runs it: every end it can come to, in words and by its exit code."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hefa_contract import receipt
from hefa_contract.rejection import Code

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "gateway.py"
TAG = "HALL3.T-1.pv"


def run(url: str, *rest: str) -> tuple[int, str, str]:
    """Its exit code, and what it says on stdout and stderr."""
    done = subprocess.run(
        [sys.executable, EXAMPLE, url, *(rest or (TAG, "-21.5"))], capture_output=True, text=True, timeout=120
    )
    return done.returncode, done.stdout, done.stderr


one = pytest.mark.parametrize("broker", ["iotcore"], indirect=True)


@one
def test_it_ends_when_the_reading_is_stored_and_not_before(broker: Any, platform: Any) -> None:
    platform.answer = lambda heard: None if len(platform.heard) == 1 else receipt.Ack(epoch=heard.message.epoch, ok=[1])
    assert run(broker.url("gw-a1")) == (
        0, f"stored: {TAG} = -21.5\n", "no answer yet: nobody takes in, or the way is broken; sending it again\n"
    )  # fmt: skip
    first, second = platform.heard
    assert (first.topic, first.payload, first.correlation) == (second.topic, second.payload, second.correlation)
    assert (first.message.tags, list(first.message.value)) == ([TAG], [-21.5])


def refused(heard: Any) -> receipt.Ack:
    return receipt.Ack(epoch=heard.message.epoch, ok=[1], rejected=[receipt.Rejection(1, Code.TAG_FOREIGN, 0)])


def unreadable(heard: Any) -> receipt.Err:
    return receipt.Err(correlation=heard.correlation.decode(), code=Code.JSON_SYNTAX, detail="not JSON")


@one
@pytest.mark.parametrize(
    ("answer", "says"), [(refused, "refused: TAG_FOREIGN\n"), (unreadable, "refused: JSON_SYNTAX: not JSON\n")]
)
def test_what_is_refused_is_told(broker: Any, platform: Any, answer: Callable[[Any], Any], says: str) -> None:
    platform.answer = answer
    assert run(broker.url("gw-a1")) == (1, "", says)


def test_a_wrong_password_is_told(broker: Any) -> None:
    code, out, err = run(f"mqtt://gw-a1:wrong@127.0.0.1:{broker.port}")
    assert (code, out) == (1, "")
    assert "'gw-a1'" in err


def test_over_tls_with_the_authority_that_it_is_given(secured: Any, platform_at: Callable[[str], Any]) -> None:
    platform_at(secured.plain("ingest"))
    url = secured.by_password("gw-a1")
    assert run(url) == (0, f"stored: {TAG} = -21.5\n", "")
    code, out, err = run(url.partition("?")[0])
    assert (code, out) == (1, "")
    assert "CERTIFICATE_VERIFY_FAILED" in err


@pytest.mark.parametrize("url", ["mqtt://127.0.0.1", "mqtt://gw-a1:secret@127.0.0.1:port"])
def test_a_url_that_is_none_is_a_question_asked_the_wrong_way(url: str) -> None:
    code, _, err = run(url)
    assert code == 2
    assert "mqtt://USER:PASSWORD@HOST" in err
    assert "secret" not in err


def test_a_broker_that_is_not_there_is_told() -> None:
    code, out, err = run("mqtt://gw-a1:x@127.0.0.1:1")
    assert (code, out) == (1, "")
    assert err.startswith("no connection to 127.0.0.1: ")
