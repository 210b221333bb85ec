"""What people and gateways put on record: lots with their genealogy and laboratory results, notes, shifts."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Literal
from urllib.parse import quote

from pydantic import Field

from hefa_apps.client.connection import Asking, span


@dataclass(frozen=True)
class Part:
    """A mass of one lot in another, kg REO."""

    lot: str
    kg: float | None = None


@dataclass(frozen=True)
class Result:
    """What the laboratory found in a sample: when it was taken, and when the result was entered."""

    quantity: str
    value: float
    unit: str
    sampled: datetime
    entered: datetime
    sample: str = ""
    method: str | None = None


@dataclass(frozen=True)
class Lot:
    """A lot of material; masses are kg REO. `state`: received started finished packed consumed named."""

    lot: str
    kind: str
    material: str
    state: str
    equipment: str | None = None
    kg: float | None = None
    begun: datetime | None = None
    ended: datetime | None = None
    taken_kg: float | None = None
    left_kg: float | None = None
    parents: tuple[Part, ...] = ()
    children: tuple[Part, ...] | None = None
    results: tuple[Result, ...] = ()
    corrected: bool = False


@dataclass(frozen=True)
class TraceNode:
    """A lot met by a trace; `kg` the mass that both have in common, `weight` its share of the traced lot."""

    lot: str
    kind: str
    material: str
    depth: int
    kg: float | None
    weight: float
    stays: float
    end: bool


@dataclass(frozen=True)
class TraceEdge:
    """What went from a lot into another, kg REO as booked."""

    parent: str
    child: str
    kg: float | None


@dataclass(frozen=True)
class Trace:
    """The genealogy of one lot; `sum` is 1 when every part of it is placed."""

    lot: str
    dir: str
    depth: int
    kg: float | None
    nodes: tuple[TraceNode, ...]
    edges: tuple[TraceEdge, ...]
    sum: float
    cut: bool
    cycle: bool


@dataclass(frozen=True)
class Note:
    """What somebody said about a tag, a piece of equipment or a lot, over a range; `to` None: at an instant."""

    note: str
    subject: str
    from_: Annotated[datetime, Field(alias="from")]
    text: str
    entered: datetime
    to: datetime | None = None
    kind: str | None = None
    author: str | None = None
    by: str | None = None
    version: int = 1


@dataclass(frozen=True)
class _Event:
    ts: datetime
    body: dict[str, Any]


class RecordCalls(Asking):
    """Lots, notes and shifts."""

    def lots(
        self,
        *,
        start: datetime | None = None,
        end: datetime | None = None,
        state: Sequence[str] = (),
        kind: str | None = None,
    ) -> list[Lot]:
        """Return lots, the latest begun first; with a range those that were in work in it."""
        asked = {"from": start.isoformat() if start else None, "to": end.isoformat() if end else None}
        return self._all(Lot, "lots", asked | {"state": state, "kind": kind})

    def lot(self, name: str) -> Lot:
        """Return one lot. Raises `Missing`."""
        return self._one(Lot, f"lots/{quote(name, safe='')}", {})

    def trace(self, name: str, direction: Literal["back", "forward"]) -> Trace:
        """Return where a lot came from or went. Raises `Missing`."""
        return self._one(Trace, f"lots/{quote(name, safe='')}/trace", {"dir": direction})

    def notes(
        self, start: datetime, end: datetime, *, kind: str | None = None, subjects: Sequence[str] = ()
    ) -> list[Note]:
        """Return the notes that speak of a time in [start, end), the latest first."""
        return self._all(Note, "notes", span(start, end) | {"kind": kind, "subject": subjects})

    def leave_note(
        self, subject: str, start: datetime, end: datetime | None, text: str, kind: str, author: str | None = None
    ) -> Note:
        """Leave a note. Needs the role operator."""
        body = {"subject": subject, "from": start, "text": text, "kind": kind}
        body |= {"to": end} if end else {}
        return self._send(Note, "POST", "notes", body | ({"author": author} if author else {}))

    def edit_note(self, note: str, text: str, author: str | None = None) -> Note:
        """Say it anew; what it said before stays readable. Needs the role operator."""
        body = {"text": text} | ({"author": author} if author else {})
        return self._send(Note, "POST", f"notes/{quote(note, safe='')}", body)

    def crews(self, start: datetime, end: datetime) -> list[tuple[datetime, str]]:
        """Return when a crew took over in [start, end), and which, in order of time."""
        found = self._all(_Event, "events", span(start, end) | {"type": "shift"})
        return sorted((event.ts, str(event.body.get("crew", ""))) for event in found)
