"""How the metrics of production are reckoned; what each means stands in `metrics/production.toml`."""

from collections.abc import Callable
from dataclasses import replace

from hefa_apps.client import Catalogue
from hefa_apps.metrics import Basis, Input, Members, Need, Outcome, Reckoning, targets, use
from hefa_apps.metrics.reckoning import Formula
from hefa_apps.production.lots import packed, packed_asked
from hefa_apps.production.measured import (
    Planned,
    analysed,
    cut_slots,
    made,
    planned,
    pure,
    purities,
    registers,
    running,
    seen,
    seen_asked,
    settings_asked,
    setup_hours,
)  # fmt: skip
from hefa_apps.production.model import Effectiveness, Judged, effectiveness, first_pass, judged, on_spec
from hefa_apps.production.plant import Product, works

SITE = "site"
NO_PLAN = "There is no plan of it: enter one in the settings."
UNSEEN = "Not enough is known of this period."
_PLAN = "GET /v1/settings/plan"
_TARGET = "GET /v1/settings/target"
_KG = 1e-3


def products(catalogue: Catalogue) -> list[Product]:
    """Return the products whose instruments this site has."""
    return [
        p for p in works().products if p.runs in catalogue.tags and f"{p.analyser}.{p.elements[0]}" in catalogue.tags
    ]


def needs(r: Reckoning) -> list[Need]:
    """Return what the figures of a period are reckoned from, for a page that asks it ahead."""
    return [
        *use.needs(r),
        seen_asked(r),
        settings_asked(r, "plan"),
        settings_asked(r, "target"),
        targets.asked(r),
        packed_asked(r),
    ]


def watched(r: Reckoning) -> list[str]:
    """Return the tags whose freshness the figures tell."""
    meters = (tag for product in products(r.catalogue) for tag in registers(r, product))
    return sorted({*meters, *(tag for tag in works().tags if tag in r.catalogue.tags)})


def output(r: Reckoning, subject: str) -> Outcome:
    """Return t REO of a product: its billing register, or where nothing weighs it, flow times strength."""
    product = works().product(subject)
    if not product.estimated:
        weighed = r.figure(f"use.{subject}")
        value = None if weighed.value is None else weighed.value * _KG
        return Outcome(value, (r.input(f"use.{subject}"),), weighed.coverage, weighed.reason, weighed.tags)
    parts = made(r, product)
    known = [part for part in parts if part is not None]
    found = seen(r)
    hours = sum(bucket.hours for bucket in found.buckets)
    told = sum(found.hours((*product.flows, product.strength), i) for i in range(len(found.buckets)))
    inputs = (
        *(Input("flow, register increments", _sum(found.value.get(tag, ())), "m3", tag=tag) for tag in product.flows),
        Input("strength, on-line analyser", None, "g/L", tag=product.strength),
    )
    tags = (*product.flows, product.strength)
    if not known:
        return Outcome(None, inputs, 0.0 if hours else None, UNSEEN, tags)
    return Outcome(sum(known) * _KG, inputs, told / hours if hours else None, tags=tags)


