"""Alarms of what is not heard, or not to be believed: bad and stale signals, silent gateways. A part of `maintain`.

A tag is stale when its gateway goes on telling of others, but of this one nothing for two heartbeats and the on-delay:
judged by the newest reading of the gateway, so that neither a backlog nor a silent gateway makes its tags stale. It is
bad when its quality has been below 64 for the on-delay. A gateway is silent when it took its leave, or when nothing has
come for two of its shortest heartbeats, and the on-delay is over; of its tags nothing is judged meanwhile. More than a
few bad or stale tags of one gateway are one alarm of the gateway, which stands for them (a flood tells nobody anything).

Other than limits, this is judged as of now: what comes late shows that a gateway was cut off, not that it was heard.
Raised is when the platform found it, `crossed` since when it holds.
"""

import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from psycopg.rows import class_row

from hefa_platform.store.alarm_state import Aside, Point, State, begun, ended, record, settings_in_force, settle
from hefa_platform.store.database import Connection
from hefa_platform.store.excursions import Said

logger = logging.getLogger(__name__)

FLOOD, CALM = 10, 5  # more tags of a gateway than these are one alarm, until there are at most so few
DEAF = timedelta(seconds=30)  # ingest that gives no sign of life for so long does not listen
BEHIND = timedelta(minutes=5)  # a gateway whose newest reading is older works off its backlog
LEVELS = ("bad", "stale", "silent")


@dataclass(frozen=True)
class Gateway:
    """A gateway that was heard once. `newest` is its newest reading, `beat` the shortest heartbeat of its tags.

    `back` is until when it was last silent.
    """

    edge_id: int
    name: str
    online: bool | None
    status_at: datetime | None
    seen_at: datetime | None
    newest: datetime
    beat: timedelta
    back: datetime | None

    @property
    def left(self) -> bool:
        """Whether it took its leave, or the broker for it, and nothing came since."""
        told = self.online is False and self.status_at is not None
        return told and (self.seen_at is None or (self.status_at is not None and self.seen_at <= self.status_at))


@dataclass(frozen=True)
class Signal:
    """A tag that may have to be told of. `since`: when its quality became what it is, as far back as the delays reach."""

    tag_id: int
    edge_id: int
    name: str
    template: str | None
    suffix: str | None
    area: str | None
    at: datetime  # as of when it is judged, by its gateway
    ts: datetime
    quality: int
    told_at: datetime  # when its newest reading was stored
    hold: timedelta
    since: datetime | None


@dataclass
class Active:
    """An active alarm as it stands in the database; `edge_id` also of a tag's."""

    alarm_id: int
    point: Point
    edge_id: int | None
    state: State
    latching: bool
    raised: datetime


@dataclass(frozen=True)
class Found:
    """What is to be told. `since`: from when on it holds."""

    point: Point
    since: datetime
    priority: str
    latching: bool
    comment: str


@dataclass
class Done:
    """What a round changed."""

    raised: int = 0
    returned: int = 0


class SignalWatch:
    """Judges signals and gateways, round by round. It remembers since when ingest has been listening, and no more."""

    def __init__(self) -> None:
        self._listening: datetime | None = None

    def watch(self, connection: Connection, now: datetime | None = None) -> Done:
        """One round: raise, end and put aside what should be."""
        done = Done()
        with connection.transaction():
            row = connection.execute(
                """
                SELECT now, EXISTS (SELECT FROM worker WHERE task = 'ingest' AND detail <> 'stopped' AND seen_at > now - %s)
                  FROM (SELECT coalesce(%s, clock_timestamp()) AS now) AS moment
                """,
                [DEAF, now],
            ).fetchone()
            assert row is not None
            at: datetime = row[0]
            if not row[1]:  # what nobody listens to is not silent
                self._listening = None
                return done
            listening = self._listening = self._listening or at
            settings = settings_in_force(connection)
            aside = settle(connection, settings, at)
            active = {alarm.point: alarm for alarm in _active(connection)}
            gateways = _gateways(connection)
            silent = [s for g in gateways if (s := _silent(g, active, settings, listening, at)) is not None]
            mute = {found.point.edge_id for found in silent}
            talking = [g for g in gateways if g.edge_id not in mute and g.newest >= at - max(BEHIND, 2 * g.beat)]
            found = silent + _signals(connection, talking, active, settings, listening, at)
            # Of a gateway that is silent or behind nothing is known, and all stays as it is.
            open_ = {g.edge_id for g in gateways} - {g.edge_id for g in talking}
            over = set(active) - {one.point for one in found}
            over -= {point for point in over if point.level != "silent" and active[point].edge_id in open_}
            _raise(connection, [one for one in found if one.point not in active], aside, at, done)
            _end(connection, [active[point] for point in sorted(over, key=str)], at, done)
        if done.raised or done.returned:
            logger.debug("signals raised=%d returned=%d", done.raised, done.returned)
        return done


