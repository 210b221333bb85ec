"""The publisher against real brokers, with a scripted platform behind them."""

import logging
import random
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from hefa_contract.envelope import Envelope, Events, Gap, decode
from hefa_contract.event import Note
from hefa_contract.receipt import Ack, Err, Rejection
from hefa_contract.rejection import Code
from hefa_demo.broker import mosquitto_path
from hefa_demo.ports import answers, free_port
from hefa_edge.config import ConfigError
from hefa_edge.outbox import Outbox
from hefa_edge.publisher import Publisher

BASE = 1_795_304_450_000_000


def envelope(n: int = 3, first: float = 1.0) -> Envelope:
    return Envelope(
        epoch="", seq=0, lane="live", made=BASE, base=BASE, tags=["A.B.C.d"],
        tag=[0] * n, dt=list(range(n)), value=[first + k for k in range(n)],
    )  # fmt: skip


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    box = Outbox(tmp_path / "outbox.sqlite")
    yield box
    box.close()


@pytest.fixture
def publisher(broker, outbox: Outbox) -> Iterator[Callable[..., Publisher]]:
    with ExitStack() as stack:

        def make(**options: object) -> Publisher:
            # Nothing is sent again on a busy machine where a test does not ask for it.
            options = {"url": broker.url("gw-a1"), "rto_s": 30.0, "chance": random.Random(1), **options}
            made = Publisher("gw-a1", outbox=outbox, **options)
            stack.callback(made.stop)
            made.start()
            return made

        yield make


def test_what_is_in_the_outbox_is_sent_and_leaves_it_when_acknowledged(platform, outbox, publisher, until) -> None:
    platform.accept()
    outbox.append([envelope(), Events(epoch="", seq=0, made=BASE, events=[Note(ts=BASE, subject="A", text="hello")])])
    before = time.time_ns() // 1000
    session = publisher()
    until(lambda: outbox.depth.messages == 0)
    outbox.append([envelope(first=7.0)])
    session.notify()
    until(lambda: outbox.depth.messages == 0)
    assert [heard.topic for heard in platform.heard] == [
        "hefa/v1/gw-a1/data",
        "hefa/v1/gw-a1/event",
        "hefa/v1/gw-a1/data",
    ]
    for seq, heard in enumerate(platform.heard, 1):
        assert heard.correlation == f"{outbox.epoch}:{seq}".encode()
        assert before <= heard.sent <= time.time_ns() // 1000
        assert 27 <= heard.expiry <= 39  # the time until it would be sent again
    assert session.link.connected
    assert session.link.accepting
    assert session.link.round_trip_ms is not None
    assert session.link.round_trip_ms > 0


def test_a_lost_ack_brings_the_same_bytes_again(platform, outbox, publisher, until) -> None:
    platform.answer = lambda heard: None
    platform.accept()
    outbox.append([envelope()])
    publisher(rto_s=1.0)
    until(lambda: len(platform.heard) >= 2)
    first, second = platform.heard[:2]
    assert first.payload == second.payload
    assert second.sent - first.sent >= 800_000
    assert second.expiry > first.expiry or second.expiry == 2  # the patience has doubled
    platform.send("gw-a1", Ack(epoch=outbox.epoch, ok=[1]))
    until(lambda: outbox.depth.messages == 0)
    assert outbox.epoch == decode(first.payload).message.epoch


def test_a_slow_platform_is_soon_waited_for(platform, outbox, publisher, until) -> None:
    answers: list[threading.Timer] = []

    def later(heard) -> None:
        ack = Ack(epoch=heard.message.epoch, ok=[heard.message.seq])
        answers.append(threading.Timer(0.8, platform.send, ("gw-a1", ack)))
        answers[-1].start()

    platform.answer = later
    platform.accept()
    session = publisher(rto_s=0.3)  # at a fixed delay every one of them would be sent twice

    def once() -> bool:
        """Send another one; tell whether it was acknowledged before it was sent again."""
        outbox.append([envelope()])
        session.notify()
        until(lambda: outbox.depth.messages == 0)
        seqs = [heard.message.seq for heard in platform.heard]
        return seqs.count(seqs[-1]) == 1 and seqs[-1] == len(set(seqs))

    until(once, 60)
    for answer in answers:
        answer.join()


