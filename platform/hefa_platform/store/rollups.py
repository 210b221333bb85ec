"""Minutes and hours from raw readings: the watermark, the notes of what is dirty, and the work they ask for.

`advance` moves the watermark and notes the minutes it passed; `work` takes the notes of one clock hour and rewrites
exactly the minutes that its readings touch, and their hours, in one transaction. Where hours are a continuous aggregate
the transaction notes them, and `refresh` works that off. There is no other way a rollup is written, so that any order
and lateness of arrival ends in what raw says. One connection does it all: whoever holds the lock of `claim` on it is
the only one.
"""

import logging
from datetime import datetime, timedelta
from typing import Any, Literal

from psycopg import Cursor, errors

from hefa_platform.store.database import Connection

logger = logging.getLogger(__name__)

LOCK = 0x68656662  # advisory, of the one who works
BEHIND = "2 minutes"  # how long readings have to arrive before their minute is written the first time
SETTLE = "1 second"  # an hour that is being filled is left alone until nothing came for so long …
AT_LAST = "10 seconds"  # … or until it has waited for so long
HOUR_SETTLE, HOUR_AT_LAST = "5 seconds", "1 minute"  # the same for a refresh, which computes the hour of all tags
_HOUR = timedelta(hours=1)

_Noted = tuple[int, datetime, datetime, bool]  # tag, from, to, and whether readings came late


def claim(connection: Connection) -> bool:
    """Become the one who works on rollups, until the connection ends; False while another one is."""
    connection.execute("SET work_mem = '64MB'; SET jit = off; SET lock_timeout = '10s'")
    return bool(_one(connection.execute("SELECT pg_try_advisory_lock(%s)", [LOCK]))[0])


def advance(connection: Connection, to: datetime | None = None) -> datetime:
    """Move the watermark forward, to the minute two minutes ago or to `to`, and return it.

    Waits for the transactions that have read the old one, and lets no new one pass meanwhile: a table lock is fair,
    row locks alone could keep us waiting under load.
    """
    target = """
        SELECT watermark, greatest(watermark, date_bin(
                 '1 minute', coalesce(%(to)s, clock_timestamp() - %(behind)s::interval), 'epoch'))
          FROM rollup_state
    """
    with connection.transaction():
        before, after = _one(connection.execute(target, {"to": to, "behind": BEHIND}))
        if after > before:
            connection.execute("LOCK TABLE rollup_state IN EXCLUSIVE MODE")
            # One note per clock hour, because `work` takes an hour at a time.
            connection.execute(
                """
                WITH moved AS (
                  UPDATE rollup_state SET watermark = %(after)s WHERE watermark = %(before)s
                )
                INSERT INTO rollup_dirty (from_ts, to_ts)
                SELECT greatest(%(before)s, hour), least(%(after)s, hour + interval '1 hour')
                  FROM generate_series(date_bin('1 hour', %(before)s, 'epoch'), %(after)s - interval '1 microsecond',
                                       interval '1 hour') AS hour
                """,
                {"before": before, "after": after},
            )
    watermark: datetime = after
    return watermark


def work(connection: Connection, first: Literal["newest", "longest"], *, settled: bool = True) -> int | None:
    """Rewrite what one dirty hour touches, the newest or the one that waits longest; None when nothing is due.

    Returns the number of minutes written. `settled=False` takes an hour that is still being filled too.
    """
    with connection.transaction():
        hour = _due(connection, first, settled)
        if hour is None:
            return None
        noted = _taken(connection, hour)
        if not noted:
            return 0
        tags, los, his = _touched(connection, noted)
        if not tags:
            return 0
        return _minutes(connection, tags, los, his)


