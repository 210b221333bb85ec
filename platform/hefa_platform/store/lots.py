"""Lots of material: where each came from, where it went, and the chain of hashes over what was said of them.

The tables are made from the events by the database itself, in the transaction that accepts them (schema 0012), so a lot
is never behind its events and their order of arrival does not matter. Masses are kg REO. Only reads.

Where a `site` is asked for ('*': every site) no lot of another one is named, not as a parent, a child or a step of a
trace either; the masses that came from there or went there still count.
"""

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from psycopg.rows import class_row

from hefa_platform.store.database import Connection, Database

Direction = Literal["back", "forward"]
GENESIS = "0" * 64
MOST_EDGES = 200_000  # of one trace: beyond it, ask with a smaller depth


@dataclass(frozen=True)
class Lot:
    """A lot as its records tell. `taken_kg` is what its children took; `told_kg` what its parents gave, None without."""

    lot: str
    site: str
    kind: str
    material: str
    equipment: str
    state: str
    kg: float | None
    begun: datetime
    ended: datetime | None
    corrected: bool
    taken_kg: float
    told_kg: float | None
    parents: list[dict[str, Any]]


@dataclass(frozen=True)
class Result:
    """A laboratory value of a lot; `holds` unless one entered later replaced it."""

    lot: str
    sample: str
    quantity: str
    value: float
    unit: str
    method: str
    sampled: datetime
    entered: datetime
    holds: bool


@dataclass(frozen=True)
class Record:
    """One event about a lot."""

    event_id: int
    type: str
    ts: datetime
    subject: str
    body: dict[str, Any]
    edge: str
    received_at: datetime


@dataclass
class Node:
    """A lot met on a trace: the share of the traced lot's mass that passed through it, and that stays there."""

    lot: str
    kind: str
    material: str
    weight: float
    stays: float
    depth: int


@dataclass(frozen=True)
class Part:
    """What went from a lot into another, as booked."""

    parent: str
    child: str
    kg: float


@dataclass
class Trace:
    """Nodes by depth; `cut` when there is more beyond the depth, `cycle` when a lot is its own ancestor."""

    kg: float | None = None
    nodes: list[Node] = field(default_factory=list)
    parts: list[Part] = field(default_factory=list)
    cut: bool = False
    cycle: bool = False


@dataclass(frozen=True)
class Link:
    """A record in the chain. `ok`: its hash follows from the one before, and the event still says what was hashed."""

    n: int
    event_id: int
    hash: str
    ok: bool


@dataclass(frozen=True)
class Verdict:
    """The chain checked from its beginning: how many links, the first broken one, its head; the links of the lot."""

    checked: int
    broken: int | None
    head: str
    links: list[Link]


class TooMany(Exception):
    """The trace meets more parts than one answer may hold."""


