"""Alarms: what stands outside its limits, or is not heard, long enough to matter, and who has seen it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from hefa_apps.client.connection import Asking, span

OPEN = ("UNACK", "ACKED", "RTN_UNACK", "LATCHED", "SHELVED", "SUPPRESSED_BY_DESIGN", "OUT_OF_SERVICE")
LIMITS = ("ll", "l", "h", "hh")


@dataclass(frozen=True)
class Alarm:
    """One excursion over one limit of a tag, a bad or stale signal, or a silent gateway; `state` NORM is over and seen.

    One of a gateway has no tag; only one of a limit has `value` and `limit_value`.
    """

    id: int
    tag: str | None
    limit: str
    priority: str
    state: str
    active: bool
    raised: datetime
    edge: str | None = None
    area: str | None = None
    equipment: str | None = None
    description: str = ""
    unit: str | None = None
    limit_value: float | None = None
    returned: datetime | None = None
    value: float | None = None
    extreme: float | None = None
    stale: bool = False
    acked: datetime | None = None
    acked_by: str | None = None
    shelved_until: datetime | None = None

    @property
    def of(self) -> str:
        """The tag, or the gateway, that it is of."""
        return self.tag or self.edge or ""


@dataclass(frozen=True)
class Outage:
    """What is out of service: one of tag, equipment (with all below it) and edge; `limit` None: all of its alarms."""

    id: int
    since: datetime
    until: datetime
    reason: str
    active: bool
    tag: str | None = None
    equipment: str | None = None
    edge: str | None = None
    limit: str | None = None
    by_name: str | None = None

    @property
    def of(self) -> str:
        """What it is of."""
        return self.tag or self.equipment or self.edge or ""


@dataclass(frozen=True)
class _Outages:
    items: tuple[Outage, ...]
    next: str | None = None


@dataclass(frozen=True)
class _Alarms:
    items: tuple[Alarm, ...]
    next: str | None = None


class AlarmCalls(Asking):
    """Alarms, and what none are announced of."""

    def alarms(self, *, states: Sequence[str] = OPEN, area: str | None = None, most: int = 2000) -> tuple[Alarm, ...]:
        """Return the newest alarms in these states, at most `most`."""
        return self._one(_Alarms, "alarms", {"state": states, "area": area, "limit": most}).items

    def alarms_over(self, start: datetime, end: datetime, *, most: int = 500) -> tuple[Alarm, ...]:
        """Return the newest alarms of limits that the platform has for [start, end), in any state, at most `most`."""
        return self._one(_Alarms, "alarms", span(start, end) | {"of": LIMITS, "limit": most}).items

    def acknowledge(self, alarm: int, comment: str | None = None) -> Alarm:
        """Say that somebody has seen it. Needs the role operator."""
        body = {"comment": comment} if comment else {}
        return self._send(Alarm, "POST", f"alarms/{alarm}/ack", body)

    def reset(self, alarm: int) -> Alarm:
        """Let go of one that latched. Needs the role operator."""
        return self._send(Alarm, "POST", f"alarms/{alarm}/reset", {})

    def shelve(self, alarm: int, minutes: int, reason: str) -> Alarm:
        """Put it aside for a while, saying why. Needs the role operator."""
        body = {"minutes": minutes, "reason": reason}
        return self._send(Alarm, "POST", f"alarms/{alarm}/shelve", body)

    def outages(self, *, most: int = 100) -> tuple[Outage, ...]:
        """Return what is out of service now, the latest first, at most `most`."""
        return self._one(_Outages, "alarms/out-of-service", {"active": True, "limit": most}).items

    def take_out(self, kind: Literal["tag", "equipment", "edge"], of: str, minutes: float, reason: str) -> Outage:
        """Announce no alarm of it for a while, from now on. Needs the role engineer."""
        body = {kind: of, "minutes": minutes, "reason": reason}
        return self._send(_Outages, "POST", "alarms/out-of-service", body).items[0]

    def put_back(self, outage: int) -> Outage:
        """End an outage before its time. Needs the role engineer."""
        return self._send(Outage, "POST", f"alarms/out-of-service/{outage}/end", {})
