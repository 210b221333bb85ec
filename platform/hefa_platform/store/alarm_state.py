"""In which state an alarm is (ISA-18.2), whatever it is of: announced, or put aside by people or by design.

An active alarm is put aside while what it is of is out of service, is suppressed by design, or lies on a shelf, the
first of these that holds; when none does any more, it is announced anew. What is put aside and over is done with. All
of it is read from what is stored, so that it is the same after a restart. Used by maintain, in its transactions.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, NamedTuple

from hefa_contract.setting import judge
from hefa_platform.store.database import Connection
from hefa_platform.store.excursions import Said

State = Literal["UNACK", "ACKED", "RTN_UNACK", "LATCHED", "SHELVED", "SUPPRESSED_BY_DESIGN", "OUT_OF_SERVICE", "NORM"]
ASIDE = ("SHELVED", "SUPPRESSED_BY_DESIGN", "OUT_OF_SERVICE")
_AGAIN = {
    "SHELVED": "the shelving ran out",
    "SUPPRESSED_BY_DESIGN": "no longer suppressed by design",
    "OUT_OF_SERVICE": "in service again",
}


class Point(NamedTuple):
    """What an alarm is of: a tag or a gateway, and its limit or condition."""

    tag_id: int | None
    edge_id: int | None
    level: str


@dataclass(frozen=True)
class Aside:
    """What is put aside at a time. A point without a level stands for all alarms of its tag or gateway."""

    shelved: Mapping[Point, str] = field(default_factory=dict)
    suppressed: Mapping[Point, str] = field(default_factory=dict)
    out: Mapping[Point, str] = field(default_factory=dict)

    def of(self, point: Point) -> tuple[State, str] | None:
        """The state of an active alarm of this point and why it is put aside; None: it is announced."""
        every = point._replace(level="")
        if point in self.out or every in self.out:
            return "OUT_OF_SERVICE", self.out.get(point) or self.out.get(every, "")
        if point in self.suppressed:
            return "SUPPRESSED_BY_DESIGN", self.suppressed[point]
        if point in self.shelved:
            return "SHELVED", self.shelved[point]
        return None


def settings_in_force(connection: Connection) -> dict[str, Any]:
    """The setting `alarm` of the site as of now, with every field filled in."""
    row = connection.execute(
        """
        SELECT value FROM (
          SELECT DISTINCT ON (valid_from) value, valid_from, valid_to FROM setting
           WHERE kind = 'alarm' AND name = 'site' AND site = (SELECT site FROM instance)
           ORDER BY valid_from DESC, setting_id DESC) AS version
         WHERE valid_from <= clock_timestamp() AND (valid_to IS NULL OR valid_to > clock_timestamp())
         ORDER BY valid_from DESC LIMIT 1
        """
    ).fetchone()
    # Judged again: what was entered before a rule had some field gets its default.
    return judge("alarm", {} if row is None or row[0] is None else row[0])


def settle(connection: Connection, settings: Mapping[str, Any], now: datetime) -> Aside:
    """Put active alarms aside, or announce them anew, as it should be now; return what is put aside."""
    # Locked first, so that what people do to one of them at this moment is seen whole or not at all.
    active = connection.execute(
        """
        SELECT alarm_id, tag_id, edge_id, level, state FROM alarm
         WHERE returned_at IS NULL AND NOT withdrawn ORDER BY alarm_id FOR UPDATE
        """
    ).fetchall()
    connection.execute("DELETE FROM alarm_shelf WHERE until <= %s", [now])
    aside = _aside(connection, settings, now)
    for alarm_id, tag_id, edge_id, level, state in active:
        found = aside.of(Point(tag_id, edge_id, level))
        if found is not None and found[0] != state:
            connection.execute("UPDATE alarm SET state = %s WHERE alarm_id = %s", [found[0], alarm_id])
            record(connection, alarm_id, state, *found)
        elif found is None and state in ASIDE:
            connection.execute(
                "UPDATE alarm SET state = 'UNACK', acked_at = NULL, acked_by = NULL WHERE alarm_id = %s", [alarm_id]
            )
            record(connection, alarm_id, state, "UNACK", _AGAIN[state])
    return aside


def begun(aside: Aside, point: Point) -> tuple[State, str]:
    """The state of an alarm that is raised now, and what there is to say about it."""
    return aside.of(point) or ("UNACK", "")


def ended(state: State, latching: bool) -> State:
    """The state of an alarm when it is over."""
    if state == "UNACK":
        return "RTN_UNACK"
    return "LATCHED" if state == "ACKED" and latching else "NORM" if state == "ACKED" or state in ASIDE else state


def record(connection: Connection, alarm_id: int, before: str | None, after: str, comment: str) -> None:
    """Note that an alarm went into another state by itself."""
    connection.execute(
        "INSERT INTO alarm_change (alarm_id, from_state, to_state, by, comment) VALUES (%s, %s, %s, 'system', %s)",
        [alarm_id, before, after, comment],
    )


def _aside(connection: Connection, settings: Mapping[str, Any], now: datetime) -> Aside:
    shelved = {
        Point(*row[:3]): row[3]
        for row in connection.execute(
            "SELECT tag_id, edge_id, level, reason FROM alarm_shelf WHERE until > %s ORDER BY until", [now]
        )
    }
    out = {
        Point(*row[:3]): row[3]
        for row in connection.execute(
            """
            WITH outage AS (
              SELECT * FROM alarm_outage WHERE ended_at IS NULL AND until > %(now)s
            )
            SELECT NULL::integer, edge_id, coalesce(level, ''), reason FROM outage WHERE edge_id IS NOT NULL
            UNION ALL
            SELECT tag.tag_id, NULL, coalesce(level, ''), reason FROM outage JOIN tag
                ON tag.tag_id = outage.tag_id OR tag.edge_id = outage.edge_id
            UNION ALL
            SELECT tag.tag_id, NULL, coalesce(outage.level, ''), reason
              FROM outage JOIN v_place place ON outage.equipment = ANY (place.within) JOIN tag ON tag.equipment = place.path
            """,
            {"now": now},
        )
    }
    return Aside(shelved, dict(_suppressed(connection, settings)), out)


def _suppressed(connection: Connection, settings: Mapping[str, Any]) -> Iterable[tuple[Point, str]]:
    """What is suppressed by design: signals that their gateway's own alarm stands for, and what the alarm rules say."""
    for tag_id, level, edge in connection.execute(
        """
        SELECT tag.tag_id, alarm.level, edge.name FROM alarm JOIN edge USING (edge_id) JOIN tag USING (edge_id)
         WHERE alarm.level IN ('bad', 'stale') AND alarm.returned_at IS NULL AND NOT alarm.withdrawn
        """
    ):
        yield Point(tag_id, None, level), f"the alarm of {edge} stands for it"
    if not any(rule.get("suppressed_while") for rule in settings["rules"]):
        return
    places: dict[tuple[str | None, str | None], str] = {}
    wanted: dict[str, list[tuple[Point, list[float]]]] = defaultdict(list)
    rows = connection.execute(
        """
        SELECT tag_id, name, template, suffix, area, equipment FROM tag LEFT JOIN v_place ON path = equipment
         WHERE NOT retired ORDER BY tag_id
        """
    ).fetchall()
    for row in rows:
        places.setdefault((row[5], row[3]), row[1])
    for tag_id, name, template, suffix, area, equipment in rows:
        tag = {"name": name, "template": template, "suffix": suffix, "area": area}
        for level in ("ll", "l", "h", "hh", "bad", "stale"):
            rule = Said(tag, level, settings)("suppressed_while", None)
            other = rule and (rule["tag"] or places.get((equipment, rule["suffix"])))
            if other:
                wanted[other].append((Point(tag_id, None, level), rule["values"]))
    for name, value in connection.execute(
        "SELECT name, value FROM tag JOIN latest USING (tag_id) WHERE name = ANY (%s) AND quality >= 64", [list(wanted)]
    ):
        for point, values in wanted[name]:
            if value in values:
                yield point, f"{name} shows {value:g}"
