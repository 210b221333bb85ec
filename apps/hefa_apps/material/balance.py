"""Balances of the plant from what its instruments said: whole oxide and element by element, reconciled. Pure.

An amount is the sum over buckets of register x strength x share, so that a strength that drifts weighs what passed
while it did. Its deviation combines the instruments' relative ones in quadrature; of an element the analyser's too
(component flows with propagated deviations). Instruments that two streams share are taken as independent.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import hypot, sqrt

from hefa_apps.material.network import Network, NetworkError, Node, Stream
from hefa_apps.material.plant import Element, Flow, Holdup, Plan, Recovery, Stock
from hefa_apps.material.reconcile import Reconciled, Suspects, reconcile
from hefa_apps.material.seen import Seen

FLOOR = 2e-5  # least deviation, by the largest stream: a register at rest is not exact
ALL = "REO"
_IN_GAPS = 0.1  # relative, of what passed while nobody looked: instruments are not silent at the same time
_SPREAD_OF_STRENGTH = 0.0025  # relative, of an analyser's hour at either end of a period
_SPREAD_OF_SHORT = 0.005  # the same of a quarter of an hour, which a short period has
_SHORT = 6.0  # hours
_DRIFT = 0.002  # relative, by which the strength in a tank wanders in an hour; with the root of the time


@dataclass(frozen=True)
class Amount:
    """Kg of one stream over the period; `value` None: not measured, `why` says for what reason (a word)."""

    value: float | None
    sd: float | None = None
    coverage: float | None = None
    why: str = ""


@dataclass(frozen=True)
class Balanced:
    """One species of the plant: amounts as measured by name, and reconciled; None where nothing could be."""

    species: str
    amounts: dict[str, Amount]
    found: Reconciled | None


@dataclass(frozen=True)
class Ratio:
    """A yield or recovery, 0–1, with one standard deviation."""

    value: float | None
    sd: float | None


def suspected(found: Reconciled) -> list[Suspects]:
    """Return what may be off: where the global test rejects, what serial elimination found; else what stands out.

    A global test of many balances is blunt; one stream beyond the limit of its own test is worth a look.
    """
    if found.suspects or not found.beyond:
        return list(found.suspects)
    groups = dict.fromkeys(
        next((group for group in found.equivalent if name in group), (name,)) for name in found.beyond
    )
    chi2, limit = found.chi2, found.chi2_limit
    told = [(group, max(found.z[name] or 0.0 for name in group)) for group in groups]
    told.sort(key=lambda pair: -pair[1])
    return [Suspects(group, z, z * z, max(chi2 - z * z, 0.0), limit) for group, z in told]


def instruments(plan: Plan) -> tuple[list[str], list[str], list[str]]:
    """Return the tags that the balances need: registers, gauges, levels."""
    terms = [term for flow in plan.flows for term in flow.terms]
    analysers = [flow.analyser for flow in plan.flows if flow.analyser] + [stock.analyser for stock in plan.stocks]
    shares = [f"{unit}.{element.suffix}" for unit in analysers for element in plan.elements]
    gauges = [t.tag for t in terms if t.rate] + [f.strength.tag for f in plan.flows if f.strength] + shares
    levels = [tag for stock in plan.stocks for tag in (*stock.tanks, stock.strength)]
    return [t.tag for t in terms if not t.rate], gauges, levels


def balances(plan: Plan, seen: Seen) -> dict[str, Balanced]:
    """Return the balance of all oxide, and of each element."""
    return {ALL: balanced(plan, seen, None)} | {e.name: balanced(plan, seen, e) for e in plan.elements}


def balanced(plan: Plan, seen: Seen, element: Element | None) -> Balanced:
    """Return the balance of one element, or of all oxide."""
    amounts = {flow.name: flowed(flow, seen, element) for flow in plan.flows}
    whole = {flow.name: flowed(flow, seen, None).value for flow in plan.flows}
    amounts |= {stock.name: stored(stock, seen, element) for stock in plan.stocks}
    hours = sum(seen.hours)
    amounts |= {h.name: _held(h, hours, amounts[h.of].value, whole[h.of], element) for h in plan.holdups}
    largest = max((abs(a.value) for a in amounts.values() if a.value is not None), default=0.0)
    streams = tuple(
        Stream(name, a.value, None if a.value is None else max(a.sd or 0.0, FLOOR * largest, 1e-9))
        for name, a in amounts.items()
    )
    nodes = tuple(Node(part.name, part.enters, part.leaves) for part in plan.parts)
    try:
        found = reconcile(Network(streams, nodes)) if largest else None
    except NetworkError:
        found = None
    return Balanced(element.name if element else ALL, amounts, found)


def flowed(flow: Flow, seen: Seen, element: Element | None) -> Amount:
    """Return what passed in a stream."""
    if not flow.terms:
        return Amount(None, why="no_meter")
    if element is not None and not flow.analyser:
        return Amount(None, why="no_analyser")
    share = _means(seen, f"{flow.analyser}.{element.suffix}") if element else None
    strength = _means(seen, flow.strength.tag) if flow.strength else None
    if (flow.strength and strength is None) or (element and share is None):
        return Amount(None, why="silent")
    total = variance = 0.0
    for term in flow.terms:
        if (counts := _counts(seen, term.tag, term.rate)) is None:
            return Amount(None, why="silent")
        part = term.factor * sum(
            n * (strength[i] if strength else 1.0) * (share[i] / 100 if share else 1.0) for i, n in enumerate(counts)
        )
        total += part
        variance += (part * term.u) ** 2
    whole = flowed(flow, seen, None).value if element else None
    relative = flow.strength.u if flow.strength else 0.0
    coverage = seen.least(flow.tags) or 0.0
    gaps = _IN_GAPS * total * (1 - coverage) / max(coverage, 0.05)
    composition = (whole or 0.0) * element.u / 100 if element else 0.0
    return Amount(total, hypot(sqrt(variance), total * relative, composition, gaps), coverage)


def moved(flow: Flow, seen: Seen) -> list[float] | None:
    """Return what passed in a stream by bucket, kg of oxide; None where it cannot be told."""
    strength = _means(seen, flow.strength.tag) if flow.strength else None
    counts = [_counts(seen, term.tag, term.rate) for term in flow.terms]
    if not counts or (flow.strength and strength is None):
        return None
    total = [0.0] * len(seen.hours)
    for term, counted in zip(flow.terms, counts, strict=True):
        if counted is None:
            return None
        for i, n in enumerate(counted):
            total[i] += term.factor * n * (strength[i] if strength else 1.0)
    return total


def stored(stock: Stock, seen: Seen, element: Element | None) -> Amount:
    """Return how much more tanks hold at the end than at the begin: by their volume, and by their strength.

    Of the change of strength counts the share that is not the analyser's noise: drift^2 / (drift^2 + noise^2), the
    best linear estimate. Or else an hour's stock would be the noise of two analyses times all that the tanks hold.
    """
    before, after = seen.first.get(stock.strength), seen.last.get(stock.strength)
    share = seen.mean(f"{stock.analyser}.{element.suffix}") if element else 100.0
    if before is None or after is None or share is None or any(seen.change(tank) is None for tank in stock.tanks):
        return Amount(None, why="silent")
    hours, one = sum(seen.hours), stock.capacity / 100
    first, last = (one * sum(side[tank] for tank in stock.tanks) for side in (seen.first, seen.last))
    strength, volume = (before + after) / 2, (first + last) / 2
    noise = sqrt(2) * (_SPREAD_OF_SHORT if hours < _SHORT else _SPREAD_OF_STRENGTH)
    true = 1 / (1 + noise**2 / (_DRIFT**2 * hours)) if hours > 0 else 0.0
    rise = (last - first) * strength + volume * (after - before) * true
    deviation = strength * hypot(stock.sd * sqrt(len(stock.tanks)), volume * noise * sqrt(true))
    return Amount(rise * share / 100, max(deviation * share / 100, 1e-6), 1.0)


def _held(holdup: Holdup, hours: float, fed: float | None, whole: float | None, element: Element | None) -> Amount:
    if fed is None or whole is None or hours <= 0:
        return Amount(None, why="silent")
    of, share = (whole, holdup.mix) if element and holdup.mix is not None else (fed, holdup.share)
    return Amount(0.0, abs(of) / hours * holdup.hours * share, None, why="assumed")


def _means(seen: Seen, tag: str) -> list[float] | None:
    """Return the means of a gauge by bucket, the period's mean where a bucket has none."""
    usual = seen.mean(tag)
    return None if usual is None else [usual if v is None else v for v in seen.means[tag]]