def lots(
    database: Database,
    site: str,
    *,
    lot: str | None = None,
    kind: str | None = None,
    material: str | None = None,
    state: Sequence[str] | None = None,
    subject: str | None = None,
    start: datetime | None = None,
    end: datetime | None = None,
    before: tuple[datetime, str] | None = None,
    limit: int = 1,
) -> list[Lot]:
    """Lots that were in work in [start, end), the latest begun first; `before` continues behind that time and lot."""
    before_at, before_lot = before or (None, None)
    with database.connection() as connection, connection.cursor(row_factory=class_row(Lot)) as cursor:
        return cursor.execute(
            """
            SELECT lot, site, kind, material, equipment, state, kg, begun, ended, corrected,
                   coalesce((SELECT sum(kg) FROM lot_part WHERE parent = lot.lot), 0) AS taken_kg,
                   made.told_kg, coalesce(made.parents, '[]') AS parents
              FROM lot LEFT JOIN LATERAL (
                SELECT sum(part.kg) AS told_kg,
                       jsonb_agg(jsonb_build_object('lot', parent, 'kg', part.kg) ORDER BY parent)
                         FILTER (WHERE %(site)s IN ('*', p.site)) AS parents
                  FROM lot_part part JOIN lot p ON p.lot = part.parent WHERE part.child = lot.lot) AS made ON true
             WHERE (%(site)s = '*' OR site = %(site)s)
               AND (%(lot)s::text IS NULL OR lot = %(lot)s)
               AND (%(kind)s::text IS NULL OR kind = %(kind)s)
               AND (%(material)s::text IS NULL OR material = %(material)s)
               AND (%(state)s::text[] IS NULL OR state = ANY (%(state)s))
               AND (%(subject)s::text IS NULL OR equipment = %(subject)s OR starts_with(equipment, %(subject)s || '.'))
               AND (%(start)s::timestamptz IS NULL OR ended IS NULL OR ended >= %(start)s)
               AND (%(end)s::timestamptz IS NULL OR begun < %(end)s)
               AND (%(before_at)s::timestamptz IS NULL OR (begun, lot) < (%(before_at)s, %(before_lot)s::text))
             ORDER BY begun DESC, lot DESC LIMIT %(limit)s
            """,
            {
                "site": site, "lot": lot, "kind": kind, "material": material,
                "state": None if state is None else list(state), "subject": subject, "start": start, "end": end,
                "before_at": before_at, "before_lot": before_lot, "limit": limit,
            },
        ).fetchall()  # fmt: skip


def names(database: Database, site: str) -> list[str]:
    """The latest lots' names, for finding the one that was meant."""
    with database.connection() as connection:
        rows = connection.execute(
            "SELECT lot FROM lot WHERE %(site)s = '*' OR site = %(site)s ORDER BY begun DESC LIMIT 2000", {"site": site}
        )
        return [name for (name,) in rows]


def results(database: Database, names: Sequence[str]) -> list[Result]:
    """Laboratory results of lots, by lot and time of the sample; of one sample and quantity the latest entry holds."""
    with database.connection() as connection, connection.cursor(row_factory=class_row(Result)) as cursor:
        return cursor.execute(
            """
            SELECT lot, body->>'sample' AS sample, body->>'quantity' AS quantity, (body->>'value')::float8 AS value,
                   body->>'unit' AS unit, coalesce(body->>'method', '') AS method, ts AS sampled, entered,
                   row_number() OVER (PARTITION BY lot, body->>'sample', body->>'quantity', ts
                                      ORDER BY entered DESC, body::text COLLATE "C" DESC, event_id DESC) = 1 AS holds
              FROM (SELECT e.*, coalesce(nullif(body->>'lot', ''), body->>'sample') AS lot,
                           timestamptz 'epoch' + (body->>'entered')::bigint * interval '1 microsecond' AS entered
                      FROM event e
                     WHERE type = 'lab_result' AND coalesce(nullif(body->>'lot', ''), body->>'sample') = ANY (%s)) AS told
             ORDER BY lot, ts, quantity, entered
            """,
            [list(names)],
        ).fetchall()


def records(database: Database, site: str, lot: str) -> list[Record]:
    """Everything that was said of a lot, in the order of time."""
    with database.connection() as connection, connection.cursor(row_factory=class_row(Record)) as cursor:
        told = cursor.execute(
            """
            SELECT event_id, type, ts, subject, body, edge.name AS edge, received_at FROM event JOIN edge USING (edge_id)
             WHERE type = 'lot' AND body->>'lot' = %s ORDER BY ts, event_id
            """,
            [lot],
        ).fetchall()
        named = {parent for record in told for parent, _ in record.body.get("parents", [])}
        foreign = {
            name
            for (name,) in connection.execute(
                "SELECT lot FROM lot WHERE lot = ANY (%(named)s) AND %(site)s NOT IN ('*', site)",
                {"named": list(named), "site": site},
            )
        }
    for record in told:
        if foreign and "parents" in record.body:
            record.body["parents"] = [part for part in record.body["parents"] if part[0] not in foreign]
    return told


