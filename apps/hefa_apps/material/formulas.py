"""How the metrics of material are reckoned; what each means stands in `metrics/material.toml`."""

from collections.abc import Mapping

from hefa_apps.client import Catalogue, Setting
from hefa_apps.material import advice as advices
from hefa_apps.material import doses as dosing
from hefa_apps.material import measured
from hefa_apps.material import salts as ledger
from hefa_apps.material import water as waters
from hefa_apps.material.balance import ALL, Balanced, balances, instruments, plant_yield, recovery
from hefa_apps.material.measured import seen
from hefa_apps.material.plant import plan
from hefa_apps.material.seen import Seen
from hefa_apps.metrics import Basis, Input, Members, Need, Outcome, Reckoning, targets, use
from hefa_apps.metrics.reckoning import Formula

FED = "liquor"  # the stream whose analyser tells what elements are fed
NO_SALT = "The evaporator or a meter of the reagents has not reported in this period."
NOT_WEIGHED = "No scale weighs the residue of the filters: its amount is not known."
UNKNOWN = "Not enough of the balance's instruments have reported in this period."


def looked(r: Reckoning) -> Seen:
    """Return what the instruments of all balances said; asked once."""
    return seen(r, *_instruments())


def _instruments() -> tuple[list[str], list[str], list[str]]:
    """Return the registers, gauges and levels that balances, doses and advice look at."""
    registers, gauges, levels = instruments(plan())
    more = plan().more
    counted, means = waters.tags(more["water"])
    salt_counted, salt_means, salt_levels = ledger.tags(more["salts"])
    about = more["advice"]
    return (
        [*registers, *counted, *salt_counted, *dosing.tags(plan()), about["organic"], about["scrub"]],
        [*gauges, *means, *salt_means, about["degree"]],
        [*levels, *salt_levels, *(store["tank"] for store in more["stores"].values())],
    )


def needs(r: Reckoning) -> list[Need]:
    """Return what the figures of a period are reckoned from, for a page that asks it ahead."""
    return [*measured.needs(r, *_instruments()), _prices_asked(r), targets.asked(r), *use.needs(r)]


def watched(r: Reckoning) -> list[str]:
    """Return the tags whose freshness the figures tell."""
    counted, _ = waters.tags(plan().more["water"])
    tags = (*(tag for flow in plan().flows for tag in flow.tags), *counted)
    return sorted({tag for tag in tags if tag in r.catalogue.tags})


def reconciled(r: Reckoning) -> dict[str, Balanced]:
    """Return the reconciled balances of all oxide and of each element."""
    return r.once(("material balances",), lambda: balances(plan(), looked(r)))  # type: ignore[no-any-return]


def _inputs(r: Reckoning, whole: Balanced, names: list[str]) -> tuple[Input, ...]:
    the_plan, found = plan(), looked(r)
    flows = {flow.name: flow for flow in the_plan.flows}
    return tuple(
        Input(
            f"{the_plan.title(name)}, {whole.species}, reconciled",
            whole.found.value[name] if whole.found else None,
            "kg",
            found.least(flows[name].tags) if flows[name].tags else None,
            tag=flows[name].tags[0] if flows[name].tags else "",
            source="/api/material/balance",
        )
        for name in names
    )


def overall(r: Reckoning) -> Outcome:
    whole = reconciled(r)[ALL]
    told = plant_yield(plan(), whole)
    names = [flow.name for flow in plan().flows if flow.product or flow.loss]
    tags = [tag for flow in plan().flows for tag in flow.tags if tag in r.catalogue.tags]
    return Outcome(
        None if told.value is None else 100 * told.value,
        _inputs(r, whole, [*plan().feeds, *names]),
        looked(r).least(tags),
        UNKNOWN if told.value is None else "",
        tuple(tags[:1]),
    )


def recovered(r: Reckoning, subject: str) -> Outcome:
    of = next(one for one in plan().recoveries if one.name == subject)
    by = reconciled(r)
    told = recovery(of, by, FED)
    tags = [tag for name in (FED, *of.lost) for tag in plan().flow(name).tags if tag in r.catalogue.tags]
    inputs = tuple(i for e in of.elements for i in _inputs(r, by[e], [FED, of.into, *of.lost]))
    reason = UNKNOWN if told.value is None else ""
    return Outcome(
        None if told.value is None else 100 * told.value, inputs, looked(r).least(tags), reason, tuple(tags[:1])
    )


def _recoveries(catalogue: Catalogue) -> dict[str, str]:
    return {one.name: "%" for one in plan().recoveries if any(t in catalogue.tags for t in plan().flow(FED).tags)}


def water(r: Reckoning) -> waters.Water:
    """Return the water of the period."""
    return waters.water(plan().more["water"], looked(r))


def _reuse(r: Reckoning, share: float | None, parts: tuple[waters.Metered, ...]) -> Outcome:
    inputs = tuple(Input(m.tag, m.value, "m3", looked(r).coverage.get(m.tag), tag=m.tag) for m in parts)
    value = None if share is None else 100 * share
    tags = tuple(m.tag for m in parts if m.tag in r.catalogue.tags)
    reason = "" if share is not None else "A meter of fresh or reused water has not reported in this period."
    return Outcome(value, inputs, looked(r).least(tags), reason, tags)


def process_reuse(r: Reckoning) -> Outcome:
    told = water(r)
    return _reuse(r, told.process, (told.reuse, told.fresh))


