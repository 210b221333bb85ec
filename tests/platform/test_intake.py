"""Where a message's readings end up, and that each is counted once: the identity holds whatever is sent."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import psycopg
import pytest

from hefa_contract.envelope import Decoded, Envelope, Events, Flaw, Gap, encode
from hefa_contract.event import MeterSwap, Note
from hefa_contract.rejection import Code, Rejected
from hefa_platform.store.arrival import Arrival, Outcome, columns
from hefa_platform.store.database import Database, Unavailable
from hefa_platform.store.intake import Intake

NOW = time.time_ns() // 1000
DAY = 86_400_000_000


class Site:
    """A database with gateways gw-1 and gw-2, each with tags `<edge>.a` (range 0 to 100) and `<edge>.b`."""

    def __init__(self, database: Any) -> None:
        self.dsns = database
        self.store = Database(database.ingest, max_size=3)
        self.admin = psycopg.connect(database.admin, autocommit=True)
        self.admin.execute("""
            INSERT INTO edge (name) VALUES ('gw-1'), ('gw-2');
            INSERT INTO tag (name, edge_id, kind, low, high) SELECT name || '.a', edge_id, 'gauge', 0, 100 FROM edge;
            INSERT INTO tag (name, edge_id, kind) SELECT name || '.b', edge_id, 'gauge' FROM edge;
        """)
        self.intake = self.worker("w1")

    def worker(self, name: str, **limits: Any) -> Intake:
        return Intake(self.store, name, **limits)

    def close(self) -> None:
        self.admin.close()
        self.store.close()

    def rows(self, query: str, *parameters: Any) -> list[tuple[Any, ...]]:
        return self.admin.execute(query, parameters).fetchall()

    def readings(self) -> list[tuple[Any, ...]]:
        return self.rows("""
            SELECT name, (extract(epoch FROM ts) * 1e6)::bigint - %s, value, quality
              FROM reading JOIN tag USING (tag_id) ORDER BY 1, 2
        """, NOW)  # fmt: skip

    def counts(self, edge: str = "gw-1") -> dict[str, int]:
        names = ("received", "stored", "duplicate", "conflict", "quarantined", "undecodable", "events")
        row = self.rows(
            f"SELECT {','.join(f'sum({n})::int' for n in names)} FROM intake_counter JOIN edge USING (edge_id) WHERE name = %s",
            edge,
        )[0]
        counted = dict(zip(names, row, strict=True))
        assert (
            counted["received"]
            == counted["stored"] + counted["duplicate"] + counted["conflict"] + counted["quarantined"]
        )
        return {name: count for name, count in counted.items() if count}


@pytest.fixture
def site(database: Any) -> Iterator[Site]:
    site = Site(database)
    yield site
    site.close()


def envelope(
    seq: int, readings: Sequence[tuple[str, int, float | None, int]], *, epoch: str = "e", lane: Any = "live"
) -> Envelope:
    """Readings of (tag, µs after NOW, value, quality)."""
    tags = sorted({tag for tag, *_ in readings})
    return Envelope(
        epoch=epoch, seq=seq, lane=lane, made=NOW, base=NOW, tags=tags, tag=[tags.index(t) for t, *_ in readings],
        dt=[dt for _, dt, _, _ in readings], value=[v for *_, v, _ in readings], quality=[q for *_, q in readings],
    )  # fmt: skip


def arrival(message: Envelope | Events | Gap, edge: str = "gw-1", *, decoded: Decoded | None = None) -> Arrival:
    payload = encode(message)
    digest = hashlib.sha256(payload).digest()
    return Arrival(f"hefa/v1/{edge}/data", edge, payload, digest, decoded=decoded or Decoded(message))


def refused(
    code: Code, edge: str = "gw-1", *, epoch: str | None = None, seq: int | None = None, payload: bytes = b"x"
) -> Arrival:
    digest = hashlib.sha256(payload).digest()
    return Arrival(f"hefa/v1/{edge}/data", edge, payload, digest, rejected=Rejected(code, "why", epoch, seq))


def codes(outcome: Outcome) -> list[tuple[str, int | None]]:
    return [(r.code.value, r.i) for r in outcome.rejected]


def test_readings_are_stored_once_and_the_newest_is_known(site: Site) -> None:
    message = arrival(envelope(1, [("gw-1.a", 0, 1.5, 192), ("gw-1.b", 0, None, 0), ("gw-1.a", 10, 2.5, 64)]))
    first, again = site.intake.store([message])[0], site.intake.store([message])[0]
    assert first == again == Outcome(("e", 1), finished=True)
    assert site.readings() == [("gw-1.a", 0, 1.5, 192), ("gw-1.a", 10, 2.5, 64), ("gw-1.b", 0, None, 0)]
    assert site.counts() == {"received": 6, "stored": 3, "duplicate": 3}
    assert site.rows("SELECT name, value FROM latest JOIN tag USING (tag_id) ORDER BY 1") == [
        ("gw-1.a", 2.5),
        ("gw-1.b", None),
    ]


def test_the_newest_only_moves_forward(site: Site) -> None:
    for seq, (dt, value) in enumerate([(10, 1.0), (-DAY, 2.0), (20, 3.0), (15, 4.0)]):
        site.intake.store([arrival(envelope(seq, [("gw-1.a", dt, value, 192)]))])
        site.worker("w2").store([arrival(envelope(seq, [("gw-2.a", dt, value, 192)]), "gw-2")])
    assert site.rows("SELECT value FROM latest") == [(3.0,), (3.0,)]


@pytest.mark.parametrize("together", [True, False])
def test_the_first_value_wins_and_nothing_is_silent(site: Site, together: bool) -> None:
    """The same key from two envelopes: in one group, and in two."""
    messages = [
        arrival(envelope(1, [("gw-1.a", 0, 1.0, 192), ("gw-1.a", 5, 2.0, 192)])),
        arrival(envelope(2, [("gw-1.a", 0, 1.0, 192), ("gw-1.a", 5, 9.0, 192), ("gw-1.a", 7, 3.0, 192)])),
        arrival(envelope(1, [("gw-2.a", 0, 7.0, 192)]), "gw-2"),
    ]
    for group in [messages] if together else [[message] for message in messages]:
        assert all(outcome.finished for outcome in site.intake.store(group))
    assert site.readings() == [
        ("gw-1.a", 0, 1.0, 192),
        ("gw-1.a", 5, 2.0, 192),
        ("gw-1.a", 7, 3.0, 192),
        ("gw-2.a", 0, 7.0, 192),
    ]
    assert site.counts() == {"received": 5, "stored": 3, "duplicate": 1, "conflict": 1}
    assert site.counts("gw-2") == {"received": 1, "stored": 1}
    assert site.rows("SELECT value, epoch, seq FROM reading_conflict") == [(9.0, "e", 2)]


def test_what_is_known_what_comes_twice_and_what_has_no_value_are_told_apart_at_once(site: Site) -> None:
    """The careful way, on which every kind of row meets: stored before or not, twice in the group, null or not."""
    site.intake.store([arrival(envelope(1, [("gw-1.b", 0, 1.0, 192), ("gw-1.b", 1, None, 0), ("gw-1.b", 2, 3.0, 64)]))])
    known = [("gw-1.b", 0, 9.0, 192), ("gw-1.b", 1, None, 0), ("gw-1.b", 2, None, 0)]
    new = [("gw-1.b", 3, None, 0), ("gw-1.b", 4, 5.0, 192), ("gw-1.b", 3, 4.0, 192), ("gw-1.b", 4, 5.0, 192)]
    site.intake.store([arrival(envelope(2, [*new, *known, ("gw-1.b", 5, None, 7)]))])
    assert site.readings() == [
        ("gw-1.b", 0, 1.0, 192), ("gw-1.b", 1, None, 0), ("gw-1.b", 2, 3.0, 64),
        ("gw-1.b", 3, None, 0), ("gw-1.b", 4, 5.0, 192), ("gw-1.b", 5, None, 7),
    ]  # fmt: skip
    assert site.rows("SELECT value, quality FROM reading_conflict ORDER BY ts") == [(9.0, 192), (None, 0), (4.0, 192)]
    assert site.counts() == {"received": 11, "stored": 6, "duplicate": 2, "conflict": 3}


def test_another_message_under_a_known_key_is_refused_and_kept_once(site: Site) -> None:
    one, other = (arrival(envelope(1, [("gw-1.a", 0, v, 192), ("gw-2.a", 0, v, 192)])) for v in (1.0, 2.0))
    outcomes = [*site.intake.store([one, other]), *site.intake.store([other])]
    assert [(o.finished, codes(o)) for o in outcomes] == [
        (True, [("TAG_FOREIGN", 1)]), (False, [("EPOCH_REUSE", None)]), (False, [("EPOCH_REUSE", None)]),
    ]  # fmt: skip
    assert site.readings() == [("gw-1.a", 0, 1.0, 192)]
    assert site.rows("SELECT code, payload FROM quarantine ORDER BY 1") == [
        ("EPOCH_REUSE", other.payload), ("TAG_FOREIGN", None),
    ]  # fmt: skip
    assert site.counts() == {"received": 6, "stored": 1, "quarantined": 3, "duplicate": 2}


def test_a_reading_that_may_not_be_stored_goes_to_quarantine_alone(site: Site) -> None:
    message = envelope(
        1,
        [
            ("gw-1.a", 0, 1.0, 192),
            ("gw-2.a", 0, 1.0, 192),
            ("gw-1.a", DAY, 2.0, 192),
            ("gw-1.a", -91 * DAY, 3.0, 192),
            ("gw-1.a", 5, 4.0, 192),
        ],
    )
    # As sent there were six: the contract has refused the one at index 2.
    decoded = Decoded(message, [Flaw(2, Code.VALUE_TYPE, "no number", {"tag": "gw-1.a"})], [0, 1, 3, 4, 5])
    outcome = site.intake.store([arrival(message, decoded=decoded)])[0]
    assert outcome.finished
    assert sorted(codes(outcome)) == [("TAG_FOREIGN", 1), ("TS_FUTURE", 3), ("TS_TOO_OLD", 4), ("VALUE_TYPE", 2)]
    assert site.readings() == [("gw-1.a", 0, 1.0, 192), ("gw-1.a", 5, 4.0, 192)]
    assert site.counts() == {"received": 6, "stored": 2, "quarantined": 4}
    kept = site.rows("SELECT i, code, reading->>'tag', epoch, seq FROM quarantine ORDER BY i")
    assert kept == [
        (1, "TAG_FOREIGN", "gw-2.a", "e", 1), (2, "VALUE_TYPE", "gw-1.a", "e", 1),
        (3, "TS_FUTURE", "gw-1.a", "e", 1), (4, "TS_TOO_OLD", "gw-1.a", "e", 1),
    ]  # fmt: skip
    # Where the answer was lost and it is sent again it is the same answer, nobody else's, and kept once.
    others = [
        arrival(envelope(2, [("gw-1.a", 7, 1.0, 192)])),
        arrival(envelope(1, [("gw-1.a", 8, 1.0, 192)], epoch="f")),
        arrival(envelope(1, [("gw-2.a", 9, 1.0, 192)]), "gw-2"),
    ]
    site.intake.store(others)
    *clean, again = site.intake.store([*others, arrival(message, decoded=decoded)])
    assert (again.finished, sorted(codes(again))) == (True, sorted(codes(outcome)))
    assert [codes(other) for other in clean] == [[], [], []]
    assert site.counts() == {"received": 16, "stored": 4, "quarantined": 4, "duplicate": 8}
    assert site.rows("SELECT i, code, reading->>'tag', epoch, seq FROM quarantine ORDER BY i") == kept
    # … whatever people have decided since.
    site.admin.execute("UPDATE quarantine SET state = (ARRAY['discarded', 'open', 'retried', 'retrying'])[i]")
    third = site.intake.store([arrival(message, decoded=decoded)])[0]
    assert sorted(codes(third)) == sorted(codes(outcome))
    # … and behind another message under its key.
    other = arrival(envelope(1, [("gw-1.a", 0, 7.0, 192)]))
    answers = site.intake.store([other, arrival(message, decoded=decoded), arrival(message, decoded=decoded)])
    assert [sorted(codes(answer)) for answer in answers] == [[("EPOCH_REUSE", None)], sorted(codes(outcome)), []]


def test_a_clock_may_be_five_minutes_ahead_and_readings_as_old_as_what_is_kept(site: Site) -> None:
    now_s = NOW // 1_000_000
    latest, oldest = (now_s + 300) * 1_000_000 - NOW, now_s * 1_000_000 - 90 * DAY - NOW
    message = envelope(1, [("gw-1.b", ts, 1.0, 192) for ts in (latest, latest + 1, oldest, oldest - 1)])
    (outcome,) = site.worker("w1", clock=lambda: float(now_s)).store([arrival(message)])
    assert codes(outcome) == [("TS_FUTURE", 1), ("TS_TOO_OLD", 3)]
    assert [row[1] for row in site.readings()] == [oldest, latest]


@pytest.mark.parametrize(
    ("value", "quality", "stored"),
    [
        (-0.1, 192, 64),
        (100.1, 192, 64),
        (0.0, 192, 192),
        (100.0, 192, 192),
        (1e100, 192, 64),
        (-1e300, 192, 0),
        (1.7976931348623157e308, 192, 0),
        (5e-324, 192, 0),
        (1e-100, 192, 192),
        (None, 0, 0),
        (-5.0, 64, 64),
    ],
)
def test_a_value_out_of_range_is_stored_as_uncertain(
    site: Site, value: float | None, quality: int, stored: int
) -> None:
    site.intake.store([arrival(envelope(1, [("gw-1.a", 0, value, quality)]))])
    assert site.readings() == [("gw-1.a", 0, value, stored)]


@pytest.mark.parametrize("ready", [(), (0, 1, 3), range(5)], ids=["none", "some", "all"])
def test_readings_are_the_same_whoever_made_the_arrays(site: Site, ready: Sequence[int]) -> None:
    """Large envelopes come with theirs. One table of tags says who may write what, and is no other gateway's."""

    def columns_of(seq: int, base: int, tags: list[str], *columns: Any) -> Envelope:
        tag, dt, value, quality = columns
        return Envelope(
            epoch="e", seq=seq, lane="live", made=NOW, base=NOW + base, tags=tags, tag=tag, dt=dt, value=value,
            quality=quality,
        )  # fmt: skip

    table = ["gw-1.a", "gw-2.a"]
    nothing = columns_of(2, 0, [], [], [], [], None)
    group = [
        arrival(columns_of(1, 0, table, [0, 1], [1, 2], [1.0, 2.0], None)),
        arrival(columns_of(1, 10, table, [0, 1], [1, 2], [3.0, None], [192, 0]), "gw-2"),
        arrival(nothing, decoded=Decoded(nothing, [Flaw(0, Code.SCHEMA, "no tag", {"tag": 0})], [])),
        arrival(columns_of(3, -10, table, [0, 0], [1, 2], [5.0, 500.0], [65, 3])),
        arrival(columns_of(4, 0, table[::-1], [1, 1], [5, -50], [1e300, -4.0], None)),
    ]
    for n in ready:
        decoded = group[n].decoded
        assert decoded is not None
        assert isinstance(decoded.message, Envelope)
        group[n] = replace(group[n], columns=columns([decoded.message]))
    outcomes = site.intake.store(group)
    assert [codes(o) for o in outcomes] == [[("TAG_FOREIGN", 1)], [("TAG_FOREIGN", 0)], [("SCHEMA", 0)], [], []]
    assert site.readings() == [
        ("gw-1.a", -50, -4.0, 64),
        ("gw-1.a", -9, 5.0, 65),
        ("gw-1.a", -8, 500.0, 3),
        ("gw-1.a", 1, 1.0, 192),
        ("gw-1.a", 5, 1e300, 0),
        ("gw-2.a", 12, None, 0),
    ]


