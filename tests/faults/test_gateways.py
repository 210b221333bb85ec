"""Gateways that do what no gateway should: each has its exact answer, and the neighbours notice nothing."""

from __future__ import annotations

import json
import time
from typing import Any, NamedTuple

import pytest

from hefa_contract.envelope import MAX_PAYLOAD, MAX_TS

EDGE, NEIGHBOUR = "gw-a3", "gw-a4"
FINISHED: list[tuple[str, int | None]] = []  # acknowledged, and nothing refused


class Case(NamedTuple):
    """A message, and what is answered: (code, i) of what an ack refuses, or the one code of an err."""

    payload: bytes
    answer: list[tuple[str, int | None]] | str
    qos: int = 1
    retain: bool = False


class Maker:
    """Makes the cases: an otherwise sound envelope of one reading a second, with some fields changed."""

    def __init__(self, tag: str, foreign: str) -> None:
        self.tag, self.foreign, self.now = tag, foreign, time.time_ns() // 1000
        self._n = 0

    def fields(self, **changes: Any) -> dict[str, Any]:
        """Times are of its own, so that no case meets the readings of another."""
        self._n += 1
        base = self.now - self._n * 1_000_000
        sound = {"v": 1, "epoch": f"c{self._n}", "seq": self._n, "lane": "live", "made": self.now, "base": base}
        return {**sound, "tags": [self.tag], "tag": [0], "dt": [0], "value": [1.5]} | changes

    def __call__(self, answer: list[tuple[str, int | None]] | str, qos: int = 1, **changes: Any) -> Case:
        return Case(json.dumps(self.fields(**changes)).encode(), answer, qos)

    def of_size(self, size: int) -> bytes:
        payload = json.dumps(self.fields()).encode()
        return payload + b" " * (size - len(payload))

    def text(self, old: str, new: str) -> bytes:
        """A sound envelope with a piece of its text replaced by what `json` would not write."""
        return json.dumps(self.fields()).replace(old, new, 1).encode()

    def event(self, **fields: Any) -> dict[str, Any]:
        sound = {"type": "note", "ts": self.now, "subject": "A1", "text": "hello"} | fields
        message = self.fields(events=[sound])
        return {key: message[key] for key in ("v", "epoch", "seq", "made", "events")}


def cases(make: Maker) -> dict[str, Case]:
    """By name; the n-th case made has epoch c<n> and seq n, also where its message does not say so."""
    whole = [("SCHEMA", None)]
    first = [("SCHEMA", 0)]
    same = {"tag": [0] * 1000, "dt": [0] * 1000, "value": [1.5] * 1000}
    three = {"tag": [0, 0, 0], "value": [1.0, 2.0, 3.0]}
    return {
        "no readings": make(whole, tag=[], dt=[], value=[]),
        "a thousand readings at one time": make(FINISHED, **same),
        "a thousand and one": make(whole, **{key: [*value, 0] for key, value in same.items()}),
        "a name twice": make(FINISHED, tags=[make.tag] * 2, tag=[0, 1], dt=[0, 5], value=[1.0, 2.0]),
        "an index beyond the names": make([("SCHEMA", 1)], tag=[0, 1], dt=[0, 5], value=[1.0, 2.0]),
        "times out of order": make(FINISHED, dt=[30, 10, 20], **three),
        "times before the base": make(FINISHED, dt=[-3, -2, -1], **three),
        "base beyond the calendar": make(whole, base=MAX_TS + 1),
        "base beyond 64 bits": make(whole, base=2**63),
        "base with 400 digits": make(whole, base=10**400),
        "base no integer": make(whole, base=1.5),
        "year 1": make([("TS_TOO_OLD", 0)], base=0, dt=[-62_135_596_800_000_000]),
        "year 9999": make([("TS_FUTURE", 0)], base=253_370_764_800_000_000),
        "a time with a fraction": make([("TS_NOT_INTEGER", 0)], dt=[0.5]),
        "epoch with an accent": make("SCHEMA", epoch="é"),
        "epoch empty": make("SCHEMA", epoch=""),
        "epoch of 65": make("SCHEMA", epoch="x" * 65),
        "epoch with NUL": make("SCHEMA", epoch="a\0b"),
        "epoch a number": make("SCHEMA", epoch=7),
        "seq beyond 64 bits": make("SCHEMA", seq=2**63),
        "seq negative": make("SCHEMA", seq=-1),
        "seq a float": make("SCHEMA", seq=1.0),
        "seq a boolean": make("SCHEMA", seq=True),
        "seq at its end": make(FINISHED, seq=2**63 - 1),
        "a tag of another gateway": make([("TAG_FOREIGN", 0)], tags=[make.foreign]),
        "a tag with NUL": make(first, tags=["a\0b"]),
        "a tag with half a surrogate pair": make(first, tags=["a\ud800"]),
        "a tag of 129": make(first, tags=["x" * 129]),
        "a tag that is a wildcard": make(first, tags=["a/#"]),
        "a byte order mark": Case(b"\xef\xbb\xbf" + json.dumps(make.fields()).encode(), "JSON_SYNTAX"),
        "quality of another code": make(FINISHED, quality=[193]),
        "quality null": make(first, quality=[None]),
        "quality negative": make(first, quality=[-1]),
        "quality of two bytes": make(first, quality=[256]),
        "no value, yet good": make([("VALUE_TYPE", 0)], value=[None]),
        "a text for a value": make([("VALUE_TYPE", 0)], value=["1.5"]),
        "a truth for a value": make([("VALUE_TYPE", 0)], value=[True]),
        "an integer beyond 2^53": make(FINISHED, value=[2**53 + 1]),
        "an integer beyond 64 bits": make(FINISHED, value=[2**70]),
        "an integer of 400 digits": make([("VALUE_RANGE", 0)], value=[10**400]),
        "1e999": Case(make.text("1.5", "1e999"), [("VALUE_RANGE", 0)]),
        "NaN": Case(make.text("1.5", "NaN"), "JSON_SYNTAX"),
        "a key twice": Case(make.text('"lane"', '"lane": "live", "lane"'), "JSON_DUPLICATE_KEY"),
        "another version": make([("UNSUPPORTED_VERSION", None)], v=2),
        "columns of unequal length": make(whole, dt=[0, 1]),
        "as large as may be": Case(make.of_size(MAX_PAYLOAD), FINISHED),
        "a byte larger": Case(make.of_size(MAX_PAYLOAD + 1), "PAYLOAD_TOO_LARGE"),
        "without delivery promised": make(FINISHED, qos=0),
        "retained": make(FINISHED)._replace(retain=True),
        "an event of no known type": Case(json.dumps(make.event(type="party")).encode(), first),
        "an event without a time": Case(json.dumps(make.event(ts=None)).encode(), first),
        "an event with a long text": Case(json.dumps(make.event(text="x" * 200_000)).encode(), FINISHED),
        "an event with NUL": Case(json.dumps(make.event(text="a\0b")).encode(), first),
        "an event in an event": Case(json.dumps(make.event(text={"a": {"b": []}})).encode(), first),
        "events without end": Case(
            json.dumps(make.event()).replace('"hello"', "[" * 5000 + "]" * 5000).encode(), "JSON_DEPTH"
        ),
    }


