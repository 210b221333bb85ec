"""The material app by REST: everything that its pages show, as JSON and as CSV."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, Field
from starlette.responses import Response, StreamingResponse

from hefa_apps.client import Refused
from hefa_apps.material import answers, supplies
from hefa_apps.material.balance import ALL
from hefa_apps.material.model import MATERIALS
from hefa_apps.material.plant import plan
from hefa_apps.material.question import AskedNetwork, judged
from hefa_apps.metrics.desk import reckoning
from hefa_apps.report import Asked as AskedUse
from hefa_apps.report import Field as Reported
from hefa_apps.report import document, report, table
from hefa_apps.session import Asking
from hefa_apps.view import Asks, View

FIELD = Reported("material", MATERIALS)

router = APIRouter(prefix="/api/material", tags=["material"])

Name = Annotated[str, Query(max_length=100)]


@router.get("/use", summary="Use of the materials over a period, one of them in detail")
def use(request: Request, asking: Asking, question: AskedUse, material: Name = "") -> dict[str, Any]:
    """Reagents and products in kg of pure substance: totals, the period before, shares by area, line or meter, bars."""
    catalogue = asking.catalogue()
    period = question.period(catalogue)
    return document(report(reckoning(request, asking, catalogue, period), FIELD, period, question.by, material))


@router.get("/use.csv", summary="The same rows as CSV", response_class=StreamingResponse)
def use_csv(request: Request, asking: Asking, question: AskedUse, material: Name = "") -> Response:
    """A row per key and step, with measured, estimated and unknown parts and coverage."""
    catalogue = asking.catalogue()
    period = question.period(catalogue)
    found = report(reckoning(request, asking, catalogue, period), FIELD, period, question.by, material)
    return table(found, "material")


@router.post("/reconcile", summary="Data reconciliation of any network that you send")
def reconciliation(asking: Asking, network: AskedNetwork) -> dict[str, Any]:
    """Weighted least squares: `reconciled` closes every node; the tests say whether a meter is off, and which it may be.

    `chi2` above `chi2_limit` rejects; `z` is each stream's own test against `z_limit` (null: no balance checks it).
    `suspects` names every stream that may be off, those that no test can tell apart together. A stream of value null
    is estimated where the balances determine it, else null and listed in `unobservable`. Nothing is stored.
    """
    asking.root()  # a key that opens nothing here reckons nothing either
    return judged(network)


def species(name: Name = ALL) -> str:
    """Return what is balanced. Raises `Refused` for what is not."""
    known = (ALL, *(element.name for element in plan().elements))
    if name not in known:
        raise Refused(422, "element", f"{name!r} is not balanced here; balanced are {', '.join(known)}")
    return name


@router.get("/balance", summary="The reconciled balance of the plant, node by node, with suspects")
def balance(view: Asks, element: Name = ALL) -> dict[str, Any]:
    """All oxide, or one element by its oxide; `elements` are the tests of all of them."""
    found = answers.balance(view.r, species(element), view.words)
    return view.answer(found | {"elements": answers.elements(view.r, view.words)})


_STREAM = ("name", "title", "kind", "measured", "sd", "reconciled", "reconciled_sd", "adjustment", "z", "status",
           "beyond", "suspect", "coverage", "reason")  # fmt: skip


@router.get("/balance.csv", summary="The streams of a balance as CSV", response_class=StreamingResponse)
def balance_csv(view: Asks, element: Name = ALL) -> Response:
    """A row per stream, stock and hold-up."""
    found = answers.balance(view.r, species(element), view.words)
    return rows(view, "balance", _STREAM, found["streams"], unit="kg", species=element)


@router.get("/nodes.csv", summary="The nodes of a balance as CSV", response_class=StreamingResponse)
def nodes_csv(view: Asks, element: Name = ALL) -> Response:
    """A row per node."""
    found = answers.balance(view.r, species(element), view.words)
    columns = ("name", "title", "area", "residual", "sd", "z", "reconciled", "suspect")
    return rows(view, "nodes", columns, found["nodes"], unit="kg", species=element)


@router.get("/yield", summary="Yield of the plant, and recovery of each element")
def yields(view: Asks) -> dict[str, Any]:
    """Reconciled, each with its deviation; `measured` is out / (in - d stock) of the instruments alone."""
    return view.answer(answers.yields(view.r))


@router.get("/yield.csv", summary="The same as CSV", response_class=StreamingResponse)
def yields_csv(view: Asks) -> Response:
    """A row per figure."""
    columns = ("metric", "name", "value", "sd", "measured", "measured_sd", "coverage", "reason")
    return rows(view, "yield", columns, answers.yields(view.r)["rows"], unit="%")


@router.get("/water", summary="Water: balance, and reuse by two definitions")
def water(view: Asks) -> dict[str, Any]:
    """`limits` is the meter whose deviation makes most of that of the process's reuse; `open` what no meter explains."""
    return view.answer(supplies.water_of(view.r, view.words))