def test_unknown_tags_are_registered_within_a_quota_and_belong_to_who_showed_them(site: Site) -> None:
    intake = site.worker("w1", tag_quota_per_hour=2)
    shown = envelope(1, [("new.1", 0, 1.0, 192), ("new.2", 0, 1.0, 192), ("new.3", 0, 1.0, 192)])
    other = envelope(1, [("new.1", 1, 5.0, 192), ("new.4", 1, 5.0, 192)])
    mine, theirs = intake.store([arrival(shown), arrival(other, "gw-2")])
    assert codes(mine) == [("TAG_QUOTA", 2)]
    assert codes(theirs) == [("TAG_FOREIGN", 0)]
    registered = site.rows(
        "SELECT tag.name, edge.name, assigned, equipment FROM tag JOIN edge USING (edge_id) WHERE NOT assigned ORDER BY 1"
    )
    assert registered == [
        ("new.1", "gw-1", False, None),
        ("new.2", "gw-1", False, None),
        ("new.4", "gw-2", False, None),
    ]
    assert codes(intake.store([arrival(envelope(2, [("new.5", 0, 1.0, 192), ("new.2", 9, 1.0, 192)]))])[0]) == [
        ("TAG_QUOTA", 0)
    ]
    site.admin.execute("UPDATE tag SET registered_at = now() - interval '61 minutes'")
    assert codes(intake.store([arrival(envelope(3, [("new.5", 0, 1.0, 192)]))])[0]) == []


