"""The smallest gateway that keeps its promise: one reading, sent again until the platform says what became of it.

python docs/examples/gateway.py mqtt://USER:PASSWORD@HOST[:PORT] TAG VALUE
python docs/examples/gateway.py 'mqtts://USER:PASSWORD@HOST[:PORT]?ca=ca.crt' TAG VALUE

It ends with 0 when the reading is stored, with 1 when it was refused or the broker does not let us in, and with 2 when
it was asked the wrong way. While nobody answers it says so, and goes on.
"""

import argparse
import json
import os
import queue
import ssl
import sys
import time
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

AGAIN_S = 5.0  # a gateway for many readings waits longer each time
PORTS = {"mqtt": 1883, "mqtts": 8883}


def main(broker: SplitResult, tag: str, value: float) -> int:
    edge = unquote(broker.username or "")  # the broker lets a user publish under its own name only
    epoch, seq, now = os.urandom(8).hex(), 1, time.time_ns() // 1000
    # A real gateway writes these bytes to disk before it sends them, and never changes them.
    envelope = json.dumps({
        "v": 1, "epoch": epoch, "seq": seq, "lane": "live", "made": now, "base": now,
        "tags": [tag], "tag": [0], "dt": [0], "value": [value],
    })  # fmt: skip
    told: queue.SimpleQueue[str] = queue.SimpleQueue()  # "" = stored, else why not

    def connected(client: mqtt.Client, _data: object, _flags: object, reason: ReasonCode, _more: object) -> None:
        if reason.is_failure:
            told.put(f"the broker does not let {edge!r} in: {reason}")
        else:
            client.subscribe([(f"hefa/v1/{edge}/ack", 1), (f"hefa/v1/{edge}/err", 1)])

    def disconnected(client: mqtt.Client, *_: object) -> None:
        if not listening:  # some brokers hang up instead of saying why
            told.put(f"the broker hung up: is the password of {edge!r} right?")

    def subscribed(*_: object) -> None:
        listening.append(True)
        send()

    def hear(_client: mqtt.Client, _data: object, message: mqtt.MQTTMessage) -> None:
        answer = json.loads(message.payload)
        if message.topic.endswith("/err"):
            if answer["correlation"] == f"{epoch}:{seq}":
                told.put(f"refused: {answer['code']}: {answer['detail']}")
        elif answer["epoch"] == epoch and seq in [*answer["ok"], *(each["seq"] for each in answer["rejected"])]:
            told.put(", ".join(f"refused: {each['code']}" for each in answer["rejected"]))

    def send() -> None:
        properties = Properties(PacketTypes.PUBLISH)
        properties.CorrelationData = f"{epoch}:{seq}".encode()
        properties.UserProperty = ("sent", str(time.time_ns() // 1000))
        client.publish(f"hefa/v1/{edge}/data", envelope, qos=1, properties=properties)

    listening: list[bool] = []
    client = mqtt.Client(CallbackAPIVersion.VERSION2, edge, protocol=mqtt.MQTTv5)
    client.username_pw_set(edge, unquote(broker.password or ""))
    client.on_connect, client.on_disconnect, client.on_subscribe = connected, disconnected, subscribed
    client.on_message = hear
    try:
        if broker.scheme == "mqtts":  # without ca= those whom the system trusts
            client.tls_set_context(ssl.create_default_context(cafile=parse_qs(broker.query).get("ca", [None])[-1]))
        client.connect(broker.hostname or "", broker.port or PORTS[broker.scheme])
    except OSError as error:
        return say(f"no connection to {broker.hostname}: {error}")
    client.loop_start()
    try:
        while True:
            try:
                refusal = told.get(timeout=AGAIN_S)
            except queue.Empty:
                say("no answer yet: nobody takes in, or the way is broken; sending it again")
                send()
                continue
            if refusal:
                return say(refusal)
            sys.stdout.write(f"stored: {tag} = {value}\n")
            return 0
    finally:
        client.on_disconnect = None
        client.disconnect()
        client.loop_stop()


def say(what: str) -> int:
    sys.stderr.write(f"{what}\n")
    return 1


def url(text: str) -> SplitResult:
    try:
        parts = urlsplit(text)
        if parts.scheme in PORTS and parts.hostname and parts.username and parts.port != 0:
            return parts
    except ValueError:  # the port is no number
        pass
    raise argparse.ArgumentTypeError("it must be mqtt://USER:PASSWORD@HOST[:PORT] or mqtts://…")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url", type=url, help="mqtt://USER:PASSWORD@HOST[:PORT], or mqtts://… with ?ca=FILE")
    parser.add_argument("tag")
    parser.add_argument("value", type=float)
    asked = parser.parse_args()
    sys.exit(main(asked.url, asked.tag, asked.value))