def _silent(
    gateway: Gateway, active: Mapping[Point, Active], settings: Mapping[str, Any], listening: datetime, now: datetime
) -> Found | None:
    """What is to be told of a gateway's silence; it is not silent before somebody has listened for long enough."""
    point = Point(None, gateway.edge_id, "silent")
    said = _said({"name": gateway.name}, "silent", settings)
    if not said("enabled", True):
        return None
    delay = timedelta(seconds=said("on_delay_s", settings["signal_delay_s"]))
    heard = gateway.seen_at
    if point in active:
        over = (
            heard is not None and heard > active[point].raised and not gateway.left and now - heard < 2 * gateway.beat
        )
        return None if over else _found(point, now, said, settings, "")
    if gateway.left and gateway.status_at is not None:
        since, comment = max(gateway.status_at, listening), "it went offline"
    else:
        since = max(heard or listening, listening) + 2 * gateway.beat
        comment = "nothing has come from it" + (f" since {heard.isoformat()}" if heard else "")
    return _found(point, since, said, settings, comment) if now >= since + delay else None


def _signals(
    connection: Connection,
    gateways: Sequence[Gateway],
    active: Mapping[Point, Active],
    settings: Mapping[str, Any],
    listening: datetime,
    now: datetime,
) -> list[Found]:
    """What is to be told of the tags of gateways that talk: each, or one alarm of a gateway for many of them."""
    if not gateways:
        return []
    back = {gateway.edge_id: max(gateway.back or listening, listening) for gateway in gateways}
    found: dict[tuple[int, str], list[Found]] = defaultdict(list)
    for signal in _doubtful(connection, gateways, active, settings, now):
        level, point = _condition(signal, active)
        said = _said(vars(signal), level, settings)
        if not said("enabled", True):
            continue
        on = timedelta(seconds=said("on_delay_s", settings["signal_delay_s"]))
        off = timedelta(seconds=said("off_delay_s", settings["off_delay_s"]))
        since = signal.since or signal.ts
        if level == "bad":
            bad = signal.quality < 64
            holds = bad and since <= signal.at - on if point not in active else bad or since > signal.at - off
            comment = f"quality {signal.quality}"
        else:
            since = signal.ts + signal.hold
            known = max(signal.told_at, back[signal.edge_id]) + signal.hold  # it could have told by then
            late = signal.at > since + on and now > known + on
            holds = late if point not in active else signal.at > since
            comment = f"nothing since {signal.ts.isoformat()}, two heartbeats are {signal.hold.total_seconds():g} s"
        if holds:
            found[signal.edge_id, level].append(_found(point, since, said, settings, comment))
    names = {gateway.edge_id: gateway.name for gateway in gateways}
    told = []
    for (edge_id, level), each in found.items():
        point = Point(None, edge_id, level)
        if len(each) > (CALM if point in active else FLOOD):
            said = _said({"name": names[edge_id]}, level, settings)
            since = min(one.since for one in each)
            told.append(_found(point, since, said, settings, f"{len(each)} of its tags"))
        if point in active or len(each) > FLOOD:  # what is left when it ends is told in the next round
            each = [one for one in each if one.point in active]
        told += each
    return told


def _condition(signal: Signal, active: Mapping[Point, Active]) -> tuple[str, Point]:
    """What a tag may be: bad, or stale when what it told last was usable."""
    bad = Point(signal.tag_id, None, "bad")
    if signal.quality < 64 or bad in active:
        return "bad", bad
    return "stale", Point(signal.tag_id, None, "stale")


