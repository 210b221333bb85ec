"""What the plant is doing now: standings against limits, freshness, the tags that tell most of an area. Pure.

Takes the platform's tags and newest readings as they are; the clock is in them (`age_s`, `stale`).
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from hefa_apps.client import Latest, Limits, Meter, Tag

GOOD, UNCERTAIN = 192, 64
STRANGERS = "unassigned"  # stands for an area in URLs: tags that the plant model does not know

# From worst to best; the ids of words and of colours.
STANDINGS = ("hh", "ll", "h", "l", "bad", "silent", "stale", "uncertain", "ok")


@dataclass(frozen=True)
class Point:
    """One tag with its newest reading; `reading` is None while there was never one."""

    tag: Tag
    reading: Latest | None
    standing: str

    @property
    def alarming(self) -> bool:
        """Say whether the value is outside a limit."""
        return self.standing in ("hh", "ll", "h", "l")


@dataclass(frozen=True)
class Summary:
    """An area at a glance. `states` counts what its state tags say; `heard` are the tags that ever reported."""

    tags: int
    heard: int
    fresh: int
    alarming: int
    bad: int
    states: tuple[tuple[str, int], ...]

    @property
    def freshness(self) -> float | None:
        """The share of tags that are up to date, None without tags."""
        return self.fresh / self.tags if self.tags else None


@dataclass(frozen=True)
class Flow:
    """What comes in through the site's main meter of a carrier: its rate now, where a gauge stands next to it."""

    carrier: str
    register: Tag
    meter: Meter
    rate: Tag | None


def standing(tag: Tag, reading: Latest | None) -> str:
    """Return the worst thing to say about a tag: one of `STANDINGS`.

    A value that is bad or old is not judged against limits: nobody knows where the process is.
    """
    if reading is None:
        return "silent"
    if reading.value is None or reading.quality < UNCERTAIN:
        return "bad"
    if reading.stale:
        return "stale"
    beyond = outside(reading.value, tag.limits)
    if beyond:
        return beyond
    return "uncertain" if reading.quality < GOOD else "ok"


def outside(value: float, limits: Limits | None) -> str:
    """Return the outermost limit that the value has reached, "" when it is within all of them."""
    if limits is None:
        return ""
    if limits.hh is not None and value >= limits.hh:
        return "hh"
    if limits.ll is not None and value <= limits.ll:
        return "ll"
    if limits.h is not None and value >= limits.h:
        return "h"
    if limits.l is not None and value <= limits.l:
        return "l"
    return ""


def points(tags: Iterable[Tag], latest: Mapping[str, Latest]) -> list[Point]:
    """Join tags with their newest readings, in the order of the tags."""
    return [Point(tag, latest.get(tag.tag), standing(tag, latest.get(tag.tag))) for tag in tags]


def summary(found: Sequence[Point]) -> Summary:
    """Count an area. Tags that only speak on an event (no period) are fresh as long as they ever spoke."""
    states = Counter(
        p.reading.state
        for p in found
        if p.tag.kind == "state" and p.reading and p.reading.state and not p.reading.stale
    )
    return Summary(
        tags=len(found),
        heard=sum(p.reading is not None for p in found),
        fresh=sum(p.reading is not None and not p.reading.stale for p in found),
        alarming=sum(p.alarming for p in found),
        bad=sum(p.standing == "bad" for p in found),
        states=tuple(states.most_common()),
    )


def telling(found: Sequence[Point], most: int) -> list[Point]:
    """Return the points worth a place on the wall, at most `most`, those outside their limits first.

    The plant model says what matters: gauges with limits that several departments watch. Lines take turns, so that
    each is seen; within a line no quantity comes twice before every other one had its turn.
    """
    alarms = sorted((p for p in found if p.alarming), key=lambda p: (STANDINGS.index(p.standing), -_weight(p.tag)))
    chosen = alarms[: most // 2]
    rest = [p for p in found if p.tag.kind == "gauge" and p.tag.core and p not in chosen]
    by_line: dict[str, list[Point]] = {}
    for point in sorted(rest, key=lambda p: -_weight(p.tag)):
        by_line.setdefault(point.tag.line or "", []).append(point)
    turns = [_spread(line) for _, line in sorted(by_line.items(), key=lambda item: -_weight(item[1][0].tag))]
    for place in range(max(map(len, turns), default=0)):
        for line in turns:
            if place < len(line) and len(chosen) < most:
                chosen.append(line[place])
    return chosen


def _spread(line: list[Point]) -> list[Point]:
    """Order a line's points so that each quantity comes once before any comes again."""
    seen: Counter[tuple[str | None, str]] = Counter()
    ranked = []
    for i, point in enumerate(line):
        kind = (point.tag.template, point.tag.description)
        ranked.append((seen[kind], i, point))
        seen[kind] += 1
    return [point for _, _, point in sorted(ranked, key=lambda r: r[:2])]


def _weight(tag: Tag) -> float:
    limits = tag.limits
    set_limits = sum(x is not None for x in (limits.ll, limits.l, limits.h, limits.hh)) if limits else 0
    return len(tag.users) * 2 + set_limits


def flows(tags: Mapping[str, Tag], order: Sequence[str]) -> list[Flow]:
    """Return the main supply meter of each carrier, in this order, with the gauge of its rate on the same instrument."""
    found = []
    for register in tags.values():
        meter = register.meter
        if not meter or not meter.carrier or meter.parent or meter.role != "billing" or meter.stream != "supply":
            continue
        rate = next((t for t in tags.values() if _is_rate(t, register)), None)
        found.append(Flow(meter.carrier, register, meter, rate))
    place = {carrier: i for i, carrier in enumerate(order)}
    return sorted(found, key=lambda f: (place.get(f.carrier, len(place)), f.carrier, f.register.tag))


def _is_rate(tag: Tag, register: Tag) -> bool:
    unit = register.unit or ""
    per_hour = unit.removesuffix(".h") if unit.endswith(".h") else f"{unit}/h"
    return tag.kind == "gauge" and tag.equipment == register.equipment and tag.unit == per_hour


def search(tags: Iterable[Tag], names: Mapping[str, str], text: str, most: int) -> list[Tag]:
    """Return the tags that every word of `text` is found in, best first: in the name before in the description."""
    words = text.lower().split()
    if not words:
        return []
    ranked = []
    for tag in tags:
        name = tag.tag.lower()
        about = f"{name} {tag.description} {names.get(tag.equipment or '', '')} {tag.unit or ''}".lower()
        if all(word in about for word in words):
            last = name.rpartition(".")[2]
            score = sum((word == last) * 4 + (word in name) * 2 for word in words) + tag.core
            ranked.append((-score, len(name), name, tag))
    return [tag for *_, tag in sorted(ranked, key=lambda r: r[:3])[:most]]