def refresh(connection: Connection, *, settled: bool = True) -> int | None:
    """Refresh the continuous aggregate for the newest hours noted, at most a day of them; None when nothing is due.

    Does nothing where hours are a table. Readers are right before and after: hours that are noted are added up from
    minutes. An hour whose minutes are still being rewritten waits, but not for long, unless `settled` is False.
    """
    rows = connection.execute(
        """
        SELECT hour FROM rollup_hour
         WHERE NOT %s OR noted_at < clock_timestamp() - %s::interval OR first_at < clock_timestamp() - %s::interval
         ORDER BY hour DESC LIMIT 24
        """,
        [settled, HOUR_SETTLE, HOUR_AT_LAST],
    ).fetchall()
    if not rows:
        return None
    hours: list[datetime] = [hour for (hour,) in rows]
    together = [hour for k, hour in enumerate(hours) if hours[0] - hour == k * _HOUR]
    # More than one transaction by itself; whoever holds the lock of `claim` is the only one who notes or refreshes.
    connection.execute(
        "CALL refresh_continuous_aggregate('reading_1h_cagg', %s::timestamptz, %s::timestamptz)",
        [together[-1], together[0] + _HOUR],
    )
    connection.execute("DELETE FROM rollup_hour WHERE hour = ANY (%s)", [together])
    return len(together)


def backlog(connection: Connection) -> int:
    """Notes not worked off yet."""
    return int(_one(connection.execute("SELECT count(*) FROM rollup_dirty"))[0])


def _due(connection: Connection, first: Literal["newest", "longest"], settled: bool) -> datetime | None:
    row = connection.execute(
        """
        SELECT date_bin('1 hour', from_ts, 'epoch') AS hour FROM rollup_dirty GROUP BY 1
        HAVING bool_or(tag_id IS NULL) OR NOT %(settled)s
            OR max(noted_at) < clock_timestamp() - %(settle)s::interval
            OR min(noted_at) < clock_timestamp() - %(at_last)s::interval
         ORDER BY CASE WHEN %(newest)s THEN date_bin('1 hour', from_ts, 'epoch') END DESC, min(noted_at), 1 LIMIT 1
        """,
        {"newest": first == "newest", "settled": settled, "settle": SETTLE, "at_last": AT_LAST},
    ).fetchone()
    return row[0] if row else None


def _taken(connection: Connection, hour: datetime) -> list[_Noted]:
    """Take the notes of an hour; return the whole minutes that they name, merged by tag."""
    return connection.execute(
        """
        WITH taken AS (
          DELETE FROM rollup_dirty WHERE from_ts >= %(hour)s AND from_ts < %(hour)s + interval '1 hour'
          RETURNING tag_id, from_ts, to_ts
        ), late AS (
          SELECT tag_id, range_agg(tstzrange(date_bin('1 minute', from_ts, 'epoch'),
                                             date_bin('1 minute', to_ts, 'epoch') + interval '1 minute')) AS ranges
            FROM taken WHERE tag_id IS NOT NULL GROUP BY tag_id
        ), passed AS (
          SELECT range_agg(tstzrange(CASE WHEN to_ts < %(hour)s + interval '1 hour' THEN from_ts ELSE %(hour)s END,
                                     to_ts)) AS ranges
            FROM taken WHERE tag_id IS NULL
        )
        SELECT tag_id, lower(range), upper(range), true FROM late CROSS JOIN unnest(ranges) AS range
        UNION ALL
        SELECT tag_id, lower(range), upper(range), false FROM passed CROSS JOIN unnest(ranges) AS range CROSS JOIN tag
        """,
        {"hour": hour},
    ).fetchall()


