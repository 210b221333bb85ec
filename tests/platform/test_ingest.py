"""A worker between a real broker and a real database: what it answers, what it survives, how it stops."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import unquote, urlsplit

import paho.mqtt.client as mqtt
import psycopg
import pytest
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

from hefa_contract.envelope import Envelope, Gap, encode
from hefa_platform import failpoint
from hefa_platform.ingest import Limits, Worker
from hefa_platform.store.database import Database
from hefa_platform.store.intake import Intake

EDGE = "gw-guest"


class Gateway:
    """A stranger's gateway: paho and JSON only."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self.answers: list[tuple[str, dict[str, Any]]] = []
        self.states: list[dict[str, Any]] = []
        self._changed = threading.Condition()
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id="gw-guest", protocol=mqtt.MQTTv5)
        self._client.username_pw_set(unquote(parts.username or ""), unquote(parts.password or ""))
        self._client.on_message = self._receive
        self._client.on_connect = lambda client, *_: client.subscribe(
            [(f"hefa/v1/{EDGE}/ack", SubscribeOptions(qos=1)), (f"hefa/v1/{EDGE}/err", SubscribeOptions(qos=1)),
             ("hefa/v1/state/ingest/+", SubscribeOptions(qos=1))]
        )  # fmt: skip
        self._client.connect(parts.hostname or "", parts.port or 1883)
        self._client.loop_start()

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def send(self, payload: bytes, channel: str = "data", correlation: bytes | None = None, qos: int = 1) -> None:
        properties = Properties(PacketTypes.PUBLISH)
        if correlation is not None:
            properties.CorrelationData = correlation
        self._client.publish(f"hefa/v1/{EDGE}/{channel}", payload, qos=qos, properties=properties)

    def until(self, found: Callable[[], Any], what: str, timeout_s: float = 60.0) -> Any:
        deadline = time.monotonic() + timeout_s
        with self._changed:
            while not (result := found()):
                assert self._changed.wait(deadline - time.monotonic()), f"{what}; answers so far: {self.answers}"
        return result

    def welcome(self) -> None:
        """Wait until a worker is there: what is sent before reaches nobody."""
        self.until(lambda: any(state["accepting"] for state in self.states), "a worker says that it accepts")

    def acked(self, epoch: str) -> set[int]:
        return {seq for channel, a in self.answers if channel == "ack" and a["epoch"] == epoch for seq in a["ok"]}

    def rejected(self, epoch: str) -> list[dict[str, Any]]:
        return [r for channel, a in self.answers if channel == "ack" and a["epoch"] == epoch for r in a["rejected"]]

    def _receive(self, client: Any, userdata: Any, message: mqtt.MQTTMessage) -> None:
        with self._changed:
            if "/state/" in message.topic:
                self.states.append(json.loads(message.payload))
            else:
                self.answers.append((message.topic.rsplit("/", 1)[1], json.loads(message.payload)))
            self._changed.notify_all()


@contextmanager
def working(dsn: str, url: str, name: str = "w1", limits: Limits | None = None) -> Iterator[Worker]:
    database = Database(dsn, max_size=2)
    worker = Worker(database, Intake(database, name), url, name, limits or Limits())
    failure: list[BaseException] = []

    def run() -> None:
        try:
            worker.run()
        except BaseException as error:
            failure.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield worker
    finally:
        worker.stop()
        thread.join(30)
        database.close()
        assert not thread.is_alive()
        assert not failure, failure


@pytest.fixture
def gateway(broker: Any) -> Iterator[Gateway]:
    gateway = Gateway(broker.url(EDGE))
    yield gateway
    gateway.close()


def envelope(seq: int, values: list[float | None], *, epoch: str = "e", tags: list[str] | None = None) -> bytes:
    now = time.time_ns() // 1000
    return encode(
        Envelope(
            epoch=epoch,
            seq=seq,
            lane="live",
            made=now,
            base=now,
            tags=tags or ["guest.t"],
            tag=[0] * len(values),
            dt=[1000 * seq + k for k in range(len(values))],
            value=values,
        )
    )  # fmt: skip