def children(database: Database, site: str, lot: str) -> list[Part]:
    """What the lots made of this one took from it."""
    with database.connection() as connection, connection.cursor(row_factory=class_row(Part)) as cursor:
        return cursor.execute(
            """
            SELECT parent, child, part.kg FROM lot_part part JOIN lot ON lot.lot = child
             WHERE parent = %(lot)s AND %(site)s IN ('*', site) ORDER BY child
            """,
            {"lot": lot, "site": site},
        ).fetchall()


def trace(database: Database, site: str, lot: str, direction: Direction, depth: int) -> Trace:
    """The ancestors or descendants of a lot, at most `depth` steps away, with the mass that connects them.

    Backwards a lot consists of its parents by their kg; forwards what is in it goes on with each child by that child's
    kg. What continuous extraction mixed is shared out as mixed. What another site gave or took stays with the lot that
    it was given to or taken from. Raises TooMany.
    """
    with database.connection() as connection:
        parts, elsewhere = _connected(connection, site, lot, direction, depth)
        lots = {
            row[0]: row[1:]
            for row in connection.execute(
                "SELECT lot, kind, material, kg FROM lot WHERE lot = ANY (%s)",
                [list({lot} | {p.parent for p in parts} | {p.child for p in parts})],
            )
        }
        found = share_out(lot, direction, parts, lots, elsewhere)
        last = [node.lot for node in found.nodes if node.depth == depth]
        row = connection.execute(
            """
            SELECT EXISTS (SELECT FROM lot_part JOIN lot ON lot.lot = parent
                            WHERE child = ANY (%(last)s) AND %(site)s IN ('*', site))
            """
            if direction == "back"
            else """
            SELECT EXISTS (SELECT FROM lot_part JOIN lot ON lot.lot = child
                            WHERE parent = ANY (%(last)s) AND %(site)s IN ('*', site))
            """,
            {"last": last, "site": site},
        ).fetchone()
        assert row is not None
        found.cut = row[0]
    return found


def _connected(
    connection: Connection, site: str, lot: str, direction: Direction, depth: int
) -> tuple[list[Part], dict[str, float]]:
    """Each part on the way once, however many paths lead over it; and by lot the kg of another site's parts."""
    # Two literals instead of one with a switch: the planner must see which index leads on.
    if direction == "back":
        rows = connection.execute(
            """
            WITH RECURSIVE met AS (
              SELECT %(lot)s::text AS lot, 0 AS depth
              UNION SELECT p.parent, met.depth + 1 FROM met JOIN lot_part p ON p.child = met.lot
                     WHERE met.depth < %(depth)s
                       AND (%(site)s = '*' OR EXISTS (SELECT FROM lot WHERE lot.lot = p.parent AND site = %(site)s))
            ), lots AS (SELECT lot, min(depth) AS depth FROM met GROUP BY lot)
            SELECT parent, child, part.kg, %(site)s IN ('*', other.site)
              FROM lots JOIN lot_part part ON child = lots.lot JOIN lot other ON other.lot = parent
             WHERE depth < %(depth)s LIMIT %(most)s
            """,
            {"lot": lot, "site": site, "depth": depth, "most": MOST_EDGES + 1},
        ).fetchall()
    else:
        rows = connection.execute(
            """
            WITH RECURSIVE met AS (
              SELECT %(lot)s::text AS lot, 0 AS depth
              UNION SELECT p.child, met.depth + 1 FROM met JOIN lot_part p ON p.parent = met.lot
                     WHERE met.depth < %(depth)s
                       AND (%(site)s = '*' OR EXISTS (SELECT FROM lot WHERE lot.lot = p.child AND site = %(site)s))
            ), lots AS (SELECT lot, min(depth) AS depth FROM met GROUP BY lot)
            SELECT parent, child, part.kg, %(site)s IN ('*', other.site)
              FROM lots JOIN lot_part part ON parent = lots.lot JOIN lot other ON other.lot = child
             WHERE depth < %(depth)s LIMIT %(most)s
            """,
            {"lot": lot, "site": site, "depth": depth, "most": MOST_EDGES + 1},
        ).fetchall()
    if len(rows) > MOST_EDGES:
        raise TooMany
    elsewhere: dict[str, float] = defaultdict(float)
    for parent, child, kg, ours in rows:
        if not ours:
            elsewhere[child if direction == "back" else parent] += kg
    return [Part(parent, child, kg) for parent, child, kg, ours in rows if ours], dict(elsewhere)


