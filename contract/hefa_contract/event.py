"""Events of the plant: what happened, to what, when. One schema per type.

`subject` is what the event speaks of: an equipment path, a tag or a lot. Times are µs since the
epoch, UTC. Masses are kg. A type is added here, with its fields, before anyone sends it.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

import msgspec
from msgspec import Meta

Name = Annotated[str, Meta(min_length=1, max_length=200)]  # of a lot or a sample: what a key of an index can hold

Register = Annotated[float, Meta(ge=-1e15, le=1e15)]


class Event(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", omit_defaults=True):
    """What every event has. `ts` is when it happened, not when it was entered."""

    ts: int
    subject: str

    TYPE: ClassVar[str]

    def body(self) -> dict[str, Any]:
        """The fields beyond type, ts and subject, as plain values."""
        fields: dict[str, Any] = msgspec.to_builtins(self)
        return {key: value for key, value in fields.items() if key not in ("type", "ts", "subject")}


class Lot(Event, frozen=True, kw_only=True, tag="lot"):
    """A lot begins, ends, or moves on (ISA-95 material lot). `parents` are (lot, kg) it was made from.

    A correction is a record of its own: what it says, `kg` and `parents` where they are given, replaces what was said
    of earlier times, and the lot goes on as it was. `kind` is the plant's word for this sort of lot: `feed`, `packed` ….
    """

    lot: Name
    action: Literal["received", "started", "finished", "packed", "consumed", "corrected"]
    material: str
    kg: float | None = None
    parents: list[tuple[Name, float]] = []
    kind: Annotated[str, Meta(max_length=50)] = ""


class LabResult(Event, frozen=True, kw_only=True, tag="lab_result"):
    """A laboratory value. `ts` is the sample's time, `entered` when the result was typed in; the latest entry holds.

    `lot` is the lot that the sample was taken from, where the sample's own name does not say it.
    """

    sample: Name
    quantity: str
    value: float
    unit: str
    entered: int
    method: str = ""
    lot: Annotated[str, Meta(max_length=200)] = ""


class MeterSwap(Event, frozen=True, kw_only=True, tag="meter_swap"):
    """A meter was replaced: `subject` is its counter tag, registers in the counter's unit.

    `withdrawn` takes back what was declared for this `ts`.
    """

    final: Register
    initial: Register
    reason: str = ""
    withdrawn: bool = False


class Shift(Event, frozen=True, kw_only=True, tag="shift"):
    """A shift begins: `subject` is the site, `crew` who takes over."""

    shift: str
    crew: str


class Note(Event, frozen=True, kw_only=True, tag="note"):
    """Words of a person that stay with the readings they speak of, from `ts` to `until` (0: of that moment).

    `note` names the note; another event with the same name and a later `entered` (0: when it came) is its next version.
    """

    text: str
    author: str = ""
    until: int = 0
    kind: Annotated[str, Meta(max_length=50)] = ""
    note: Annotated[str, Meta(max_length=64)] = ""
    entered: int = 0


class Fault(Event, frozen=True, kw_only=True, tag="fault"):
    """A labelled disturbance begins or ends. Severity 0–1."""

    fault: str
    action: Literal["start", "end"]
    severity: float = 0.0


AnyEvent = Lot | LabResult | MeterSwap | Shift | Note | Fault

TYPES: tuple[str, ...] = ("fault", "lab_result", "lot", "meter_swap", "note", "shift")
