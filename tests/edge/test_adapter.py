"""Foreign messages through a real broker, the adapter's outbox, and a scripted platform behind it."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from hefa_contract.envelope import Envelope, decode
from hefa_demo import broker as brokers
from hefa_edge.adapter import Adapter
from hefa_edge.config import ConfigError, Settings
from hefa_edge.mapping import read
from hefa_edge.outbox import Outbox
from hefa_edge.session import parse_url
from hefa_platform.secrets import Places, write

EDGE = "gw-hall3"
EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "hall3.toml"
TANK = b'{"d":{"t":1795334400%03d,"mA":12.0},"q":"OK"}'


@pytest.fixture(scope="module", params=["mosquitto", "iotcore"])
def source(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[brokers.Broker]:
    """A broker that knows an adapter and a device besides our own gateways."""
    if request.param not in brokers.available():
        pytest.skip(f"{request.param} is not installed")
    folder = tmp_path_factory.mktemp("source")
    grants = [f"{EDGE} read hall3/#", "plc write hall3/#"]
    write(folder / "secrets", Places(), [EDGE], grants=grants)
    write(folder / "secrets", Places(), [EDGE])  # what was granted once stays
    running = brokers.Broker(folder / "broker", folder / "secrets", kind=request.param)
    running.start()
    yield running
    running.stop()


class Device:
    """A controller that publishes; returns when the broker has it."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, "plc", protocol=mqtt.MQTTv5)
        self._client.username_pw_set(unquote(parts.username or ""), unquote(parts.password or ""))
        self._client.connect(parts.hostname or "", parts.port or 1883)
        self._client.loop_start()

    def say(self, topic: str, payload: bytes | str, *, retain: bool = False) -> None:
        self._client.publish(topic, payload, qos=1, retain=retain).wait_for_publish(30)

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


@pytest.fixture
def device(source: brokers.Broker) -> Iterator[Device]:
    made = Device(source.url("plc"))
    yield made
    made.close()


@pytest.fixture(autouse=True)
def forgotten(source: brokers.Broker) -> None:
    """The broker holds nothing back for an adapter of the test before."""
    at = parse_url(source.url(EDGE))
    client = at.client(f"{EDGE}-source")
    assert at.connect(client, clean_start=True) is None
    for _ in range(300):
        client.loop(0.1)
        if client.is_connected():
            break
    assert client.is_connected()
    client.disconnect()
    client.loop(0.1)


@pytest.fixture
def adapter(source: brokers.Broker, tmp_path: Path) -> Iterator[Callable[..., Adapter]]:
    with ExitStack() as stack:

        def start(edge: str = EDGE, **settings: Any) -> Adapter:
            rules = read(str(EXAMPLE), EXAMPLE.read_text("utf-8").replace(EDGE, edge))
            made = Adapter(rules, Settings(data_dir=tmp_path, mqtt_url=source.url(EDGE), resend_s=1.0, **settings))
            thread = threading.Thread(target=made.run)
            thread.start()
            stack.callback(thread.join, 60)
            stack.callback(made.stop.set)
            return made

        yield start


def readings(platform: Any) -> list[tuple[str, int, float | None, int]]:
    """What reached the platform, of envelopes it could read."""
    found = []
    for payload in {heard.payload for heard in platform.heard}:
        message = decode(payload).message
        assert isinstance(message, Envelope)
        for k, value in enumerate(message.value):
            quality = 192 if message.quality is None else message.quality[k]
            found.append((message.tags[message.tag[k]], message.base + message.dt[k], value, quality))
    return sorted(found)


def flaws(platform: Any) -> list[Any]:
    """What reached the platform and is refused there."""
    return [flaw for heard in list(platform.heard) for flaw in decode(heard.payload).flaws]


