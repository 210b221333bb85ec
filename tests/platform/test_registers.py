"""Registers: what was counted, against histories of which the truth is known, whatever the order in which they come."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg.rows import namedtuple_row
from psycopg.types.json import Jsonb

from hefa_platform.store import rollups
from hefa_platform.store.registers import note_returned

T0 = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(hours=20)
MINUTE = timedelta(minutes=1)
MODULUS, MAX_RATE, HOLD_S = 1000.0, 3600.0, 120


class Registers:
    """A database with a register of either kind, told of readings and swaps as ingest does it."""

    def __init__(self, site: Any) -> None:
        def connect(role: str) -> psycopg.Connection[Any]:
            options = f"-c timezone=UTC -c role={role}"
            return psycopg.connect(site.admin, autocommit=True, row_factory=namedtuple_row, options=options)

        self.admin, self.jobs, self.ingest = connect("none"), connect("hefa_jobs"), connect("hefa_ingest")
        self.admin.execute("TRUNCATE tag, edge CASCADE")
        self.admin.execute(
            """
            INSERT INTO edge (name) VALUES ('gw'), ('other');
            INSERT INTO tag (name, edge_id, kind, heartbeat_s, modulus, max_rate, resolution, low)
            SELECT t.name, edge_id, t.kind, 60, 1000, 3600, 0.5, t.low
              FROM edge, (VALUES ('gauge', 'gauge', 0.0), ('register', 'counter', 0.0), ('net', 'counter', -1000))
                AS t(name, kind, low) WHERE edge.name = 'gw'
            """
        )
        self.tags = dict(self.admin.execute("SELECT name, tag_id FROM tag").fetchall())
        self.admin.execute("SELECT ensure_partitions(ARRAY[%s::date, %s::date])", [T0, T0 + timedelta(days=1)])
        assert rollups.claim(self.jobs)
        self.begin()

    def begin(self) -> None:
        self.admin.execute(
            "TRUNCATE reading, reading_1m, rollup_hour, rollup_dirty, meter_swap, event, quarantine, latest CASCADE"
        )
        # A view where hours are a continuous aggregate.
        (hours,) = self.admin.execute(
            "SELECT coalesce(to_regclass('reading_1h_cagg'), 'reading_1h'::regclass)"
        ).fetchone()
        self.admin.execute(f"TRUNCATE {hours}")
        self.admin.execute("UPDATE rollup_state SET watermark = %s", [T0])
        self.told = 0

    def close(self) -> None:
        for connection in (self.admin, self.jobs, self.ingest):
            connection.close()

    def read(self, readings: Sequence[tuple[float, float | None, int]], tag: str = "register") -> None:
        """Readings of (seconds after T0, value, quality), noted where the watermark has passed them."""
        with self.ingest.transaction():
            for at, value, quality in readings:
                row = [self.tags[tag], T0 + timedelta(seconds=at), value, quality]
                self.ingest.execute("INSERT INTO reading VALUES (%s, %s, %s, %s) ON CONFLICT DO NOTHING", row)
                self.ingest.execute(
                    """
                    INSERT INTO rollup_dirty (tag_id, from_ts, to_ts)
                    SELECT %(tag)s, %(ts)s, %(ts)s FROM (SELECT watermark FROM rollup_state FOR SHARE) s
                     WHERE %(ts)s < watermark
                    """,
                    {"tag": row[0], "ts": row[1]},
                )

    def swap(
        self, at: float, final: float, initial: float, tag: str = "register", edge: str = "gw", **more: object
    ) -> None:
        """The event that declares a swap, or withdraws it, as ingest stores it."""
        self.told += 1
        self.ingest.execute(
            """
            INSERT INTO event (edge_id, epoch, seq, i, type, ts, subject, body)
            SELECT edge_id, 'e', %s, 0, 'meter_swap', %s, %s, %s FROM edge WHERE name = %s
            """,
            [self.told, T0 + timedelta(seconds=at), tag, Jsonb({"final": final, "initial": initial} | more), edge],
        )

    def newest(self) -> None:
        """Move `latest` forward, as ingest does."""
        self.admin.execute(
            """
            INSERT INTO latest (tag_id, ts, value, quality)
            SELECT DISTINCT ON (tag_id) tag_id, ts, value, quality FROM reading ORDER BY tag_id, ts DESC
            """
        )

    def advance(self, minutes: int) -> None:
        rollups.advance(self.jobs, T0 + minutes * MINUTE)

    def work(self) -> None:
        while rollups.work(self.jobs, "newest", settled=False) is not None:
            pass

    def settle(self, minutes: int) -> None:
        self.advance(minutes)
        self.work()

    def counted(self, tag: str = "register", table: str = "reading_1m") -> dict[int, tuple[float, float, float, int]]:
        """What the rollup says by minute after T0: measured, estimated, unknown, resets."""
        rows = self.admin.execute(f"SELECT r.* FROM {table} r WHERE tag_id = %s ORDER BY bucket", [self.tags[tag]])
        return {
            round((row.bucket - T0) / MINUTE): (row.inc_measured, row.inc_estimated, row.inc_unknown, row.resets)
            for row in rows
        }

    def total(self, tag: str = "register") -> tuple[float, float, float, int]:
        measured, estimated, unknown, resets = (sum(column) for column in zip(*self.counted(tag).values(), strict=True))
        return round(measured, 6), round(estimated, 6), round(unknown, 6), resets


@pytest.fixture(scope="module")
def registers(site: Any) -> Iterator[Registers]:
    found = Registers(site)
    yield found
    found.close()


@pytest.fixture(autouse=True)
def _afresh(registers: Registers) -> None:
    registers.begin()


# --- one point after another -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "after", "hours", "modulus", "max_rate", "amount", "is_reset", "believed"),
    [
        (100.0, 130.0, 1, 1e7, 500, 30, False, True),
        (9_999_990.0, 15.0, 1, 1e7, 500, 25, False, True),  # rolls over
        (1_234_567.0, 12.0, 1, 1e7, 500, 12, True, True),  # started again: the new number is all that is known
        (1_234_567.0, 900.0, 1, 1e7, 500, 501, True, False),  # a new meter not at zero: at most what can have been
        (100.0, 700.0, 1, 1e7, 500, 600, False, False),  # more than the meter can count
        (100.0, 700.0, 2, 1e7, 500, 600, False, True),  # … but not in two hours
        (100.0, 100.0, 1, 1e7, 500, 0, False, True),
        (100.0, 99.0, 1, 1e7, 500, -1, False, True),  # its own step back: rounding, and the sum stays right
        (100.0, 98.9, 1, 1e7, 500, 98.9, True, True),
        (9_999_990.0, 15.0, 1, 1e7, None, 25, False, True),  # without a rate a step of half the register is the border
        (4_000_000.0, 15.0, 1, 1e7, None, 15, True, True),
        (500.0, 15.0, 1, None, 500, 15, True, True),  # without a modulus nothing rolls over
        (2e7, 15.0, 1, 1e7, 1e9, 15, True, True),  # a number the register cannot show has not rolled over
    ],
)
def test_register_step(
    registers: Registers, before: float, after: float, hours: float, modulus: float | None, max_rate: float | None,
    amount: float, is_reset: bool, believed: bool,
) -> None:  # fmt: skip
    row = registers.admin.execute(
        "SELECT * FROM register_step(%s, %s, %s, %s, %s, 1, false)",
        [before, after, hours * 3600, modulus, max_rate],
    ).fetchone()
    assert tuple(row) == (pytest.approx(amount), is_reset, believed, 0)


@pytest.mark.parametrize(
    ("before", "after", "hours", "modulus", "max_rate", "both_ways", "amount", "further"),
    [
        (100.0, 400.0, 12.9, 1000, 100, False, 300, 0),
        (100.0, 400.0, 13, 1000, 100, False, 300, 1000),  # 1,300 are as possible as 300
        (100.0, 400.0, 33.5, 1000, 100, False, 300, 3000),
        (400.0, 100.0, 16.9, 1000, 100, False, 700, 0),
        (400.0, 100.0, 17, 1000, 100, False, 700, 1000),
        (100.0, 100.0, 25, 1000, 100, False, 0, 2000),
        (100.0, 400.0, 1000, 1000, None, False, 300, 0),  # nobody knows how much the meter can count
        (100.0, 400.0, 1000, None, 100, False, 300, 0),
        (1100.0, 1400.0, 1000, 1000, 100, False, 300, 0),  # no register of this modulus
        (100.0, 400.0, 6.9, 1000, 100, True, 300, 0),
        (100.0, 400.0, 7, 1000, 100, True, 300, 1000),  # or 700 the other way
        (400.0, 100.0, 7, 1000, 100, True, -300, 1000),
    ],
)
def test_rounds_that_nobody_saw_are_told(
    registers: Registers, before: float, after: float, hours: float, modulus: float | None, max_rate: float | None,
    both_ways: bool, amount: float, further: float,
) -> None:  # fmt: skip
    row = registers.admin.execute(
        "SELECT * FROM register_step(%s, %s, %s, %s, %s, 0, %s)",
        [before, after, hours * 3600, modulus, max_rate, both_ways],
    ).fetchone()
    assert tuple(row) == (pytest.approx(amount), False, True, pytest.approx(further))


@pytest.mark.parametrize(
    ("before", "after", "amount", "is_reset", "believed"),
    [
        (100.0, 130.0, 30, False, True),
        (130.0, 100.0, -30, False, True),  # gives back
        (5.0, -25.0, -30, False, True),
        (995.0, 10.0, 15, False, True),  # over the top, and back under
        (10.0, 995.0, -15, False, True),
        (700.0, 20.0, 20, True, True),  # too fast for either way: started again
        (100.0, 700.0, 600, False, False),
    ],
)
def test_a_register_that_counts_both_ways(
    registers: Registers, before: float, after: float, amount: float, is_reset: bool, believed: bool
) -> None:
    row = registers.admin.execute(
        "SELECT * FROM register_step(%s, %s, 3600, 1000, 100, 0, true)", [before, after]
    ).fetchone()
    assert tuple(row) == (pytest.approx(amount), is_reset, believed, 0)


@pytest.mark.parametrize(("per_unit", "first"), [(10, 1), (100, 1), (1000, 1), (10, 99_990_000)])
def test_a_step_back_of_a_register_with_decimals_is_its_rounding(
    registers: Registers, per_unit: int, first: int
) -> None:
    """Numbers with decimals are not exact: 16.1 less 16.0 is a little more than 0.1."""
    (unlike,) = registers.admin.execute(
        """
        SELECT count(*) FROM generate_series(%(first)s::integer, %(first)s + 5000) AS k,
               register_step(k / %(n)s::float8, (k - 1) / %(n)s::float8, 60, 1e7, 100, 1 / %(n)s::float8, false)
         WHERE is_reset OR amount > 0 OR NOT is_believed
        """,
        {"first": first, "n": per_unit},
    ).fetchone()
    assert unlike == 0


def test_a_step_of_the_register_is_believed_however_short_the_time(registers: Registers) -> None:
    assert registers.admin.execute("SELECT * FROM register_step(10, 11, 0.5, 1e7, 100, 1, false)").fetchone()[2]


def test_a_negative_reading_of_a_register_that_cannot_show_one_is_passed_over(registers: Registers) -> None:
    registers.read([(0, 100.0, 192), (60, -20.0, 192), (120, 104.0, 64)])
    registers.settle(10)
    assert registers.total() == (4, 0, 0, 0)


def test_what_a_long_silence_hides_lies_between_what_is_estimated_and_what_is_unknown(registers: Registers) -> None:
    registers.read([(0, 100.0, 192), (60, 130.0, 192), (60 + 2400, 230.0, 192)])  # up to 2,400 may have passed
    registers.settle(50)
    assert registers.total() == (30, 100, 2000, 0)


def test_a_net_register_counts_back_what_is_given_back(registers: Registers) -> None:
    registers.read([(0, 10.0, 192), (60, 20.0, 192), (120, -5.0, 192), (180, -4.0, 192)], "net")
    registers.settle(10)
    assert [measured for measured, *_ in registers.counted("net").values()] == [10, -25, 1, 0, 0]


# --- silences ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("readings", "later", "so_far", "in_all"),
    [
        ([(0, 500.0, 192), (60, 510.0, 192)], (660, 810.0, 192), 280, 310),  # silent for ten minutes
        ([(0, 500.0, 192), (60, 510.0, 192), (70, None, 0)], (660, 810.0, 192), 280, 310),  # … after a bad reading
        ([(0, 500.0, 192), (540, 710.0, 192)], (660, 810.0, 192), 260, 310),  # within two heartbeats
    ],
)
def test_what_was_counted_in_a_silence_is_in_totals_as_soon_as_it_is_heard_of(
    registers: Registers, readings: list[tuple[float, float | None, int]], later: tuple[float, float, int],
    so_far: float, in_all: float,
) -> None:  # fmt: skip
    registers.read(readings)
    registers.settle(10)
    registers.read([later])
    registers.newest()
    assert note_returned(registers.jobs) == 1
    assert registers.admin.execute("SELECT min(from_ts) < %s FROM rollup_dirty", [T0 + 10 * MINUTE]).fetchone() == (
        True,
    )
    registers.work()
    assert note_returned(registers.jobs) == 0
    measured, estimated, unknown, _ = registers.total()
    assert (measured + estimated, unknown) == (pytest.approx(so_far), 0)
    live = registers.admin.execute(
        "SELECT sum(inc_measured + inc_estimated) FROM minutes_now(ARRAY[%s], ARRAY[%s], ARRAY[%s])",
        [registers.tags["register"], T0 + 10 * MINUTE, T0 + 12 * MINUTE],
    ).fetchone()
    assert measured + estimated + live[0] == pytest.approx(in_all)
    registers.settle(20)
    measured, estimated, unknown, _ = registers.total()
    assert (measured + estimated, unknown) == (pytest.approx(in_all), 0)


@pytest.mark.parametrize(
    "readings",
    [
        [(60 * k, 500.0 + k, 192) for k in range(12)],  # speaks each minute
        [(0, 500.0, 192), (60, 510.0, 192), (660, 510.0, 192)],  # stood still
        [(0, 500.0, 192), (60, 510.0, 192), (660, 520.0, 0)],  # says nothing yet
        [(660, 520.0, 192)],  # was never heard of before
    ],
)
def test_a_register_that_lacks_nothing_is_left_alone(
    registers: Registers, readings: list[tuple[float, float, int]]
) -> None:
    registers.read(readings)
    registers.settle(10)
    registers.newest()
    assert note_returned(registers.jobs) == 0


def test_a_meter_swapped_in_a_silence_is_counted_as_soon_as_the_new_one_is_heard(registers: Registers) -> None:
    registers.read([(0, 500.0, 192), (60, 510.0, 192)])
    registers.settle(10)
    registers.swap(300, 600.0, 0.0)
    registers.work()
    assert registers.total() == (10, 90, 0, 0)
    registers.read([(660, 36.0, 192)])
    registers.newest()
    assert note_returned(registers.jobs) == 1
    registers.work()
    assert registers.total() == (10, 120, 0, 0)  # five of the six minutes since the swap


# --- swaps -----------------------------------------------------------------------------------------------------------


def test_a_declared_swap_loses_nothing(registers: Registers) -> None:
    registers.read([(0, 500.0, 192), (60, 510.0, 192), (120, 805.0, 192)])
    registers.settle(10)
    assert registers.total() == (10, 0, 295, 0)  # more than one a second: nobody knows
    registers.swap(90, 514.0, 800.0)
    registers.work()
    assert registers.total() == (19, 0, 0, 0)
    registers.swap(90, 512.0, 800.0)  # corrected
    registers.work()
    assert registers.counted()[1] == (7, 0, 0, 0)


@pytest.mark.parametrize("at", [60, 61, 90, 119, 120, 3000])  # at the time of a reading, in the minute of one, far off
def test_a_swap_that_is_withdrawn_was_never_there(registers: Registers, at: int) -> None:
    registers.read([(0, 500.0, 192), (30, 505.0, 192), (60, 510.0, 192), (120, 520.0, 192), (3600, 620.0, 192)])
    registers.settle(70)
    before = registers.counted(), registers.counted(table="reading_1h")
    registers.swap(at, 700.0, 400.0)
    registers.work()
    assert registers.counted() != before[0]
    registers.swap(at, 700.0, 400.0, edge="other", withdrawn=True)  # not its register
    registers.swap(at + 1, 700.0, 400.0, withdrawn=True)  # not its time
    registers.work()
    assert registers.counted() != before[0]
    registers.swap(at, 700.0, 400.0, withdrawn=True)
    registers.work()
    assert (registers.counted(), registers.counted(table="reading_1h")) == before
    registers.swap(at, 700.0, 400.0)  # declared again
    registers.work()
    assert registers.counted() != before[0]


def test_a_swap_far_from_readings_is_estimated_on_either_side(registers: Registers) -> None:
    registers.swap(600, 560.0, 0.0)
    registers.read([(0, 500.0, 192), (1200, 30.0, 192)])
    registers.settle(30)
    counted = registers.counted()
    assert [round(counted[k][1], 6) for k in (0, 9, 10, 19)] == [6, 6, 3, 3]
    assert registers.total() == (0, 90, 0, 0)


def test_the_declaration_stands_for_a_reading_at_its_very_instant(registers: Registers) -> None:
    registers.read([(0, 500.0, 192), (60, 77.0, 192), (120, 5.0, 192)])
    registers.swap(60, 506.0, 0.0)
    registers.settle(10)
    assert registers.total() == (11, 0, 0, 0)


def test_a_new_meter_begins_with_its_swap(registers: Registers) -> None:
    registers.swap(0, 0.0, 20.0)
    registers.read([(60, 25.0, 192)])
    registers.settle(10)
    assert registers.total() == (5, 0, 0, 0)


DAYS = 86_400.0


@pytest.mark.parametrize(
    ("at", "tag", "edge", "more", "code", "says"),
    [
        (-500 * DAYS, "register", "gw", {}, "TS_TOO_OLD", "check its year"),
        (-102 * DAYS, "register", "gw", {}, "TS_TOO_OLD", "check its year"),
        (30, "register", "other", {}, "TAG_FOREIGN", "another gateway"),
        (30, "gauge", "gw", {}, "TAG_UNKNOWN", "no counter"),
        (30, "unheard", "gw", {}, "TAG_UNKNOWN", "no counter"),
        (30, "register", "gw", {"withdrawn": True}, "SCHEMA", "none to withdraw"),
    ],
)
def test_a_swap_that_means_nothing_is_refused_and_kept_for_people(
    registers: Registers, at: float, tag: str, edge: str, more: dict[str, Any], code: str, says: str
) -> None:
    registers.read([(0, 500.0, 192), (60, 510.0, 192)])
    registers.swap(at, 900.0, 0.0, tag, edge, reason="worn", **more)
    registers.settle(10)
    assert registers.total() == (10, 0, 0, 0)
    assert registers.admin.execute("SELECT count(*) FROM meter_swap").fetchone() == (0,)
    assert registers.admin.execute("SELECT count(*) FROM event").fetchone() == (0,)
    (row,) = registers.admin.execute("SELECT * FROM quarantine").fetchall()
    assert (row.edge, row.epoch, row.seq, row.i, row.code, row.topic, row.state) == (
        edge, "e", 1, 0, code, f"hefa/v1/{edge}/event", "open",
    )  # fmt: skip
    assert says in row.detail
    ts = round((T0 + timedelta(seconds=at)).timestamp() * 1_000_000)
    said = {"type": "meter_swap", "ts": ts, "subject": tag, "final": 900.0, "initial": 0.0, "reason": "worn"}
    assert row.reading == {"event": said | more}


def test_a_swap_may_come_before_the_readings_of_its_meter(registers: Registers) -> None:
    """A gateway's backlog, a history: 100 days are more than what is taken of them."""
    registers.swap(-95 * DAYS, 20.0, 0.0)
    assert registers.admin.execute("SELECT count(*) FROM meter_swap").fetchone() == (1,)