def test_after_a_pause_nothing_waits_for_as_long_as_before(platform, outbox, publisher, until) -> None:
    platform.answer = lambda heard: None
    platform.accept()
    outbox.append([envelope()])
    session = publisher(rto_s=0.5)
    until(lambda: len(platform.heard) >= 3)  # sent again after 0.5 s, 1 s; the next time would be after 2 s
    platform.accept(False)
    until(lambda: not session.link.accepting)
    before = len(platform.heard)
    platform.accept()
    until(lambda: any(heard.expiry <= 2 for heard in platform.heard[before:]))  # twice the shortest


def test_it_pauses_while_nobody_accepts(platform, outbox, publisher, until, caplog) -> None:
    caplog.set_level(logging.INFO)
    platform.accept(False)
    outbox.append([envelope()])
    session = publisher()
    until(lambda: session.link.connected)
    until(lambda: "no ingest worker accepts data" in caplog.text)
    assert platform.heard == []
    platform.accept()
    until(lambda: outbox.depth.messages == 0)
    platform.accept(False)
    until(lambda: not session.link.accepting)
    outbox.append([envelope()])
    session.notify()
    time.sleep(0.7)
    assert len(platform.heard) == 1


def test_a_new_incarnation_of_the_database_gets_the_grace_again(platform, outbox, publisher, until) -> None:
    platform.accept(incarnation="before")
    outbox.append([envelope(first=k) for k in range(5)])
    publisher()
    until(lambda: outbox.depth.messages == 0)
    platform.accept(incarnation="restored")
    until(lambda: len(platform.heard) == 10)
    assert [h.payload for h in platform.heard[:5]] == [h.payload for h in platform.heard[5:]]
    until(lambda: outbox.depth.messages == 0)


def test_new_messages_go_before_the_backlog(platform, outbox, publisher, until) -> None:
    held = []
    platform.answer = held.append  # silence, for now
    outbox.append([envelope(first=k) for k in range(30)])
    session = publisher(window=10)
    platform.accept()
    until(lambda: len(platform.heard) == 10)
    outbox.append([envelope(first=100.0)])
    session.notify()
    time.sleep(0.2)
    assert len(platform.heard) == 10  # the window is full
    platform.answer = lambda heard: Ack(epoch=heard.message.epoch, ok=[heard.message.seq])
    platform.send("gw-a1", Ack(epoch=outbox.epoch, ok=list(range(1, 11))))
    until(lambda: outbox.depth.messages == 0)
    assert [decode(h.payload).message.seq for h in platform.heard] == [*range(1, 11), 31, *range(11, 31)]


def test_many_messages_at_once(platform, outbox, publisher, until) -> None:
    platform.accept()
    outbox.append([envelope(200, first=k) for k in range(1500)])
    publisher(rto_s=120.0)
    until(lambda: outbox.depth.messages == 0)
    assert sorted({h.message.seq for h in platform.heard}) == list(range(1, 1501))
    assert len(platform.heard) == 1500  # no resend on a healthy path


def test_readings_in_quarantine_are_delivered(platform, outbox, publisher, until, caplog) -> None:
    platform.answer = lambda heard: Ack(
        epoch=heard.message.epoch, ok=[heard.message.seq], rejected=[Rejection(heard.message.seq, Code.TAG_UNKNOWN, 0)]
    )
    platform.accept()
    outbox.append([envelope()])
    publisher()
    until(lambda: outbox.depth.messages == 0)
    until(lambda: "TAG_UNKNOWN" in caplog.text)


def test_a_reused_epoch_makes_a_new_one(platform, outbox, publisher, until) -> None:
    old = outbox.epoch

    def refuse(heard):
        if heard.message.epoch == old:
            return Ack(epoch=old, ok=[], rejected=[Rejection(heard.message.seq, Code.EPOCH_REUSE)])
        return Ack(epoch=heard.message.epoch, ok=[heard.message.seq])

    platform.answer = refuse
    platform.accept()
    outbox.append([envelope(first=k) for k in range(3)])
    publisher()
    until(lambda: outbox.depth.messages == 0)
    assert outbox.epoch != old
    values = [h.message.value[0] for h in platform.heard if h.message.epoch == outbox.epoch]
    assert sorted(values) == [0.0, 1.0, 2.0]


def test_an_err_retires_what_nobody_can_read(platform, outbox, publisher, until) -> None:
    platform.answer = lambda heard: Err(correlation=heard.correlation.decode(), code=Code.JSON_SYNTAX, detail="no")
    platform.accept()
    outbox.append([envelope()])
    publisher()
    until(lambda: outbox.depth.messages == 0)


