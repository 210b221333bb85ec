"""Which gateways and tags intake knows, and how new ones become known: one cache of one worker.

An unknown tag is not lost: it is registered as unassigned, within a quota, and belongs to the gateway that showed it
first. The cache is thrown away when the plant model was loaded anew; after a rollback call `forget`, since ids learnt
in that transaction never came to be.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence, Set
from itertools import repeat
from math import nan
from typing import Any, NamedTuple

import numpy as np
from psycopg import Cursor

from hefa_contract.rejection import Code
from hefa_platform.store.binary_copy import Floats, Ints
from hefa_platform.store.database import Connection

ENTRY = "api"  # the gateway under which is kept what people enter; no session can have its name


class KnownTags(NamedTuple):
    """What intake knows of tags, in columns: `edge` may write it, NaN is no limit. The last row stands for no tag."""

    tag: Ints
    edge: Ints
    low: Floats
    high: Floats


_Known = tuple[int, int, float, float]
_NONE: _Known = (-1, -1, nan, nan)


class Registry:
    """The known edges and tags, by name."""

    def __init__(self, tag_quota_per_hour: int, edge_limit: int, *, rehearsal: bool = False) -> None:
        """In a `rehearsal` every transaction is rolled back, but what was registered in it counts against the quota."""
        self._quota = tag_quota_per_hour
        self._edge_limit = edge_limit
        self._rehearsal = rehearsal
        self._rehearsed: defaultdict[int, set[str]] = defaultdict(set)  # names that a gateway (by id) has registered
        self.loaded: tuple[Any, Any] = (None, None)
        """The database's incarnation, and when its plant model was loaded."""
        self._edges: dict[str, int] = {}
        self._places: dict[str, int] = {}  # of a tag, its row among the known
        self._rows: list[_Known] = []
        self._columns: KnownTags | None = None
        self.generation = 0
        """Counts how often everything was forgotten: what was looked up before is void."""

    def forget(self) -> None:
        """Empty the cache."""
        self._edges.clear()
        self._places.clear()
        self._rows.clear()
        self._columns = None
        self.generation += 1

    def ask(self, connection: Connection) -> Cursor[Any]:
        """Begin to ask which database this is; `refresh` takes the answer."""
        return connection.execute("SELECT incarnation, loaded_at FROM instance")

    def refresh(self, asked: Cursor[Any]) -> tuple[str, bool]:
        """Drop what an older plant model or another database said; return the incarnation, and whether all is as before."""
        row = asked.fetchone()
        assert row is not None
        as_before: bool = row == self.loaded
        if not as_before:
            self.forget()
            self.loaded = row
        return str(row[0]), as_before

    def edges(self, connection: Connection, names: Iterable[str]) -> Mapping[str, int]:
        """Ids of gateways by name, registering new ones; a name beyond the limit is missing in the answer."""
        missing = sorted(set(names) - self._edges.keys())
        if missing:
            self._learn_edges(connection, missing)
            unknown = [name for name in missing if name not in self._edges]
            if unknown:
                connection.execute(
                    """
                    INSERT INTO edge (name, description, site)
                    SELECT name, 'registered by itself', (SELECT site FROM instance)
                      FROM unnest(%s::text[]) AS name
                     LIMIT greatest(0, %s - (SELECT count(*) FROM edge))
                    ON CONFLICT (name) DO NOTHING
                    """,
                    [unknown, self._edge_limit],
                )
                self._learn_edges(connection, unknown)
        return self._edges

    def tags(self, connection: Connection, wanted: Mapping[int, Iterable[str]]) -> dict[str, Code]:
        """Learn the tags that gateways (by id, in order of arrival) speak of; return the names refused, and why."""
        missing = {name for names in wanted.values() for name in names} - self._places.keys()
        refused: dict[str, Code] = {}
        if not missing:
            return refused
        self._learn_tags(connection, sorted(missing))
        for edge_id, names in wanted.items():
            fresh = sorted(set(names) - self._places.keys() - refused.keys())
            if not fresh:
                continue
            if self._quota == 0:
                refused.update(dict.fromkeys(fresh, Code.TAG_UNKNOWN))
                continue
            rehearsed = self._rehearsed[edge_id]
            beyond = [name for name in fresh if name not in rehearsed][self._room(connection, edge_id, rehearsed) :]
            refused.update(dict.fromkeys(beyond, Code.TAG_QUOTA))
            taken = [name for name in fresh if name not in refused]
            if self._rehearsal:
                rehearsed.update(taken)
            if taken:
                connection.execute(
                    """
                    INSERT INTO tag (name, edge_id, site, kind, assigned)
                    SELECT name, %s, (SELECT site FROM instance), 'gauge', false FROM unnest(%s::text[]) AS name
                    ON CONFLICT (name) DO NOTHING
                    """,
                    [edge_id, taken],
                )
                self._learn_tags(connection, taken)
        return refused

    def places(self, names: Sequence[str]) -> Ints:
        """The rows of tags among `known`, -1 for those not known."""
        return np.fromiter(map(self._places.get, names, repeat(-1)), np.int64, len(names))

    @property
    def known(self) -> KnownTags:
        """All tags learnt so far."""
        if self._columns is None:
            tag, edge, low, high = zip(*self._rows, _NONE, strict=True)
            self._columns = KnownTags(np.array(tag), np.array(edge), np.array(low), np.array(high))
        return self._columns

    @property
    def known_edges(self) -> Mapping[str, int]:
        """Ids of the gateways met so far."""
        return self._edges

    @property
    def entry(self) -> int:
        """The gateway of what people enter, which may write any tag; -1 where it has not been met."""
        return self._edges.get(ENTRY, -1)

    def _room(self, connection: Connection, edge_id: int, rehearsed: Set[str]) -> int:
        row = connection.execute(
            """
            SELECT count(*) FROM tag
             WHERE edge_id = %s AND NOT assigned AND registered_at > now() - interval '1 hour' AND name <> ALL (%s)
            """,
            [edge_id, list(rehearsed)],
        ).fetchone()
        assert row is not None
        return max(0, self._quota - int(row[0]) - len(rehearsed))

    def _learn_edges(self, connection: Connection, names: list[str]) -> None:
        self._edges.update(
            connection.execute("SELECT name, edge_id FROM edge WHERE name = ANY(%s)", [names]).fetchall()
        )

    def _learn_tags(self, connection: Connection, names: list[str]) -> None:
        rows = connection.execute(
            "SELECT name, tag_id, edge_id, kind, low, high FROM tag WHERE name = ANY(%s)", [names]
        ).fetchall()
        for name, tag_id, edge_id, kind, low, high in rows:
            # A register is judged by what it counts (the rollup), not by what it shows.
            limits = (nan, nan) if kind == "counter" else (nan if low is None else low, nan if high is None else high)
            self._places[name] = len(self._rows)
            self._rows.append((tag_id, -1 if edge_id is None else edge_id, *limits))
        self._columns = None
