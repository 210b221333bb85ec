"""Who asks, and what they may: keys become principals with a role and a site.

A key that was looked up is believed for a second: where it is revoked it ends at once, on other servers within that
second. Every key and every address has a token bucket, so that one careless script does not take the database from the
others; and who tries keys that do not exist soon has to wait, while those who were let in before go on. A valid key
counts for itself only: many people ask from one address, that of a portal or of their company.
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

BELIEVED_S = 1.0
NOTED_S = 60.0  # how often the use of a key is written down
_CACHED = 10_000


class Unauthenticated(Exception):
    """No key, or one that is not valid. The message says which, without saying what keys exist."""


class Forbidden(Exception):
    """The key is valid but may not do this."""


class TooMany(Exception):
    """Somebody asks faster than may be. The message says who."""

    def __init__(self, retry_after_s: float, what: str = "This key asks too often") -> None:
        super().__init__(what)
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

    def give_back(self) -> None:
        """Put the token back that was taken last."""
        self._tokens = min(self._burst, self._tokens + 1)


class _Buckets:
    """A token bucket for each name. Forgets all of them when there are too many: the names may be callers' to choose."""

    def __init__(self, rate: float, burst: float) -> None:
        self._rate, self._burst = rate, burst
        self._of: dict[str, TokenBucket] = {}

    def take(self, name: str, now: float) -> float:
        """Take a token of `name`; return 0, or the seconds until there is one."""
        if name not in self._of and len(self._of) >= _CACHED:
            self._of.clear()
        return self._of.setdefault(name, TokenBucket(self._rate, self._burst, now)).take(now)

    def give_back(self, name: str) -> None:
        """What was taken last was not due."""
        if name in self._of:
            self._of[name].give_back()


class Access:
    """Turns the `Authorization` header into a principal. Thread-safe.

    Rates are requests a second, with `burst` at once: of a key, of requests without a valid one by address, and of new
    keys that are none by address.
    """

    def __init__(
        self,
        database: Database,
        *,
        rate: float = 50,
        burst: float = 200,
        address_rate: float = 500,
        address_burst: float = 2000,
        guess_rate: float = 0.2,
        guess_burst: float = 30,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database = database
        self._clock = clock
        self._lock = threading.Lock()
        self._known: dict[bytes, tuple[float, keys.Key | None]] = {}  # by hash of the key, so that no secret is kept
        self._keys = _Buckets(rate, burst)
        self._addresses = _Buckets(address_rate, address_burst)
        self._guesses = _Buckets(guess_rate, guess_burst)

    def principal(self, authorization: str | None, address: str = "") -> Principal:
        """The principal of `Bearer <key>`, asked from `address`. Raises Unauthenticated, TooMany, Unavailable."""
        scheme, _, text = (authorization or "").strip().partition(" ")
        if not text or scheme.lower() != "bearer":
            self._take(self._addresses, address, "This address asks too often without a key")
            raise Unauthenticated("A key is needed: send the header 'Authorization: Bearer hefa_…'.")
        key = self._find(text.strip(), address)
        state = key.state(datetime.now(UTC)) if key is not None else "not valid"
        if key is None or state != "valid":
            self._take(self._addresses, address, "This address asks too often with keys that are not valid")
            raise Unauthenticated(f"The key is {state}: ask an admin for another one.")
        self._take(self._keys, key.key_id, "This key asks too often")
        return Principal(key.key_id, key.name, key.role, key.site)

    def forget(self) -> None:
        """Look every key up anew: called after one was revoked here."""
        with self._lock:
            self._known = {seen: (0.0, key) for seen, (_, key) in self._known.items() if key is not None}

    def _find(self, text: str, address: str) -> keys.Key | None:
        if keys.parse(text) is None:
            return None
        seen, now = hashlib.sha256(text.encode()).digest(), self._clock()
        with self._lock:
            until, key = self._known.get(seen, (0.0, None))
        if now < until:
            return key
        stranger = key is None  # not one that was let in before: it may be a guess
        if stranger:
            self._take(self._guesses, address, "Too many keys from this address were not valid")
        key = keys.find(self._database, text)
        if stranger and key is not None:
            with self._lock:
                self._guesses.give_back(address)
        if key is not None and (key.used_at is None or (datetime.now(UTC) - key.used_at).total_seconds() > NOTED_S):
            try:
                keys.used(self._database, key.key_id)
            except Unavailable:
                logger.debug("use of a key not noted key=%s", key.key_id)  # a read must not fail for it
        with self._lock:
            if len(self._known) >= _CACHED:
                self._known.clear()
            self._known[seen] = now + BELIEVED_S, key
        return key

    def _take(self, buckets: _Buckets, name: str, what: str) -> None:
        with self._lock:
            wait = buckets.take(name, self._clock())
        if wait > 0:
            raise TooMany(wait, what)