def _counts(seen: Seen, tag: str, rate: bool) -> list[float] | None:
    if rate:
        if seen.mean(tag) is None:
            return None
        return [(v or 0.0) * h for v, h in zip(seen.means[tag], seen.known[tag], strict=True)]
    return None if seen.total(tag) is None else [v or 0.0 for v in seen.counted[tag]]


def plant_yield(plan: Plan, whole: Balanced) -> Ratio:
    """Return products over what was fed less what stayed, all reconciled: one less what is known to be lost."""
    return _less(whole, [flow.name for flow in plan.flows if flow.loss], _used(plan, whole))


def _used(plan: Plan, whole: Balanced) -> float | None:
    """What the products and losses together took: fed less stored, reconciled."""
    if whole.found is None:
        return None
    out = [whole.found.value[flow.name] for flow in plan.flows if flow.product or flow.loss]
    return None if None in out else sum(v for v in out if v is not None)


def recovery(of: Recovery, by_element: Mapping[str, Balanced], fed: str) -> Ratio:
    """Return what of the fed elements was not lost to other liquors, by their reconciled flows."""
    parts = [by_element[name] for name in of.elements]
    feeds = [b.found.value[fed] for b in parts if b.found]
    losses = [(b.found.value[name], b.found.sd[name]) for b in parts if b.found for name in of.lost]
    if len(feeds) < len(parts) or None in feeds or any(v is None for v, _ in losses):
        return Ratio(None, None)
    total = sum(v for v in feeds if v is not None)
    if total <= 0:
        return Ratio(None, None)
    lost = sum(v for v, _ in losses if v is not None)
    return Ratio(1 - lost / total, hypot(*(sd or 0.0 for _, sd in losses)) / total)


