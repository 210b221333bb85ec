"""The energy app by REST: everything that its pages show, as JSON and as CSV."""

from datetime import UTC, date, datetime, time
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from fastapi import APIRouter, Depends, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response, StreamingResponse

from hefa_apps.client import Catalogue, Refused
from hefa_apps.energy import answers, formulas, outlook, study, trial
from hefa_apps.energy.carbon import REGION
from hefa_apps.energy.model import CARRIERS
from hefa_apps.energy.registers import ELECTRICITY
from hefa_apps.metrics import Reckoning
from hefa_apps.metrics.desk import desk, reckoning
from hefa_apps.page import pages
from hefa_apps.question import Asked
from hefa_apps.report import Asked as AskedUse
from hefa_apps.report import Field as Reported
from hefa_apps.report import document, report, table
from hefa_apps.session import Asking
from hefa_apps.view import View

FIELD = Reported("carrier", CARRIERS)

router = APIRouter(prefix="/api/energy", tags=["energy"])

Name = Annotated[str, Query(max_length=100)]
Amount = Annotated[float | None, Query(ge=0, le=1e9, allow_inf_nan=False)]
Tz = Annotated[str, Query(max_length=60, description="IANA zone of days and times; the site's when empty")]


class Zoned(View):
    """A view whose times and days are those of another zone, where one is asked for."""

    def __init__(self, request: Request, asking: Asking, question: Asked, tz: Tz = "") -> None:
        super().__init__(request, asking, question)
        self.zone = zone(self.r.catalogue, tz)


Asks = Annotated[Zoned, Depends(Zoned)]


def zone(catalogue: Catalogue, name: str) -> ZoneInfo:
    """Return the zone called `name`, the site's for "". Raises `Refused`."""
    if not name:
        return catalogue.root.zone
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise Refused(422, "tz", f"{name!r} is not an IANA time zone such as Asia/Shanghai or UTC") from None


@router.get("/use", summary="Use of the carriers over a period, one of them in detail")
def use(request: Request, asking: Asking, question: AskedUse, carrier: Name = "") -> dict[str, Any]:
    """Electricity, water, gas and steam with totals, the period before, shares by area, line or meter, and bars."""
    catalogue = asking.catalogue()
    period = question.period(catalogue)
    return document(report(reckoning(request, asking, catalogue, period), FIELD, period, question.by, carrier))


@router.get("/use.csv", summary="The same rows as CSV", response_class=StreamingResponse)
def use_csv(request: Request, asking: Asking, question: AskedUse, carrier: Name = "") -> Response:
    """A row per key and step, with measured, estimated and unknown parts and coverage."""
    catalogue = asking.catalogue()
    period = question.period(catalogue)
    found = report(reckoning(request, asking, catalogue, period), FIELD, period, question.by, carrier)
    return table(found, "energy")


@router.get("/overview", summary="The figures of the morning")
def overview(view: Asks) -> dict[str, Any]:
    """Specific consumption, cost, night base load, peak, unmetered share, evaporators, kilns, carbon."""
    view.r.prepare(formulas.BASIS)
    return view.answer({"figures": answers.figures(view.r, answers.overview(view.r))})


@router.get("/demand", summary="15-minute demand of the site with its peak and when it was")
def demand(view: Asks) -> dict[str, Any]:
    """Mean power of every whole quarter of an hour at the incoming meters, at most a hundred days."""
    return view.answer(answers.demand(view.r, view.zone))


@router.get("/demand.csv", summary="The demand curve as CSV", response_class=StreamingResponse)
def demand_csv(view: Asks) -> Response:
    """A row per quarter of an hour."""
    return view.csv("energy_demand", ("start", "end", "value"), answers.demand(view.r, view.zone)["points"], unit="kW")


@router.get("/cost", summary="What the electricity cost: by band, by area, by day")
def cost(view: Asks, tariff: Name = ELECTRICITY) -> dict[str, Any]:
    """Energy by the bands of the tariff in force, the share of the capacity charge, the power factor adjustment."""
    return view.answer(answers.cost(view.r, view.zone, tariff))


