"""API keys and the audit of writes.

A key is `hefa_<id>_<secret>`: the id is public and finds the row, only the secret's SHA-256 is stored. The secret is
256 random bits, so a fast hash is enough; it leaves this module once, in `create`'s answer, and is never logged.
"""

import hashlib
import hmac
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal, get_args

from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from hefa_platform.store.database import Database

Role = Literal["viewer", "operator", "engineer", "admin"]
ROLES: tuple[Role, ...] = get_args(Role)  # each may do what those before it may

_KEY = re.compile(r"hefa_([0-9a-z]{4,32})_([A-Za-z0-9_-]{20,128})")


@dataclass(frozen=True)
class Key:
    """A key without its secret. `site` is a site's name, or `*` for every site."""

    key_id: str
    name: str
    role: Role
    site: str
    created_at: datetime
    created_by: str
    expires_at: datetime | None
    revoked_at: datetime | None
    used_at: datetime | None

    def state(self, now: datetime) -> Literal["valid", "expired", "revoked"]:
        """What the key is worth at `now`."""
        if self.revoked_at is not None:
            return "revoked"
        return "expired" if self.expires_at is not None and self.expires_at <= now else "valid"


@dataclass(frozen=True)
class _Stored(Key):
    hash: bytes


def digest(secret: str) -> bytes:
    """The stored form of a key's secret."""
    return hashlib.sha256(secret.encode()).digest()


def parse(text: str) -> tuple[str, str] | None:
    """Take a key apart into id and secret; None when it is not of our form."""
    match = _KEY.fullmatch(text)
    return (match[1], match[2]) if match else None


def generate() -> tuple[str, str, str]:
    """Make a new key: its whole text, its id, its secret."""
    key_id, secret = secrets.token_hex(6), secrets.token_urlsafe(32)
    return f"hefa_{key_id}_{secret}", key_id, secret


def find(database: Database, text: str) -> Key | None:
    """The key `text` belongs to, also when expired or revoked; None when the id is unknown or the secret is wrong."""
    parts = parse(text)
    if parts is None:
        return None
    with database.connection() as connection, connection.cursor(row_factory=class_row(_Stored)) as cursor:
        row = cursor.execute(
            """
            SELECT key_id, name, role, site, created_at, created_by, expires_at, revoked_at, used_at, hash
              FROM api_key WHERE key_id = %s
            """,
            [parts[0]],
        ).fetchone()
    if row is None or not hmac.compare_digest(row.hash, digest(parts[1])):
        return None
    return row


def used(database: Database, key_id: str) -> None:
    """Note that the key was used. Written at most once a minute, whatever is asked."""
    with database.connection() as connection:
        connection.execute(
            """
            UPDATE api_key SET used_at = now()
             WHERE key_id = %s AND (used_at IS NULL OR used_at < now() - interval '1 minute')
            """,
            [key_id],
        )


def every(database: Database, site: str) -> list[Key]:
    """All keys of `site` (`*`: all), newest first."""
    with database.connection() as connection, connection.cursor(row_factory=class_row(Key)) as cursor:
        return cursor.execute(
            """
            SELECT key_id, name, role, site, created_at, created_by, expires_at, revoked_at, used_at
              FROM api_key WHERE %(site)s = '*' OR site = %(site)s
             ORDER BY created_at DESC, key_id
            """,
            {"site": site},
        ).fetchall()


def create(
    database: Database, *, name: str, role: Role, site: str, expires_at: datetime | None, by: str
) -> tuple[str, Key]:
    """Store a new key, audited as done by key `by`; return its text, which cannot be had again, and its row."""
    text, key_id, secret = generate()
    with database.connection() as connection, connection.cursor(row_factory=class_row(Key)) as cursor:
        key = cursor.execute(
            """
            INSERT INTO api_key (key_id, name, role, site, hash, created_by, expires_at)
            VALUES (%s, %s, %s, %s, %s, %s, %s)
            RETURNING key_id, name, role, site, created_at, created_by, expires_at, revoked_at, used_at
            """,
            [key_id, name, role, site, digest(secret), by, expires_at],
        ).fetchone()
        assert key is not None
        expires = expires_at.astimezone(UTC).isoformat() if expires_at else None
        audit(cursor, by, "key.create", key_id, {"name": name, "role": role, "site": site, "expires_at": expires})
    return text, key


def revoke(database: Database, key_id: str, *, site: str, by: str) -> Key | None:
    """Revoke a key of `site` for good, audited; None when there is none. Again changes nothing."""
    with database.connection() as connection, connection.cursor(row_factory=class_row(Key)) as cursor:
        key = cursor.execute(
            """
            UPDATE api_key SET revoked_at = coalesce(revoked_at, now())
             WHERE key_id = %(key_id)s AND (%(site)s = '*' OR site = %(site)s)
            RETURNING key_id, name, role, site, created_at, created_by, expires_at, revoked_at, used_at
            """,
            {"key_id": key_id, "site": site},
        ).fetchone()
        if key is not None:
            audit(cursor, by, "key.revoke", key_id, {"name": key.name})
    return key


def audit(cursor: Any, by: str, action: str, subject: str, body: Mapping[str, object]) -> None:
    """Add to the audit, in the transaction of the write it speaks of, so that neither stands without the other."""
    cursor.execute(
        "INSERT INTO audit (key_id, action, subject, body) VALUES (%s, %s, %s, %s)",
        [by, action, subject, Jsonb(dict(body))],
    )