def test_a_rehearsal_counts_what_it_has_rolled_back(site: Site) -> None:
    """Its answers are those of the real thing, in however many transactions."""
    parts = [["new.b", "gw-1.a"], ["new.c", "new.b"], ["new.a", "new.c", "new.d"]]
    groups = [
        [arrival(envelope(seq, [(tag, seq, 1.0, 192) for tag in tags]))] for seq, tags in enumerate(parts, start=1)
    ]
    answers = []
    for rehearsal in (True, False):
        intake = site.worker("w1", tag_quota_per_hour=2, rehearsal=rehearsal)
        answers.append([[codes(outcome) for outcome in intake.store(group)] for group in groups])
        assert site.rows("SELECT count(*)::int FROM reading") == [(0 if rehearsal else 5,)]
    assert answers[0] == answers[1] == [[[]], [[]], [[("TAG_QUOTA", 0), ("TAG_QUOTA", 2)]]]


def test_a_quota_of_nothing_takes_known_tags_only(site: Site) -> None:
    intake = site.worker("w1", tag_quota_per_hour=0)
    assert codes(intake.store([arrival(envelope(1, [("new", 0, 1.0, 192), ("gw-1.a", 0, 1.0, 192)]))])[0]) == [
        ("TAG_UNKNOWN", 0)
    ]


