"""One reading, from a stranger's gateway to the page, over both brokers.

The gateway is written against the public contract alone: paho, JSON, a name and a password. It shares no code with us.
"""

from __future__ import annotations

import json
import secrets
import threading
import time
from typing import Any
from urllib.parse import quote, urlsplit

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from playwright.sync_api import Browser

from hefa_demo.broker import Broker
from hefa_demo.process import wait_until

TAG = "STRANGER.PUMP-7.pressure"
VALUE, NEXT = 4.27, 5.91  # the page shows two decimals of what it knows no range of


class Gateway:
    """Somebody else's gateway: publishes bytes and listens for the platform's ack."""

    def __init__(self, url: str, name: str) -> None:
        self.name = name
        self.answers: list[tuple[str, dict[str, Any]]] = []
        self.accepting = threading.Event()
        self._subscribed = threading.Event()
        parts = urlsplit(url)
        self.client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id=name, protocol=mqtt.MQTTv5)
        self.client.username_pw_set(parts.username, parts.password)
        self.client.on_connect = self._on_connect
        self.client.on_subscribe = lambda *_: self._subscribed.set()
        self.client.on_message = self._on_message
        self._address = (parts.hostname or "", parts.port or 1883)

    def __enter__(self) -> Gateway:
        self.client.connect(*self._address)
        self.client.loop_start()
        assert self._subscribed.wait(60)
        return self

    def __exit__(self, *_: object) -> None:
        self.client.disconnect()
        self.client.loop_stop()

    def _on_connect(self, client: mqtt.Client, *_: object) -> None:
        topics = (f"hefa/v1/{self.name}/ack", f"hefa/v1/{self.name}/err", "hefa/v1/state/ingest/+")
        client.subscribe([(topic, mqtt.SubscribeOptions(qos=1)) for topic in topics])

    def _on_message(self, _client: object, _userdata: object, message: mqtt.MQTTMessage) -> None:
        body = json.loads(message.payload)
        if message.topic.startswith("hefa/v1/state/"):
            if body["accepting"]:
                self.accepting.set()
        else:
            self.answers.append((message.topic.rsplit("/", 1)[1], body))

    def publish(self, payload: bytes, correlation: str) -> None:
        properties = Properties(PacketTypes.PUBLISH)
        properties.CorrelationData = correlation.encode()
        properties.UserProperty = ("sent", str(time.time_ns() // 1000))
        self.client.publish(f"hefa/v1/{self.name}/data", payload, qos=1, properties=properties).wait_for_publish(60)


def envelope(epoch: str, seq: int, ts: int, value: float) -> bytes:
    body = {"v": 1, "epoch": epoch, "seq": seq, "lane": "live", "made": ts, "base": ts}
    return json.dumps(body | {"tags": [TAG], "tag": [0], "dt": [0], "value": [value]}).encode()


@pytest.mark.timeout(400)  # each wait has its own end
def test_one_reading_travels_from_gateway_to_page(stack: Any, broker: Broker, browser: Browser) -> None:
    epoch, ts = secrets.token_hex(8), time.time_ns() // 1000
    with Gateway(broker.url("gw-guest"), "gw-guest") as gateway:
        assert gateway.accepting.wait(60)
        gateway.publish(envelope(epoch, 1, ts, VALUE), f"{epoch}:1")
        assert wait_until(lambda: bool(gateway.answers), 60)
        assert gateway.answers == [("ack", {"v": 1, "epoch": epoch, "ok": [1]} | _told(gateway.answers[0][1]))]

        # Acknowledged means committed: REST has it now, not soon.
        status, latest = stack.get(f"/v1/latest?tag={quote(TAG)}")
        assert status == 200
        (item,) = latest["items"]
        assert (item["value"], item["quality"]) == (VALUE, 192)
        assert item["ts"].endswith("Z")

        # The same bytes again are no second reading.
        gateway.answers.clear()
        gateway.publish(envelope(epoch, 1, ts, VALUE), f"{epoch}:1")
        assert wait_until(lambda: bool(gateway.answers), 60)
        assert gateway.answers[0][1]["ok"] == [1]
        _, pipeline = stack.get("/v1/pipeline")
        (guest,) = (edge for edge in pipeline["edges"] if edge["edge"] == "gw-guest")
        assert (guest["received"], guest["stored"], guest["duplicate"]) == (2, 1, 1)

        # What is no envelope is refused by name, and the gateway lives on.
        gateway.answers.clear()
        gateway.publish(b"{not json", f"{epoch}:2")
        assert wait_until(lambda: bool(gateway.answers), 60)
        channel, told = gateway.answers[0]
        assert (channel, told["code"], told["correlation"]) == ("err", "JSON_SYNTAX", f"{epoch}:2")

        _seen_on_the_page(stack, browser, gateway, epoch)


def _told(ack: dict[str, Any]) -> dict[str, Any]:
    return {key: ack[key] for key in ("rejected",) if key in ack and ack[key] == []}


def _seen_on_the_page(stack: Any, browser: Browser, gateway: Gateway, epoch: str) -> None:
    """The page shows the reading, and the next one without being loaded again."""
    context = browser.new_context(locale="en-GB")
    try:
        page = context.new_page()
        page.set_default_timeout(60_000)
        complaints: list[str] = []
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(stack.portal + "/live/areas/unassigned")
        page.locator("input[name=key]").fill(stack.key)
        page.keyboard.press("Enter")
        page.wait_for_url("**/live/areas/unassigned")
        page.get_by_text(TAG).first.wait_for()
        page.get_by_text(str(VALUE)).first.wait_for()
        gateway.publish(envelope(epoch, 3, time.time_ns() // 1000, NEXT), f"{epoch}:3")
        page.get_by_text(str(NEXT)).first.wait_for()
        assert complaints == []
    finally:
        context.close()
