"""The answers of ingest and the retained states: ack, err, ingest state, gateway status.

A PUBACK is no receipt; an `Ack` is, for it is sent after COMMIT.
"""

from __future__ import annotations

from typing import TypeVar

import msgspec

from hefa_contract.rejection import Code, Rejected

VERSION = 1


class Rejection(msgspec.Struct, frozen=True, omit_defaults=True):
    """One refusal inside an ack. Without `i` the whole envelope was refused."""

    seq: int
    code: Code
    i: int | None = None


class Ack(msgspec.Struct, frozen=True, kw_only=True):
    """`ok`: every finished seq of `epoch`, readings in quarantine included. `rejected` informs."""

    v: int = VERSION
    epoch: str
    ok: list[int]
    rejected: list[Rejection] = []


class Err(msgspec.Struct, frozen=True, kw_only=True):
    """Answer to a message of which epoch and seq could not be read; retires it by correlation data."""

    v: int = VERSION
    correlation: str | None
    code: Code
    detail: str


class IngestState(msgspec.Struct, frozen=True, kw_only=True):
    """Retained, also the last will: does this worker take data, and into which incarnation of the database?"""

    v: int = VERSION
    accepting: bool
    incarnation: str
    ts: int


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """Retained, also the last will: is the gateway connected? `ts` in µs."""

    v: int = VERSION
    online: bool
    ts: int


_encoder = msgspec.json.Encoder()


def encode(answer: Ack | Err | IngestState | Status) -> bytes:
    """Write an answer as JSON bytes."""
    return _encoder.encode(answer)


Answer = TypeVar("Answer", Ack, Err, IngestState, Status)


def _decode(kind: type[Answer], payload: bytes) -> Answer:
    try:
        answer = msgspec.json.decode(payload, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Rejected(Code.SCHEMA, f"not a {kind.__name__}: {error}") from None
    if answer.v != VERSION:
        raise Rejected(Code.UNSUPPORTED_VERSION, f"version {answer.v} of {kind.__name__}, known is {VERSION}")
    return answer


def decode_ack(payload: bytes) -> Ack:
    """Read an ack. Raises Rejected (SCHEMA, UNSUPPORTED_VERSION)."""
    return _decode(Ack, payload)


def decode_err(payload: bytes) -> Err:
    """Read an err. Raises Rejected (SCHEMA, UNSUPPORTED_VERSION)."""
    return _decode(Err, payload)


def decode_ingest_state(payload: bytes) -> IngestState:
    """Read a worker's state. Raises Rejected (SCHEMA, UNSUPPORTED_VERSION)."""
    return _decode(IngestState, payload)


def decode_status(payload: bytes) -> Status:
    """Read a gateway's status. Raises Rejected (SCHEMA, UNSUPPORTED_VERSION)."""
    return _decode(Status, payload)