def _doubtful(
    connection: Connection,
    gateways: Sequence[Gateway],
    active: Mapping[Point, Active],
    settings: Mapping[str, Any],
    now: datetime,
) -> list[Signal]:
    """The tags of gateways whose newest reading is bad or old, or of which there is an alarm."""
    delays = [settings["signal_delay_s"], settings["off_delay_s"]]
    delays += [rule[field] or 0 for rule in settings["rules"] for field in ("on_delay_s", "off_delay_s")]
    reach = timedelta(seconds=max(delays))
    with connection.cursor(row_factory=class_row(Signal)) as cursor:
        return cursor.execute(
            """
            WITH doubtful AS (
              SELECT tag.tag_id, edge_id, tag.name, template, suffix, equipment, at, ts, quality, changed_at AS told_at, hold
                FROM unnest(%(edges)s::integer[], %(at)s::timestamptz[]) AS talking(edge_id, at)
                JOIN tag USING (edge_id) JOIN latest USING (tag_id)
               CROSS JOIN LATERAL (SELECT 2 * heartbeat_s * interval '1 second' AS hold) AS two_beats
               WHERE NOT retired AND assigned AND (quality < 64 OR at - ts > hold OR tag.tag_id = ANY (%(active)s))
            )
            SELECT tag_id, edge_id, name, template, suffix, area, at, ts, quality, told_at, hold,
                   (SELECT min(r.ts) FROM reading r
                     WHERE r.tag_id = doubtful.tag_id AND r.ts > at - hold - %(reach)s AND r.ts > %(first)s
                       AND r.ts > coalesce(
                             (SELECT o.ts FROM reading o
                               WHERE o.tag_id = doubtful.tag_id AND o.ts > at - hold - %(reach)s AND o.ts > %(first)s
                                 AND (o.quality < 64) <> (doubtful.quality < 64) ORDER BY o.ts DESC LIMIT 1),
                             '-infinity')) AS since
              FROM doubtful LEFT JOIN v_place ON path = equipment ORDER BY tag_id
            """,
            {
                "edges": [gateway.edge_id for gateway in gateways],
                "at": [min(gateway.newest, now) for gateway in gateways],  # a clock may run ahead
                "active": [point.tag_id for point in active if point.tag_id is not None],
                "reach": reach,
                # Once more as a constant, so that the planner leaves out partitions: no heartbeat is longer.
                "first": min(gateway.newest for gateway in gateways) - reach - timedelta(days=1),
            },
        ).fetchall()


def _gateways(connection: Connection) -> list[Gateway]:
    """Every gateway of which there are readings of the plant model's tags; `api` is people, who may be silent."""
    with connection.cursor(row_factory=class_row(Gateway)) as cursor:
        return cursor.execute(
            """
            SELECT edge_id, name, online, status_at, seen_at, newest, beat,
                   (SELECT max(returned_at) FROM alarm WHERE alarm.edge_id = edge.edge_id AND level = 'silent') AS back
              FROM edge JOIN (
                SELECT edge_id, max(ts) AS newest, min(heartbeat_s) * interval '1 second' AS beat
                  FROM tag JOIN latest USING (tag_id) WHERE NOT retired AND assigned GROUP BY edge_id) AS told USING (edge_id)
             WHERE name <> 'api' ORDER BY edge_id
            """
        ).fetchall()


def _active(connection: Connection) -> list[Active]:
    return [
        Active(row[0], Point(*row[1:4]), *row[4:])
        for row in connection.execute(
            """
            SELECT alarm_id, tag_id, alarm.edge_id, level, coalesce(alarm.edge_id, tag.edge_id), state, latching, raised_at
              FROM alarm LEFT JOIN tag USING (tag_id)
             WHERE returned_at IS NULL AND NOT withdrawn AND level = ANY (%s) ORDER BY alarm_id
            """,
            [list(LEVELS)],
        )
    ]


def _raise(connection: Connection, found: Sequence[Found], aside: Aside, now: datetime, done: Done) -> None:
    for one in found:
        state, why = begun(aside, one.point)
        row = connection.execute(
            """
            INSERT INTO alarm (tag_id, edge_id, level, priority, state, crossed_at, raised_at, late, latching)
            VALUES (%s, %s, %s, %s, %s, %s, %s, false, %s) RETURNING alarm_id
            """,
            [*one.point, one.priority, state, one.since, now, one.latching],
        ).fetchone()
        assert row is not None
        record(connection, row[0], None, state, f"{one.comment}; {why}" if why else one.comment)
        done.raised += 1


def _end(connection: Connection, over: Sequence[Active], now: datetime, done: Done) -> None:
    for alarm in over:
        state = ended(alarm.state, alarm.latching)
        connection.execute(
            "UPDATE alarm SET returned_at = %s, state = %s WHERE alarm_id = %s", [now, state, alarm.alarm_id]
        )
        if state != alarm.state:
            record(connection, alarm.alarm_id, alarm.state, state, "returned")
        done.returned += 1


def _said(tag: Mapping[str, Any], level: str, settings: Mapping[str, Any]) -> Said:
    """What the alarm rules say of a condition of a tag, or of a gateway, which has only a name."""
    return Said({"name": None, "template": None, "suffix": None, "area": None, **tag}, level, settings)


def _found(point: Point, since: datetime, said: Said, settings: Mapping[str, Any], comment: str) -> Found:
    usual = settings["priorities"].get(point.level, "low" if point.tag_id else "medium")
    return Found(point, since, said("priority", usual), said("latching", False), comment)