def test_values_json_and_rubbish_all_arrive_as_what_they_are(
    source: brokers.Broker, device: Device, adapter: Any, platform_at: Any, until: Any
) -> None:
    platform = platform_at(source.url("ingest"))
    platform.accept()
    running = adapter()
    until(lambda: running.connected)
    device.say("hall3/kiln2/temp", "813.4")
    device.say("hall3/kiln2/run", "TRIPPED")
    device.say("hall3/tank1/level", TANK % 0)
    device.say("hall3/kiln2/temp", "813,4 °C")
    # What can be read and what cannot travel apart.
    until(lambda: running.counts["messages"] == 4 and len(readings(platform)) == 3 and flaws(platform))
    level, run, temp = sorted(readings(platform), key=lambda one: one[0].split(".")[-1])
    assert level == ("HALL3.tank1.level", 1_795_334_400_000_000, 50.0, 192)
    assert (run[0], run[2], run[3]) == ("HALL3.kiln2.run", 2.0, 64)  # no time of its own: best effort
    assert (temp[0], temp[2], temp[3]) == ("HALL3.kiln2.temp", 813.4, 64)
    refused = flaws(platform)
    assert {(flaw.code, flaw.reading["tag"]) for flaw in refused} == {("VALUE_TYPE", "HALL3.kiln2.temp")}
    assert "hall3/kiln2/temp: the value is no number: b" in refused[0].reading["value"]
    assert running.counts == {"messages": 4, "readings": 3, "unreadable": 1}


def test_what_was_retained_is_no_new_measurement(
    source: brokers.Broker, device: Device, adapter: Any, until: Any
) -> None:
    device.say("hall3/old/temp", "1.0", retain=True)
    running = adapter("gw-fresh")  # without a session, for which the broker would have kept it
    until(lambda: running.connected)
    device.say("hall3/new/temp", "2.0")
    until(lambda: running.counts["messages"] >= 1)
    device.say("hall3/old/temp", "", retain=True)  # forgotten: the broker serves other tests too
    until(lambda: running.counts["messages"] >= 2)
    assert running.counts == {"messages": 2, "readings": 1, "unreadable": 1}


def test_killed_before_the_commit_it_hears_the_message_again(
    source: brokers.Broker, device: Device, tmp_path: Path, until: Any
) -> None:
    data, log = tmp_path / "data", tmp_path / "log"
    command = [
        sys.executable, "-c", "from hefa_edge.cli import main; main()", "adapt", "--mapping", str(EXAMPLE), "--data-dir", str(data),
        "--mqtt-url", source.url(EDGE),
    ]  # fmt: skip

    def start(failpoint: str) -> subprocess.Popen[bytes]:
        environ = os.environ | {"HEFA_FAILPOINT": failpoint}
        with log.open("wb") as file:
            process = subprocess.Popen(command, env=environ, stderr=file)
        until(lambda: b"source: connected" in log.read_bytes(), 60)
        return process

    def kept() -> set[int]:
        box = Outbox(data / "edge" / f"outbox-{EDGE}.sqlite")
        try:
            messages = [decode(item.payload).message for item in box.pending(0, 10**9, 100)]
        finally:
            box.close()
        return {m.base + dt for m in messages if isinstance(m, Envelope) for dt in m.dt}

    process = start("adapter.arrived:kill@1")
    device.say("hall3/tank9/level", TANK % 1)
    assert process.wait(60) == -signal.SIGKILL
    device.say("hall3/tank9/level", TANK % 2)  # while nobody is there
    process = start("")
    device.say("hall3/tank9/level", TANK % 3)
    wanted = {1_795_334_400_000_000 + n * 1000 for n in (1, 2, 3)}
    until(lambda: wanted <= kept(), 60)
    assert kept() == wanted
    process.terminate()
    assert process.wait(60) == 0


def test_a_full_outbox_makes_the_source_wait(
    source: brokers.Broker, device: Device, adapter: Any, platform_at: Any, until: Any
) -> None:
    running = adapter(outbox_max_bytes=1 << 16, outbox_policy="block")
    until(lambda: running.connected)
    for n in range(150):
        device.say(f"hall3/{n:03d}{'x' * 80}/run", "unreadable " * 40)
    platform = platform_at(source.url("ingest"))
    platform.accept()
    until(lambda: len({f.reading["tag"] for f in flaws(platform) if f.reading["tag"].startswith("HALL3.")}) == 150)


def test_a_source_url_that_cannot_be_used_is_told_at_the_start(source: brokers.Broker, tmp_path: Path) -> None:
    rules = read(str(EXAMPLE), EXAMPLE.read_text("utf-8"))
    with pytest.raises(ConfigError):
        Adapter(rules, Settings(data_dir=tmp_path, mqtt_url=source.url(EDGE), source_url="http://x"))