def test_a_new_gateway_is_registered_within_a_limit(site: Site) -> None:
    intake = site.worker("w1", edge_limit=3)
    third, fourth = intake.store([arrival(envelope(1, [(f"{e}.t", 0, 1.0, 192)]), e) for e in ("gw-3", "gw-4")])
    assert (third.finished, codes(third)) == (True, [])
    assert (fourth.finished, codes(fourth)) == (True, [("TOPIC_INVALID", None)])
    assert site.rows("SELECT messages FROM undecodable_counter") == [(1,)]
    # Known and stored later, it is refused no more.
    late = arrival(envelope(1, [("gw-4.t", 0, 1.0, 192)]), "gw-4")
    assert [codes(site.intake.store([late])[0]) for _ in range(2)] == [[], []]
    assert site.rows("SELECT count(*)::int FROM reading JOIN tag USING (tag_id) WHERE name = 'gw-4.t'") == [(1,)]


def test_a_refused_message_with_a_key_is_finished_and_one_without_is_told_by_err(site: Site) -> None:
    group = [
        refused(Code.UNSUPPORTED_VERSION, epoch="e", seq=1, payload=b"1"),
        refused(Code.JSON_SYNTAX, payload=b"2"),
        refused(Code.JSON_SYNTAX, payload=b"2"),
    ]
    finished, *unreadable = site.intake.store(group)
    assert (finished.key, finished.finished, codes(finished)) == (("e", 1), True, [("UNSUPPORTED_VERSION", None)])
    assert [(o.key, o.finished, codes(o), o.detail) for o in unreadable] == [
        (None, False, [("JSON_SYNTAX", None)], "why")
    ] * 2
    assert site.counts() == {"undecodable": 3}
    assert site.rows("SELECT count(*) FROM quarantine") == [(2,)]
    assert site.rows("SELECT count(*) FROM ledger") == [(1,)]
    assert site.intake.store(group[:1]) == [replace(finished, detail="")], "the answer may have been lost"