def reuse(r: Reckoning) -> Outcome:
    told = water(r)
    return _reuse(r, told.with_loop, (told.reuse, told.loop, told.fresh))


def salts(r: Reckoning) -> list[ledger.Salt]:
    """Return the ledger of each salt."""
    tables: Mapping[str, Mapping[str, object]] = plan().more["salts"]
    reagents = {name for table in plan().more["salts"].values() for name in table["from"]}
    there = {m.id for m in r.desk.metrics(r.catalogue)}
    used = {name: r.figure(f"use.{name}").value if f"use.{name}" in there else None for name in reagents}
    return [ledger.salt(name, table, used, looked(r)) for name, table in tables.items()]


def salt_made(r: Reckoning, subject: str) -> Outcome:
    """Return the kg of a salt that its evaporator gave."""
    one = _salt(r, subject)
    return _told_of(r, one, one.recovered)


def salt_recovered(r: Reckoning, subject: str) -> Outcome:
    """Return the share of a salt that came back of what the reagents made."""
    one = _salt(r, subject)
    known = one.recovered is not None and one.generated
    return _told_of(r, one, 100 * (one.recovered or 0.0) / (one.generated or 1.0) if known else None)


def residue(r: Reckoning) -> Outcome:
    """Return the kg of residue of the filters: nothing weighs it."""
    return Outcome(None, reason=NOT_WEIGHED)


def _salt(r: Reckoning, subject: str) -> ledger.Salt:
    return next(one for one in salts(r) if one.name == subject)


def _told_of(r: Reckoning, one: ledger.Salt, value: float | None) -> Outcome:
    tags = tuple(tag for tag in one.tags if tag in r.catalogue.tags)
    parts = ("generated", "recovered", "stored", "discharged", "open")
    inputs = tuple(Input(f"{one.name}, {p}", getattr(one, p), "kg", source="/api/material/ledger") for p in parts)
    return Outcome(value, inputs, looked(r).least(tags), "" if value is not None else NO_SALT, tags[:1])


def _salts_there(unit: str) -> Members:
    def there(catalogue: Catalogue) -> dict[str, str]:
        tables = plan().more["salts"].items()
        return {name: unit for name, table in tables if table["salt"] in catalogue.tags}

    return there


def prices(r: Reckoning) -> dict[str, tuple[float, Setting]]:
    """Return CNY per kg of pure substance at the end of the period, with the setting that says so."""
    return r.answer(_prices_asked(r))  # type: ignore[no-any-return]


def _prices_asked(r: Reckoning) -> Need:
    def ask() -> dict[str, tuple[float, Setting]]:
        found = {}
        for one in r.caller.settings("price", at=r.end):
            value = one.value or {}
            kg = {"t": 1000.0, "kg": 1.0}.get(str(value.get("per")))
            if kg and value.get("currency") == "CNY" and isinstance(value.get("value"), int | float):
                found[one.name] = (float(value["value"]) / kg / float(value.get("strength") or 1.0), one)
        return found

    return r.need(("material prices",), ask)


def cascade(r: Reckoning) -> advices.Cascade | None:
    """Return how the advised cascade ran over the period; None where an instrument of it has not reported."""
    the_plan, found, about = plan(), looked(r), plan().more["advice"]
    hours = sum(found.hours)
    organic, degree, acid = found.total(about["organic"]), found.mean(about["degree"]), found.total(about["scrub"])
    by, u = reconciled(r), about["u"]
    oxides = {e.name: e.oxide for e in the_plan.elements}
    fed = {name: by[name].found.value[about["fed"]] if by[name].found else None for name in oxides}  # type: ignore[union-attr]
    fed_sd = {name: by[name].found.sd[about["fed"]] if by[name].found else None for name in oxides}  # type: ignore[union-attr]
    lost = {name: by[name].found.value[about["lost"]] if by[name].found else None for name in oxides}  # type: ignore[union-attr]
    if hours <= 0 or None in (organic, degree, acid) or None in fed.values() or None in lost.values():
        return None
    wanted = {name: (fed[name] or 0.0) / oxides[name] / hours for name in about["wanted"]}
    wanted_sd = sum(((fed_sd[name] or 0.0) / oxides[name] / hours) ** 2 for name in about["wanted"]) ** 0.5
    soap = (organic or 0.0) / hours * about["loading"] * (degree or 0.0) / about["degree_at"]
    scrub = (acid or 0.0) / hours * about["acid"] / 3
    kmol = sum(wanted.values())
    if kmol <= 0 or soap <= 0:
        return None
    return advices.Cascade(
        soap=(soap, soap * (u["organic"] ** 2 + u["degree"] ** 2) ** 0.5),
        fed=(kmol, wanted_sd),
        raffinate=sum((lost[name] or 0.0) / oxides[name] / hours for name in oxides),
        scrub=(scrub, scrub * u["acid"]),
        flow=(acid or 0.0) / hours,
        acid=about["acid"],
        oxide=sum((fed[name] or 0.0) / hours for name in about["wanted"]) / kmol,
    )


FORMULAS: dict[str, Formula] = {
    "yield": overall,
    "material.recovery.*": recovered,
    "material.salt.*": salt_made,
    "material.salt_recovery.*": salt_recovered,
    "material.residue": residue,
    "water.reuse": reuse,
    "water.reuse.process": process_reuse,
}
MEMBERS: dict[str, Members] = {
    "material.recovery.*": _recoveries,
    "material.salt.*": _salts_there("kg"),
    "material.salt_recovery.*": _salts_there("%"),
}
BASIS = Basis(needs, watched)
