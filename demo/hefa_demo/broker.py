"""An MQTT 5 broker on loopback: mosquitto where it is installed, else iotcore, behind one interface.

Both admit only the users of the secrets folder, by password. mosquitto also keeps them to their own topics and its
queues over a restart; iotcore forgets everything when it ends. Either may lose messages: the outbox of the edge and
the platform's ack keep the promise, the broker does not.
"""

from __future__ import annotations

import shutil
import sys
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import quote

from hefa_demo.account import OURS, Account, NoAccount, unprivileged
from hefa_demo.ports import HOST, answers, free_port
from hefa_demo.process import Child, Server, wait_until

MAX_PACKET = 262_144  # bytes: the largest envelope with room for topic and properties


class BrokerError(Exception):
    """The broker cannot run; the text says why."""


def mosquitto_path() -> Path | None:
    """Where mosquitto is installed. Debian puts it into /usr/sbin, which is not on a normal user's PATH."""
    found = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin:/opt/homebrew/sbin")
    return Path(found) if found else None


def available() -> list[str]:
    """The kinds of broker this machine can run, the preferred one first."""
    found = {"mosquitto": mosquitto_path() is not None, "iotcore": find_spec("iotcore") is not None}
    return [kind for kind, there in found.items() if there]


class Broker(Server):
    """One broker with its files in `folder`, its users from `secrets` (written by `hefa-platform secrets`).

    `kind` is `mosquitto` or `iotcore`; by default the first that is available. `port` 0 takes a free one at the
    first start and keeps it. A stop in order lets mosquitto save its queues.
    """

    def __init__(
        self, folder: Path, secrets: Path, port: int = 0, kind: str | None = None, log: Path | None = None
    ) -> None:
        kinds = available()
        if kind is None and not kinds:
            raise BrokerError(
                "no MQTT broker: install mosquitto (apt-get install mosquitto) or pip install 'hefa[demo]'"
            )
        self.kind = kind or kinds[0]
        if self.kind not in kinds:
            raise BrokerError(f"no broker {self.kind!r} here; there is: {', '.join(kinds) or 'none'}")
        self.folder = folder.absolute()
        self.secrets = secrets
        self.host = HOST
        self.port = port
        self.log = log or self.folder / "broker.log"

    @property
    def users(self) -> dict[str, str]:
        """Password of each user."""
        prefix = "mqtt_password_"
        return {p.name.removeprefix(prefix): p.read_text().strip() for p in sorted(self.secrets.glob(prefix + "*"))}

    def url(self, user: str) -> str:
        """`mqtt://user:password@host:port`. KeyError when the secrets name no such user."""
        return f"mqtt://{quote(user)}:{quote(self.users[user], safe='')}@{self.host}:{self.port}"

    def start(self, timeout: float = 60.0) -> None:
        """Start the broker and return when it accepts connections; BrokerError, with its log, when it does not."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for tries_left in (2, 1, 0) if self.port == 0 else (0,):
            self.port = self.port or free_port()
            self.child = self._mosquitto() if self.kind == "mosquitto" else self._iotcore()
            self.child.start()
            wait_until(lambda: self.ready or not self.running, timeout)
            if self.ready:
                return
            self.child.stop()
            if tries_left == 0:
                raise BrokerError(f"{self.kind} did not start on port {self.port}:\n{self.child.tail()}")
            self.port = 0  # somebody else was quicker

    @property
    def ready(self) -> bool:
        return self.running and answers(self.host, self.port)

    def restart(self) -> None:
        """Stop and start on the same port."""
        self.stop()
        self.start()

    def _mosquitto(self) -> Child:
        program = mosquitto_path()
        if program is None:
            raise BrokerError("mosquitto is no longer installed")
        state = self.folder / "mosquitto"
        state.mkdir(exist_ok=True)
        as_root = ""
        try:
            account: Account = unprivileged(program, state)
        except NoAccount:  # a folder that only root may enter: mosquitto then stays root, on loopback
            account, as_root = OURS, "user root\n"
        for name in ("mosquitto.passwd", "mosquitto.acl"):
            copy = state / name
            copy.unlink(missing_ok=True)
            copy.touch(mode=0o600)
            copy.write_bytes((self.secrets / name).read_bytes())
            account.own(copy)
        account.own(state)
        conf = state / "mosquitto.conf"
        conf.write_text(as_root + _mosquitto_conf(state, self.port))
        return Child("broker", [str(program), "-c", str(conf)], self.log, account=account)

    def _iotcore(self) -> Child:
        conf = self.folder / "iotcore.toml"
        conf.unlink(missing_ok=True)
        conf.touch(mode=0o600)
        conf.write_text(_iotcore_toml(self.port, self.users))
        # rumqttd logs every packet as an error; CRITICAL is its silence.
        argv = [sys.executable, "-P", "-m", "iotcore", "--config", str(conf), "--log-level", "CRITICAL"]
        return Child("broker", argv, self.log)


def _mosquitto_conf(state: Path, port: int) -> str:
    """Limits as in compose; queues large enough for a platform that is away for minutes.

    Without `set_tcp_nodelay` an envelope waits for the kernel's acknowledgement of the one before it: up to 100 ms.
    """
    return f"""\
listener {port} {HOST}
allow_anonymous false
password_file {state}/mosquitto.passwd
acl_file {state}/mosquitto.acl
persistence true
persistence_location {state}/
autosave_interval 30
max_packet_size {MAX_PACKET}
max_connections 500
max_keepalive 120
max_inflight_messages 500
set_tcp_nodelay true
max_queued_messages 100000
max_queued_bytes 268435456
persistent_client_expiration 1d
allow_zero_length_clientid false
log_dest stderr
log_timestamp_format %Y-%m-%dT%H:%M:%S
log_type error
log_type warning
log_type notice
"""


def _iotcore_toml(port: int, users: dict[str, str]) -> str:
    """Only a version 5 listener, only on loopback.

    Its log of messages is a ring in memory that drops the oldest: ten segments of 16 MiB hold many times what the
    gateways have in flight, and bound what a demo of many days takes.
    """
    quoted = "\n".join(f'"{name}" = "{password}"' for name, password in users.items())
    return f"""\
id = 0
[router]
id = 0
max_connections = 500
max_outgoing_packet_count = 200
max_segment_size = 16777216
max_segment_count = 10
[v5.1]
name = "loopback"
listen = "{HOST}:{port}"
next_connection_delay_ms = 1
[v5.1.connections]
connection_timeout_ms = 5000
max_payload_size = {MAX_PACKET}
max_inflight_count = 100
dynamic_filters = true
[v5.1.connections.auth]
{quoted}
"""
