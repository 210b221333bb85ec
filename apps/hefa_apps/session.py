"""Who asks: a Bearer key, or the sealed cookie that a sign-in left. Never both, and never a key in clear.

The cookie holds the person's own API key, encrypted and dated, so the portal has no rights of its own: it can do
exactly what the signed-in key may do. A write by cookie must prove that it comes from one of our pages (`csrf`); a
Bearer key is proof enough, no browser sends one by itself.
"""

import base64
import hashlib
import hmac
import json
import re
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, cast

from cryptography.fernet import Fernet, InvalidToken
from fastapi import Depends, Request

from hefa_apps.client import Caller, Denied, Platform

COOKIE = "hefa_session"
VISIT = "hefa_visit"  # names a browser before it signs in, so that the sign-in form is protected too
_KEY = re.compile(r"[\x21-\x7e]{8,256}")
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})


@dataclass(frozen=True)
class Session:
    """A signed-in browser."""

    key: str
    nonce: str


class Sessions:
    """Seals and opens session cookies. `key` is 32 bytes, url-safe base64."""

    def __init__(self, key: bytes, *, hours: float) -> None:
        self._fernet = Fernet(key)
        self._mac = base64.urlsafe_b64decode(key)
        self.seconds = int(hours * 3600)

    def seal(self, key: str) -> str:
        """Return the cookie for a browser that signs in with an API key."""
        body = json.dumps({"k": key, "n": secrets.token_urlsafe(12)}).encode()
        return self._fernet.encrypt(body).decode()

    def open(self, cookie: str | None) -> Session | None:
        """Return the session, None when the cookie is missing, forged, foreign or too old."""
        if not cookie:
            return None
        try:
            body = json.loads(self._fernet.decrypt(cookie.encode(), ttl=self.seconds))
            return Session(key=body["k"], nonce=body["n"])
        except (InvalidToken, ValueError, KeyError, TypeError):
            return None

    def csrf(self, nonce: str) -> str:
        """Return the proof that a form was made for the browser with this nonce."""
        return hmac.new(self._mac, b"csrf\0" + nonce.encode(), hashlib.sha256).hexdigest()

    def proves(self, nonce: str, token: str) -> bool:
        """Say whether the token is the one of this nonce."""
        return bool(nonce) and hmac.compare_digest(self.csrf(nonce).encode(), token.encode())


class Guesses:
    """Makes an address wait that tries wrong keys: ten at once, then one a minute. Thread-safe.

    The platform sees all people of a portal at one address, and would make them wait for each other.
    """

    AT_ONCE, EACH_S = 10, 60.0
    _KEPT = 10_000

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._until: dict[str, float] = {}  # when an address will have earned all its tries back

    def wrong(self, address: str) -> None:
        """Count a wrong key."""
        now = self._clock()
        with self._lock:
            if len(self._until) >= self._KEPT:
                self._until = {name: until for name, until in self._until.items() if until > now}
            self._until[address] = max(self._until.get(address, 0.0), now) + self.EACH_S

    def wait(self, address: str) -> float:
        """Return the seconds until this address may try another key, 0 when it may now."""
        with self._lock:
            owed = self._until.get(address, 0.0) - self._clock()
        return max(0.0, owed - (self.AT_ONCE - 1) * self.EACH_S)


def address_of(request: Request) -> str:
    """Return whose request this is, as far as the network tells; behind a proxy that is trusted, whom it names."""
    return request.client.host if request.client else ""


def guessing(request: Request, key: str) -> float:
    """Return the seconds that a key which the platform has not accepted before has to wait; 0: it may be tried."""
    wait = cast(Guesses, request.app.state.guesses).wait(address_of(request))
    return 0.0 if wait == 0 or cast(Platform, request.app.state.platform).accepted(key) else wait


def plausible(key: str) -> bool:
    """Say whether text can be an API key at all, and so be put into a header."""
    return _KEY.fullmatch(key) is not None


def foreign(request: Request) -> bool:
    """Say whether the browser itself tells that another site made this request."""
    where = request.headers.get("sec-fetch-site")
    if where is not None:
        return where not in ("same-origin", "none")
    origin = request.headers.get("origin")
    return origin is not None and origin.split("://")[-1] != request.headers.get("host")


def bearer(request: Request) -> str | None:
    """Return the key of the Authorization header."""
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    return key.strip() if scheme.lower() == "bearer" and plausible(key.strip()) else None


def key_of(request: Request) -> str:
    """Return the key to ask the platform with.

    Raises `Denied` 401 without a key or session, 403 for a write by cookie that does not carry the session's token, 429
    for another key from an address that tried too many wrong ones.
    """
    key = bearer(request)
    if key:
        if guessing(request, key):
            raise Denied(429, "too many keys from this address were not valid: wait a little")
        return key
    sessions = cast(Sessions, request.app.state.sessions)
    session = sessions.open(request.cookies.get(COOKIE))
    if session is None:
        raise Denied(401, "sign in, or send a key as Authorization: Bearer")
    if request.method not in _SAFE:
        token = request.headers.get("x-csrf-token", "")
        if foreign(request) or not sessions.proves(session.nonce, token):
            raise Denied(403, "this request does not come from a page of this portal: send X-CSRF-Token")
    return session.key


def caller(request: Request) -> Caller:
    """Return the platform as the asking person sees it; a FastAPI dependency."""
    found = cast(Platform, request.app.state.platform).caller(key_of(request))
    request.state.caller = found  # the shell tells what it was told of readings that are not added up yet
    return found


Asking = Annotated[Caller, Depends(caller)]
