"""The evaluation of alarms: what `hefa-platform maintain` does every few seconds, on the connection that holds its lock.

Each round looks at all limits from the checkpoint up to now and reconciles what it finds with what is stored, so that
an excursion is one alarm however often it is seen. The checkpoint follows the watermark of the rollups: what is stored
before that one is noted, and its tags are looked at again from there. Readings that come late can so raise an alarm
that was not seen, end one earlier, or show that there was none; nothing that people did to an alarm is lost.
"""

import logging
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from hefa_platform.store.alarm_state import Aside, Point, State, begun, ended, record, settings_in_force, settle
from hefa_platform.store.database import Connection
from hefa_platform.store.excursions import LEVELS, Active, Change, Excursion, Rule, Zones, excursions, rules_of

logger = logging.getLogger(__name__)

SETTLE = timedelta(seconds=2)  # how far behind now an alarm is judged: readings are on their way for so long
LATE = timedelta(minutes=15)  # an excursion that was over so long ago when it was found asks nothing of anybody
QUIET = timedelta(seconds=3)  # late readings are looked at when none came for so long …
AT_LAST = timedelta(seconds=60)  # … or when they have waited for so long
GATHER = timedelta(hours=2)  # late readings of a tag no further apart are one range
TAGS = 60  # ranges of late readings in one transaction

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Watched:
    """A tag with limits. `hold`: how long a reading is believed, two heartbeats."""

    tag_id: int
    zones: Zones
    hold: timedelta

    @property
    def memory(self) -> timedelta:
        """How far back readings decide what is to come."""
        return timedelta(microseconds=max((max(rule.on_us, rule.off_us) for rule in self.zones.rules), default=0))


@dataclass(frozen=True)
class Range:
    """What is to be looked at of a tag."""

    tag: Watched
    start: datetime
    end: datetime


@dataclass
class Stored:
    """An alarm as it stands in the database."""

    tag_id: int
    alarm_id: int
    level: str
    crossed: datetime
    raised: datetime
    returned: datetime | None
    value: float
    extreme: float
    state: State
    acked: bool
    latching: bool


@dataclass
class Done:
    """What a round changed; `more` late readings are waiting."""

    raised: int = 0
    returned: int = 0
    withdrawn: int = 0
    more: bool = False


def watch(connection: Connection, now: datetime | None = None, *, quiet: timedelta = QUIET) -> Done:
    """One round: what is put aside, everything from the checkpoint to now, and some late readings that have settled.

    Call again at once while there are more of those.
    """
    with connection.transaction():
        row = connection.execute(
            """
            SELECT coalesce(%s, clock_timestamp()), checkpoint, watermark FROM alarm_progress CROSS JOIN rollup_state
            """,
            [now],
        ).fetchone()
        assert row is not None
        now, checkpoint, watermark = row
        settings = settings_in_force(connection)
        tags = watched(connection, settings)
        done = Done()
        aside = settle(connection, settings, now)
        _retire(connection, tags, now)
        end = now - SETTLE
        if end > checkpoint:
            _look(connection, [Range(tag, checkpoint, end) for tag in tags.values()], end, now, aside, done)
            forward = min(watermark, end)
            if forward > checkpoint:
                connection.execute("UPDATE alarm_progress SET checkpoint = %s", [forward])
    done.more = _catch_up(connection, tags, now, quiet, aside, done)
    if done.raised or done.withdrawn:
        logger.debug("alarms raised=%d returned=%d withdrawn=%d", done.raised, done.returned, done.withdrawn)
    return done


def watched(connection: Connection, settings: Mapping[str, Any]) -> dict[int, Watched]:
    """Tags with limits in force, by id, with their rules by the setting `alarm`."""
    found = {}
    for tag in connection.execute(
        """
        SELECT tag_id, name, template, suffix, area, ll, l, h, hh, low, high, normal, heartbeat_s
          FROM tag LEFT JOIN v_place ON path = equipment
         WHERE NOT retired AND kind = 'gauge' AND num_nonnulls(ll, l, h, hh) > 0 ORDER BY tag_id
        """
    ):
        fields = ("name", "template", "suffix", "area", "ll", "l", "h", "hh", "low", "high", "normal")
        rules = rules_of(dict(zip(fields, tag[1:12], strict=True)), settings)
        if rules:
            found[tag[0]] = Watched(tag[0], Zones.of(rules), timedelta(seconds=2 * tag[12]))
    return found


