"""The messages a gateway sends: readings in columns, a gap, or events.

`encode` writes them; `decode` reads any bytes at all and either returns what is sound, with the flaws
of single readings beside it, or raises `Rejected` for the whole. One fast decoder serves sound
messages; whatever it doubts goes to the exact reader, which knows the codes. Shapes and limits:
contract/README.md. What depends on the clock or the plant model (TS_FUTURE, TAG_FOREIGN …) is the
platform's to judge.
"""

from __future__ import annotations

import math
import re
from typing import Annotated, Any, Literal, TypeGuard

import msgspec

from hefa_contract import strictjson
from hefa_contract.event import TYPES, AnyEvent
from hefa_contract.rejection import Code, Rejected

VERSION = 1
MAX_READINGS = 1_000
MAX_TAGS = 200
MAX_EVENTS = 200
MAX_PAYLOAD = 245_760  # bytes: 240 KiB of a broker packet of 256 KiB
MAX_TAG_NAME = 128
MAX_SEQ = 2**63 - 1
MAX_LOST = 10**12  # readings that one gap may tell of: a sum of many stays a count
MAX_TS = 253_402_300_800_000_000  # µs: year 10000, the end of what every calendar here can say
NEAR = 10**14  # µs, three years from the base: what lies farther away the exact reader judges
GOOD, UNCERTAIN, BAD = 192, 64, 0  # OPC quality: the two top bits of one byte

EPOCH = re.compile(r"[A-Za-z0-9_-]{1,64}")
_TAG_NAME = re.compile(r"[^\x00-\x1f\x7f+#\ud800-\udfff]{1,128}")

Lane = Literal["live", "backfill"]


class Envelope(
    msgspec.Struct, kw_only=True, tag_field="v", tag=VERSION, omit_defaults=True, forbid_unknown_fields=True
):
    """Up to 1,000 readings in columns of equal length n.

    Reading k is `value[k]` of tag `tags[tag[k]]` at `base + dt[k]` (µs since the epoch, UTC), with
    OPC quality `quality[k]`; no `quality` means all good. `made` is when the envelope was closed.
    The bounds of single elements are the fast decoder's; `decode` knows the contract's.
    """

    epoch: str
    seq: int
    lane: Lane
    made: int
    base: int
    tags: list[str]
    tag: list[Annotated[int, msgspec.Meta(ge=0)]]
    dt: list[Annotated[int, msgspec.Meta(ge=-NEAR, le=NEAR)]]
    value: list[float | None]
    quality: list[int] | None = None


class Gap(msgspec.Struct, kw_only=True):
    """Envelopes `from_`…`to` (inclusive) of this epoch will never come; they held about `readings`."""

    epoch: str
    seq: int
    made: int
    from_: int
    to: int
    readings: int
    reason: str


class Events(msgspec.Struct, kw_only=True, tag_field="v", tag=VERSION):
    """Up to 200 events of the plant, in the same sequence as the readings."""

    epoch: str
    seq: int
    made: int
    events: list[AnyEvent]


Message = Envelope | Gap | Events


class Flaw(msgspec.Struct, frozen=True):
    """One refused reading or event of an otherwise sound message.

    `i` is its index as sent, `reading` what was sent, fit to be kept as JSON.
    """

    i: int
    code: Code
    detail: str
    reading: dict[str, Any]


class Decoded(msgspec.Struct, frozen=True):
    """What is sound of a message, and what is not.

    `rows[k]` is the index, as sent, of the k-th kept reading or event; None where nothing was left out.
    """

    message: Message
    flaws: list[Flaw] = []
    rows: list[int] | None = None


def encode(message: Message) -> bytes:
    """Write a message as UTF-8 JSON. The caller keeps the limits; `decode` enforces them."""
    if isinstance(message, Gap):
        return _encoder.encode(
            {
                "v": VERSION,
                "epoch": message.epoch,
                "seq": message.seq,
                "made": message.made,
                "gap": {
                    "from": message.from_,
                    "to": message.to,
                    "readings": message.readings,
                    "reason": message.reason,
                },
            }
        )
    return _encoder.encode(message)


