"""The messages of one transaction, the answers to them, and their accounts.

Pure bookkeeping: no SQL. Whatever way a reading goes, it is counted here exactly once, so that for each gateway
received = stored + duplicate + conflict + quarantined holds by construction.
"""

import struct
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, NamedTuple, TypeVar

import msgspec
import numpy as np

from hefa_contract.envelope import GOOD, Decoded, Envelope, Events
from hefa_contract.receipt import Rejection
from hefa_contract.rejection import Code, Rejected
from hefa_platform.store.binary_copy import Floats, Ints

_Number = TypeVar("_Number", int, float | None)


class Columns(NamedTuple):
    """The readings of envelopes as arrays, as sent: `tag` is an index of the envelope's tags, `dt` µs after its base.

    NaN is no value.
    """

    tag: Ints
    dt: Ints
    value: Floats
    quality: Ints


def columns(envelopes: Sequence[Envelope]) -> Columns:
    """Turn lists into arrays: of many small envelopes together, of a large one by itself, early and in another thread.

    They may be read-only.
    """
    value = _joined([envelope.value for envelope in envelopes])
    try:
        values = np.frombuffer(struct.pack(f"{len(value)}d", *value))
    except struct.error:  # a null among them
        values = np.array(value, np.float64)
    if all(envelope.quality is None for envelope in envelopes):
        quality = np.full(len(value), GOOD, np.int64)
    else:
        quality = _packed([envelope.quality or [GOOD] * len(envelope.value) for envelope in envelopes])
    return Columns(
        _packed([envelope.tag for envelope in envelopes]),
        _packed([envelope.dt for envelope in envelopes]),
        values,
        quality,
    )


def _packed(lists: Sequence[list[int]]) -> Ints:
    """Integers as an array; `struct` takes a third of the time that numpy needs to look at each of them."""
    numbers = _joined(lists)
    return np.frombuffer(struct.pack(f"{len(numbers)}q", *numbers), np.int64)


def _joined(lists: Sequence[list[_Number]]) -> list[_Number]:
    return lists[0] if len(lists) == 1 else list(chain.from_iterable(lists))


@dataclass(frozen=True, slots=True)
class Arrival:
    """A message as it came, and what the contract says of it: either `decoded` or `rejected`.

    `edge` is the topic's second level, whether or not it is a valid name; `hash` the payload's SHA-256.
    """

    topic: str
    edge: str
    payload: bytes
    hash: bytes
    decoded: Decoded | None = None
    rejected: Rejected | None = None
    columns: Columns | None = None
    """Of `decoded`, where somebody has had the time to make them."""

    @property
    def key(self) -> tuple[str, int] | None:
        """epoch and seq, where they could be read."""
        if self.decoded is not None:
            return self.decoded.message.epoch, self.decoded.message.seq
        if self.rejected is not None and self.rejected.epoch is not None and self.rejected.seq is not None:
            return self.rejected.epoch, self.rejected.seq
        return None

    @property
    def addressed(self) -> bool:
        """Whether the topic names a gateway."""
        return self.rejected is None or self.rejected.code != Code.TOPIC_INVALID

    @property
    def readings(self) -> int:
        """Readings as sent, refused ones included."""
        if self.decoded is None or not isinstance(self.decoded.message, Envelope):
            return 0
        return len(self.decoded.message.value) + len(self.decoded.flaws)


@dataclass(slots=True)
class Outcome:
    """The answer to one message. `finished`: it is in the ledger, never send it again; `rejected` says what was not kept.

    Where `key` is None the message could not be read that far, and `rejected` has its one code.
    """

    key: tuple[str, int] | None
    finished: bool
    rejected: list[Rejection] = field(default_factory=list)
    detail: str = ""


def as_sent(decoded: Decoded, k: int) -> int:
    """The index, as sent, of the k-th reading or event that the contract let pass."""
    return k if decoded.rows is None else decoded.rows[k]


class Refusal(NamedTuple):
    """A reading or event that goes to quarantine; `i` is its index as sent."""

    arrival: Arrival
    i: int
    code: Code
    detail: str
    reading: dict[str, Any]


@dataclass(slots=True)
class Count:
    received: int = 0
    stored: int = 0
    duplicate: int = 0
    conflict: int = 0
    quarantined: int = 0
    undecodable: int = 0
    events: int = 0