def test_messages_are_stored_then_acknowledged(database: Any, gateway: Gateway, broker: Any) -> None:
    with working(database.ingest, broker.url("ingest")):
        gateway.welcome()
        for seq in range(1, 251):  # more than any broker keeps in flight
            gateway.send(envelope(seq, [1.0, 2.0]))
        gateway.send(encode(Gap(epoch="e", seq=251, made=1, from_=5, to=6, readings=3, reason="full")))
        event = b'{"v":1,"epoch":"e","seq":252,"made":1,"events":[{"type":"note","ts":1795304457123456,"subject":"x","text":"hi"}]}'
        gateway.send(event, "event")
        gateway.until(lambda: gateway.acked("e") == set(range(1, 253)), "every message is acknowledged")
    assert not gateway.rejected("e")
    gateway.until(lambda: not gateway.states[-1]["accepting"], "the worker says that it is gone")
    with psycopg.connect(database.admin) as admin:
        assert admin.execute("SELECT count(*) FROM reading").fetchone() == (500,)
        assert admin.execute("SELECT from_seq, to_seq, readings, reason FROM gap").fetchall() == [(5, 6, 3, "full")]
        assert admin.execute("SELECT type, subject, body FROM event").fetchall() == [("note", "x", {"text": "hi"})]
        counts = admin.execute("SELECT received, stored, events FROM intake_counter").fetchone()
        assert counts == (500, 500, 1)


def test_what_cannot_be_kept_is_answered_and_goes_to_quarantine(database: Any, gateway: Gateway, broker: Any) -> None:
    bad = {
        b"{": "JSON_SYNTAX",
        b"\xff\xfe": "PAYLOAD_NOT_UTF8",
        b'{"v":1,"v":1}': "JSON_DUPLICATE_KEY",
        b'{"v":1,"epoch":"e","seq":1,"x":NaN}': "JSON_SYNTAX",
        b'{"v":1,"epoch":7,"seq":1}': "SCHEMA",
    }
    readable = {
        b'{"v":2,"epoch":"r","seq":1}': "UNSUPPORTED_VERSION",
        b'{"v":1,"epoch":"r","seq":2,"made":1}': "SCHEMA",
    }
    with working(database.ingest, broker.url("ingest")):
        gateway.welcome()
        for n, payload in enumerate(bad):
            gateway.send(payload, correlation=f"e:{n}".encode())
        for payload in readable:
            gateway.send(payload)
        gateway.send(envelope(9, [1.0]))
        gateway.until(lambda: gateway.acked("r") == {1, 2} and gateway.acked("e") == {9}, "readable ones are acked")
        gateway.until(lambda: len([a for a in gateway.answers if a[0] == "err"]) == len(bad), "others get an err")
    errors = {a["correlation"]: a["code"] for channel, a in gateway.answers if channel == "err"}
    assert errors == {f"e:{n}": code for n, code in enumerate(bad.values())}
    assert {r["code"] for r in gateway.rejected("r")} == set(readable.values())
    with psycopg.connect(database.admin) as admin:
        codes = admin.execute("SELECT code FROM quarantine WHERE i IS NULL AND payload IS NOT NULL").fetchall()
        assert sorted(c for (c,) in codes) == sorted([*bad.values(), *readable.values()])
        assert admin.execute("SELECT received, stored, undecodable FROM intake_counter").fetchone() == (1, 1, 7)


def test_a_defect_of_ours_costs_one_message_not_the_worker(
    database: Any, gateway: Gateway, broker: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(failpoint, "_armed", failpoint.parse("ingest.reading:raise@2~/data"))
    monkeypatch.setattr(failpoint, "_passed", {"ingest.reading": 0})
    with working(database.ingest, broker.url("ingest")):
        gateway.welcome()
        for seq in (1, 2, 3):
            gateway.send(envelope(seq, [1.0]), correlation=f"e:{seq}".encode())
        gateway.until(lambda: gateway.acked("e") == {1, 3}, "the others are stored")
        gateway.until(lambda: any(channel == "err" for channel, _ in gateway.answers), "the sender is told")
    with psycopg.connect(database.admin) as admin:
        rows = admin.execute("SELECT code, payload IS NOT NULL, detail FROM quarantine").fetchall()
    assert [row[:2] for row in rows] == [("SCHEMA", True)]
    assert "could not read it" in rows[0][2]


def test_a_gateway_of_no_valid_name_gets_an_err(database: Any, broker: Any) -> None:
    """The broker's access list allows it only to a user of that name; here the topic of another channel stands in."""
    from hefa_contract.rejection import Code
    from hefa_platform.ingest import _read
    from hefa_platform.mqtt import Inbound

    waiting = _read(Inbound("hefa/v1/GW-A1/data", envelope(1, [1.0]), None, 1, 1, 1))
    assert waiting.arrival is not None
    assert waiting.arrival.rejected is not None
    assert waiting.arrival.rejected.code == Code.TOPIC_INVALID
    store = Database(database.ingest)
    outcome = Intake(store, "w").store([waiting.arrival])[0]
    store.close()
    assert (outcome.key, outcome.finished, outcome.rejected[0].code) == (None, False, Code.TOPIC_INVALID)
    with psycopg.connect(database.admin) as admin:
        assert admin.execute("SELECT messages FROM undecodable_counter").fetchall() == [(1,)]


def test_a_database_that_goes_and_comes_back_loses_nothing(database: Any, gateway: Gateway, broker: Any) -> None:
    with working(database.ingest, broker.url("ingest")), psycopg.connect(database.admin, autocommit=True) as admin:
        gateway.welcome()
        gateway.send(envelope(1, [1.0]))
        gateway.until(lambda: 1 in gateway.acked("e"), "the first is acknowledged")
        # Of this database alone: roles are shared by all of a server, and so by tests that run beside this one.
        admin.execute(f"ALTER DATABASE {database.name} CONNECTION LIMIT 0")
        try:
            admin.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND usename = 'hefa_ingest'"
            )
            gateway.send(envelope(2, [2.0]))
            gateway.until(lambda: gateway.states and not gateway.states[-1]["accepting"], "it asks gateways to wait")
            assert 2 not in gateway.acked("e")
        finally:
            admin.execute(f"ALTER DATABASE {database.name} CONNECTION LIMIT -1")
        gateway.until(lambda: 2 in gateway.acked("e"), "what waited is stored")
        gateway.until(lambda: gateway.states[-1]["accepting"], "it accepts again")
        assert admin.execute("SELECT count(*) FROM reading").fetchone() == (2,)


