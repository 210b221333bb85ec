"""Every password of a stack, made once, in one directory that compose and the demo lay out alike.

`write` is idempotent: what is there stays, what is missing is made, and derived files (DSNs, URLs, the broker's password
and access lists, stack.json) are written anew from it. `divide` gives each service of a stack its own part. Nothing
here is ever printed or logged.
"""

import base64
import hashlib
import json
import os
import re
import secrets as token
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

_ROLES = ("owner", "ingest", "jobs", "api", "read")
_SERVICES = ("ingest", "health")  # users of the broker that are no gateways
_GUEST = "gw-guest"
_GRANT = re.compile(r"([a-z0-9][a-z0-9_-]{0,62}) (read|write) ([^\s\x00]{1,500})")
_ITERATIONS = 1000  # the passwords are 192 random bits: the hash need not be slow, only not reversible

# What each user of the broker may do. `pattern` lines hold for every user, %u is the user's own name.
# Comments only on their own line: a trailing "#" would become part of the topic.
ACL = """\
pattern write hefa/v1/%u/data
pattern write hefa/v1/%u/event
pattern write hefa/v1/%u/status
pattern write hefa/v1/%u/cmd_ack
pattern read hefa/v1/%u/ack
pattern read hefa/v1/%u/cmd
pattern read hefa/v1/%u/err
pattern read hefa/v1/state/#
user ingest
topic read hefa/v1/+/data
topic read hefa/v1/+/event
topic read hefa/v1/+/status
topic write hefa/v1/+/err
topic write hefa/v1/+/ack
topic write hefa/v1/state/ingest/#
user health
topic read $SYS/broker/uptime
"""


# What each service of the Compose stack may read, as patterns of file names. It mounts its own part and nothing else,
# so that who breaks into one of them learns what that one could do already. {edge}: each gateway that has tags.
PARTS: dict[str, tuple[str, ...]] = {
    "database": ("postgres_password",),
    "broker": ("mosquitto.passwd", "mosquitto.acl", "mosquitto_sub", "tls/ca.cr[lt]", "tls/broker.*"),
    "migrate": ("dsn_admin", "dsn_owner", "password_hefa_*", "admin_key", "publish_key"),
    "ingest": ("dsn_ingest", "mqtt_url_ingest"),
    "maintain": ("dsn_jobs",),
    "api": ("dsn_api", "stack.json"),
    "apps": ("session_key", "publish_key"),
    "edge": ("mqtt_url_{edge}",),
    "grafana": ("password_hefa_read", "grafana_password"),
}
_PARTS_FOLDER = "for"


@dataclass(frozen=True)
class Places:
    """Where the services of a stack will be found. Hosts as the processes see them, URLs as people do."""

    postgres_host: str = "127.0.0.1"
    postgres_port: int = 5433
    database: str = "hefa"
    admin: str = "postgres"
    mqtt_host: str = "127.0.0.1"
    mqtt_port: int = 1883
    mqtt_public: str | None = None  # host:port as people reach the broker, where it differs
    api_url: str = "http://127.0.0.1:8000"
    portal_url: str = "http://127.0.0.1:8080"


class GrantError(Exception):
    """What should be granted cannot be; the text says why."""


def write(
    directory: Path, places: Places, edges: Iterable[str], group: int | None = None, grants: Iterable[str] = ()
) -> None:
    """Make the secrets of a stack with gateways `edges` in `directory`.

    `grants` are rights of further users of the broker beyond our own topics, `<user> read|write <filter>`: for an
    adapter and for the devices it reads. Those granted once stay. Raises GrantError.

    Directory 0700 and files 0600; with `group`, its members may read: 0750 and 0640.
    """
    directory.mkdir(parents=True, exist_ok=True)
    folder = _Folder(directory, group)
    folder.own(directory, 0o700 if group is None else 0o750)

    admin = folder.keep("postgres_password", _password)
    folder.put("dsn_admin", _dsn(places, places.admin, admin))
    for role in _ROLES:
        password = folder.keep(f"password_hefa_{role}", _password)
        folder.put(f"dsn_{role}", _dsn(places, f"hefa_{role}", password))

    granted = [_grant(line) for line in dict.fromkeys([*folder.read("grants").splitlines(), *grants])]
    if granted:
        folder.put("grants", "".join(f"{user} {right} {topic}\n" for user, right, topic in granted))
    names = {*edges, _GUEST, *_SERVICES, *(user for user, _, _ in granted)}
    users = {user: folder.keep(f"mqtt_password_{user}", _password) for user in sorted(names)}
    for user, password in users.items():
        folder.put(f"mqtt_url_{user}", _mqtt_url(places, user, password))
    _password_file(folder, users)
    rights = (f"user {user}\ntopic {right} {topic}\n" for user, right, topic in granted)
    folder.put("mosquitto.acl", ACL + "".join(rights))
    # Options of the broker's health check, in a file: what stands in a command line, everybody on the host can read.
    folder.put("mosquitto_sub", f"-u health\n-P {users['health']}\n")

    key = folder.keep("admin_key", _api_key)
    folder.keep("publish_key", _api_key)
    folder.keep("session_key", lambda: token.token_urlsafe(32))
    folder.keep("grafana_password", _password)
    stack = {
        "portal": places.portal_url,
        "api": places.api_url,
        "mqtt": _mqtt_url(places, _GUEST, users[_GUEST], places.mqtt_public),
        "database": folder.read("dsn_read"),
        "key": key,
    }
    folder.put("stack.json", json.dumps(stack, indent=2) + "\n")