@router.get("/cost.csv", summary="Cost by day and band as CSV", response_class=StreamingResponse)
def cost_csv(view: Asks, tariff: Name = ELECTRICITY) -> Response:
    """A row per local day and band: energy charges."""
    found = answers.cost(view.r, view.zone, tariff)
    lines = [
        {"day": day["day"], "band": band, "cost": money, "currency": found["currency"]}
        for day in found["days"]
        for band, money in day["bands"].items()
    ]
    return view.csv("energy_cost", ("day", "band", "cost", "currency"), lines)


@router.get("/emissions", summary="CO2 of scopes 1 and 2, and coal equivalent")
def emissions(view: Asks, region: Name = REGION) -> dict[str, Any]:
    """By the factors in force when it was used; scope 2 by location and by market; uncertainty in quadrature."""
    found = answers.emissions(view.r, region)
    if found["regions"] and region not in found["regions"]:
        raise Refused(422, "region", f"there is no factor for {region!r}; regions are {', '.join(found['regions'])}")
    return view.answer(found)


@router.get("/emissions.csv", summary="Emissions as CSV", response_class=StreamingResponse)
def emissions_csv(view: Asks, region: Name = REGION) -> Response:
    """A row per source."""
    found = answers.emissions(view.r, region)
    parts = [{"scope": "1", **part} for part in found["scope1"]["parts"]]
    parts += [{"scope": "2 location", **found["scope2_location"]}, {"scope": "2 market", **found["scope2_market"]}]
    return view.csv("energy_emissions", ("scope", "subject", "amount", "amount_unit", "value", "u"), parts, unit="kg")


@router.get("/specific", summary="Use per t REO fed, whole and by area or line")
def specific(view: Asks, by: Literal["area", "line"] = "area") -> dict[str, Any]:
    """Sums divided, never a mean of ratios."""
    return view.answer(answers.specific(view.r, by))


@router.get("/specific.csv", summary="Use per t REO fed as CSV", response_class=StreamingResponse)
def specific_csv(view: Asks, by: Literal["area", "line"] = "area") -> Response:
    """A row per carrier and key."""
    columns = ("carrier", "key", "name", "value", "unit", "use", "measured", "estimated", "unknown", "coverage")
    return view.csv("energy_specific", columns, answers.specific(view.r, by)["rows"])


@router.get("/tree", summary="The meters of a carrier, with what none below them saw")
def tree(view: Asks, carrier: Name = ELECTRICITY) -> dict[str, Any]:
    """From each incoming meter down, depth first; check meters are shown and count nothing."""
    return view.answer(answers.meters(view.r, carrier))


@router.get("/tree.csv", summary="The meter tree as CSV", response_class=StreamingResponse)
def tree_csv(view: Asks, carrier: Name = ELECTRICITY) -> Response:
    """A row per meter."""
    found = answers.meters(view.r, carrier)
    columns = ("tag", "name", "serves", "parent", "role", "depth", "value", "share", "unaccounted")
    return view.csv("energy_meters", columns, found["meters"], unit=found["unit"])


@router.get("/sankey", summary="Where a carrier went, or all of them in kWh")
def sankey(view: Asks, carrier: Name = "all") -> dict[str, Any]:
    """Carrier to area to line; steam made here flows on from the gas of its boiler."""
    return view.answer(answers.sankey(view.r, carrier))


@router.get("/sankey.csv", summary="The flows as CSV", response_class=StreamingResponse)
def sankey_csv(view: Asks, carrier: Name = "all") -> Response:
    """A row per band."""
    found = answers.sankey(view.r, carrier)
    return view.csv("energy_flows", ("source", "target", "value"), found["links"], unit=found["unit"])


