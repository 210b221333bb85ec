"""The business app by REST: everything that its pages show, as JSON and as CSV."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query
from starlette.responses import Response, StreamingResponse

from hefa_apps.business import answers, lots
from hefa_apps.business.model import Wishes
from hefa_apps.client import Refused
from hefa_apps.view import Asks

router = APIRouter(prefix="/api/business", tags=["business"])

_MOST = 1e9
Percent = Annotated[float, Query(ge=-100, le=1000, allow_inf_nan=False)]
LotName = Annotated[str, Path(min_length=1, max_length=200)]
How = Annotated[str, Query(max_length=20, description="how joint amounts are shared out: economic or mass")]


class Wished:
    """A what-if by query. Raises `Refused`."""

    def __init__(
        self,
        price: Annotated[
            list[str], Query(max_length=60, description="name:CNY per unit, such as PrNd oxide:420; repeat it")
        ] = [],  # noqa: B006 - FastAPI copies it
        electricity_pct: Annotated[Percent, Query(description="electricity dearer by so many %")] = 0.0,
        feed_pct: Annotated[Percent, Query(description="so many % more feed")] = 0.0,
    ) -> None:
        self.wishes = Wishes(dict(_price(text) for text in price if text.partition(":")[2]), electricity_pct, feed_pct)


def _price(text: str) -> tuple[str, float]:
    name, _, number = text.rpartition(":")
    try:
        value = float(number)
    except ValueError:
        value = -1.0
    if not name or not 0 <= value <= _MOST:
        raise Refused(422, "price", f"{text[:80]!r} is no price: write name:number, such as PrNd oxide:420")
    return name, value


Wishing = Annotated[Wished, Depends(Wished)]


@router.get("/margin", summary="Revenue, cost by commodity, margin, margin per t REO")
def margin(view: Asks) -> dict[str, Any]:
    """Amounts are those of the energy, material and production apps; prices those in force when it happened."""
    return view.answer(answers.margin(view.r))


@router.get("/margin.csv", summary="Money by commodity as CSV", response_class=StreamingResponse)
def margin_csv(view: Asks) -> Response:
    """A row per thing sold or bought."""
    columns = (
        "name",
        "group",
        "amount",
        "unit",
        "price",
        "price_unit",
        "money",
        "per_t",
        "coverage",
        "metric",
        "reason",
    )
    return view.csv("business_margin", columns, answers.margin(view.r)["lines"])


@router.get("/lights", summary="Red, amber and green against the targets, with reasons")
def lights(view: Asks) -> dict[str, Any]:
    """The worst first; each with target, value, coverage, and links to its explanation and its readings."""
    return view.answer({"lights": answers.lights(view.r)})


@router.get("/lights.csv", summary="The lights as CSV", response_class=StreamingResponse)
def lights_csv(view: Asks) -> Response:
    """A row per target."""
    columns = ("metric", "name", "light", "value", "unit", "target", "warn", "better", "coverage", "reason")
    return view.csv("business_lights", columns, answers.lights(view.r))


@router.get("/footprint", summary="CO2 and water per kg of each product, by value and by mass")
def footprint(view: Asks) -> dict[str, Any]:
    """How a joint amount is shared out decides most of the figure: both ways are given."""
    return view.answer({"products": answers.footprint(view.r)})


@router.get("/footprint.csv", summary="The same as CSV", response_class=StreamingResponse)
def footprint_csv(view: Asks) -> Response:
    """A row per figure."""
    rows = [figure for p in answers.footprint(view.r) for figure in p.values() if isinstance(figure, dict)]
    return view.csv("business_footprint", ("metric", "name", "value", "unit", "coverage", "reason"), rows)


@router.get("/what-if", summary="The margin at other prices, another tariff, more or less feed")
def what_if(view: Asks, wished: Wishing) -> dict[str, Any]:
    """Reckoned here and now, never stored."""
    return view.answer(answers.scenario(view.r, wished.wishes))


@router.get("/what-if.csv", summary="The what-if as CSV", response_class=StreamingResponse)
def what_if_csv(view: Asks, wished: Wishing) -> Response:
    """A row per thing sold or bought, now and then."""
    columns = ("name", "group", "unit", "price_now", "price_then", "money_now", "money_then")
    return view.csv("business_what_if", columns, answers.scenario(view.r, wished.wishes)["lines"])


@router.get("/lots", summary="The lots of a period whose margin may be asked for")
def of_period(view: Asks) -> dict[str, Any]:
    """The latest first."""
    return view.answer({"lots": answers.offered(view.r.caller.lots(start=view.r.start, end=view.r.end))})


# Before `/lots/{lot}`: names may hold slashes, so that the longer path must be tried first.
@router.get("/lots/{lot:path}/margin.csv", summary="The products of a lot as CSV", response_class=StreamingResponse)
def lot_csv(view: Asks, lot: LotName, allocation: How = "economic") -> Response:
    """A row per finished product that the lot is, or came into."""
    found = lots.margin(view.r, lot, lots.allocation(allocation), view.now)
    return view.csv("business_lot", ("lot", "product", "kg", "revenue", "cost", "margin"), found["products"])


@router.get("/lots/{lot:path}", summary="What a lot earns, with its genealogy both ways")
def lot(view: Asks, lot: LotName, allocation: How = "economic") -> dict[str, Any]:
    """A finished product earns by itself, any other lot by the products that it came into. The period does not matter."""
    return {"simulated": view.simulated, "tz": str(view.zone)} | lots.margin(
        view.r, lot, lots.allocation(allocation), view.now
    )