def decode(payload: bytes) -> Decoded:
    """Read a message of the data or event channel.

    Raises:
        Rejected: the whole message is refused; `epoch` and `seq` are set where they could be read.
            Nothing else is ever raised, whatever the bytes.
    """
    if len(payload) > MAX_PAYLOAD:
        raise Rejected(Code.PAYLOAD_TOO_LARGE, f"{len(payload)} bytes, at most {MAX_PAYLOAD}")
    envelope = _fast(payload)
    if envelope is not None:
        return Decoded(envelope)
    return _exact(strictjson.loads(payload))


def judge(document: Any) -> Decoded:
    """Like `decode`, for a message of plain Python values that came another way than as JSON. Raises Rejected."""
    return _exact(document)


def is_tag_name(name: str) -> bool:
    """Tell whether a tag may be called so: 1–128 characters, no control characters, `+` or `#`."""
    return _TAG_NAME.fullmatch(name) is not None


def correlation(epoch: str, seq: int) -> bytes:
    """MQTT correlation data of a message: lets an answer name a message it could not read."""
    return f"{epoch}:{seq}".encode()


def parse_correlation(data: bytes | None) -> tuple[str, int] | None:
    """Take correlation data apart; None for anything that is not ours."""
    if data is None or len(data) > 128:
        return None
    found = _CORRELATION.fullmatch(data)
    return (found[1].decode(), int(found[2])) if found else None


_CORRELATION = re.compile(rb"([A-Za-z0-9_-]{1,64}):([0-9]{1,19})")
_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Envelope)
_TEXTS = 12  # in every envelope besides its tags: ten keys, the texts of epoch and lane
_known_names: set[str] = set()  # found to be tag names, at most so many:
_MAX_KNOWN_NAMES = 65_536


def _fast(payload: bytes) -> Envelope | None:
    """Decode an envelope without a flaw, or None where the exact reader must look."""
    # The version tags the struct, which would do without it. Where nothing is escaped these bytes can only be its key.
    if b"\\" in payload or b'"v":' not in payload:
        return None
    try:
        envelope = _decoder.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    n, quality = len(envelope.value), envelope.quality
    # The fast decoder keeps the last of equal keys. Where nothing is escaped every text takes two quotes, no key is
    # missing and unknown fields are refused: quotes beyond those of what was decoded are of a key that was there twice.
    if payload.count(b'"') != 2 * (_TEXTS + len(envelope.tags) + (quality is not None)):
        return None
    sound = (
        EPOCH.fullmatch(envelope.epoch) is not None
        and 0 <= envelope.seq <= MAX_SEQ
        and 0 <= envelope.made <= MAX_TS
        and 0 < n <= MAX_READINGS
        and len(envelope.tag) == n
        and len(envelope.dt) == n
        and len(envelope.tags) <= MAX_TAGS
        and max(envelope.tag) < len(envelope.tags)
        and NEAR <= envelope.base <= MAX_TS - NEAR
        and (_known_names.issuperset(envelope.tags) or _are_names(envelope.tags))
        and (quality is None or (len(quality) == n and min(quality) >= 0 and max(quality) <= 255))
    )
    if not sound:
        return None
    if _has_null(envelope.value) and (
        quality is None or any(v is None and q >= UNCERTAIN for v, q in zip(envelope.value, quality, strict=True))
    ):
        return None
    return envelope


def _are_names(tags: list[str]) -> bool:
    """Tell whether tags may be called so, and remember those that may: gateways speak of the same ones all the time."""
    if not all(map(is_tag_name, tags)):
        return False
    if len(_known_names) + len(tags) > _MAX_KNOWN_NAMES:
        _known_names.clear()
    _known_names.update(tags)
    return True


def _has_null(value: list[float | None]) -> bool:
    """Like `None in value`, but sooner: nothing is compared, only a null cannot be added."""
    try:
        sum(value)  # type: ignore[arg-type]
    except TypeError:
        return True
    return False