def _catch_up(
    connection: Connection, tags: Mapping[int, Watched], now: datetime, quiet: timedelta, aside: Aside, done: Done
) -> bool:
    """Look again at what late readings touch, the oldest range of each tag first; False when nothing is due."""
    with connection.transaction():
        row = connection.execute("SELECT checkpoint FROM alarm_progress").fetchone()
        assert row is not None
        checkpoint: datetime = row[0]
        notes = connection.execute(
            """
            WITH due AS (
              SELECT tag_id FROM alarm_late GROUP BY tag_id
              HAVING max(noted_at) < clock_timestamp() - %s OR min(noted_at) < clock_timestamp() - %s
               ORDER BY tag_id LIMIT %s
            )
            SELECT tag_id, late_id, from_ts, to_ts FROM alarm_late JOIN due USING (tag_id) ORDER BY tag_id, from_ts
            """,
            [quiet, AT_LAST, TAGS],
        ).fetchall()
        if not notes:
            return False
        taken: list[int] = []
        first: dict[int, tuple[datetime, datetime]] = {}
        for tag_id, late_id, start, end in notes:
            low, high = first.get(tag_id, (start, end))
            if start - high > GATHER:
                continue  # the next range of this tag: when this one is right
            first[tag_id] = low, max(high, end)
            taken.append(late_id)
        connection.execute("DELETE FROM alarm_late WHERE late_id = ANY (%s)", [taken])
        horizon = max(now - SETTLE, checkpoint)
        ranges = []
        for tag_id, (low, high) in first.items():
            tag = tags.get(tag_id)
            if tag is not None and low < horizon:
                ranges.append(Range(tag, low, min(high + tag.hold + tag.memory, horizon)))
        apart = _look(connection, ranges, horizon, now, aside, done)
        # Where the end differs from what was found there before, everything after it may.
        _look(connection, [Range(r.tag, r.start, horizon) for r in apart], horizon, now, aside, done)
    return True


def _look(
    connection: Connection, ranges: Sequence[Range], horizon: datetime, now: datetime, aside: Aside, done: Done
) -> list[Range]:
    """Evaluate ranges and make the stored alarms say the same; return those that do not meet what is stored after them."""
    if not ranges:
        return []
    changes = _changes(connection, ranges)
    stored = _stored(connection, ranges)
    apart = []
    fresh: list[tuple[int, Rule, Excursion]] = []
    moved: list[tuple[Stored, Excursion, Range]] = []
    gone: list[Stored] = []
    for n, range_ in enumerate(ranges):
        there = stored[range_.tag.tag_id]
        active = {
            alarm.level: Active(_us(alarm.crossed), _us(alarm.raised), alarm.value)
            for alarm in there
            if alarm.raised <= range_.start and (alarm.returned is None or alarm.returned > range_.start)
        }
        found = excursions(range_.tag.zones, changes[n], _us(range_.start), _us(range_.end), active)
        pairs, new, lost = _matched(range_, there, found)
        if range_.end < horizon and _differs(range_, there, found):
            apart.append(range_)
            continue
        rules = {rule.level: rule for rule in range_.tag.zones.rules}
        fresh += [(range_.tag.tag_id, rules[excursion.level], excursion) for excursion in new]
        for alarm, excursion in pairs:
            if excursion.returned is None and range_.end < horizon and alarm.returned is not None:
                excursion = excursion._replace(returned=_us(alarm.returned))  # after the range it is as it was
            moved.append((alarm, excursion, range_))
        gone += lost
    _raise(connection, fresh, horizon, now, aside, done)
    _move(connection, moved, horizon, done)
    for alarm in gone:
        done.withdrawn += 1
        connection.execute("UPDATE alarm SET withdrawn = true, state = 'NORM' WHERE alarm_id = %s", [alarm.alarm_id])
        record(connection, alarm.alarm_id, alarm.state, "NORM", "readings that came later show that there was none")
    return apart