class Group:
    """The messages of one transaction, and what is decided about them on the way."""

    def __init__(self, arrivals: Sequence[Arrival], edges: Mapping[str, int]) -> None:
        self.arrivals = arrivals
        self.edge_ids: list[int | None] = [edges.get(a.edge) if a.addressed else None for a in arrivals]
        self.outcomes = [Outcome(arrival.key, finished=False) for arrival in arrivals]
        self.fresh: list[int] = []  # messages whose contents are to be stored
        self.refused_messages: list[int] = []
        self.refusals: list[Refusal] = []
        self.counts: defaultdict[int, Count] = defaultdict(Count)
        self.homeless = 0  # refused messages of no known edge
        self.newest: dict[int, int] = {}

    def is_live(self, n: int) -> bool:
        decoded = self.arrivals[n].decoded
        return decoded is not None and isinstance(decoded.message, Envelope) and decoded.message.lane == "live"

    def accept(self, n: int) -> None:
        """The ledger has it now. What the contract refuses of it goes to quarantine."""
        arrival, outcome = self.arrivals[n], self.outcomes[n]
        outcome.finished = True
        if arrival.decoded is None:
            assert arrival.rejected is not None
            self._refuse_message(n, arrival.rejected.code, arrival.rejected.detail)
            return
        self.fresh.append(n)
        self.counts[self.edge_ids[n] or 0].received += arrival.readings
        is_envelope = isinstance(arrival.decoded.message, Envelope)
        for flaw in arrival.decoded.flaws:
            self._note(n, flaw.i, flaw.code, flaw.detail, flaw.reading, counted=is_envelope)

    def known(self, n: int, hash: bytes) -> None:
        """The ledger had it before: the same message is finished, another one under its key is refused."""
        arrival, outcome = self.arrivals[n], self.outcomes[n]
        if hash == arrival.hash:
            outcome.finished = True
            count = self.counts[self.edge_ids[n] or 0]
            count.received += arrival.readings
            count.duplicate += arrival.readings
        else:
            self._refuse_message(n, Code.EPOCH_REUSE, "another message was accepted under this epoch and seq")

    def unaccountable(self, n: int) -> None:
        """No edge, or no key: nothing for the ledger."""
        arrival = self.arrivals[n]
        self.outcomes[n].finished = arrival.key is not None
        if arrival.rejected is not None:
            self._refuse_message(n, arrival.rejected.code, arrival.rejected.detail)
        else:
            self._refuse_message(n, Code.TOPIC_INVALID, "this gateway is not known, and no more are registered")

    def refuse(self, n: int, k: int, code: Code, detail: str) -> None:
        """Reading `k`, of those the contract let pass, goes to quarantine."""
        decoded = self.arrivals[n].decoded
        assert decoded is not None
        assert isinstance(decoded.message, Envelope)
        envelope = decoded.message
        reading = {
            "tag": envelope.tags[envelope.tag[k]],
            "ts": envelope.base + envelope.dt[k],
            "value": envelope.value[k],
            "quality": GOOD if envelope.quality is None else envelope.quality[k],
        }
        self._note(n, as_sent(decoded, k), code, detail, reading, counted=True)

    def refuse_event(self, n: int, k: int, code: Code, detail: str) -> None:
        """Event `k`, of those the contract let pass, goes to quarantine."""
        decoded = self.arrivals[n].decoded
        assert decoded is not None
        assert isinstance(decoded.message, Events)
        event: dict[str, Any] = msgspec.to_builtins(decoded.message.events[k])
        self._note(n, as_sent(decoded, k), code, detail, {"event": event}, counted=False)

    def count_refused(self, n: int, *, new: bool) -> None:
        """Count a refused message, which is kept in quarantine once."""
        edge_id, arrival = self.edge_ids[n], self.arrivals[n]
        if edge_id is None:
            self.homeless += 1
        elif arrival.decoded is None:
            self.counts[edge_id].undecodable += 1
        else:
            count = self.counts[edge_id]
            count.received += arrival.readings
            if new:
                count.quarantined += arrival.readings
            else:
                count.duplicate += arrival.readings

    def _note(self, n: int, i: int, code: Code, detail: str, reading: dict[str, Any], *, counted: bool) -> None:
        arrival = self.arrivals[n]
        self.refusals.append(Refusal(arrival, i, code, detail, reading))
        self.outcomes[n].rejected.append(Rejection(arrival.key[1] if arrival.key else 0, code, i))
        if counted:
            self.counts[self.edge_ids[n] or 0].quarantined += 1

    def _refuse_message(self, n: int, code: Code, detail: str) -> None:
        key = self.arrivals[n].key
        self.outcomes[n].rejected.append(Rejection(key[1] if key else 0, code))
        self.outcomes[n].detail = detail
        self.refused_messages.append(n)