def test_a_swap_is_taken_since_when_readings_are(registers: Registers) -> None:
    registers.read([(0, 500.0, 192), (60, 510.0, 192), (120, 520.0, 192)])
    registers.settle(10)
    since = T0 - timedelta(days=1) + timedelta(seconds=90)
    registers.admin.execute("UPDATE rollup_state SET raw_since = %s", [since])
    try:
        registers.swap(89, 515.0, 0.0)
        (detail,) = registers.admin.execute("SELECT detail FROM quarantine").fetchone()
        assert detail.endswith(f"since {T0 + timedelta(seconds=90):%Y-%m-%dT%H:%M:%SZ}")
        registers.swap(90, 515.0, 515.0)
        assert registers.admin.execute("SELECT count(*) FROM meter_swap").fetchone() == (1,)
    finally:
        registers.admin.execute("UPDATE rollup_state SET raw_since = DEFAULT")


def test_a_withdrawn_swap_before_all_readings_leaves_nothing_behind(registers: Registers) -> None:
    """What was counted before the first reading was made of the swap, not of readings that are gone."""
    registers.admin.execute("UPDATE rollup_state SET raw_since = %s", [T0 - timedelta(days=3)])
    try:
        registers.swap(0, 10.0, 480.0)
        registers.read([(600, 500.0, 192), (660, 510.0, 192)])
        registers.settle(20)
        assert registers.total()[:2] == (10, 20)
        registers.swap(0, 10.0, 480.0, withdrawn=True)
        registers.work()
        assert registers.total() == (10, 0, 0, 0)
    finally:
        registers.admin.execute("UPDATE rollup_state SET raw_since = DEFAULT")