@pytest.mark.parametrize("broker", ["mosquitto"], indirect=True)  # the embedded one delivers it with QoS 1
def test_what_comes_with_qos_0_fills_no_memory(
    database: Any, gateway: Gateway, broker: Any, caplog: pytest.LogCaptureFixture
) -> None:
    sent = {seq: envelope(seq, [1.0]) for seq in range(1, 61)}
    limits = Limits(receive_maximum=5)
    with (
        working(database.ingest, broker.url("ingest"), limits=limits),
        psycopg.connect(database.admin, autocommit=True) as admin,
    ):
        gateway.welcome()
        with admin.transaction():
            admin.execute("LOCK TABLE ledger")
            for payload in sent.values():
                gateway.send(payload, qos=0)
            deadline = time.monotonic() + 60
            while "too much comes with QoS 0" not in caplog.text:
                assert time.monotonic() < deadline, "it leaves out what has no room"
                time.sleep(0.1)
        gateway.send(b"the last one, behind all of them")
        gateway.until(lambda: [a for channel, a in gateway.answers if channel == "err"], "the last one is answered")
        kept = gateway.acked("e")
        assert 0 < len(kept) < 60
        for seq in sent.keys() - kept:
            gateway.send(sent[seq])
        gateway.until(lambda: gateway.acked("e") == sent.keys(), "who sends again loses nothing")


def test_a_broker_that_restarts_is_joined_again(database: Any, gateway: Gateway, broker: Any) -> None:
    with working(database.ingest, broker.url("ingest")):
        gateway.welcome()
        gateway.send(envelope(1, [1.0]))
        gateway.until(lambda: 1 in gateway.acked("e"), "the first is acknowledged")
        broker.restart()
        deadline = time.monotonic() + 60
        while 2 not in gateway.acked("e") and time.monotonic() < deadline:
            gateway.send(envelope(2, [2.0]))  # as a gateway does: again, until acknowledged
            time.sleep(0.5)
        assert 2 in gateway.acked("e")


def test_a_status_makes_a_gateway_online(database: Any, gateway: Gateway, broker: Any) -> None:
    with working(database.ingest, broker.url("ingest")), psycopg.connect(database.admin, autocommit=True) as admin:
        gateway.welcome()
        for online in (True, False):
            gateway.send(json.dumps({"v": 1, "online": online, "ts": 1}).encode(), "status")
            deadline = time.monotonic() + 60
            query = "SELECT online FROM edge WHERE name = %s"
            while admin.execute(query, [EDGE]).fetchone() != (online,) and time.monotonic() < deadline:
                time.sleep(0.05)
            assert admin.execute(query, [EDGE]).fetchone() == (online,)


def test_it_waits_for_a_database_without_schema(database: Any, gateway: Gateway, broker: Any) -> None:
    with psycopg.connect(database.admin, autocommit=True) as admin:
        admin.execute("ALTER TABLE schema_migration RENAME TO away")
        with working(database.ingest, broker.url("ingest")):
            gateway.send(envelope(1, [1.0]))
            time.sleep(1)
            assert not gateway.answers
            admin.execute("ALTER TABLE away RENAME TO schema_migration")
            deadline = time.monotonic() + 60
            while 1 not in gateway.acked("e") and time.monotonic() < deadline:
                gateway.send(envelope(1, [1.0]))
                time.sleep(0.5)
            assert 1 in gateway.acked("e")
