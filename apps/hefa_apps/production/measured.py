"""What the instruments of production said, in buckets: asked once for all figures of a period."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from hefa_apps.client import Series, Setting
from hefa_apps.metrics import Need, Reckoning
from hefa_apps.production.model import Limit, Slot, busy, purity
from hefa_apps.production.plant import Cut, Product, Works, works

_STEPS = {"15m": timedelta(minutes=15), "1h": timedelta(hours=1), "1d": timedelta(days=1)}
_LEAST_KNOWN = 0.02  # of a bucket: less tells nothing


@dataclass(frozen=True)
class Bucket:
    """A bucket of the range: its part inside the range and its whole length, hours."""

    start: datetime
    hours: float
    whole: float


@dataclass(frozen=True)
class Seen:
    """Buckets, and for each tag its value and its share known in each of them."""

    step: str
    buckets: tuple[Bucket, ...]
    value: Mapping[str, tuple[float | None, ...]]
    known: Mapping[str, tuple[float, ...]]

    def at(self, tag: str, i: int) -> float | None:
        """Return the value of a tag in a bucket; None where it is not known."""
        values = self.value.get(tag, ())
        return values[i] if i < len(values) and self.known[tag][i] >= _LEAST_KNOWN else None

    def hours(self, tags: Iterable[str], i: int) -> float:
        """Return the hours of a bucket that all of the tags are known of."""
        bucket = self.buckets[i]
        parts = [self.known.get(tag, ())[i] if tag in self.known else 0.0 for tag in tags]
        return min(min(parts, default=0.0) * bucket.whole, bucket.hours)


def step(start: datetime, end: datetime) -> str:
    """Return how finely a range is looked at."""
    hours = (end - start) / timedelta(hours=1)
    return "15m" if hours <= 49 else "1h" if hours <= 24 * 32 else "1d"


def seen(r: Reckoning) -> Seen:
    """Return what every instrument of `plant.toml` said over the range."""
    found: Seen = r.answer(seen_asked(r))
    return found


def seen_asked(r: Reckoning) -> Need:
    """Return the question that `seen` answers."""
    return r.need(("production seen",), lambda: _ask(r))


def _ask(r: Reckoning) -> Seen:
    meters = (tag for product in works().products for tag in registers(r, product))
    tags = [tag for tag in dict.fromkeys((*works().tags, *meters)) if tag in r.catalogue.tags]
    width = step(r.start, r.end)
    if not tags:
        return Seen(width, (), {}, {})
    answer = r.caller.series(tags, r.start, r.end, width, max_points=10_000)
    longest: Sequence[int] = max((one.ts for one in answer.series), key=len, default=())
    starts = [datetime.fromtimestamp(ts / 1e6, UTC) for ts in longest]
    ends = [*starts[1:], *([starts[-1] + _STEPS[width]] if starts else [])]
    buckets = tuple(_bucket(r, a, b) for a, b in zip(starts, ends, strict=True))
    return Seen(
        width,
        buckets,
        {one.tag: _spread(one, one.value, longest) for one in answer.series},
        {one.tag: tuple(c or 0.0 for c in _spread(one, _coverage(one), longest)) for one in answer.series},
    )


def registers(r: Reckoning, product: Product) -> tuple[str, ...]:
    """Return the billing registers of a product."""
    tags = r.catalogue.tags.values()
    return tuple(t.tag for t in tags if t.meter and t.meter.material == product.name and t.meter.role == "billing")


def _bucket(r: Reckoning, start: datetime, end: datetime) -> Bucket:
    inside = (min(end, r.end) - max(start, r.start)) / timedelta(hours=1)
    return Bucket(max(start, r.start), max(inside, 0.0), (end - start) / timedelta(hours=1))


def _coverage(one: Series) -> tuple[float | None, ...]:
    return one.coverage or tuple(0.0 if value is None else 1.0 for value in one.value)


def _spread(one: Series, values: Sequence[float | None], grid: Sequence[int]) -> tuple[float | None, ...]:
    there = dict(zip(one.ts, values, strict=True))
    return tuple(there.get(ts) for ts in grid)


def running(r: Reckoning, tag: str) -> list[Slot]:
    """Return when a gauge says that something runs: above a share of its normal value."""
    told: list[Slot] = r.once(("production running", tag), lambda: _running(r, tag))
    return told


def _running(r: Reckoning, tag: str) -> list[Slot]:
    found, known = seen(r), r.catalogue.tags.get(tag)
    least = works().least * abs((known.normal if known else None) or 0.0)
    slots = []
    for i, bucket in enumerate(found.buckets):
        value = found.at(tag, i)
        slots.append(Slot(bucket.start, bucket.hours, found.hours([tag], i), None if value is None else value > least))
    return slots


def setup_hours(r: Reckoning, product: Product) -> float:
    """Return the hours in which a product's line heated up and made nothing yet."""
    states = r.catalogue.tags[product.mode].states if product.mode in r.catalogue.tags else None
    codes = {float(code) for code, name in (states or {}).items() if name == works().setup}
    found = seen(r)
    return sum(
        found.hours([product.mode], i)
        for i, slot in enumerate(running(r, product.runs))
        if not slot.ok and found.at(product.mode, i) in codes
    )


def made(r: Reckoning, product: Product) -> list[float | None]:
    """Return kg REO of a product in each bucket."""
    told: list[float | None] = r.once(("production made", product.name), lambda: _made(r, product))
    return told


