"""The platform's MQTT session through TLS, and what is told at the start when it cannot be."""

from __future__ import annotations

import queue
from typing import Any

import pytest

from hefa_platform.config import ConfigError, Settings, tls_context
from hefa_platform.mqtt import Inbound, Session


def test_ingest_takes_in_and_answers_through_tls(secured: Any) -> None:
    """Two sessions of ours on the listener for passwords over TLS: one message there, and acknowledged."""
    heard: queue.Queue[Inbound] = queue.Queue()
    up: queue.Queue[str] = queue.Queue()
    state = ("hefa/v1/state/ingest/t", b"{}")

    def session(user: str, subscriptions: list[str], will: tuple[str, bytes]) -> Session:
        return Session(
            secured.by_password(user), f"tls-{user}", subscriptions, heard.put,
            will=will, receive_maximum=10, connected=lambda: up.put(user),
        )  # fmt: skip

    ingest = session("ingest", ["$share/ingest/hefa/v1/+/data"], state)
    gateway = session("gw-a1", ["hefa/v1/gw-a1/ack"], ("hefa/v1/gw-a1/status", b"{}"))
    try:
        ingest.start()
        gateway.start()
        assert {up.get(timeout=60), up.get(timeout=60)} == {"ingest", "gw-a1"}
        found = None
        while found is None:  # the subscription may come after the first publish
            gateway.publish("hefa/v1/gw-a1/data", b"reading", correlation=b"e:1")
            try:
                found = heard.get(timeout=1)
            except queue.Empty:
                continue
        assert (found.topic, found.payload, found.correlation) == ("hefa/v1/gw-a1/data", b"reading", b"e:1")
        ingest.finish([found])
    finally:
        gateway.stop(("hefa/v1/gw-a1/status", b"{}"))
        ingest.stop(state)


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("mqtts://h?ca=/nowhere", "cannot use the certificates ca=/nowhere"),
        ("mqtts://h?cert=/nowhere", "cert=/nowhere"),
        ("mqtts://h?key=/x", "of its cert"),
        ("mqtts://h?user=x", "stand ca=, cert= and key="),
        ("mqtts://h?ca", "stand ca=, cert= and key="),
        ("mqtt://h?ca=/x", "for mqtts:// only"),
        ("https://h", "must be mqtt://"),
    ],
)
def test_a_url_that_cannot_be_used_is_told_at_the_start(url: str, says: str) -> None:
    with pytest.raises(ConfigError) as error:
        _ = Settings(mqtt_url=url).ingest_mqtt_url
    assert says in str(error.value)


def test_only_mqtts_has_certificates() -> None:
    assert tls_context("mqtt://h") is None
    context = tls_context("mqtts://h")
    assert context is not None
    assert context.check_hostname