def test_only_the_head_of_a_large_message_is_kept(site: Site) -> None:
    site.intake.store([refused(Code.PAYLOAD_TOO_LARGE, payload=b"a" * 300_000)])
    assert site.rows("SELECT length(payload), size FROM quarantine") == [(65_536, 300_000)]


def test_events_and_gaps_are_kept_with_the_message(site: Site) -> None:
    note = Events(epoch="e", seq=1, made=NOW, events=[Note(ts=NOW, subject="A1", text="hi")])
    decoded = Decoded(note, [Flaw(0, Code.SCHEMA, "unknown type", {"event": "?"})], [1])
    outcomes = site.intake.store(
        [
            arrival(note, decoded=decoded),
            arrival(Gap(epoch="e", seq=2, made=NOW, from_=3, to=9, readings=70, reason="full")),
        ]
    )
    assert [codes(o) for o in outcomes] == [[("SCHEMA", 0)], []]
    assert site.rows("SELECT i, type, subject, body FROM event") == [(1, "note", "A1", {"text": "hi"})]
    assert site.rows("SELECT seq, from_seq, to_seq, readings, reason FROM gap") == [(2, 3, 9, 70, "full")]
    assert site.counts() == {"events": 1}


def test_an_event_that_lies_ahead_goes_to_quarantine_alone(site: Site) -> None:
    ahead = NOW + 3_600_000_000
    notes = [Note(ts=ts, subject="A1", text="hi") for ts in (NOW, ahead)]
    (outcome,) = site.intake.store([arrival(Events(epoch="e", seq=1, made=NOW, events=notes))])
    assert (outcome.finished, codes(outcome)) == (True, [("TS_FUTURE", 1)])
    assert site.rows("SELECT i FROM event") == [(0,)]
    assert site.rows("SELECT i, code, reading->'event'->>'type' FROM quarantine") == [(1, "TS_FUTURE", "note")]
    assert site.counts() == {"events": 1}