def _touched(connection: Connection, noted: list[_Noted]) -> tuple[list[int], list[datetime], list[datetime]]:
    """The ranges of minutes that the readings of what was noted touch, merged by tag.

    A gauge's reading holds until the next one, at most two heartbeats. A register's reading, or a declared swap, also
    decides what was counted since the one before it and until the one after it, whatever the distance. The last piece of
    an hour that came minute by minute takes all of it, so that a tag's minutes come to lie together. Nothing reaches
    beyond the watermark: there the readers compute for themselves. Nothing reaches before the oldest raw readings: what
    was made of those that are gone is final.
    """
    # A statement of its own: TimescaleDB chooses the partitions before it takes the snapshot, so that the statement that
    # sees a note may not see its readings, where they made a new partition. One that begins after it does.
    rows = connection.execute(
        """
        WITH wide AS (
          SELECT tag_id, least(noted.lo, date_bin('1 minute', before.ts, 'epoch')) AS lo,
                   least(watermark, greatest(noted.hi, CASE WHEN is_late THEN date_bin(
                     '1 minute', greatest(counted.ts, least(next.ts, last.ts + 2 * heartbeat_s * interval '1 second')),
                     'epoch') + interval '1 minute' END)) AS hi, final.until
            FROM unnest(%b::integer[], %b::timestamptz[], %b::timestamptz[], %b::boolean[]) AS noted(tag_id, lo, hi, is_late)
            JOIN tag USING (tag_id) CROSS JOIN rollup_state
            LEFT JOIN LATERAL (
              SELECT ts FROM reading WHERE tag_id = tag.tag_id AND ts >= noted.lo AND ts < noted.hi
               ORDER BY ts DESC LIMIT 1) AS last ON true
            LEFT JOIN LATERAL (
              SELECT register_before(tag.tag_id, noted.lo) AS ts WHERE last.ts IS NOT NULL OR EXISTS (
                SELECT FROM meter_swap WHERE tag_id = tag.tag_id AND ts >= noted.lo AND ts < noted.hi)
              ) AS before ON kind = 'counter'
            LEFT JOIN LATERAL (
              SELECT register_after(tag.tag_id, noted.hi) AS ts
              ) AS counted ON kind = 'counter' AND is_late
            LEFT JOIN LATERAL (
              SELECT ts FROM reading WHERE tag_id = tag.tag_id AND ts >= noted.hi ORDER BY ts LIMIT 1
              ) AS next ON is_late
           CROSS JOIN LATERAL (
             -- What was made of readings that are gone: as long as the last of them held, or was counted from. No one
             -- looks for that in the middle of what is kept.
             SELECT greatest(date_bin('1 minute', raw_since + 2 * heartbeat_s * interval '1 second', 'epoch'),
                             CASE WHEN kind = 'counter' THEN (
                               SELECT first.minute
                                 FROM (SELECT date_bin('1 minute', register_after(tag.tag_id, raw_since), 'epoch')) AS first(minute)
                                WHERE EXISTS (SELECT FROM reading_1m AS m WHERE m.tag_id = tag.tag_id
                                                 AND m.bucket < raw_since AND m.n_good > 0))
                             END) + interval '1 minute' AS until
              WHERE raw_since > '-infinity' AND noted.lo < raw_since + interval '32 days'
              UNION ALL
             SELECT '-infinity' LIMIT 1) AS final
           WHERE noted.lo < watermark
        )
        SELECT tag_id, lower(range), upper(range)
          FROM (SELECT tag_id, unnest(range_agg(tstzrange(greatest(lo, until), greatest(hi, lo, until)))) AS range
                  FROM wide GROUP BY tag_id) AS merged
         ORDER BY tag_id, 2
        """,
        [list(column) for column in zip(*noted, strict=True)],
    ).fetchall()
    return [row[0] for row in rows], [row[1] for row in rows], [row[2] for row in rows]


def _minutes(connection: Connection, tags: list[int], los: list[datetime], his: list[datetime]) -> int:
    """Write the minutes of ranges, and return how many. A range that cannot be computed stays as it is, and is told."""
    try:
        with connection.transaction():
            return _write(connection, tags, los, his)
    except errors.DataError as error:
        if len(tags) == 1:
            logger.error("no rollup of tag_id=%d from=%s to=%s: %s", tags[0], los[0], his[0], error)
            return 0
    half = len(tags) // 2
    return _minutes(connection, tags[:half], los[:half], his[:half]) + _minutes(
        connection, tags[half:], los[half:], his[half:]
    )


def _write(connection: Connection, tags: list[int], los: list[datetime], his: list[datetime]) -> int:
    ranges: list[Any] = [tags, los, his]
    connection.execute("SELECT clear_minutes(%b::integer[], %b::timestamptz[], %b::timestamptz[])", ranges)
    written = connection.execute(
        "INSERT INTO reading_1m SELECT * FROM minute_rollup(%b::integer[], %b::timestamptz[], %b::timestamptz[]) "
        "ORDER BY tag_id, bucket",  # a question asks for one tag's minutes: they come to lie together
        ranges,
    ).rowcount
    connection.execute("SELECT write_hours(%b::integer[], %b::timestamptz[], %b::timestamptz[])", ranges)
    return written


def _one(cursor: Cursor[tuple[Any, ...]]) -> tuple[Any, ...]:
    row = cursor.fetchone()
    assert row is not None
    return row
