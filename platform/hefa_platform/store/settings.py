"""Dated settings: tariffs, prices, factors, targets, the plan. Versions are added, never changed.

In force at a time is the version with the latest `valid_from` up to it that has not run out; of two with the same
`valid_from` the one entered later. So a price list is continued by its next version and corrected by the same one again.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import Any

from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from hefa_contract.setting import Seed
from hefa_platform.store import keys
from hefa_platform.store.database import Connection, Database

SEEDS = "seeds"  # who entered what came with the seeds


@dataclass(frozen=True)
class Setting:
    """One version. `value` None: withdrawn, as if nothing had been entered from `valid_from` on."""

    setting_id: int
    kind: str
    name: str
    valid_from: datetime
    valid_to: datetime | None
    value: dict[str, Any] | None
    source: str
    example: bool
    reason: str
    entered_at: datetime
    entered_by: str


@dataclass(frozen=True)
class Segment:
    """A version and a span in which it is in force."""

    setting: Setting
    start: datetime
    end: datetime


@dataclass(frozen=True)
class Seeded:
    """What loading the seeds did; `kept` names settings that people have entered, which the seeds leave alone."""

    entered: int
    unchanged: int
    kept: tuple[str, ...]


def versions(
    database: Database, site: str, *, kind: str | None = None, names: Sequence[str] | None = None
) -> list[Setting]:
    """Every version that still counts, by kind, name and valid_from: of equal ones the latest entry.

    `site` '*' is the site of this database, as in `enter`: versions of two sites are never mixed.
    """
    with database.connection() as connection, connection.cursor(row_factory=class_row(Setting)) as cursor:
        return cursor.execute(
            """
            SELECT DISTINCT ON (kind, name, valid_from)
                   setting_id, kind, name, valid_from, valid_to, value, source, example, reason, entered_at, entered_by
              FROM setting
             WHERE site = coalesce(nullif(%(site)s, '*'), (SELECT instance.site FROM instance))
               AND (%(kind)s::text IS NULL OR kind = %(kind)s)
               AND (%(names)s::text[] IS NULL OR name = ANY (%(names)s))
             ORDER BY kind, name, valid_from, setting_id DESC
            """,
            {"site": site, "kind": kind, "names": names},
        ).fetchall()


def history(
    database: Database, site: str, *, kind: str, names: Sequence[str] | None, before: int | None, limit: int
) -> list[Setting]:
    """All that was ever entered for a site ('*': that of this database), the latest first; `before` continues there."""
    with database.connection() as connection, connection.cursor(row_factory=class_row(Setting)) as cursor:
        return cursor.execute(
            """
            SELECT setting_id, kind, name, valid_from, valid_to, value, source, example, reason, entered_at, entered_by
              FROM setting
             WHERE site = coalesce(nullif(%(site)s, '*'), (SELECT instance.site FROM instance)) AND kind = %(kind)s
               AND (%(names)s::text[] IS NULL OR name = ANY (%(names)s))
               AND (%(before)s::bigint IS NULL OR setting_id < %(before)s)
             ORDER BY setting_id DESC LIMIT %(limit)s
            """,
            {"site": site, "kind": kind, "names": names, "before": before, "limit": limit},
        ).fetchall()


def in_force(counting: Iterable[Setting], at: datetime) -> list[Setting]:
    """Of `versions`, the one of each kind and name that is in force at `at`."""
    found: dict[tuple[str, str], Setting] = {}
    for version in counting:  # by valid_from: the last one that fits
        if version.valid_from <= at and (version.valid_to is None or at < version.valid_to):
            found[version.kind, version.name] = version
    return [version for version in found.values() if version.value is not None]


def segments(counting: Iterable[Setting], start: datetime, end: datetime) -> list[Segment]:
    """Of `versions`, what was in force when in [start, end): by name, in the order of time, without overlap."""
    named: dict[tuple[str, str], list[Setting]] = {}
    for version in counting:
        named.setdefault((version.kind, version.name), []).append(version)
    found: list[Segment] = []
    for entries in named.values():
        cuts = {start, end}
        for entry in entries:
            cuts |= {cut for cut in (entry.valid_from, entry.valid_to) if cut is not None and start < cut < end}
        ordered = sorted(cuts)
        for low, high in pairwise(ordered):
            for entry in in_force(entries, low):
                if found and found[-1].setting is entry and found[-1].end == low:
                    found[-1] = Segment(entry, found[-1].start, high)
                else:
                    found.append(Segment(entry, low, high))
    return found


def enter(
    database: Database,
    site: str,
    *,
    kind: str,
    name: str,
    valid_from: datetime,
    valid_to: datetime | None,
    value: Mapping[str, Any] | None,
    source: str,
    reason: str,
    by: str,
) -> tuple[Setting, bool]:
    """Add a version for key `by`, audited with what held before; return it, and whether it is new.

    The same as what counts already adds nothing. `site` '*' is the site of this database.
    """
    with database.connection() as connection, connection.cursor(row_factory=class_row(Setting)) as cursor:
        # One writer of a name at a time, so that "before" is what was there before.
        connection.execute("SELECT pg_advisory_xact_lock(hashtext('hefa.setting'), hashtext(%s))", [f"{kind} {name}"])
        before = cursor.execute(
            """
            SELECT setting_id, kind, name, valid_from, valid_to, value, source, example, reason, entered_at, entered_by
              FROM setting WHERE site = coalesce(nullif(%(site)s, '*'), (SELECT instance.site FROM instance))
               AND kind = %(kind)s AND name = %(name)s AND valid_from <= %(valid_from)s
               AND (valid_to IS NULL OR valid_to > %(valid_from)s)
             ORDER BY valid_from DESC, setting_id DESC LIMIT 1
            """,
            {"site": site, "kind": kind, "name": name, "valid_from": valid_from},
        ).fetchone()
        given = (valid_from, valid_to, None if value is None else dict(value))
        if (
            before is not None
            and (before.valid_from, before.valid_to, before.value) == given
            and (before.entered_by != SEEDS and before.source == source)
        ):
            return before, False
        setting = cursor.execute(
            """
            INSERT INTO setting (site, kind, name, valid_from, valid_to, value, source, reason, entered_by)
            VALUES (coalesce(nullif(%(site)s, '*'), (SELECT instance.site FROM instance)), %(kind)s, %(name)s,
                    %(valid_from)s, %(valid_to)s, %(value)s, %(source)s, %(reason)s, %(by)s)
            RETURNING setting_id, kind, name, valid_from, valid_to, value, source, example, reason, entered_at, entered_by
            """,
            {
                "site": site, "kind": kind, "name": name, "valid_from": valid_from, "valid_to": valid_to,
                "value": None if value is None else Jsonb(dict(value)), "source": source, "reason": reason, "by": by,
            },
        ).fetchone()  # fmt: skip
        assert setting is not None
        keys.audit(
            cursor, by, "setting.enter", f"{kind} {name}",
            {"id": setting.setting_id, "valid_from": valid_from.isoformat(), "reason": reason,
             "before": None if before is None else before.value, "after": setting.value},
        )  # fmt: skip
        return setting, True


def load(connection: Connection, site: str, seeds: Sequence[Seed]) -> Seeded:
    """Enter the versions of the seeds that are not there yet or were different, as hefa_owner; again changes nothing.

    A setting of which people have entered any version is theirs: the seeds do not touch it any more.
    """
    theirs = {
        (kind, name)
        for kind, name in connection.execute(
            "SELECT DISTINCT kind, name FROM setting WHERE site = %s AND entered_by <> %s", [site, SEEDS]
        )
    }
    there = {
        (row[0], row[1], row[2]): row[3:]
        for row in connection.execute(
            """
            SELECT DISTINCT ON (kind, name, valid_from) kind, name, valid_from, valid_to, value, source, example
              FROM setting WHERE site = %s ORDER BY kind, name, valid_from, setting_id DESC
            """,
            [site],
        )
    }
    entered = unchanged = 0
    kept: dict[str, None] = {}
    for seed in seeds:
        same = there.get((seed.kind, seed.name, seed.valid_from)) == (
            seed.valid_to, seed.value, seed.source, seed.example
        )  # fmt: skip
        if same:
            unchanged += 1
        elif (seed.kind, seed.name) in theirs:
            kept[f"{seed.kind} {seed.name}"] = None
        else:
            entered += 1
            connection.execute(
                """
                INSERT INTO setting (site, kind, name, valid_from, valid_to, value, source, example, reason, entered_by)
                VALUES (%s, %s, %s, %s, %s, %s, %s, %s, 'loaded', %s)
                """,
                [site, seed.kind, seed.name, seed.valid_from, seed.valid_to, Jsonb(seed.value), seed.source,
                 seed.example, SEEDS],
            )  # fmt: skip
    return Seeded(entered, unchanged, tuple(kept))
