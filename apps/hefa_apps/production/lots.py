"""Lots as production looks at them: which stage, what product they become, and what the laboratory says."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from hefa_apps.client import Lot
from hefa_apps.metrics import Need, Reckoning
from hefa_apps.production.measured import limit, settings
from hefa_apps.production.model import Limit, verdict
from hefa_apps.production.plant import works

_OPEN = ("started", "received")


@dataclass(frozen=True)
class Judged:
    """A lot with its product ("": it becomes several) and its verdict."""

    lot: Lot
    product: str
    verdict: str

    def begun_in(self, r: Reckoning) -> bool:
        """Say whether it began in the range."""
        return self.lot.begun is not None and r.start <= self.lot.begun < r.end

    def age(self, now: datetime) -> float | None:
        """Return for how many hours it has been there."""
        return None if self.lot.begun is None else max((now - self.lot.begun) / timedelta(hours=1), 0.0)


def lots_of(r: Reckoning) -> list[Judged]:
    """Return the lots that were in work in the range, the latest first."""
    found: list[Judged] = r.once(("production lots judged",), lambda: judge(r, r.answer(lots_asked(r))))
    return found


def lots_asked(r: Reckoning) -> Need:
    """Return the question that `lots_of` answers."""
    return r.need(("production lots",), lambda: r.caller.lots(start=r.start, end=r.end))


def packed(r: Reckoning) -> list[Judged]:
    """Return the lots that were packed in the range, the latest first."""
    found: list[Judged] = r.once(("production packed judged",), lambda: judge(r, r.answer(packed_asked(r))))
    return found


def packed_asked(r: Reckoning) -> Need:
    """Return the question that `packed` answers: a month has three times as many lots of other states."""
    return r.need(("production packed",), lambda: r.caller.lots(start=r.start, end=r.end, state=["packed"]))


def judge(r: Reckoning, lots: Iterable[Lot]) -> list[Judged]:
    """Return lots with the verdict of the laboratory, by the targets in force when each began."""
    targets = settings(r, "target")
    found = []
    for lot in lots:
        product = works().material(lot.material)
        name = product.name if product else ""
        given: dict[str, Limit] = {}
        for quantity in ("purity", "loi"):
            for s in targets:
                starts = s.start or s.valid_from
                if s.name == f"{quantity}.{name}" and (quantity not in given or not lot.begun or starts <= lot.begun):
                    given[quantity] = limit(s)
        if lot.kind == "campaign":
            given.pop("loi", None)  # only burnt oxide has one
        if lot.kind == "kiln":
            given = {}  # sampled when packed
        results = {result.quantity.casefold(): result.value for result in reversed(lot.results)}
        found.append(Judged(lot, name, verdict(results, given)))
    return found


def in_work(lots: Iterable[Judged]) -> list[Judged]:
    """Return the lots that are being made, or of which something is left to be passed on."""
    return [
        one
        for one in lots
        if (one.lot.state in _OPEN and (one.lot.left_kg is None or one.lot.left_kg > 0.5))
        or (one.lot.state == "finished" and (one.lot.left_kg or 0.0) > 0.5)
    ]