def test_a_swap_beyond_the_readings_that_are_kept_changes_no_rollup(registers: Registers) -> None:
    registers.read([(0, 500.0, 192), (60, 510.0, 192), (120, 520.0, 192)])
    registers.settle(10)
    before = registers.counted()
    registers.admin.execute("DELETE FROM reading WHERE ts < %s", [T0 + 2 * MINUTE])
    registers.swap(90, 515.0, 0.0)
    registers.work()
    assert registers.counted() == before
    (detail,) = registers.admin.execute("SELECT detail FROM quarantine").fetchone()
    assert detail.endswith(f"final: swaps are taken since {T0 + 2 * MINUTE:%Y-%m-%dT%H:%M:%SZ}")


def test_a_swap_stays_when_the_readings_around_it_are_gone(registers: Registers) -> None:
    registers.read([(0, 500.0, 192), (60, 510.0, 192), (120, 520.0, 192)])
    registers.swap(90, 515.0, 515.0)
    registers.settle(10)
    before = registers.counted()
    registers.admin.execute("DELETE FROM reading WHERE ts < %s", [T0 + 2 * MINUTE])
    registers.swap(90, 515.0, 515.0, withdrawn=True)
    registers.work()
    assert registers.counted() == before
    assert registers.admin.execute("SELECT count(*) FROM meter_swap").fetchone() == (1,)