def _exact(document: Any) -> Decoded:
    """Judge a parsed message field by field."""
    if not isinstance(document, dict):
        raise Rejected(Code.SCHEMA, "the message is not a JSON object")
    epoch, seq = document.get("epoch"), document.get("seq")
    known_epoch = epoch if isinstance(epoch, str) and EPOCH.fullmatch(epoch) else None
    known_seq = seq if _is_int(seq) and 0 <= seq <= MAX_SEQ else None
    if known_epoch is None or known_seq is None:
        known_epoch = known_seq = None

    def refuse(code: Code, detail: str) -> Rejected:
        return Rejected(code, detail, known_epoch, known_seq)

    version = document.get("v")
    if not _is_int(version):
        raise refuse(Code.SCHEMA, "/v: the version number is missing or no integer")
    if version != VERSION:
        raise refuse(Code.UNSUPPORTED_VERSION, f"/v: version {_show(version)} is not known here; send {VERSION}")
    if known_epoch is None or known_seq is None:
        raise refuse(Code.SCHEMA, f"/epoch must match {EPOCH.pattern} and /seq be an integer from 0 to 2^63-1")
    if not (_is_int(document.get("made")) and 0 <= document["made"] <= MAX_TS):
        raise refuse(Code.SCHEMA, "/made must be µs since the epoch, an integer")
    try:
        if "gap" in document:
            return Decoded(_gap(document))
        if "events" in document:
            return _events(document)
        return _readings(document)
    except _Fault as fault:
        raise refuse(Code.SCHEMA, fault.detail) from None