def test_a_swap_that_the_database_refuses_is_named_in_every_answer(site: Site) -> None:
    site.admin.execute(
        "INSERT INTO tag (name, edge_id, kind) SELECT 'gw-1.c', edge_id, 'counter' FROM edge WHERE name = 'gw-1'"
    )
    times = {"gw-1.c": NOW, "gw-1.a": NOW, "late": NOW + 3_600_000_000, "gw-1.d": NOW}
    swaps = [MeterSwap(ts=ts, subject=tag, final=9.0, initial=0.0, reason="worn") for tag, ts in times.items()]
    message = arrival(Events(epoch="e", seq=1, made=NOW, events=[*swaps, Note(ts=NOW, subject="A1", text="hi")]))
    refused = [("TAG_UNKNOWN", 1), ("TAG_UNKNOWN", 3), ("TS_FUTURE", 2)]
    for _ in range(2):
        (outcome,) = site.intake.store([message])
        assert (outcome.finished, sorted(codes(outcome))) == (True, refused)
    assert sorted(site.rows("SELECT code, i FROM quarantine")) == refused
    assert site.rows("SELECT i FROM event ORDER BY i") == [(0,), (4,)]
    assert site.counts() == {"events": 2}


def test_a_reading_the_database_refuses_is_found_and_the_rest_is_stored(site: Site) -> None:
    site.admin.execute("ALTER TABLE reading ADD CHECK (value IS NULL OR value NOT IN (66, 67))")
    good = [("gw-1.b", k, float(k), 192) for k in range(60)]
    bad = envelope(2, [*((f"gw-1.{'a' if v == 66 else 'b'}", 1000 + v, float(v), 192) for v in range(60, 70))])
    outcomes = site.intake.store(
        [arrival(envelope(1, good)), arrival(bad), arrival(envelope(3, [("gw-1.a", 5, 1.0, 192)]))]
    )
    assert [codes(o) for o in outcomes] == [[], [("VALUE_RANGE", 6), ("VALUE_RANGE", 7)], []]
    assert all(o.finished for o in outcomes)
    assert len(site.readings()) == 60 + 8 + 1
    assert site.counts() == {"received": 71, "stored": 69, "quarantined": 2}
    assert "23514" in site.rows("SELECT detail FROM quarantine")[0][0]


def test_a_message_the_database_refuses_whole_goes_to_quarantine(site: Site) -> None:
    site.admin.execute("ALTER TABLE gap ADD CHECK (readings < 100)")
    gap = arrival(Gap(epoch="e", seq=1, made=NOW, from_=1, to=2, readings=100, reason="full"))
    outcomes = site.intake.store([gap, arrival(envelope(2, [("gw-1.a", 5, 1.0, 192)]))])
    assert [(o.finished, codes(o)) for o in outcomes] == [(True, [("SCHEMA", None)]), (True, [])]
    assert site.rows("SELECT code, payload FROM quarantine") == [("SCHEMA", gap.payload)]
    (again,) = site.intake.store([gap])
    assert (again.finished, codes(again)) == (True, [("SCHEMA", None)])


def test_a_database_that_is_away_stores_nothing_and_says_so(site: Site) -> None:
    message = arrival(envelope(1, [("new.tag", 0, 1.0, 192)]))
    site.admin.execute("ALTER TABLE latest RENAME TO gone")
    with pytest.raises(Unavailable):
        site.intake.store([message])
    assert not site.readings()
    site.admin.execute("ALTER TABLE gone RENAME TO latest")
    assert site.intake.store([message])[0].finished  # also what was learnt in the lost transaction is learnt again
    assert [row[0] for row in site.readings()] == ["new.tag"]


def test_a_new_plant_model_is_noticed(site: Site) -> None:
    site.intake.store([arrival(envelope(1, [("gw-1.a", 0, 50.0, 192)]))])
    site.admin.execute("UPDATE tag SET high = 10 WHERE name = 'gw-1.a'; UPDATE instance SET loaded_at = now()")
    site.intake.store([arrival(envelope(2, [("gw-1.a", 1, 50.0, 192)]))])
    assert [row[3] for row in site.readings()] == [192, 64]


def test_what_follows_is_noted_while_what_came_before_is_stored(site: Site) -> None:
    first, second = ([arrival(envelope(seq, [("gw-1.a", seq, 1.0, 192)]))] for seq in (1, 2))
    answers: list[list[Outcome]] = []
    site.intake.stream(first, lambda: second, answers.append)
    assert [outcome.finished for outcome in answers[0]] == [True]
    assert site.rows("SELECT hashes FROM in_flight") == [([second[0].hash],)], (
        "a crash from here on is not of the first"
    )
    assert site.intake.store(second)[0].finished
    assert site.rows("SELECT hashes FROM in_flight") == [([],)]
    assert [row[1] for row in site.readings()] == [1, 2]