@pytest.mark.parametrize(
    "answer",
    [b"", b"{", b"[]", b'{"v":9,"epoch":"e","ok":[]}', b'{"v":1,"epoch":"e","ok":["x"]}', b"\xff" * 100],
)
def test_answers_that_are_none_do_no_harm(platform, outbox, publisher, until, answer: bytes) -> None:
    platform.accept()
    session = publisher()
    until(lambda: session.link.accepting)
    platform._client.publish("hefa/v1/gw-a1/ack", answer, qos=1)
    platform._client.publish("hefa/v1/gw-a1/err", answer, qos=1)
    outbox.append([envelope()])
    session.notify()
    until(lambda: outbox.depth.messages == 0)
    assert session.failure is None


def test_acks_of_another_epoch_are_not_ours(platform, outbox, publisher, until) -> None:
    platform.answer = lambda heard: Ack(epoch="of-the-backfill", ok=[heard.message.seq])
    platform.accept()
    outbox.append([envelope()])
    publisher()
    until(lambda: len(platform.heard) == 1)
    time.sleep(0.3)
    assert outbox.depth.messages == 1


def test_it_comes_back_after_the_broker_does(broker, platform, outbox, publisher, until) -> None:
    platform.accept()
    session = publisher(rto_s=1.0)
    until(lambda: session.link.accepting)
    broker.stop()
    until(lambda: not session.link.connected)
    outbox.append([envelope(first=k) for k in range(10)])
    session.notify()
    broker.start()
    until(lambda: session.link.connected)
    until(lambda: platform._client.is_connected())
    platform.accept()
    until(lambda: outbox.depth.messages == 0)


def test_the_status_tells_whether_the_gateway_is_there(broker, platform, publisher, until) -> None:
    session = publisher()
    until(lambda: [s.online for s in platform.status] == [True])
    session.stop()
    until(lambda: [s.online for s in platform.status] == [True, False])


def test_a_wrong_password_backs_off_and_says_so_once(broker, outbox, publisher, until, caplog) -> None:
    session = publisher(url=f"mqtt://gw-a1:wrong@{broker.host}:{broker.port}")
    until(lambda: "gw-a1" in caplog.text)
    time.sleep(3.0)
    said = [record for record in caplog.records if "gw-a1" in record.getMessage()]
    assert len(said) == 1
    assert said[0].levelno == logging.WARNING
    assert "wrong" not in caplog.text
    assert not session.link.connected
    assert session.failure is None


def test_it_stops_at_once_while_no_broker_is_there(outbox) -> None:
    session = Publisher("gw-a1", "mqtt://127.0.0.1:9", outbox)
    session.start()
    time.sleep(0.2)
    session.stop()  # it waits for the thread, but not for ever
    assert "publisher-gw-a1" not in {thread.name for thread in threading.enumerate()}


@pytest.mark.parametrize("url", ["", "localhost", "http://host", "mqtt://", "mqtt://host:port", "mqtt://host:99999"])
def test_a_bad_url_is_told_before_anything_starts(outbox, url: str) -> None:
    with pytest.raises(ConfigError, match="mqtt://"):
        Publisher("gw-a1", url, outbox)


def test_what_is_too_large_for_the_broker_is_split(tmp_path: Path, platform_at, outbox, until, caplog) -> None:
    program = mosquitto_path()
    if program is None:
        pytest.skip("mosquitto is not installed: apt-get install mosquitto")
    port = free_port()
    conf = tmp_path / "small.conf"
    conf.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\nmax_packet_size 4000\n")
    with subprocess.Popen([program, "-c", str(conf)], stderr=subprocess.DEVNULL) as broker:
        try:
            until(lambda: answers("127.0.0.1", port))
            platform = platform_at(f"mqtt://127.0.0.1:{port}")
            platform.accept()
            outbox.append([envelope(400)])
            session = Publisher("gw-a1", f"mqtt://127.0.0.1:{port}", outbox)
            session.start()
            until(lambda: outbox.depth.messages == 0)
            session.stop()
        finally:
            broker.terminate()
    messages = [heard.message for heard in platform.heard]
    values = [value for message in messages if isinstance(message, Envelope) for value in message.value]
    assert sorted(values) == [1.0 + k for k in range(400)]
    assert all(len(heard.payload) < 4000 for heard in platform.heard)
    gaps = {message.from_ for message in messages if isinstance(message, Gap)}
    told = gaps | {message.seq for message in messages}
    assert told == set(range(1, max(told) + 1))  # each number came, or is told never to come
    assert "split" in caplog.text
