"""Golden messages, and the promise that no input crashes the decoder."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hefa_contract import envelope as wire
from hefa_contract.envelope import Decoded, Envelope, Events, Gap, correlation, decode, encode, parse_correlation
from hefa_contract.rejection import Code, Rejected

EXAMPLES = Path(__file__).parents[2] / "contract" / "examples"
GOOD = sorted((EXAMPLES / "good").glob("*.json"))
BAD = sorted((EXAMPLES / "bad").glob("*.json"))


def test_the_examples_are_there() -> None:
    assert len(GOOD) >= 8
    assert len(BAD) >= 40


@pytest.mark.parametrize("path", GOOD, ids=lambda path: path.stem)
def test_a_good_message_is_decoded_whole_and_survives_the_round_trip(path: Path) -> None:
    decoded = decode(path.read_bytes())
    assert decoded.flaws == []
    assert decoded.rows is None
    assert decode(encode(decoded.message)) == decoded


@pytest.mark.parametrize("path", BAD, ids=lambda path: path.stem)
def test_a_bad_message_is_refused_with_the_code_in_its_name(path: Path) -> None:
    code, _, index = path.stem.partition("--")[0].partition("@")
    payload = path.read_bytes()
    if index:
        decoded = decode(payload)
        assert [(flaw.i, flaw.code) for flaw in decoded.flaws] == [(int(index), Code(code))]
        assert decoded.rows is not None
        assert int(index) not in decoded.rows
        assert decoded.flaws[0].detail
        # A flaw goes into a JSON column as it is: no NUL, no half surrogate, no infinity.
        kept = json.dumps(decoded.flaws[0].reading, allow_nan=False)
        assert "\\u0000" not in kept
        kept.encode("utf-8")
    else:
        with pytest.raises(Rejected) as caught:
            decode(payload)
        assert caught.value.code == code
        assert caught.value.detail


def test_a_refused_message_names_epoch_and_seq_where_they_can_be_read() -> None:
    for name, known in (
        ("UNSUPPORTED_VERSION--two", True),
        ("SCHEMA--lane", True),
        ("SCHEMA--bad-epoch", False),
        ("JSON_SYNTAX--cut-off", False),
    ):
        with pytest.raises(Rejected) as caught:
            decode((EXAMPLES / "bad" / f"{name}.json").read_bytes())
        expected = ("7c1f0e6a2b9d4c55", 48211) if known else (None, None)
        assert (caught.value.epoch, caught.value.seq) == expected, name


def test_a_reading_left_out_keeps_the_sent_index_of_the_others() -> None:
    decoded = decode((EXAMPLES / "bad" / "VALUE_TYPE@1--text.json").read_bytes())
    assert isinstance(decoded.message, Envelope)
    assert decoded.rows == [0, 2]
    assert decoded.message.value == [3.021, 1.0]
    assert decoded.flaws[0].reading == {
        "tag": "A2-SX.SXA.MS-A01.ph",
        "ts": 1795304452000000,
        "value": "'on'",
        "quality": 192,
    }


names = st.text(min_size=1, max_size=20).filter(wire.is_tag_name)
numbers = st.floats(allow_nan=False, allow_infinity=False)


@st.composite
def envelopes(draw: st.DrawFn) -> Envelope:
    n = draw(st.integers(1, 30))
    tags = draw(st.lists(names, min_size=1, max_size=5))
    quality = draw(st.one_of(st.none(), st.lists(st.integers(0, 255), min_size=n, max_size=n)))
    value: list[float | None] = draw(st.lists(numbers, min_size=n, max_size=n))
    if quality is not None:
        value = [None if q < 64 and draw(st.booleans()) else v for v, q in zip(value, quality, strict=True)]
    # As gateways send them, which is what the fast reader takes, or anywhere.
    if draw(st.booleans()):
        base, times = draw(st.integers(wire.NEAR, wire.MAX_TS - wire.NEAR)), st.integers(-wire.NEAR, wire.NEAR)
    else:
        base, times = draw(st.integers(0, wire.MAX_TS // 2)), st.integers(0, wire.MAX_TS // 2)
    return Envelope(
        epoch=draw(st.from_regex(wire.EPOCH, fullmatch=True)),
        seq=draw(st.integers(0, wire.MAX_SEQ)),
        lane=draw(st.sampled_from(["live", "backfill"])),
        made=draw(st.integers(0, wire.MAX_TS)),
        base=base,
        tags=tags,
        tag=draw(st.lists(st.integers(0, len(tags) - 1), min_size=n, max_size=n)),
        dt=draw(st.lists(times, min_size=n, max_size=n)),
        value=value,
        quality=quality,
    )


@pytest.mark.parametrize("doubled", [*wire.Envelope.__struct_fields__, "v"])
@pytest.mark.parametrize("missing", ["", *wire.Envelope.__struct_fields__, "v"])
@pytest.mark.parametrize("epoch", ["7c1f0e6a2b9d4c55", "v"])
def test_a_key_that_is_there_twice_is_refused_whatever_else_is_missing(doubled: str, missing: str, epoch: str) -> None:
    sound = Envelope(
        epoch=epoch, seq=1, lane="live", made=1, base=1, tags=["v"], tag=[0], dt=[0], value=[1.0], quality=[64]
    )
    columns = json.loads(encode(sound))
    keys = [key for key in columns if key not in (missing, doubled)] + [doubled, doubled]
    payload = "{" + ",".join(f"{json.dumps(key)}:{json.dumps(columns[key])}" for key in keys) + "}"
    with pytest.raises(Rejected):
        decode(payload.encode())


@pytest.mark.parametrize("base", [wire.MAX_TS + 1, -wire.MAX_TS - 1, 2**63, 10**20, -(10**20)])
def test_a_base_beyond_all_calendars_is_refused_though_its_readings_are_not(base: int) -> None:
    """As arrays `base` and `dt` have 64 bits each, whatever their sum is."""
    message = Envelope(
        epoch="e", seq=1, lane="live", made=1, base=base, tags=["a"], tag=[0], dt=[5 - base], value=[1.0]
    )
    with pytest.raises(Rejected, match="/base"):
        decode(encode(message))


@pytest.mark.parametrize("dt", [0, wire.NEAR, -wire.NEAR, wire.NEAR + 1, -wire.NEAR - 1])
@pytest.mark.parametrize("off", [-1, 0, 1])
@pytest.mark.parametrize("base", [0, wire.NEAR, wire.MAX_TS - wire.NEAR, wire.MAX_TS])
def test_the_first_and_the_last_time_are_told_from_those_beyond(base: int, off: int, dt: int) -> None:
    """Bounds of the fast reader; 1970 and the year 10000 are those of both."""
    message = Envelope(
        epoch="e", seq=1, lane="live", made=1, base=base + off, tags=["a"], tag=[0, 0], dt=[dt, -off], value=[1.0, 2.0]
    )
    if abs(message.base) > wire.MAX_TS:
        with pytest.raises(Rejected, match="/base"):
            decode(encode(message))
        return
    ts = message.base + dt
    expected = [Code.TS_TOO_OLD] if ts < 0 else [Code.TS_FUTURE] if ts > wire.MAX_TS else []
    assert [flaw.code for flaw in decode(encode(message)).flaws] == expected


def test_a_name_that_may_not_be_is_refused_each_time_and_others_are_not_remembered_for_ever() -> None:
    def decoded(tags: list[str]) -> Decoded:
        base = wire.NEAR
        return decode(
            encode(Envelope(epoch="e", seq=1, lane="live", made=1, base=base, tags=tags, tag=[1], dt=[0], value=[1.0]))
        )

    for _ in range(3):
        assert decoded(["fine", "plant/+"]).flaws[0].code == Code.SCHEMA
        assert decoded(["plant/+", "fine"]).flaws == []
    for k in range(0, wire._MAX_KNOWN_NAMES + 1_000, wire.MAX_TAGS):
        assert decoded([f"tag-{n}" for n in range(k, k + wire.MAX_TAGS)]).flaws == []
        assert len(wire._known_names) <= wire._MAX_KNOWN_NAMES
    assert decoded(["fine", "plant/+"]).flaws[0].code == Code.SCHEMA


@given(envelopes())
def test_every_sound_envelope_survives_the_round_trip(message: Envelope) -> None:
    assert decode(encode(message)) == Decoded(message)


@given(envelopes())
def test_the_fast_and_the_exact_reader_agree(message: Envelope) -> None:
    payload = encode(message)
    escaped = b'{"\\u0078":0,' + payload[1:]  # an unknown, escaped key: only the exact reader takes it
    assert decode(escaped) == decode(payload)


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
documents = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4)
)


@st.composite
def near_misses(draw: st.DrawFn) -> bytes:
    """A sound message with something changed: any field by any value, any bytes cut out or put in."""
    base = json.loads(draw(st.sampled_from(GOOD)).read_bytes())
    for key in draw(st.lists(st.sampled_from(sorted(base)), max_size=2)):
        base[key] = draw(documents)
    payload = bytearray(json.dumps(base).encode("utf-8", "surrogatepass"))
    if draw(st.booleans()):
        at = draw(st.integers(0, len(payload)))
        payload[at : at + draw(st.integers(0, 4))] = draw(st.binary(max_size=4))
    return bytes(payload)


@settings(max_examples=400)
@given(near_misses() | st.binary(max_size=200))
def test_no_input_crashes_the_decoder(payload: bytes) -> None:
    refusal = ""
    try:
        decoded = decode(payload)
    except Rejected as rejected:
        refusal = rejected.detail
    if refusal:
        # The words go into a text column: no NUL, no half surrogate.
        assert "\x00" not in refusal
        refusal.encode("utf-8")
        return
    message = decoded.message
    if isinstance(message, Envelope):
        n = len(message.value)
        assert n == len(message.tag) == len(message.dt) == len(message.quality or message.value)
        assert n + len(decoded.flaws) <= wire.MAX_READINGS
        assert all(0 <= message.base + dt <= wire.MAX_TS for dt in message.dt)
    msgspec.json.encode([flaw.reading for flaw in decoded.flaws])


def test_gap_and_events_are_told_apart() -> None:
    gap = decode((EXAMPLES / "good" / "gap.json").read_bytes()).message
    events = decode((EXAMPLES / "good" / "events.json").read_bytes()).message
    assert isinstance(gap, Gap)
    assert (gap.from_, gap.to, gap.readings) == (48000, 48210, 105500)
    assert isinstance(events, Events)
    assert [type(event).__name__ for event in events.events] == [
        "Lot",
        "LabResult",
        "MeterSwap",
        "Shift",
        "Note",
        "Fault",
    ]
    assert events.events[2].body() == {"final": 1234567.8, "initial": 0.0, "reason": "calibration"}


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (correlation("a1", 7), ("a1", 7)),
        (b"a1:7:8", None),
        (b"a b:7", None),
        (b"a1:-7", None),
        (b"\xff:1", None),
        (b"", None),
        (None, None),
        (b"a" * 200 + b":1", None),
    ],
)
def test_correlation_data(data: bytes | None, expected: tuple[str, int] | None) -> None:
    assert parse_correlation(data) == expected
