"""Water: what was fresh, reused and discharged, the share of reuse by two definitions, and what stays open. Pure.

Process reuse = reused / (reused + fresh). With the cooling loop = (reused + loop) / (reused + loop + fresh): a loop
that only goes round makes any share look good, so both are said, each with its definition.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import hypot
from typing import Any

from hefa_apps.material.seen import Seen


@dataclass(frozen=True)
class Metered:
    """Water at one meter in m3; None: it has not reported."""

    tag: str
    value: float | None
    sd: float | None


@dataclass(frozen=True)
class Water:
    """Waters of a period in m3. `open` = fresh - discharged: evaporated, gone with products, to the sewer.

    `unmetered` = fresh less what the meters behind the main one saw. `limits` is the tag whose deviation makes most of
    that of the process reuse. Shares 0–1.
    """

    fresh: Metered
    reuse: Metered
    discharge: Metered
    loop: Metered
    users: tuple[Metered, ...]
    recovered: tuple[Metered, ...]
    process: float | None
    process_sd: float | None
    with_loop: float | None
    with_loop_sd: float | None
    open: float | None
    open_sd: float | None
    unmetered: float | None
    unmetered_sd: float | None
    limits: str | None


def water(table: Mapping[str, Any], seen: Seen) -> Water:
    """Return the water of a period; `table` is that of the plan."""
    fresh, reuse, discharge, loop = (_metered(table[name], seen) for name in ("fresh", "reuse", "discharge", "loop"))
    users = tuple(_metered(one, seen) for one in table["users"])
    recovered = tuple(_metered(one, seen) for one in table["recovered"])
    process, process_sd, limits = _share([reuse], fresh)
    with_loop, with_loop_sd, _ = _share([reuse, loop], fresh)
    open_, open_sd = _less(fresh, [discharge])
    unmetered, unmetered_sd = _less(fresh, users)
    return Water(
        fresh, reuse, discharge, loop, users, recovered, process, process_sd, with_loop, with_loop_sd, open_, open_sd,
        unmetered, unmetered_sd, limits,
    )  # fmt: skip


def tags(table: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """Return the registers and the gauges."""
    every = [*(table[name] for name in ("fresh", "reuse", "discharge", "loop")), *table["users"], *table["recovered"]]
    return [m["tag"] for m in every if not m.get("rate")], [m["tag"] for m in every if m.get("rate")]


def _metered(one: Mapping[str, Any], seen: Seen) -> Metered:
    tag = one["tag"]
    value = seen.integral(tag) if one.get("rate") else seen.total(tag)
    return Metered(tag, value, None if value is None else abs(value) * one["u"])


def _share(again: Sequence[Metered], fresh: Metered) -> tuple[float | None, float | None, str | None]:
    """Return a share of reuse, its deviation by d(share) = f dr - r df over the square of the sum, and what limits it."""
    if fresh.value is None or any(m.value is None for m in again):
        return None, None, None
    reused = sum(m.value or 0.0 for m in again)
    whole = reused + fresh.value
    if whole <= 0:
        return None, None, None
    parts = {m.tag: fresh.value * (m.sd or 0.0) / whole**2 for m in again}
    parts[fresh.tag] = reused * (fresh.sd or 0.0) / whole**2
    return reused / whole, hypot(*parts.values()), max(parts, key=lambda tag: parts[tag])


def _less(whole: Metered, parts: Sequence[Metered]) -> tuple[float | None, float | None]:
    if whole.value is None or any(m.value is None for m in parts):
        return None, None
    return whole.value - sum(m.value or 0.0 for m in parts), hypot(whole.sd or 0.0, *(m.sd or 0.0 for m in parts))