def out_over_in(of: Recovery, by_element: Mapping[str, Balanced], fed: str, stocks: Sequence[str]) -> Ratio:
    """Return out / (in - d stock) as measured, nothing reconciled: what the instruments alone say."""
    amounts = [by_element[name].amounts for name in of.elements]
    taken = [a[name] for a in amounts for name in (fed, of.into)]
    kept = [a[name] for a in amounts for name in stocks]
    if any(a.value is None for a in (*taken, *kept)):
        return Ratio(None, None)
    into, came = (sum(a[name].value or 0.0 for a in amounts) for name in (of.into, fed))
    used = came - sum(a.value or 0.0 for a in kept)
    if used <= 0:
        return Ratio(None, None)
    out_sd, in_sd = (hypot(*(a[name].sd or 0.0 for a in amounts)) for name in (of.into, fed))
    in_sd = hypot(in_sd, *(a.sd or 0.0 for a in kept))
    return Ratio(into / used, hypot(out_sd, in_sd * into / used) / used)


def _less(whole: Balanced, losses: Sequence[str], used: float | None) -> Ratio:
    if whole.found is None or used is None or used <= 0:
        return Ratio(None, None)
    lost = [(whole.found.value[name], whole.found.sd[name]) for name in losses]
    if any(v is None for v, _ in lost):
        return Ratio(None, None)
    return Ratio(1 - sum(v or 0.0 for v, _ in lost) / used, hypot(*(sd or 0.0 for _, sd in lost)) / used)
