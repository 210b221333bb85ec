"""Who asks, and what they may: keys become principals with a role and a site.

Keys are looked up once and believed for ten seconds, so a revoked key works at most that long elsewhere. Every key has
a token bucket: one careless script does not take the database from the others.
"""

import hashlib
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from hefa_platform.store import keys
from hefa_platform.store.database import Database, Unavailable
from hefa_platform.store.keys import ROLES, Role

logger = logging.getLogger(__name__)

BELIEVED_S = 10.0
_CACHED = 10_000


class Unauthenticated(Exception):
    """No key, or one that is not valid. The message says which, without saying what keys exist."""


class Forbidden(Exception):
    """The key is valid but may not do this."""


class TooMany(Exception):
    """The key asks faster than it may."""

    def __init__(self, retry_after_s: float) -> None:
        super().__init__(f"too many requests, next in {retry_after_s:.1f} s")
        self.retry_after_s = retry_after_s


@dataclass(frozen=True)
class Principal:
    """Who asks. `site` is the only site the principal sees, or `*`."""

    key_id: str
    name: str
    role: Role
    site: str

    def require(self, role: Role) -> None:
        """Raise Forbidden unless the principal has `role` or a higher one."""
        if ROLES.index(self.role) < ROLES.index(role):
            raise Forbidden(f"This needs the role {role}; the key {self.name!r} has {self.role}.")


class TokenBucket:
    """Allows `rate` takes a second on average and `burst` at once. Not thread-safe."""

    def __init__(self, rate: float, burst: float, now: float) -> None:
        self._rate, self._burst = rate, burst
        self._tokens, self._at = burst, now

    def take(self, now: float) -> float:
        """Take one token; return 0, or the seconds until there is one."""
        self._tokens = min(self._burst, self._tokens + (now - self._at) * self._rate)
        self._at = now
        if self._tokens >= 1:
            self._tokens -= 1
            return 0.0
        return (1 - self._tokens) / self._rate


class Access:
    """Turns the `Authorization` header into a principal. Thread-safe; `rate` requests a second per key."""

    def __init__(
        self, database: Database, *, rate: float = 50, burst: float = 200, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._database = database
        self._rate, self._burst, self._clock = rate, burst, clock
        self._lock = threading.Lock()
        self._known: dict[bytes, tuple[float, keys.Key | None]] = {}  # by hash of the key, so that no secret is kept
        self._buckets: dict[str, TokenBucket] = {}

    def principal(self, authorization: str | None) -> Principal:
        """The principal of `Bearer <key>`. Raises Unauthenticated, TooMany, Unavailable."""
        scheme, _, text = (authorization or "").strip().partition(" ")
        if not text or scheme.lower() != "bearer":
            raise Unauthenticated("A key is needed: send the header 'Authorization: Bearer hefa_…'.")
        key = self._find(text.strip())
        state = key.state(datetime.now(UTC)) if key is not None else "not valid"
        if key is None or state != "valid":
            raise Unauthenticated(f"The key is {state}: ask an admin for another one.")
        self._take(key.key_id)
        return Principal(key.key_id, key.name, key.role, key.site)

    def forget(self) -> None:
        """Look every key up anew: called after one was revoked here."""
        with self._lock:
            self._known.clear()

    def _find(self, text: str) -> keys.Key | None:
        seen, now = hashlib.sha256(text.encode(errors="surrogateescape")).digest(), self._clock()
        with self._lock:
            until, key = self._known.get(seen, (0.0, None))
            if now < until:
                return key
        key = keys.find(self._database, text)
        if key is not None:
            try:
                keys.used(self._database, key.key_id)
            except Unavailable:
                logger.debug("use of a key not noted key=%s", key.key_id)  # a read must not fail for it
        with self._lock:
            if len(self._known) >= _CACHED:
                self._known.clear()
            self._known[seen] = now + BELIEVED_S, key
        return key

    def _take(self, key_id: str) -> None:
        now = self._clock()
        with self._lock:
            if key_id not in self._buckets:
                self._buckets[key_id] = TokenBucket(self._rate, self._burst, now)
            wait = self._buckets[key_id].take(now)
        if wait > 0:
            raise TooMany(wait)
