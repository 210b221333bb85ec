"""Which gateways and tags intake knows, and how new ones become known: one cache of one worker.

An unknown tag is not lost: it is registered as unassigned, within a quota, and belongs to the gateway that showed it
first. The cache is thrown away when the plant model was loaded anew; after a rollback call `forget`, since ids learnt
in that transaction never came to be.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import nan

from hefa_contract.rejection import Code
from hefa_platform.store.database import Connection

ENTRY = "api"  # the gateway under which is kept what people enter; no session can have its name


@dataclass(frozen=True, slots=True)
class KnownTag:
    """What intake needs of a tag. `low` and `high` are NaN where there is no limit."""

    tag_id: int
    edge_id: int
    low: float
    high: float


class Registry:
    """The known edges and tags, by name."""

    def __init__(self, tag_quota_per_hour: int, edge_limit: int) -> None:
        self._quota = tag_quota_per_hour
        self._edge_limit = edge_limit
        self._loaded: object = None
        self._edges: dict[str, int] = {}
        self._tags: dict[str, KnownTag] = {}

    def forget(self) -> None:
        """Empty the cache."""
        self._edges.clear()
        self._tags.clear()

    def refresh(self, connection: Connection) -> str:
        """Drop what an older plant model or another database said; return the database's incarnation."""
        row = connection.execute("SELECT incarnation, loaded_at FROM instance").fetchone()
        assert row is not None
        if row != self._loaded:
            self.forget()
            self._loaded = row
        return str(row[0])

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
        missing = {name for names in wanted.values() for name in names} - self._tags.keys()
        refused: dict[str, Code] = {}
        if not missing:
            return refused
        self._learn_tags(connection, sorted(missing))
        for edge_id, names in wanted.items():
            fresh = sorted(set(names) - self._tags.keys() - refused.keys())
            if not fresh:
                continue
            if self._quota == 0:
                refused.update(dict.fromkeys(fresh, Code.TAG_UNKNOWN))
                continue
            room = self._room(connection, edge_id)
            refused.update(dict.fromkeys(fresh[room:], Code.TAG_QUOTA))
            if fresh[:room]:
                connection.execute(
                    """
                    INSERT INTO tag (name, edge_id, site, kind, assigned)
                    SELECT name, %s, (SELECT site FROM instance), 'gauge', false FROM unnest(%s::text[]) AS name
                    ON CONFLICT (name) DO NOTHING
                    """,
                    [edge_id, fresh[:room]],
                )
                self._learn_tags(connection, fresh[:room])
        return refused

    def may_write(self, edge_id: int, tag: KnownTag) -> bool:
        """A tag belongs to one gateway; what people enter may be of any tag."""
        return tag.edge_id == edge_id or edge_id == self._edges.get(ENTRY)

    def tag(self, name: str) -> KnownTag:
        """A tag that `tags` has learnt."""
        return self._tags[name]

    def _room(self, connection: Connection, edge_id: int) -> int:
        row = connection.execute(
            """
            SELECT count(*) FROM tag
             WHERE edge_id = %s AND NOT assigned AND registered_at > now() - interval '1 hour'
            """,
            [edge_id],
        ).fetchone()
        assert row is not None
        return max(0, self._quota - int(row[0]))

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
            self._tags[name] = KnownTag(tag_id, edge_id, *limits)