def _changes(connection: Connection, ranges: Sequence[Range]) -> list[list[Change]]:
    """When each value went into another zone, from the longest delay before its range on: a small part of the readings."""
    found: list[list[Change]] = [[] for _ in ranges]
    rows = connection.execute(
        """
        WITH want AS (
          SELECT nth::integer - 1 AS nth, tag_id, lo, hi, hold, cuts::float8[] AS cuts
            FROM unnest(%b::integer[], %b::timestamptz[], %b::timestamptz[], %b::interval[], %b::text[])
                 WITH ORDINALITY AS w(tag_id, lo, hi, hold, cuts, nth)
        ), line AS (
          SELECT want.nth, want.hold, r.ts, r.value,
                 CASE WHEN r.quality >= 64 THEN width_bucket(r.value, want.cuts) END AS zone,
                 row_number() OVER later AS place, lag(r.ts) OVER later AS before, lead(r.ts) OVER later AS after,
                 lag(CASE WHEN r.quality >= 64 THEN width_bucket(r.value, want.cuts) END) OVER later AS was
            FROM want CROSS JOIN LATERAL (
              (SELECT ts, value, quality FROM reading
                WHERE tag_id = want.tag_id AND ts < want.lo AND ts > want.lo - want.hold AND ts > %b
                ORDER BY ts DESC LIMIT 1)
              UNION ALL
              SELECT ts, value, quality FROM reading
               WHERE tag_id = want.tag_id AND ts >= want.lo AND ts <= want.hi AND ts > %b AND ts <= %b
            ) AS r
          WINDOW later AS (PARTITION BY want.nth ORDER BY r.ts)
        )
        SELECT nth, (extract(epoch FROM ts) * 1000000)::bigint, zone, value,
               CASE WHEN after IS NULL OR after - ts > hold
                    THEN (extract(epoch FROM ts + hold) * 1000000)::bigint END
          FROM line
         WHERE place = 1 OR zone IS DISTINCT FROM was OR ts - before > hold OR after IS NULL OR after - ts > hold
         ORDER BY nth, ts
        """,
        [
            [r.tag.tag_id for r in ranges],
            [r.start - r.tag.memory for r in ranges],
            [r.end for r in ranges],
            [r.tag.hold for r in ranges],
            ["{" + ",".join(map(repr, r.tag.zones.thresholds)) + "}" for r in ranges],
            # Once more as constants, so that the planner leaves out partitions.
            first := min(r.start - r.tag.memory - r.tag.hold for r in ranges),
            first,
            max(r.end for r in ranges),
        ],
    )
    for nth, ts, zone, value, unknown_from in rows:
        changes = found[nth]
        if not changes or changes[-1].zone != zone:
            changes.append(Change(ts, zone, math.nan if value is None else value))
        if unknown_from is not None and zone is not None:
            changes.append(Change(unknown_from, None, math.nan))
    return found


def _stored(connection: Connection, ranges: Sequence[Range]) -> dict[int, list[Stored]]:
    """Alarms of the ranges' tags that are active at any time of them, in the order of time; locked until COMMIT."""
    found: dict[int, list[Stored]] = defaultdict(list)
    for row in connection.execute(
        """
        SELECT tag_id, alarm_id, level, crossed_at, raised_at, returned_at, value, extreme, state, acked_at IS NOT NULL,
               latching
          FROM unnest(%b::integer[], %b::timestamptz[], %b::timestamptz[]) AS w(tag_id, lo, hi) JOIN alarm USING (tag_id)
         WHERE level IN ('ll', 'l', 'h', 'hh') AND NOT withdrawn AND (returned_at IS NULL OR returned_at > lo) AND raised_at <= hi
         ORDER BY tag_id, raised_at FOR UPDATE OF alarm
        """,
        [[r.tag.tag_id for r in ranges], [r.start for r in ranges], [r.end for r in ranges]],
    ):
        found[row[0]].append(Stored(*row))
    return found


def _matched(
    range_: Range, there: Sequence[Stored], found: Sequence[Excursion]
) -> tuple[list[tuple[Stored, Excursion]], list[Excursion], list[Stored]]:
    """Pair excursions with the stored alarms that overlap them in time; also what is new, and what is no more."""
    pairs, new = [], []
    levels = {rule.level for rule in range_.tag.zones.rules}
    left = [alarm for alarm in there if alarm.level in levels]
    for excursion in sorted(found, key=lambda e: e.raised):
        returned = math.inf if excursion.returned is None else excursion.returned
        for alarm in left:
            until = math.inf if alarm.returned is None else _us(alarm.returned)
            if alarm.level == excursion.level and _us(alarm.crossed) <= returned and excursion.crossed <= until:
                left.remove(alarm)
                pairs.append((alarm, excursion))
                break
        else:
            new.append(excursion)
    return pairs, new, left


def _differs(range_: Range, there: Iterable[Stored], found: Iterable[Excursion]) -> bool:
    """Whether what is active at the end of the range is another than what was stored for that time."""
    then = {a.level for a in there if a.raised <= range_.end and (a.returned is None or a.returned > range_.end)}
    return then != {excursion.level for excursion in found if excursion.returned is None}