def divide(directory: Path, edges: Iterable[str], group: int | None = None) -> None:
    """Lay out `directory`/for/<service> for every service of PARTS: copies of the files it may read, and no others.

    `edges` are the gateways that the simulated site plays: it gets no other gateway's password.
    `directory`/mark is made too: `migrate` notes there that these secrets have a database.
    """
    edges = list(edges)
    (directory / "mark").mkdir(exist_ok=True)
    _Folder(directory, group).own(directory / "mark", 0o700 if group is None else 0o750)
    for service, patterns in PARTS.items():
        part = directory / _PARTS_FOLDER / service
        part.mkdir(parents=True, exist_ok=True)
        folder = _Folder(part, group)
        for path in (part.parent, part):
            folder.own(path, 0o700 if group is None else 0o750)
        globs = {pattern.replace("{edge}", edge) for pattern in patterns for edge in edges or [""]}
        wanted = {path.name: path for glob in globs for path in directory.glob(glob) if path.is_file()}
        for path in part.iterdir():
            if path.name not in wanted and path.is_file():
                path.unlink()
        for name, path in wanted.items():
            folder.put(name, path.read_text("utf-8"))


def _grant(text: str) -> tuple[str, str, str]:
    """Take a grant apart."""
    found = _GRANT.fullmatch(text.strip())
    if found is None or found[1] in (*_SERVICES, "state", "api") or found[3].startswith(("$", "hefa/")):
        raise GrantError(
            f"{text!r} is no grant: <user> read|write <topic filter>, such as 'gw-hall3 read hall3/#'; "
            "not for ingest and health, and not on hefa/ or $ topics"
        )
    return found[1], found[2], found[3]


def gateways(directory: Path) -> list[str]:
    """The broker's users in the directory who are no services of ours."""
    names = (path.name.removeprefix("mqtt_password_") for path in directory.glob("mqtt_password_*"))
    return sorted(name for name in names if name not in _SERVICES)


def passwords(directory: Path) -> dict[str, str]:
    """The database roles' passwords by role name, of those that the directory has."""
    names = {f"hefa_{role}": directory / f"password_hefa_{role}" for role in _ROLES}
    return {role: path.read_text("utf-8").strip() for role, path in names.items() if path.is_file()}


def api_keys(directory: Path) -> dict[str, str]:
    """The API keys of a stack by role, of those that the directory has: the administrator's, and that of the portal, with
    which it publishes figures (engineer).
    """
    files = {"admin": directory / "admin_key", "engineer": directory / "publish_key"}
    return {role: path.read_text("utf-8").strip() for role, path in files.items() if path.is_file()}


def password_hash(password: str, salt: bytes, iterations: int = _ITERATIONS) -> str:
    """One entry of mosquitto's password file, after the user's name: PBKDF2-SHA512."""
    digest = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, iterations, 64)
    return f"$7${iterations}${base64.b64encode(salt).decode()}${base64.b64encode(digest).decode()}"


def _api_key() -> str:
    return f"hefa_{token.token_hex(6)}_{token.token_urlsafe(32)}"


def _password() -> str:
    return token.token_hex(24)  # hex: no character that a URL or a shell would want escaped


def _dsn(places: Places, user: str, password: str) -> str:
    return f"postgresql://{user}:{quote(password)}@{places.postgres_host}:{places.postgres_port}/{places.database}"


def _mqtt_url(places: Places, user: str, password: str, at: str | None = None) -> str:
    return f"mqtt://{user}:{quote(password)}@{at or f'{places.mqtt_host}:{places.mqtt_port}'}"


def _password_file(folder: "_Folder", users: dict[str, str]) -> None:
    """Written anew only when a user came, went or changed: a new salt would be a change for nothing."""
    old = folder.read("mosquitto.passwd")
    entries = dict(line.split(":", 1) for line in old.splitlines() if ":" in line)
    if set(entries) == set(users) and all(_fits(users[user], entry) for user, entry in entries.items()):
        return
    lines = [f"{user}:{password_hash(password, token.token_bytes(12))}\n" for user, password in users.items()]
    folder.put("mosquitto.passwd", "".join(lines))


def _fits(password: str, entry: str) -> bool:
    parts = entry.split("$")
    return len(parts) == 5 and password_hash(password, base64.b64decode(parts[3])) == entry.strip()


class _Folder:
    """Files of one directory, each written whole or not at all, never readable by others, not even for a moment."""

    def __init__(self, path: Path, group: int | None) -> None:
        self._path = path
        self._group = group

    def read(self, name: str) -> str:
        path = self._path / name
        return path.read_text("utf-8") if path.is_file() else ""

    def keep(self, name: str, make: Callable[[], str]) -> str:
        known = self.read(name).strip()
        if known:
            return known
        made = make()
        self.put(name, made)
        return made

    def put(self, name: str, text: str) -> None:
        if self.read(name) == text:
            self.own(self._path / name, self._mode)
            return
        temporary = self._path / f".{name}.new"
        temporary.unlink(missing_ok=True)
        with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        self.own(temporary, self._mode)
        temporary.replace(self._path / name)

    @property
    def _mode(self) -> int:
        return 0o600 if self._group is None else 0o640

    def own(self, path: Path, mode: int) -> None:
        if self._group is not None:
            os.chown(path, -1, self._group)
        path.chmod(mode)
