"""The plant as the platform knows it: the tree of places, and every tag with its limits and its meter."""

from dataclasses import dataclass, field
from urllib.parse import quote
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from hefa_apps.client.connection import Asking

CATALOGUE_TTL = 20.0
CATALOGUE_OLDER = 600.0  # s that a page is still drawn with it, while it is asked anew


@dataclass(frozen=True)
class Node:
    """A place in the plant; `tags` counts its own, not those of places below it."""

    name: str
    level: str
    path: str
    description: str = ""
    tags: int = 0
    children: tuple["Node", ...] = ()

    def below(self, level: str) -> list["Node"]:
        """Return the nodes of one level at or under this one, in the plant model's order."""
        found = [self] if self.level == level else []
        return found + [node for child in self.children for node in child.below(level)]


@dataclass(frozen=True)
class Root(Node):
    """The top of the tree, with the facts of the site that calendars need."""

    site: str = ""
    timezone: str = "UTC"
    plantday: str = "08:00"
    shifts: tuple[str, ...] = ()
    unassigned: int = 0

    @property
    def zone(self) -> ZoneInfo:
        """The site's time zone; UTC when this machine's zone tables do not know it."""
        try:
            return ZoneInfo(self.timezone)
        except (ZoneInfoNotFoundError, ValueError):
            return ZoneInfo("UTC")


@dataclass(frozen=True)
class Limits:
    """Alarm limits of a gauge in its unit; None = none set."""

    ll: float | None = None
    l: float | None = None  # noqa: E741 - the plant's own name for it
    h: float | None = None
    hh: float | None = None


@dataclass(frozen=True)
class Meter:
    """What a register measures, and for whom."""

    stream: str
    serves: str
    role: str
    unit: str
    carrier: str | None = None
    material: str | None = None
    parent: str | None = None


@dataclass(frozen=True)
class Tag:
    """One measured quantity and what the plant model says about it; an unassigned tag knows little more than a name."""

    tag: str
    kind: str
    edge: str | None = None
    equipment: str | None = None
    area: str | None = None
    line: str | None = None
    template: str | None = None
    description: str = ""
    unit: str | None = None
    low: float | None = None
    high: float | None = None
    limits: Limits | None = None
    users: tuple[str, ...] = ()
    core: bool = False
    assigned: bool = True
    period_s: float | None = None
    heartbeat_s: float = 600.0
    states: dict[str, str] | None = None
    normal: float | None = None
    meter: Meter | None = None
    source: str | None = None


@dataclass(frozen=True, eq=False)
class Catalogue:
    """The plant as one key sees it: the tree and every tag by name. Each answer of the platform is a catalogue of its own."""

    root: Root
    tags: dict[str, Tag] = field(default_factory=dict)


class PlantCalls(Asking):
    """Assets and tags."""

    def catalogue(self) -> Catalogue:
        """Return the plant: the tree and all tags, kept per key; asked anew after `CATALOGUE_TTL` seconds."""

        def load() -> Catalogue:
            tags = self._all(Tag, "tags", {})
            return Catalogue(self.root(), {tag.tag: tag for tag in tags})

        return self._connection.held(("catalogue", self._key), CATALOGUE_TTL, load, older=CATALOGUE_OLDER)

    def root(self) -> Root:
        """Return the asset tree, asked now."""
        return self._one(Root, "assets", {})

    def tag(self, name: str) -> Tag:
        """Return one tag, asked now. Raises `Missing`."""
        return self._one(Tag, f"tags/{quote(name, safe='')}", {})