class _Fault(Exception):
    """A SCHEMA fault of the whole message, to be raised with its epoch and seq."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


def _gap(document: dict[str, Any]) -> Gap:
    gap = document["gap"]
    if not isinstance(gap, dict):
        raise _Fault("/gap is not an object")
    first, last, readings, reason = gap.get("from"), gap.get("to"), gap.get("readings"), gap.get("reason")
    if not (_is_int(first) and _is_int(last) and 0 <= first <= last <= MAX_SEQ):
        raise _Fault("/gap/from and /gap/to must be integers, 0 <= from <= to")
    if not (_is_int(readings) and 0 <= readings <= MAX_LOST):
        raise _Fault("/gap/readings must be a count, at most 10^12")
    if not isinstance(reason, str):
        raise _Fault("/gap/reason must be a string")
    return Gap(
        epoch=document["epoch"],
        seq=document["seq"],
        made=document["made"],
        from_=first,
        to=last,
        readings=readings,
        reason=_plain(reason),
    )


def _events(document: dict[str, Any]) -> Decoded:
    sent = document["events"]
    if not isinstance(sent, list) or not 0 < len(sent) <= MAX_EVENTS:
        raise _Fault(f"/events must be a list of 1 to {MAX_EVENTS} events")
    events: list[AnyEvent] = []
    rows: list[int] = []
    flaws: list[Flaw] = []
    for i, item in enumerate(sent):
        fault = _unfit(item)
        if fault is None:
            try:
                event: AnyEvent = msgspec.convert(item, AnyEvent)
            except msgspec.ValidationError as error:
                fault = (Code.SCHEMA, f"/events/{i}: {_plain(str(error))}; known types are {', '.join(TYPES)}")
            else:
                if 0 <= event.ts <= MAX_TS and 0 < len(event.subject) <= 200:
                    events.append(event)
                    rows.append(i)
                    continue
                fault = (Code.SCHEMA, f"/events/{i}: ts must be µs since the epoch, subject 1 to 200 characters")
        flaws.append(Flaw(i, fault[0], fault[1], {"event": _show(item)}))
    message = Events(epoch=document["epoch"], seq=document["seq"], made=document["made"], events=events)
    return Decoded(message, flaws, rows if flaws else None)


def _readings(document: dict[str, Any]) -> Decoded:
    lane, base, quality = document.get("lane"), document.get("base"), document.get("quality")
    if lane not in ("live", "backfill"):
        raise _Fault("/lane must be 'live' or 'backfill'")
    if not _is_int(base) or abs(base) > MAX_TS:
        raise _Fault("/base must be µs since the epoch, an integer")
    columns: dict[str, list[Any]] = {}
    for key in ("tags", "tag", "dt", "value"):
        column = document.get(key)
        if not isinstance(column, list):
            raise _Fault(f"/{key} must be a list")
        columns[key] = column
    tags, n = columns["tags"], len(columns["value"])
    if len(tags) > MAX_TAGS:
        raise _Fault(f"/tags holds {len(tags)} names, at most {MAX_TAGS}")
    if not 0 < n <= MAX_READINGS:
        raise _Fault(f"/value holds {n} readings, allowed are 1 to {MAX_READINGS}")
    if quality is not None and not isinstance(quality, list):
        raise _Fault("/quality must be a list or be left out")
    lengths = {len(columns["tag"]), len(columns["dt"]), n} | ({len(quality)} if quality is not None else set())
    if len(lengths) != 1:
        raise _Fault("/tag, /dt, /value and /quality must be of one length")

    flaws: list[Flaw] = []
    kept: list[int] = []
    for i in range(n):
        row = (columns["tag"][i], columns["dt"][i], columns["value"][i], GOOD if quality is None else quality[i])
        fault = _judge(tags, base, *row)
        if fault is None:
            kept.append(i)
        else:
            flaws.append(Flaw(i, fault[0], fault[1], _as_sent(tags, base, *row)))
    envelope = Envelope(
        epoch=document["epoch"],
        seq=document["seq"],
        lane=lane,
        made=document["made"],
        base=base,
        # A name that may not be used is of no reading that is left; it is emptied, so that indices stay.
        tags=[name if isinstance(name, str) and is_tag_name(name) else "" for name in tags],
        tag=[columns["tag"][i] for i in kept],
        dt=[columns["dt"][i] for i in kept],
        value=[None if columns["value"][i] is None else float(columns["value"][i]) for i in kept],
        quality=None if quality is None else [quality[i] for i in kept],
    )
    return Decoded(envelope, flaws, kept if flaws else None)


def _judge(tags: list[Any], base: int, tag: Any, dt: Any, value: Any, quality: Any) -> tuple[Code, str] | None:
    """Say what is wrong with one reading, or None."""
    if not _is_int(tag) or not 0 <= tag < len(tags):
        return Code.SCHEMA, f"tag must be an index into /tags (0 to {len(tags) - 1})"
    if not isinstance(tags[tag], str) or not is_tag_name(tags[tag]):
        return Code.SCHEMA, f"a tag's name is 1 to {MAX_TAG_NAME} characters without control characters, + and #"
    if not _is_int(dt):
        return Code.TS_NOT_INTEGER, "dt must be an integer, µs after base"
    if base + dt < 0:
        return Code.TS_TOO_OLD, "the time is before 1970"
    if base + dt > MAX_TS:
        return Code.TS_FUTURE, "the time is after the year 9999"
    if not _is_int(quality) or not 0 <= quality <= 255:
        return Code.SCHEMA, "quality is one byte: 192 good, 64 uncertain, 0 bad"
    if value is None:
        return None if quality < UNCERTAIN else (Code.VALUE_TYPE, "null is allowed with quality 0 only")
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return Code.VALUE_TYPE, "value must be a number (a state is its numeric code)"
    try:
        finite = math.isfinite(float(value))
    except OverflowError:
        finite = False
    return None if finite else (Code.VALUE_RANGE, "value is beyond double precision")


def _as_sent(tags: list[Any], base: int, tag: Any, dt: Any, value: Any, quality: Any) -> dict[str, Any]:
    name = tags[tag] if _is_int(tag) and 0 <= tag < len(tags) else tag
    ts = base + dt if _is_int(dt) else dt
    return {
        "tag": _plain(name)[:MAX_TAG_NAME] if isinstance(name, str) else _show(name),
        "ts": _show(ts),
        "value": _show(value),
        "quality": _show(quality),
    }


def _unfit(item: Any) -> tuple[Code, str] | None:
    """Find what no JSON column can hold: numbers beyond double, NUL characters, lone surrogates."""
    waiting = [item]
    while waiting:
        found = waiting.pop()
        if isinstance(found, dict):
            waiting.extend(found.keys())
            waiting.extend(found.values())
        elif isinstance(found, list):
            waiting.extend(found)
        elif isinstance(found, float) and not math.isfinite(found):
            return Code.VALUE_RANGE, "a number is beyond double precision"
        elif isinstance(found, int) and abs(found) > MAX_SEQ:
            return Code.VALUE_RANGE, "an integer is beyond 64 bits"
        elif isinstance(found, str) and _plain(found) != found:
            return Code.SCHEMA, "a text holds a NUL character or half a surrogate pair"
    return None


def _is_int(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def _show(value: Any) -> Any:
    """A value as it can be kept in JSON: plain where it is plain, else its text, shortened."""
    if value is None or isinstance(value, bool) or (_is_int(value) and abs(value) <= MAX_SEQ):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    return ascii(value)[:500]


def _plain(text: str) -> str:
    return text.replace("\x00", "\ufffd").encode("utf-8", "replace").decode("utf-8")