def _sum(values: tuple[float | None, ...]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def all_output(r: Reckoning) -> Outcome:
    """Return t REO of all products, unknown as long as one of them is."""
    parts = [r.figure(f"production.output.{p.name}") for p in products(r.catalogue)]
    inputs = tuple(r.input(part.id) for part in parts)
    unknown = next((part for part in parts if part.value is None), None)
    if unknown or not parts:
        return Outcome(None, inputs, reason=unknown.reason if unknown else "No product is known here.")
    return Outcome(
        sum(part.value or 0.0 for part in parts), inputs, min((p.coverage for p in parts if p.coverage is not None), default=None),
        tags=parts[0].tags,
    )  # fmt: skip


def whose_output(subject: str) -> str:
    """Return the metric of the output of a product, or of the site."""
    return "production.output" if subject == SITE else f"production.output.{subject}"


def plan_of(r: Reckoning, subject: str) -> Planned | None:
    """Return the plan of a product; that of the site is the sum of its products' tonnes at the feed's rated rate."""
    if subject != SITE:
        return planned(r, subject)
    whole = planned(r, works().feed)
    parts = [planned(r, p.name) for p in products(r.catalogue)]
    if whole is None or not parts or None in parts:
        return whole
    return replace(whole, tonnes=sum(part.tonnes for part in parts if part))


def attainment(r: Reckoning, subject: str) -> Outcome:
    """Return output over plan, %."""
    figure, plan = r.figure(whose_output(subject)), plan_of(r, subject)
    inputs = (r.input(figure.id), Input("plan for the period", plan.tonnes if plan else None, "t", source=_PLAN))
    if plan is None or plan.tonnes <= 0:
        return Outcome(None, inputs, figure.coverage, NO_PLAN if plan is None else "Nothing is planned in this period.")
    if figure.value is None:
        return Outcome(None, inputs, figure.coverage, figure.reason, figure.tags)
    return Outcome(100 * figure.value / plan.tonnes, inputs, figure.coverage, tags=figure.tags)


def operation(r: Reckoning, subject: str) -> tuple[Judged, str]:
    """Return for how long a product, or the site, was being made, and by which tag that is told."""
    tag = works().runs if subject == SITE else works().product(subject).runs
    return judged(running(r, tag)), tag


def judge(r: Reckoning, subject: str) -> Effectiveness | None:
    """Return the effectiveness of a product or of the site; None without a plan.

    Only time that is known is judged: planned busy time counts by the share of the period that is known.
    """

    def reckon() -> Effectiveness | None:
        plan = plan_of(r, subject)
        if plan is None or plan.busy <= 0:
            return None
        ran, _ = operation(r, subject)
        known = plan.busy * (ran.coverage or 0.0)
        operating = None if ran.share is None else min(ran.good, known)
        tonnes = r.figure(whose_output(subject)).value
        setup = 0.0 if subject == SITE else setup_hours(r, works().product(subject))
        return effectiveness(known, operating, plan.rated, tonnes, _good(r, subject, tonnes), setup)

    found: Effectiveness | None = r.once(("production judged", subject), reckon)
    return found


def _good(r: Reckoning, subject: str, tonnes: float | None) -> float | None:
    """Return the tonnes on spec; of the site the sum over its products."""
    if subject == SITE:
        parts = [_good(r, p.name, r.figure(whose_output(p.name)).value) for p in products(r.catalogue)]
        return None if not parts or None in parts else sum(part for part in parts if part is not None)
    if tonnes is None:
        return None
    share = 1.0 if tonnes == 0 else on_spec(pure(r, works().product(subject)))
    return None if share is None else tonnes * share


def factor(name: str) -> Callable[[Reckoning, str], Outcome]:
    """Return the formula of one factor of the effectiveness, in %."""

    def formula(r: Reckoning, subject: str) -> Outcome:
        found, plan = judge(r, subject), plan_of(r, subject)
        ran, tag = operation(r, subject)
        amount = r.figure(whose_output(subject))
        inputs = (
            Input("planned busy time", plan.busy if plan else None, "h", ran.coverage, source=_PLAN),
            Input("time seen operating", ran.good if ran.coverage else None, "h", ran.coverage, tag=tag),
            Input("rated rate", plan.rated if plan else None, "t/h", source=_PLAN),
            r.input(amount.id),
            Input("of it on spec", found.good if found else None, "t", source=_TARGET),
        )
        coverage = min((c for c in (ran.coverage, amount.coverage) if c is not None), default=None)
        if found is None:
            return Outcome(None, inputs, coverage, NO_PLAN if plan is None else "The whole period is a planned stop.")
        value: float | None = getattr(found, name)
        why = "" if value is not None else amount.reason or UNSEEN
        return Outcome(None if value is None else 100 * value, inputs, coverage, why, (tag,))

    return formula


def whole(r: Reckoning) -> Outcome:
    """Return the OEE of the site."""
    return factor("oee")(r, SITE)


def on_cut(r: Reckoning, subject: str) -> Outcome:
    """Return the hours on cut of a line of extraction."""
    cut = next(cut for cut in works().cuts if cut.name == subject)
    found = judged(cut_slots(r, cut))
    tags = (
        *(f"{works().product(name).analyser}.{e}" for name in cut.products for e in works().product(name).elements),
    )
    raffinate = tuple(f"{cut.raffinate}.{element}" for element in cut.elements)
    inputs = (
        Input("hours on cut", found.good, "h"),
        Input("hours off cut", found.bad, "h"),
        Input("hours that are not known", found.unknown, "h"),
        *(Input(f"purity of {name}, mol %", r.figure(f"purity.{name}").value, "%", metric=f"purity.{name}") for name in cut.products),
        Input("raffinate", None, "%", tag=raffinate[0]),
    )  # fmt: skip
    known = found.good + found.bad
    return Outcome(found.good if known else None, inputs, found.coverage, "" if known else UNSEEN, tags + raffinate)


def mean_purity(r: Reckoning, subject: str) -> Outcome:
    """Return the purity of a product's liquor, time-weighted, in mol % among RE."""
    product, found = works().product(subject), seen(r)
    tags = tuple(analysed(product, works()))
    values = [(v, found.hours(tags, i)) for i, v in enumerate(purities(r, product)) if v is not None]
    hours, length = sum(h for _, h in values), sum(b.hours for b in found.buckets)
    if not hours:
        return Outcome(None, reason=UNSEEN, tags=tags)
    inputs = tuple(Input(f"{r.catalogue.tags[t].description}", None, "%", tag=t) for t in tags if t in r.catalogue.tags)
    return Outcome(sum(v * h for v, h in values) / hours, inputs, hours / length if length else None, tags=tags)


def passed(r: Reckoning, subject: str) -> Outcome:
    """Return the mass of finished lots on spec at their first judgement by the laboratory over the mass judged, %."""
    done = [one for one in packed(r) if one.product == subject and one.begun_in(r)]
    said = [(one.lot.kg or 0.0, one.verdict) for one in done]
    share = first_pass(said)
    judged_kg = sum(kg for kg, verdict in said if verdict != "open")
    inputs = (
        Input("packed lots of the period", float(len(done)), "{count}", source="GET /v1/lots"),
        Input("of them judged by the laboratory", judged_kg, "kg", source="GET /v1/lots"),
    )
    every = sum(kg for kg, _ in said)
    if share is None:
        why = "No lot was packed in this period." if not done else "The laboratory has not judged these lots yet."
        return Outcome(None, inputs, 0.0 if done else None, why)
    return Outcome(100 * share, inputs, judged_kg / every if every else None)


def _each(unit: str) -> Members:
    return lambda catalogue: {p.name: unit for p in products(catalogue)}


def _with_site(catalogue: Catalogue) -> dict[str, str]:
    site = {SITE: "%"} if works().runs in catalogue.tags else {}
    return site | {p.name: "%" for p in products(catalogue)}


def _cuts(catalogue: Catalogue) -> dict[str, str]:
    there = {p.name for p in products(catalogue)}
    return {cut.name: "h" for cut in works().cuts if set(cut.products) <= there}


FORMULAS: dict[str, Formula] = {
    "production.output": all_output,
    "production.output.*": output,
    "production.attainment.*": attainment,
    "production.availability.*": factor("availability"),
    "production.effectiveness.*": factor("effectiveness"),
    "production.quality.*": factor("quality"),
    "production.oee.*": factor("oee"),
    "production.nee.*": factor("nee"),
    "oee": whole,
    "production.on_cut.*": on_cut,
    "production.first_pass.*": passed,
    "purity.*": mean_purity,
}
MEMBERS: dict[str, Members] = {
    "production.output.*": _each("t"),
    "production.attainment.*": _with_site,
    "production.availability.*": _with_site,
    "production.effectiveness.*": _with_site,
    "production.quality.*": _with_site,
    "production.oee.*": _each("%"),
    "production.nee.*": _with_site,
    "production.on_cut.*": _cuts,
    "production.first_pass.*": _each("%"),
    "purity.*": _each("%"),
}
BASIS = Basis(needs, watched)