def _made(r: Reckoning, product: Product) -> list[float | None]:
    found = seen(r)
    meters = product.flows or registers(r, product)
    out: list[float | None] = []
    for i in range(len(found.buckets)):
        parts = [found.at(tag, i) for tag in meters]
        amount = None if not parts or None in parts else sum(part for part in parts if part is not None)
        strength = found.at(product.strength, i) if product.strength else 1.0
        out.append(None if amount is None or strength is None else amount * strength)
    return out


def pure(r: Reckoning, product: Product) -> list[Slot]:
    """Return when a product was on spec by its analyser, with what was made of it."""
    told: list[Slot] = r.once(("production pure", product.name), lambda: _pure(r, product))
    return told


def _pure(r: Reckoning, product: Product) -> list[Slot]:
    found, asked = seen(r), analysed(product, works())
    return [
        Slot(bucket.start, bucket.hours, found.hours(asked, i), _met(value, limit), mass)
        for i, (bucket, value, limit, mass) in enumerate(
            zip(found.buckets, purities(r, product), limits(r, f"purity.{product.name}"), made(r, product), strict=True)
        )
    ]


def purities(r: Reckoning, product: Product) -> list[float | None]:
    """Return mol % of a product's elements in each bucket."""
    told: list[float | None] = r.once(("production purities", product.name), lambda: _purities(r, product))
    return told


def _purities(r: Reckoning, product: Product) -> list[float | None]:
    found, the_works = seen(r), works()
    return [
        purity(
            {element: found.at(f"{product.analyser}.{element}", i) for element in the_works.oxides},
            the_works.oxides,
            product.elements,
        )
        for i in range(len(found.buckets))
    ]


def analysed(product: Product, the_works: Works) -> list[str]:
    """Return the tags of a product's analyser."""
    return [f"{product.analyser}.{element}" for element in the_works.oxides]


def cut_slots(r: Reckoning, cut: Cut) -> list[Slot]:
    """Return when a cut's products were on spec, and its raffinate too. A part that is not known makes it unknown."""
    found, the_works = seen(r), works()
    named = f"raffinate.{cut.name}"
    most = limits(r, named, Limit(cut.most, "lower"))
    raffinate = [f"{cut.raffinate}.{element}" for element in cut.elements]
    purest = [pure(r, the_works.product(name)) for name in cut.products]
    tags = [*raffinate, *(t for name in cut.products for t in analysed(the_works.product(name), the_works))]
    slots = []
    for i, bucket in enumerate(found.buckets):
        parts = [found.at(tag, i) for tag in raffinate]
        left = None if None in parts else sum(part for part in parts if part is not None)
        said = [_met(left, most[i]), *(slots_of[i].ok for slots_of in purest)]
        ok = False if False in said else None if None in said else True
        slots.append(Slot(bucket.start, bucket.hours, found.hours(tags, i), ok))
    return slots


def _met(value: float | None, limit: Limit | None) -> bool | None:
    return None if value is None or limit is None else limit.met(value)


def settings(r: Reckoning, kind: str) -> list[Setting]:
    """Return the targets or plans that were in force over the range, oldest first."""
    found: list[Setting] = r.answer(settings_asked(r, kind))
    return found


def settings_asked(r: Reckoning, kind: str) -> Need:
    """Return the question that `settings` answers."""
    return r.need(
        ("production settings", kind),
        lambda: [s for s in r.caller.settings_over(kind, r.start, r.end) if s.value],  # type: ignore[arg-type]
    )


def limits(r: Reckoning, name: str, otherwise: Limit | None = None) -> list[Limit | None]:
    """Return the target in force in each bucket; `otherwise` where there was none."""
    given = [s for s in settings(r, "target") if s.name == name]
    return [
        next(
            (limit(s) for s in given if (s.start or s.valid_from) <= b.start and (not s.end or b.start < s.end)),
            otherwise,
        )
        for b in seen(r).buckets
    ]


def limit(setting: Setting) -> Limit:
    """Return a target as a limit."""
    value = setting.value or {}
    return Limit(float(value["value"]), str(value.get("better", "higher")))


@dataclass(frozen=True)
class Planned:
    """The plan of a range: t, hours busy, rated t/h (weighted by them), and whether it is only an example."""

    tonnes: float
    busy: float
    rated: float
    example: bool


def planned(r: Reckoning, name: str, until: datetime | None = None) -> Planned | None:
    """Return the plan of a product (or of the feed) for the range; the site's stops hold for all. None: no plan."""
    plans = settings(r, "plan")
    given = [s for s in plans if s.name == name]
    if not given:
        return None
    stops = [
        _stop(r, entry)
        for s in plans
        if s.name in (name, works().feed)
        for entry in (s.value or {}).get("overhaul", [])
    ]
    tonnes = hours = rated = 0.0
    for s in given:
        value = s.value or {}
        start, end = max(s.start or r.start, r.start), min(s.end or r.end, until or r.end)
        if end <= start:
            continue
        a_day = float(value.get("busy_h_per_day") or 24)
        part = busy(start, end, stops, a_day)
        hours += part
        tonnes += float(value.get("t_per_day") or 0) * part / a_day if a_day > 0 else 0.0
        rated += float(value.get("rated_t_per_h") or 0) * part
    return Planned(tonnes, hours, rated / hours if hours else 0.0, any(s.example for s in given))


def _stop(r: Reckoning, entry: Mapping[str, str]) -> tuple[datetime, datetime]:
    zone = r.catalogue.root.zone
    first, last = (datetime.fromisoformat(str(entry[name])) for name in ("from", "to"))
    return first.replace(tzinfo=first.tzinfo or zone), last.replace(tzinfo=last.tzinfo or zone)