@router.get("/water.csv", summary="The water meters as CSV", response_class=StreamingResponse)
def water_csv(view: Asks) -> Response:
    """A row per meter."""
    columns = ("role", "tag", "name", "value", "sd", "coverage", "reason")
    return rows(view, "water", columns, supplies.water_of(view.r, view.words)["meters"], unit="m3")


@router.get("/ledger", summary="Salts and residue: generated = recovered + stored + discharged + open")
def ledger(view: Asks) -> dict[str, Any]:
    """Kg over the period; null with a reason where nothing measures it."""
    return view.answer(supplies.ledger(view.r, view.words))


@router.get("/ledger.csv", summary="The ledger as CSV", response_class=StreamingResponse)
def ledger_csv(view: Asks) -> Response:
    """A row per salt."""
    columns = ("name", "generated", "recovered", "stored", "discharged", "open", "coverage", "reason")
    return rows(view, "ledger", columns, supplies.ledger(view.r, view.words)["rows"], unit="kg")


@router.get("/stock", summary="Reagents in tanks at the end of the period")
def stock(view: Asks) -> dict[str, Any]:
    """Kg of pure substance: level, volume of the tank, strength and density."""
    return view.answer(supplies.stores(view.r))


@router.get("/stock.csv", summary="The stock as CSV", response_class=StreamingResponse)
def stock_csv(view: Asks) -> Response:
    """A row per tank."""
    columns = ("name", "material", "tag", "level", "value", "change", "reason")
    return rows(view, "stock", columns, supplies.stores(view.r)["rows"], unit="kg")


@router.get("/doses", summary="Reagents against stoichiometry, by shift, with the cost of the rest")
def doses(view: Asks) -> dict[str, Any]:
    """`totals` over the period, `rows` by shift; kg of pure substance, `over` = dosed - needed."""
    return view.answer(supplies.dosed(view.r))


@router.get("/doses.csv", summary="The doses by shift as CSV", response_class=StreamingResponse)
def doses_csv(view: Asks) -> Response:
    """A row per dose and shift."""
    columns = ("name", "title", "material", "start", "end", "dosed", "needed", "over", "ratio", "cost", "reason")
    return rows(view, "doses", columns, supplies.dosed(view.r)["rows"], unit="kg", currency="CNY")


@router.get("/advice", summary="Set-points of scrub and saponification: both sides, the band, advice only")
def advice(view: Asks) -> dict[str, Any]:
    """`verdict`: change, no_change (within the band, or it does not pay), unknown. Nothing is set by anybody but people."""
    return view.answer(supplies.advised(view.r, view.words))


@router.get("/advice.csv", summary="The sides of each advice as CSV", response_class=StreamingResponse)
def advice_csv(view: Asks) -> Response:
    """A row per side."""
    told = supplies.advised(view.r, view.words)["advice"]
    lines = [{"advice": one["name"], "verdict": one["verdict"], **side} for one in told for side in one["sides"]]
    return rows(view, "advice", ("advice", "verdict", "what", "kg", "kg_sd", "money", "money_sd"), lines, per="h")


class Accepted(BaseModel):
    """Somebody took an advice: which, and what they did."""

    advice: Literal["scrub", "soap"]
    text: Annotated[str, Field(max_length=500)] = ""


@router.post("/advice/accept", summary="Say that an advice was taken: a note on its set-point, nothing else")
def accept(view: Asks, asking: Asking, body: Accepted) -> dict[str, Any]:
    """The advice of the asked period is reckoned anew and noted with what you did. Needs the role operator."""
    told = next(one for one in supplies.advised(view.r, view.words)["advice"] if one["name"] == body.advice)
    if told["verdict"] != "change":
        raise Refused(422, "nothing to accept", f"nothing is advised to be changed: {told['text']}")
    text = view.words(
        "material.accepted_note", title=told["title"], now=f"{told['now']:.4g}", advised=f"{told['advised']:.4g}",
        unit=told["unit"], text=body.text or "-",
    )  # fmt: skip
    note = asking.leave_note(told["tag"], datetime.now(UTC), None, text, "advice")
    return {"note": note.note, "subject": note.subject, "text": note.text}


def rows(view: View, name: str, columns: Sequence[str], found: Iterable[dict[str, Any]], **same: str) -> Response:
    """Return rows as CSV, each with the period and what is the same in all of them."""
    span = {"from": view.r.start.astimezone(view.zone), "to": view.r.end.astimezone(view.zone)}
    return view.csv(f"material_{name}", ("from", "to", *columns), (span | row for row in found), **same)
