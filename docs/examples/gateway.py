"""The smallest gateway that keeps its promise: one reading, sent again until the platform says that it is stored.

python docs/examples/gateway.py mqtt://USER:PASSWORD@HOST:PORT TAG VALUE
"""

import json
import os
import ssl
import sys
import threading
import time
from urllib.parse import unquote, urlsplit

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties


def main(url: str, tag: str, value: float) -> None:
    parts = urlsplit(url)
    edge = unquote(parts.username or "")  # the broker lets a user publish under its own name only
    epoch, seq, now = os.urandom(8).hex(), 1, time.time_ns() // 1000
    # A real gateway writes these bytes to disk before it sends them, and never changes them.
    envelope = json.dumps({
        "v": 1, "epoch": epoch, "seq": seq, "lane": "live", "made": now, "base": now,
        "tags": [tag], "tag": [0], "dt": [0], "value": [value],
    })  # fmt: skip
    stored = threading.Event()

    def hear(_client: mqtt.Client, _data: object, message: mqtt.MQTTMessage) -> None:
        answer = json.loads(message.payload)
        if answer["epoch"] == epoch and seq in answer["ok"]:
            for refused in answer["rejected"]:
                sys.stdout.write(f"refused: {refused['code']}\n")
            stored.set()

    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, edge, protocol=mqtt.MQTTv5)
    client.username_pw_set(edge, unquote(parts.password or ""))
    if parts.scheme == "mqtts":
        client.tls_set_context(ssl.create_default_context(cafile="ca.crt"))
    client.on_connect = lambda *_: client.subscribe(f"hefa/v1/{edge}/ack", qos=1)
    client.on_message = hear
    client.connect(parts.hostname or "", parts.port or 1883)
    client.loop_start()
    while not stored.is_set():
        properties = Properties(PacketTypes.PUBLISH)
        properties.CorrelationData = f"{epoch}:{seq}".encode()
        properties.UserProperty = ("sent", str(time.time_ns() // 1000))
        client.publish(f"hefa/v1/{edge}/data", envelope, qos=1, properties=properties)
        stored.wait(5)
    client.disconnect()
    client.loop_stop()
    sys.stdout.write(f"stored: {tag} = {value}\n")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], float(sys.argv[3]))
