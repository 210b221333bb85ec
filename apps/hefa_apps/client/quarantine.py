"""Refused data, kept for people: what it is, and what somebody decides about it."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from hefa_apps.client.connection import Asking

Decision = Literal["retry", "discard"]


@dataclass(frozen=True)
class Refusal:
    """A refused reading (`reading`), or a refused message of `size` bytes (`payload` is its beginning)."""

    id: int
    edge: str
    code: str
    detail: str
    received: datetime
    topic: str
    state: str
    epoch: str | None = None
    seq: int | None = None
    i: int | None = None
    reading: dict[str, Any] | None = None
    payload: str | None = None
    size: int | None = None


@dataclass(frozen=True)
class Refusals:
    """A page of them, newest first; `next` asks for the one behind it."""

    items: tuple[Refusal, ...] = ()
    next: str | None = None


@dataclass(frozen=True)
class Decided:
    """What has become of one."""

    id: int
    state: str


class QuarantineCalls(Asking):
    """Refused data."""

    def quarantine(
        self,
        *,
        state: str | None = None,
        edge: str | None = None,
        code: str | None = None,
        cursor: str | None = None,
        limit: int = 50,
    ) -> Refusals:
        """Return one page of what was refused."""
        asked = {"state": state, "edge": edge, "code": code, "cursor": cursor, "limit": limit}
        return self._one(Refusals, "quarantine", asked)

    def decide(self, refusal: int, decision: Decision, reason: str) -> Decided:
        """Have it tried again, or discard it, saying why. Needs the role engineer."""
        return self._send(Decided, "POST", f"quarantine/{refusal}/{decision}", {"reason": reason})