@pytest.mark.parametrize(
    ("meanwhile", "stored", "quarantined"),
    [
        ("", [(0, 1.0, 192), (1, 50.0, 192), (2, 3.0, 192)], 0),
        ("known message", [(0, 1.0, 192), (1, 50.0, 192), (2, 3.0, 192)], 0),
        ("known key", [(0, 1.0, 192), (2, 3.0, 192), (9, 7.0, 192)], 1),
        ("known reading", [(0, 1.0, 192), (1, 7.0, 192), (2, 3.0, 192)], 0),
        ("another model", [(0, 1.0, 192), (1, 50.0, 64), (2, 3.0, 192)], 0),
        ("another owner", [(0, 1.0, 192)], 2),
        ("a failure", [(0, 1.0, 192), (1, 50.0, 192), (2, 3.0, 192)], 0),
    ],
)
def test_what_was_prepared_is_judged_by_what_holds_when_it_is_stored(
    site: Site, meanwhile: str, stored: list[Any], quarantined: int
) -> None:
    first = [arrival(envelope(1, [("gw-1.a", 0, 1.0, 192)]))]
    second = [arrival(envelope(seq, [("gw-1.a", seq - 1, v, 192)])) for seq, v in ((2, 50.0), (3, 3.0))]
    site.intake.stream(first, lambda: second, lambda _: None)
    if meanwhile == "known message":
        site.worker("w2").store(second[:1])
    elif meanwhile == "known key":
        site.worker("w2").store([arrival(envelope(2, [("gw-1.a", 9, 7.0, 192)]))])
    elif meanwhile == "known reading":
        site.worker("w2").store([arrival(envelope(9, [("gw-1.a", 1, 7.0, 192)]))])
    elif meanwhile == "another model":
        site.admin.execute("UPDATE tag SET high = 10; UPDATE instance SET loaded_at = now()")
    elif meanwhile == "another owner":
        site.admin.execute("UPDATE tag SET edge_id = NULL; UPDATE instance SET loaded_at = now()")
    elif meanwhile == "a failure":
        site.admin.execute("ALTER TABLE latest RENAME TO gone")
        with pytest.raises(Unavailable):
            site.intake.store(second)
        site.admin.execute("ALTER TABLE gone RENAME TO latest")
    assert [outcome.finished for outcome in site.intake.store(second)] == [meanwhile != "known key", True]
    assert [row[1:] for row in site.readings()] == stored
    counted = site.counts()
    assert counted["received"] == 3 + (meanwhile.startswith("known"))
    assert counted.get("quarantined", 0) == quarantined


class Stream:
    """Groups of one message each, streamed one after another; `answered` has the seq of what was, in order."""

    def __init__(self, site: Site) -> None:
        self.site, self.answered = site, list[int]()
        self.groups = [[arrival(envelope(seq, [("gw-1.a", seq, 1.0, 192)]))] for seq in range(5)]

    def of_yesterday(self, seq: int) -> None:
        self.groups[seq] = [arrival(envelope(seq, [("gw-1.a", seq - DAY, 1.0, 192)]))]

    def send(self, *seqs: int, last: bool = False) -> None:
        for seq in seqs:
            following = () if last and seq == seqs[-1] else self.groups[seq + 1]
            self.site.intake.stream(self.groups[seq], lambda f=following: f, self._answer)  # type: ignore[misc]

    def _answer(self, outcomes: list[Outcome]) -> None:
        assert all(outcome.finished for outcome in outcomes)
        self.answered += [outcome.key[1] for outcome in outcomes if outcome.key]


def test_nobody_waits_for_the_disk_while_more_comes(site: Site) -> None:
    stream = Stream(site)
    stream.of_yesterday(3)
    stream.send(0)
    assert stream.answered == [0], "nobody knew its tag: the next can lean on it only when it is there"
    stream.send(1)
    assert stream.answered == [0], "its COMMIT is on its way"
    stream.send(2)
    assert stream.answered == [0, 1]
    stream.send(3)
    assert stream.answered == [0, 1, 2, 3], "a partition that is made must be there for the next"
    stream.send(4, last=True)
    assert stream.answered == [0, 1, 2, 3, 4]
    assert [row[1] for row in site.readings()] == [3 - DAY, 0, 1, 2, 4]
    assert site.counts() == {"received": 5, "stored": 5}


def test_what_was_streamed_is_answered_before_anything_else_is_stored(site: Site) -> None:
    stream = Stream(site)
    stream.send(0, 1)
    assert site.intake.store(stream.groups[4])[0].finished
    assert stream.answered == [0, 1]