# --- histories with known truth --------------------------------------------------------------------------------------


@dataclass
class History:
    """A register from second 0 to `end`, and what it really counted. Amounts are whole, so that sums are exact."""

    readings: list[tuple[float, float | None, int]] = field(default_factory=list)
    swaps: list[tuple[float, float, float]] = field(default_factory=list)
    minutes: int = 0  # that it lasts
    truth: float = 0.0  # between the first and the last reading, less what a reset made unknowable
    resets: int = 0


@st.composite
def histories(draw: st.DrawFn) -> History:
    """A true flow through a register that rolls over, is set back, is swapped; read with gaps, bad and doubtful."""
    history = History()
    at, register = 0, draw(st.integers(0, 999))
    since, point = 0, 0  # counted since the register was known last: a reset makes it unknowable
    history.readings.append((at, float(register), 192))
    for what in draw(st.lists(st.sampled_from("rrrrrrrrbgsz"), min_size=1, max_size=25)):
        seconds = draw(st.integers(700, 900)) if what == "g" else draw(st.integers(5, 60))
        # At most half of what the meter can count, so that no reset can be taken for a rollover.
        amount = draw(st.integers(0, min(seconds // 2, 400)))
        at += seconds
        register = (register + amount) % MODULUS
        since += amount
        # Bad readings do not make a gap so long that the register may have rolled over unseen.
        if what == "b" and at - point <= 60:
            history.readings.append((at, draw(st.sampled_from([None, 0.0, 5e8])), 0))
            continue
        if what == "s":
            initial = float(draw(st.integers(0, 999)))
            history.swaps.append((at, float(register), initial))
            history.truth += since
            register, since, point = initial, 0, at
            continue
        # A reset only where the step cannot be a rollover: from the middle of the register, in a short time.
        if what == "z" and 200 <= register <= 550 and since <= 100 and at - point <= 300:
            history.resets += 1
            later = draw(st.integers(1, 60))
            at += later
            register = since = draw(st.integers(0, later // 2))
        history.readings.append((at, float(register), draw(st.sampled_from([192, 64]))))
        history.truth += since
        since, point = 0, at
    history.minutes = at // 60 + 2
    return history


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(history=histories(), chance=st.randoms(use_true_random=False), stops=st.lists(st.integers(0, 120), max_size=2))
def test_the_sum_is_the_truth_in_any_order(
    registers: Registers, history: History, chance: random.Random, stops: list[int]
) -> None:
    registers.begin()
    arrivals = [
        *(("read", [reading]) for reading in [*history.readings, *history.readings[::3]]),
        *(("swap", swap) for swap in history.swaps),
        *(("settle", minutes) for minutes in stops),
    ]
    chance.shuffle(arrivals)
    for what, told in arrivals:
        if what == "swap":
            registers.swap(*told)
        else:
            getattr(registers, what)(told)
    registers.settle(history.minutes)
    measured, estimated, unknown, resets = registers.total()
    assert resets == history.resets
    assert measured + estimated == pytest.approx(history.truth)
    assert unknown == 0
    assert all(m + e + u <= 60.0 + 1e-6 for m, e, u, _ in registers.counted().values())
    hours = registers.counted(table="reading_1h").values()
    assert [sum(h[k] for h in hours) for k in range(4)] == pytest.approx([measured, estimated, unknown, resets])
