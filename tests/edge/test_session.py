"""A gateway and a broker that does not want it: what it is told is visible, it keeps its data, and it does not rage."""

from __future__ import annotations

import logging
import random
import re
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from hefa_contract import receipt
from hefa_contract.envelope import Envelope
from hefa_edge.config import ConfigError
from hefa_edge.outbox import Outbox
from hefa_edge.publisher import Publisher
from hefa_edge.session import Session, Tls, parse_url
from hefa_platform import certificates, secrets

BASE = 1_795_304_450_000_000


def envelope() -> Envelope:
    return Envelope(epoch="", seq=0, lane="live", made=BASE, base=BASE, tags=["A.B"], tag=[0], dt=[0], value=[1.0])


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    box = Outbox(tmp_path / "outbox.sqlite")
    yield box
    box.close()


@pytest.fixture
def gateway(outbox: Outbox) -> Iterator[Callable[..., Publisher]]:
    """Start a publisher of `edge` at `url`."""
    with ExitStack() as stack:

        def start(edge: str, url: str) -> Publisher:
            made = Publisher(edge, url=url, outbox=outbox, rto_s=0.5, chance=random.Random(1))
            stack.callback(made.stop)
            made.start()
            return made

        yield start


@pytest.fixture
def listening(secured: Any, platform_at: Callable[[str], Any]) -> Any:
    """A scripted platform behind the secured broker, which accepts."""
    platform = platform_at(secured.plain("ingest"))
    platform.accept()
    return platform


@pytest.mark.parametrize("door", ["by_certificate", "by_password"])
def test_readings_go_through_tls(secured, listening, outbox, gateway, until, door: str) -> None:
    """Many at once, and every ack comes back."""
    outbox.append([envelope() for _ in range(300)])
    gateway("gw-a1", getattr(secured, door)("gw-a1"))
    until(lambda: outbox.depth.messages == 0)
    assert {heard.topic for heard in listening.heard} == {"hefa/v1/gw-a1/data"}


def test_another_gateways_topic_is_refused_seen_and_kept(secured, listening, outbox, gateway, until, caplog) -> None:
    """The user gw-a2 in a gateway that calls itself gw-a1: PUBACK says Not authorized."""
    outbox.append([envelope()])
    session = gateway("gw-a1", secured.by_certificate("gw-a2"))
    until(lambda: "the broker refuses what we publish: Not authorized" in caplog.text)
    assert session.link.connected
    assert outbox.depth.messages == 1
    time.sleep(1.2)
    assert caplog.text.count("refuses what we publish") == 1  # said once, tried again with growing delay
    assert listening.heard == []


@pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning"
)  # paho drops the socket of a failed handshake
@pytest.mark.parametrize("fault", ["revoked", "expired", "foreign authority", "foreign broker", "no certificate"])
def test_a_gateway_that_is_not_taken_says_so_and_keeps_its_data(
    secured, outbox, gateway, until, caplog, tmp_path: Path, fault: str
) -> None:
    caplog.set_level(logging.WARNING)
    if fault == "revoked":
        name, files = "gw-revoked", {part: tmp_path / f"x.{part[:3]}" for part in ("cert", "key")}
        certificates.make(secured.tls, (), [name])
        for part, suffix in (("cert", "crt"), ("key", "key")):
            files[part].write_bytes((secured.tls / f"{name}.{suffix}").read_bytes())
        certificates.revoke(secured.tls, name)
        secured.publish_secrets()
    else:
        name, other = "gw-a2", tmp_path / "other"
        certificates.make(other, (), [name])
        if fault == "expired":
            name = "gw-expired"
            (secured.tls / f"{name}.crt").unlink()
            past = datetime.now(UTC) - timedelta(days=certificates.DAYS + 1)
            certificates.make(secured.tls, (), [name], now=past)
        files = {
            "foreign authority": {"cert": other / f"{name}.crt", "key": other / f"{name}.key"},
            "foreign broker": {"ca": other / "ca.crt"},
        }.get(fault, {})
    url = secured.by_certificate(name, **files)
    if fault == "no certificate":
        url = url.partition("&")[0]
    outbox.append([envelope()])
    session = gateway(name, url)
    until(lambda: caplog.records)
    said = caplog.text
    assert ("CERTIFICATE_VERIFY_FAILED" if fault == "foreign broker" else "before it took us") in said
    if "cert=" in url and fault != "foreign broker":
        assert "expired, revoked" in said
    time.sleep(1.0)
    assert len(caplog.records) <= 2, caplog.text  # once, not each time it tries
    assert not session.link.connected
    assert outbox.depth.messages == 1


def test_a_password_that_changes_in_flight(secured, listening, outbox, gateway, until, caplog) -> None:
    """The running connection is left alone; the next one is refused, until the gateway has the new password."""
    user = "gw-moved"
    before = secured.plain(user)
    outbox.append([envelope()])
    running = gateway(user, before)
    until(lambda: outbox.depth.messages == 0)
    (secured.folder / f"mqtt_password_{user}").unlink()
    secrets.write(secured.folder, secrets.Places(), [*secrets.gateways(secured.folder), user])
    secured.publish_secrets()
    running.stop()
    outbox.append([envelope()])
    assert secured.plain(user) != before
    gateway(user, before)
    until(lambda: f"the broker refuses us as {user}: " in caplog.text)
    assert outbox.depth.messages == 1
    assert secured.password(user) not in caplog.text
    gateway(user, secured.plain(user))
    until(lambda: outbox.depth.messages == 0)


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("mqtts://h?ca=/nowhere", "cannot use the certificates ca=/nowhere"),
        ("mqtts://h?cert=/nowhere&key=/x", "cert=/nowhere key=/x"),
        ("mqtts://h?key=/x", "of its cert"),
        ("mqtts://h?password=x", "stand ca=, cert= and key="),
        ("mqtt://h?ca=/x", "for mqtts:// only"),
        ("mqtts://h?ca", "must be mqtt://"),
        ("https://h", "must be mqtt://"),
    ],
)
def test_a_url_that_cannot_be_used_is_told_at_the_start(url: str, says: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(says)):
        parse_url(url)


def test_the_port_follows_the_scheme() -> None:
    assert (parse_url("mqtt://h").port, parse_url("mqtts://h").port, parse_url("mqtts://u:p@h:1").port) == (
        1883,
        8883,
        1,
    )
    assert parse_url("mqtts://h").tls == Tls()


def test_a_goodbye_is_no_death_to_the_broker(broker, platform, until) -> None:
    """With answers underway that nobody will read: the last will, as old as the connection, is not told behind it."""
    wake, other = socket.socketpair()
    with wake, other:
        session = Session("gw-a1", parse_url(broker.url("gw-a1")), "gw-a1", announce=True, clock=time.time)
        session.connect(wake)
        deadline = time.monotonic() + 60
        while not (session.connected and platform.status) and time.monotonic() < deadline:
            session.serve(0.1)
        for seq in range(1, 300):
            platform.send("gw-a1", receipt.Ack(epoch="0" * 16, ok=list(range(seq, seq + 100))))
        time.sleep(0.2)
        session.close()
    until(lambda: len(platform.status) >= 2)
    time.sleep(0.3)
    assert [status.online for status in platform.status] == [True, False]
