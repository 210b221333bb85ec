"""The one door to the platform: its REST API as typed calls, made with the key of the person who asks.

Hides HTTP, paging, retries and the wire's JSON. Every failure is one of four: `Unavailable` (wait), `Denied` (the
key), `Missing` (no such thing) or `Refused` (the question; its text tells what to change). Nothing is cached but the
catalogue (assets and tags) and the key's own role, for seconds and per key, because two keys may see different sites.

One module per noun: its dataclasses, and a class of its calls that `Caller` inherits. A new noun is a module and a
base class here.
"""

from hefa_apps.client.access import ROLES, AccessCalls, Me
from hefa_apps.client.alarms import Alarm, AlarmCalls, Outage
from hefa_apps.client.connection import Asking, Check, Connection, Ready, Stream
from hefa_apps.client.failures import Denied, Missing, Refused, Unavailable
from hefa_apps.client.intake import Edge, Freshness, IntakeCalls, Pipeline
from hefa_apps.client.plant import Catalogue, Limits, Meter, Node, PlantCalls, Root, Tag
from hefa_apps.client.quarantine import Decided, QuarantineCalls, Refusal, Refusals
from hefa_apps.client.readings import Latest, ReadingCalls, Series, SeriesAnswer
from hefa_apps.client.records import Lot, Note, Part, RecordCalls, Result, Trace, TraceEdge, TraceNode
from hefa_apps.client.settings import Setting, SettingCalls
from hefa_apps.client.use import Consumption, Use, UseCalls

__all__ = [
    "ROLES",
    "Alarm",
    "Asking",
    "Caller",
    "Catalogue",
    "Check",
    "Consumption",
    "Decided",
    "Denied",
    "Edge",
    "Freshness",
    "Latest",
    "Limits",
    "Lot",
    "Me",
    "Meter",
    "Missing",
    "Node",
    "Note",
    "Outage",
    "Part",
    "Pipeline",
    "Platform",
    "Ready",
    "Refusal",
    "Refusals",
    "Refused",
    "Result",
    "Root",
    "Series",
    "SeriesAnswer",
    "Setting",
    "Stream",
    "Tag",
    "Trace",
    "TraceEdge",
    "TraceNode",
    "Unavailable",
    "Use",
]


class Caller(
    PlantCalls, ReadingCalls, UseCalls, IntakeCalls, QuarantineCalls, AccessCalls, AlarmCalls, SettingCalls, RecordCalls
):
    """The platform for one key."""


class Platform(Connection):
    """The platform at one address; the portal has one of it."""

    def caller(self, key: str) -> Caller:
        """Return the API as seen with `key`."""
        return Caller(self, key)