@pytest.mark.fault("17", "gateways that misbehave")
def test_each_misdeed_has_its_answer(stage) -> None:
    scene = stage()
    worker = scene.start_worker()
    scene.start_edge()
    scene.flows()
    made = cases(Maker(scene.tag(EDGE), scene.tag(NEIGHBOUR)))
    with scene.stranger(EDGE) as peer:
        for n, case in enumerate(made.values(), 1):
            peer.publish(case.payload, f"c{n}", n, qos=case.qos, retain=case.retain)
        peer.answered(len(made))
        errors = {error["correlation"]: error["code"] for error in peer.errors}
        told: dict[str, object] = {}
        for n, (name, case) in enumerate(made.items(), 1):
            acked = {seq for epoch, seq in peer.done if epoch == f"c{n}"}
            refused = [(one["code"], one.get("i")) for epoch, one in peer.refusals if epoch == f"c{n}"]
            told[name] = errors.get(f"c{n}:{n}") if not acked else refused
            if isinstance(case.answer, list):
                assert len(acked) == 1, f"{name}: {told[name]}"
        assert told == {name: case.answer for name, case in made.items()}
    assert worker.running
    scene.flows()
    scene.forget_edge(EDGE)
    scene.drain()
    scene.judge()


@pytest.mark.fault("17", "gateways out of their minds")
def test_numbers_and_correlations_that_make_no_sense(stage) -> None:
    """Numbers are skipped and used twice, correlations lie, status is garbage, and thousands of tags appear."""
    scene = stage()
    worker = scene.start_worker()
    scene.start_edge()
    scene.flows()
    now, tag = time.time_ns() // 1000, scene.tag(EDGE)
    with scene.stranger(EDGE) as peer:
        for seq in (1, 5, 1000, 2**62, 3):
            peer.send("skips", seq, tag, [(now + seq % 997, float(seq))])
        peer.answered(5)
        assert {seq for epoch, seq in peer.done if epoch == "skips"} == {1, 3, 5, 1000, 2**62}
        # Another message under a known number: told, and never finished, however often it comes.
        for _ in range(3):
            peer.send("skips", 5, tag, [(now + 5, -5.0)])
            scene.run(0.1)
        scene.until(lambda: ("skips", {"seq": 5, "code": "EPOCH_REUSE"}) in peer.refusals, "the reuse is told")
        # A correlation of another message does not speak for it; one that is none is not repeated.
        peer.publish(b"{", "skips", 4)
        peer.publish(b"{", "no epoch at all", 0)
        scene.until(lambda: len(peer.errors) == 2, "two messages cannot be read")
        assert [error["correlation"] for error in peer.errors] == ["skips:4", None]
        assert ("skips", 4) not in peer.done
        for garbage in (b"not json", b"{}", b'{"v":1,"online":"perhaps","ts":0}', b"\xff" * 1000, b"[" * 9999):
            peer.publish(garbage, "s", 1, channel="status")
        scene.until(lambda: len(peer.errors) == 7, "five states cannot be read")
        # 700 tags that nobody knows: 500 are taken, the others told one by one.
        for k in range(4):
            names = [f"unheard.{k}.{n}" for n in range(175)]
            fields = {"v": 1, "epoch": "tags", "seq": k + 1, "lane": "live", "made": now, "base": now, "tags": names}
            columns = {"tag": list(range(175)), "dt": list(range(175)), "value": [1] * 175}
            peer.publish(json.dumps(fields | columns).encode(), "tags", k + 1)
        scene.until(lambda: {("tags", k) for k in range(1, 5)} <= peer.done, "the tags are answered")
        quota = [one["code"] for epoch, one in peer.refusals if epoch == "tags"]
        assert quota == ["TAG_QUOTA"] * 200
    assert worker.running
    scene.flows()
    scene.forget_edge(EDGE)
    scene.drain()
    scene.judge()
    assert scene.count("tag WHERE NOT assigned") == 500
    assert scene.count("quarantine WHERE code = 'TAG_QUOTA'") == 200