def share_out(
    lot: str,
    direction: Direction,
    parts: Sequence[Part],
    lots: Mapping[str, tuple[str, str, float | None]],
    elsewhere: Mapping[str, float],
) -> Trace:
    """Follow the mass of `lot` along `parts`, each node after all that lead to it. `lots` gives kind, material, kg.

    What stays somewhere adds up to 1: backwards in lots without parents, forwards in what no child took, and of each lot
    what goes `elsewhere`, in kg. Where a lot is its own ancestor the trace says so, and follows nothing that goes round.
    """
    onward: dict[str, list[tuple[str, float]]] = defaultdict(list)
    waiting: dict[str, int] = defaultdict(int)
    for part in parts:
        here, there = (part.child, part.parent) if direction == "back" else (part.parent, part.child)
        onward[here].append((there, part.kg))
        waiting[there] += there != lot  # so that below 0 means: it came round
    levels = {lot: 0}
    reached = [lot]
    for name in reached:  # grows while it is walked
        for there, _ in onward[name]:
            if there not in levels:
                levels[there] = levels[name] + 1
                reached.append(there)
    share: dict[str, float] = defaultdict(float, {lot: 1.0})
    trace = Trace(parts=list(parts))
    ready = [lot]
    for name in ready:  # as well
        kind, material, mass = lots.get(name, ("", "", None))
        leaving = sum(part for _, part in onward[name])
        known = leaving + elsewhere.get(name, 0.0)
        # Backwards a lot is what its parents gave; forwards it may keep some, and one of unknown mass keeps nothing.
        base = known if direction == "back" or mass is None else max(mass, known)
        if name == lot:
            trace.kg = base if mass is None and base > 0 else mass
        stays = share[name] * (1 - leaving / base) if base > 0 else share[name]
        trace.nodes.append(Node(name, kind, material, share[name], stays, levels[name]))
        for there, kg in onward[name]:
            share[there] += share[name] * kg / base if base > 0 else 0.0
            waiting[there] -= 1
            if waiting[there] == 0 and there != lot:
                ready.append(there)
    trace.cycle = len(trace.nodes) < len(reached) or waiting[lot] < 0
    trace.nodes.sort(key=lambda node: (node.depth, -node.weight, node.lot))
    return trace


def verify(database: Database, lot: str) -> Verdict:
    """Check the whole chain, hash by hash, and of the lot's own records that the events still say what was hashed.

    Computed here, not by the database that keeps it.
    """
    with database.connection() as connection:
        before, checked, broken = GENESIS, 0, None
        good: dict[int, bool] = {}
        with connection.cursor(name="chain") as rows:  # kept by the server: the chain only grows
            rows.execute("SELECT n, lot, record, hash FROM lot_chain ORDER BY n")
            for n, of, record, hash in rows:
                right = n == checked + 1 and hashlib.sha256((before + record).encode()).hexdigest() == hash
                if not right and broken is None:
                    broken = n
                if of == lot:
                    good[n] = right
                before, checked = hash, checked + 1
        links = [
            Link(n, event_id, hash, good.get(n, False) and told == record)
            for n, event_id, hash, record, told in connection.execute(
                """
                SELECT n, event_id, hash, record, lot_record(event.*) FROM lot_chain JOIN event USING (event_id)
                 WHERE lot = %s ORDER BY n
                """,
                [lot],
            )
        ]
    return Verdict(checked, broken, before, links)