def test_a_commit_that_fails_is_made_up_for_before_the_next(site: Site) -> None:
    site.admin.execute("""
        CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
          PERFORM pg_sleep(0.3);
          RAISE EXCEPTION 'no' USING ERRCODE = 'serialization_failure'; END $$;
        CREATE CONSTRAINT TRIGGER fail AFTER INSERT ON ledger DEFERRABLE INITIALLY DEFERRED
          FOR EACH ROW WHEN (new.seq = 1) EXECUTE FUNCTION fail()
    """)
    stream = Stream(site)
    stream.send(0)
    for _ in range(60):
        with suppress(
            Unavailable
        ):  # on a busy machine it is heard of before all was said: then it is for us to come again
            stream.send(1)
            break
    for _ in range(2):
        with pytest.raises(Unavailable):
            stream.send(2)
    assert stream.answered == [0]
    assert [row[1] for row in site.readings()] == [0]
    site.admin.execute("DROP FUNCTION fail CASCADE")
    stream.send(2, 3, last=True)
    assert stream.answered == [0, 1, 2, 3]
    assert [row[1] for row in site.readings()] == [0, 1, 2, 3]
    assert site.counts() == {"received": 4, "stored": 4}
    assert site.rows("SELECT value, (extract(epoch FROM ts) * 1e6)::bigint - %s FROM latest", NOW) == [(1.0, 3)]


def test_a_commit_whose_reply_is_lost_is_asked_of_the_ledger(site: Site) -> None:
    stream = Stream(site)
    stream.send(0, 1)
    until = time.monotonic() + 60
    while len(site.readings()) < 2 and time.monotonic() < until:
        time.sleep(0.02)
    # Committed; but whoever would be told hears only that the connection is gone.
    site.admin.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND usename = 'hefa_ingest'"
    )
    with pytest.raises(Unavailable):
        stream.send(2)
    assert stream.answered == [0]
    stream.send(2, 3, last=True)
    assert stream.answered == [0, 1, 2, 3]
    assert [row[1] for row in site.readings()] == [0, 1, 2, 3]
    assert site.counts() == {"received": 5, "stored": 4, "duplicate": 1}


def test_late_readings_are_noted_by_tag_and_hour(site: Site) -> None:
    hour = 3_600_000_000
    start = (NOW // hour - 10) * hour - NOW
    readings = [("gw-1.a", start + dt, 1.0, 192) for dt in (5, 0, 1800_000_000, hour)]
    site.intake.store([arrival(envelope(1, [*readings, ("gw-1.b", 0, 1.0, 192)]))])
    noted = site.rows("""
        SELECT name, (extract(epoch FROM from_ts) * 1e6)::bigint - %s, (extract(epoch FROM to_ts) * 1e6)::bigint - %s
          FROM rollup_dirty JOIN tag USING (tag_id) ORDER BY 2
    """, NOW, NOW)  # fmt: skip
    # The watermark is where the schema was made: a reading of now is not late.
    assert noted[:2] == [("gw-1.a", start, start + 1800_000_000), ("gw-1.a", start + hour, start + hour)]


def test_freshness_counts_new_live_readings_only(site: Site) -> None:
    message = arrival(envelope(1, [("gw-1.a", -1_000_000, 1.0, 192)]))
    site.intake.store([message, arrival(envelope(2, [("gw-1.a", -5, 1.0, 192)], lane="backfill"))])
    site.intake.store([message])
    assert site.rows("SELECT sum(readings)::int FROM freshness") == [(1,)]


def test_two_workers_at_once_store_everything_once(site: Site) -> None:
    """The same envelopes in opposite order from two threads: no deadlock, one of them finds duplicates."""
    messages = [
        arrival(envelope(seq, [(f"gw-1.{t}", seq * 10 + k, 1.0, 192) for k in range(5) for t in "ab"]))
        for seq in range(60)
    ]
    failures: list[BaseException] = []

    def run(name: str, order: list[Arrival]) -> None:
        store = Database(site.dsns.ingest, max_size=1)
        try:
            intake = Intake(store, name)
            for start in range(0, len(order), 7):
                while True:
                    try:
                        assert all(o.finished for o in intake.store(order[start : start + 7]))
                        break
                    except Unavailable:
                        continue
        except BaseException as error:
            failures.append(error)
        finally:
            store.close()

    threads = [threading.Thread(target=run, args=(n, o)) for n, o in (("w1", messages), ("w2", messages[::-1]))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not failures
    assert site.counts() == {"received": 1200, "stored": 600, "duplicate": 600}