class Compared:
    """The days of the period next to a baseline, frozen when `baseline_from` and `baseline_to` are given."""

    def __init__(
        self,
        view: Asks,
        carrier: Name = ELECTRICITY,
        area: Name = "",
        driver: Annotated[list[str] | None, Query(max_length=4, description="production, temperature")] = None,
        baseline_from: Annotated[
            str, Query(max_length=40, description="ISO 8601; without it what the site keeps, or the 60 days before")
        ] = "",
        baseline_to: Annotated[str, Query(max_length=40)] = "",
        level: Annotated[float, Query(ge=0.5, le=0.999, description="confidence of the interval")] = 0.95,
    ) -> None:
        site = view.r.catalogue.root.zone
        asked = study.terms(
            view.r,
            carrier=carrier,
            place=area,
            drivers=driver,
            first=_moment(baseline_from, "baseline_from", site),
            last=_moment(baseline_to, "baseline_to", site),
            level=level,
        )
        self.view = view
        self.study = study.study(view.r, asked)

    @property
    def parts(self) -> tuple[study.Study, Reckoning, answers.Sentences, ZoneInfo]:
        return self.study, self.view.r, self.view.words, self.view.zone


def _moment(text: str, name: str, site: ZoneInfo) -> datetime | None:
    if not text:
        return None
    try:
        when = datetime.fromisoformat(text.strip().replace(" ", "+") if "T" in text else text.strip())
        return (when if when.tzinfo else when.replace(tzinfo=site)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise Refused(422, name, f"{name} is not a time such as 2026-11-01 or 2026-11-01T08:00+08:00") from None


Comparing = Annotated[Compared, Depends(Compared)]


@router.get("/baseline", summary="The energy baseline: use by production and temperature, with its statistics")
def baseline(asked: Comparing) -> dict[str, Any]:
    """Ordinary least squares over whole plant days; `accepted` false with `reasons` when it is too weak."""
    return asked.view.answer(answers.baseline(*asked.parts))


@router.get("/baseline.csv", summary="The days of the baseline as CSV", response_class=StreamingResponse)
def baseline_csv(asked: Comparing) -> Response:
    """A row per day."""
    columns = ("day", "value", "production", "temperature", "expected")
    return asked.view.csv("energy_baseline", columns, answers.baseline(*asked.parts)["days"])


@router.post("/baseline", summary="A baseline and a saving of figures that you send")
def baseline_of(request: Request, asking: Asking, body: trial.Trial) -> dict[str, Any]:
    """The same maths on daily totals of your own; nothing is stored."""
    asking.root()  # a key that opens nothing here reckons nothing either
    return trial.judged(body, pages(request).words)


class Keep(BaseModel):
    """Days that shall be the baseline of a carrier (of an area) for everybody: local dates, `to` not included."""

    model_config = ConfigDict(extra="forbid")

    start: Annotated[date, Field(alias="from")]
    end: Annotated[date, Field(alias="to")]
    carrier: Annotated[str, Field(max_length=100)] = ELECTRICITY
    area: Annotated[str, Field(max_length=100)] = ""
    driver: Annotated[list[str] | None, Field(max_length=4)] = None
    reason: Annotated[str, Field(max_length=500)] = ""


@router.post("/baseline/kept", summary="Keep a baseline for everybody, from now on", status_code=201)
def keep(request: Request, asking: Asking, body: Keep) -> dict[str, Any]:
    """It becomes the setting `baseline` of the platform, dated and audited. Needs the role engineer."""
    catalogue = asking.catalogue()
    zone, now = catalogue.root.zone, datetime.now(UTC)
    first, last = (datetime.combine(day, time(0), zone).astimezone(UTC) for day in (body.start, body.end))
    if last > now:
        raise Refused(422, "to", "a baseline ends before today: its days have to be over")
    r = desk(request).over(asking, catalogue, now, now)
    asked = study.terms(r, carrier=body.carrier, place=body.area, drivers=body.driver, first=first, last=last)
    return answers.setting(study.keep(r, asked, body.reason))


@router.delete("/baseline/kept", summary="Keep no baseline any more")
def forget(
    request: Request, asking: Asking, carrier: Name = ELECTRICITY, area: Name = "", reason: Name = ""
) -> dict[str, Any]:
    """From now on nothing is frozen; what was kept stays on record. Needs the role engineer."""
    now = datetime.now(UTC)
    return answers.setting(
        study.forget(desk(request).over(asking, asking.catalogue(), now, now), carrier, area, reason)
    )


@router.get("/cusum", summary="Use against the baseline, day by day and summed up")
def cusum(asked: Comparing) -> dict[str, Any]:
    """Σ (used - expected): falling is saving, rising is waste, a bend is a change."""
    return asked.view.answer(answers.cusum(*asked.parts))


@router.get("/cusum.csv", summary="The CUSUM as CSV", response_class=StreamingResponse)
def cusum_csv(asked: Comparing) -> Response:
    """A row per day."""
    columns = ("day", "value", "production", "temperature", "expected", "difference", "cusum", "outside")
    return asked.view.csv("energy_cusum", columns, answers.cusum(*asked.parts)["days"])


@router.get("/saving", summary="What was saved against the baseline, with its interval: claimed only when proved")
def saving(asked: Comparing) -> dict[str, Any]:
    """`verdict`: saving, likely (its interval is wider than itself), excess, none (the interval holds nought), or refused with `reasons`."""
    return asked.view.answer(answers.saving(*asked.parts))


@router.get("/saving.csv", summary="The saving as CSV", response_class=StreamingResponse)
def saving_csv(asked: Comparing) -> Response:
    """One row."""
    found = answers.saving(*asked.parts)
    told = found["saving"] or {}
    columns = (
        "verdict",
        "expected",
        "used",
        "saving",
        "low",
        "high",
        "share",
        "share_low",
        "share_high",
        "enpi",
        "days",
    )
    return asked.view.csv("energy_saving", columns, [told | {"verdict": found["verdict"]}], unit=found["unit"])


@router.get("/forecast", summary="The next 24 hours of electricity, with the backtest against naive")
def forecast(view: Asks) -> dict[str, Any]:
    """`shown` false with the reason when it is no better than the same hour of the day or week before."""
    return view.answer(outlook.coming(view.r, view.now, view.words, view.zone))


@router.get("/forecast.csv", summary="The forecast as CSV", response_class=StreamingResponse)
def forecast_csv(view: Asks) -> Response:
    """A row per hour; none when no forecast is shown."""
    found = outlook.coming(view.r, view.now, view.words, view.zone)
    return view.csv("energy_forecast", ("start", "value", "low", "high"), found["hours"], unit="kW.h")


class Shifting:
    """Advice for one evaporator; what is not given is read from how it has run."""

    def __init__(
        self,
        view: Asks,
        unit: Name = "",
        tariff: Name = ELECTRICITY,
        total: Annotated[Amount, Query(description="t to evaporate in the next 24 hours")] = None,
        low: Annotated[Amount, Query(description="least rate, t/h")] = None,
        high: Annotated[Amount, Query(description="greatest rate, t/h")] = None,
        energy: Annotated[Amount, Query(description="kWh per t")] = None,
        ramp: Annotated[Amount, Query(description="greatest change from hour to hour, t/h")] = None,
        tank: Annotated[Amount, Query(description="m3 that the brine tank holds")] = None,
        tank_start: Annotated[Amount, Query(description="m3 in it now")] = None,
        inflow: Annotated[Amount, Query(description="m3/h that come into it")] = None,
        demand: Annotated[bool, Query(description="weigh what a new peak would cost")] = True,
    ) -> None:
        wishes = outlook.Wishes(total, low, high, energy, ramp, tank, tank_start, inflow, demand)
        self.view = view
        self.answer = outlook.shifted(view.r, view.now, wishes, unit, view.words, view.zone, tariff)


@router.get("/load-shift", summary="When to run the evaporator, within its tank: schedule and saving")
def load_shift(asked: Annotated[Shifting, Depends(Shifting)]) -> dict[str, Any]:
    """`outcome`: advised, nothing (it would save nothing), infeasible with `reasons`, unknown. Advice only."""
    return asked.view.answer(asked.answer)


@router.get("/load-shift.csv", summary="The schedule as CSV", response_class=StreamingResponse)
def load_shift_csv(asked: Annotated[Shifting, Depends(Shifting)]) -> Response:
    """A row per hour: price, even running, advised running, tank."""
    return asked.view.csv("energy_load_shift", ("start", "price", "usual", "best", "tank"), asked.answer["hours"])