def _raise(
    connection: Connection,
    fresh: Sequence[tuple[int, Rule, Excursion]],
    horizon: datetime,
    now: datetime,
    aside: Aside,
    done: Done,
) -> None:
    """Store new alarms. One that was over long ago asks for no acknowledgement; one that is put aside is not announced."""
    if not fresh:
        return
    extremes = _extremes(connection, [(t, e, _moment(e.crossed)) for t, _, e in fresh], horizon)
    rows = []
    for (tag_id, rule, excursion), extreme in zip(fresh, extremes, strict=True):
        returned = None if excursion.returned is None else _moment(excursion.returned)
        state, comment = begun(aside, Point(tag_id, None, rule.level))
        late = returned is not None and returned < now - LATE
        if late:
            state, comment = "NORM", "found when it was over: its readings came late"
        elif returned is not None:
            state = ended(state, rule.latching)
        rows.append(
            [tag_id, rule.level, rule.limit, rule.priority, state, _moment(excursion.crossed), _moment(excursion.raised),
             returned, excursion.value, extreme if extreme is not None else excursion.value, late, rule.latching, comment]
        )  # fmt: skip
    done.raised += len(rows)
    with connection.cursor() as cursor:
        cursor.executemany(
            """
            WITH made AS (
              INSERT INTO alarm (tag_id, level, limit_value, priority, state, crossed_at, raised_at, returned_at, value,
                                 extreme, late, latching)
              VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s) RETURNING alarm_id, state
            )
            INSERT INTO alarm_change (alarm_id, to_state, by, comment) SELECT alarm_id, state, 'system', %s FROM made
            """,
            rows,
        )


def _move(
    connection: Connection, moved: Sequence[tuple[Stored, Excursion, Range]], horizon: datetime, done: Done
) -> None:
    """Bring stored alarms to what was found: ended, not ended after all, begun at another time, gone further."""
    if not moved:
        return
    # Of what was active before the range only the range is read: the rest is in what is stored.
    since = [(a.tag_id, e, r.start if e.carried else _moment(e.crossed)) for a, e, r in moved]
    for (alarm, excursion, _), extreme in zip(moved, _extremes(connection, since, horizon), strict=True):
        returned = None if excursion.returned is None else _moment(excursion.returned)
        state = alarm.state
        if returned is not None and alarm.returned is None:
            state = ended(state, alarm.latching)
            done.returned += 1
        elif returned is None and alarm.returned is not None:
            state = "ACKED" if alarm.acked else "UNACK"
        furthest = max if alarm.level in ("h", "hh") else min
        further = alarm.extreme if extreme is None else furthest(alarm.extreme, extreme)
        was = (alarm.crossed, alarm.raised, alarm.returned, alarm.extreme, alarm.state)
        if was == (_moment(excursion.crossed), _moment(excursion.raised), returned, further, state):
            continue
        connection.execute(
            """
            UPDATE alarm SET crossed_at = %s, raised_at = %s, returned_at = %s, extreme = %s, state = %s WHERE alarm_id = %s
            """,
            [_moment(excursion.crossed), _moment(excursion.raised), returned, further, state, alarm.alarm_id],
        )
        if state != alarm.state:
            record(
                connection, alarm.alarm_id, alarm.state, state, "returned" if returned else "did not return after all"
            )


def _extremes(
    connection: Connection, found: Sequence[tuple[int, Excursion, datetime]], horizon: datetime
) -> list[float | None]:
    """The value furthest beyond the limit in each excursion of a tag since a time; None where there is no reading."""
    rows = connection.execute(
        """
        SELECT CASE WHEN w.high THEN r.max ELSE r.min END
          FROM unnest(%b::integer[], %b::timestamptz[], %b::timestamptz[], %b::boolean[])
               WITH ORDINALITY AS w(tag_id, lo, hi, high, nth)
         CROSS JOIN LATERAL (SELECT max(value), min(value) FROM reading
                              WHERE tag_id = w.tag_id AND ts >= w.lo AND ts <= w.hi AND quality >= 64 AND ts >= %b) AS r
         ORDER BY nth
        """,
        [
            [tag_id for tag_id, _, _ in found],
            [since for _, _, since in found],
            [horizon if e.returned is None else _moment(e.returned) for _, e, _ in found],
            [e.level in ("h", "hh") for _, e, _ in found],
            min(since for _, _, since in found),
        ],
    ).fetchall()
    return [row[0] for row in rows]


def _retire(connection: Connection, tags: Mapping[int, Watched], now: datetime) -> None:
    """End alarms whose limit is no longer watched: the model or the alarm rules have dropped it."""
    points = {(tag.tag_id, rule.level) for tag in tags.values() for rule in tag.zones.rules}
    for alarm_id, tag_id, level, state in connection.execute(
        """
        SELECT alarm_id, tag_id, level, state FROM alarm
         WHERE returned_at IS NULL AND NOT withdrawn AND level = ANY (%s) FOR UPDATE
        """,
        [list(LEVELS)],
    ).fetchall():
        if (tag_id, level) not in points:
            connection.execute("UPDATE alarm SET returned_at = %s, state = 'NORM' WHERE alarm_id = %s", [now, alarm_id])
            record(connection, alarm_id, state, "NORM", "the limit is no longer watched")


def _us(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(microseconds=1)


def _moment(us: int) -> datetime:
    return _EPOCH + timedelta(microseconds=us)
