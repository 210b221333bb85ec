"""How the metrics of material are reckoned; what each means stands in `metrics/material.toml`."""

from hefa_apps.client import Catalogue
from hefa_apps.material.balance import ALL, Balanced, balances, instruments, plant_yield, recovery
from hefa_apps.material.measured import Seen, seen
from hefa_apps.material.plant import plan
from hefa_apps.metrics import Input, Members, Outcome, Reckoning
from hefa_apps.metrics.reckoning import Formula

FED = "liquor"  # the stream whose analyser tells what elements are fed
UNKNOWN = "Not enough of the balance's instruments have reported in this period."


def looked(r: Reckoning) -> Seen:
    """Return what the instruments of the balances said."""
    return seen(r, *instruments(plan()))


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


FORMULAS: dict[str, Formula] = {"yield": overall, "material.recovery.*": recovered}
MEMBERS: dict[str, Members] = {"material.recovery.*": _recoveries}
