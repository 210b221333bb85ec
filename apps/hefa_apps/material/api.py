"""The material app by REST: everything that its pages show, as JSON and as CSV."""

from collections.abc import Iterable, Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import Response, StreamingResponse

from hefa_apps.client import Refused
from hefa_apps.material import answers
from hefa_apps.material.balance import ALL
from hefa_apps.material.model import MATERIALS
from hefa_apps.material.plant import plan
from hefa_apps.material.question import AskedNetwork, judged
from hefa_apps.metrics.desk import reckoning
from hefa_apps.page import pages
from hefa_apps.question import Asked
from hefa_apps.report import Asked as AskedUse
from hefa_apps.report import Field, document, report, table
from hefa_apps.session import Asking
from hefa_apps.table import csv_answer

FIELD = Field("material", MATERIALS)

router = APIRouter(prefix="/api/material", tags=["material"])

Name = Annotated[str, Query(max_length=100)]


class View:
    """What every answer needs: the reader's figures over the asked period and the words."""

    def __init__(self, request: Request, asking: Asking, question: Asked) -> None:
        catalogue = asking.catalogue()
        self.period = question.period(catalogue)
        self.r = reckoning(request, asking, catalogue, self.period)
        self.words = pages(request).words
        self.simulated = pages(request).simulated

    def answer(self, body: dict[str, Any]) -> dict[str, Any]:
        """Return a body with what every answer begins with."""
        return answers.head(self.r, self.r.catalogue.root.zone, self.simulated) | body


Asks = Annotated[View, Depends(View)]


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


def rows(view: View, name: str, columns: Sequence[str], found: Iterable[dict[str, Any]], **same: str) -> Response:
    """Return rows as CSV, each with the period and what is the same in all of them."""
    zone = view.r.catalogue.root.zone
    span = (view.r.start.astimezone(zone), view.r.end.astimezone(zone))
    names = ("from", "to", *columns, *same)
    return csv_answer(f"material_{name}", names, ((*span, *(row[c] for c in columns), *same.values()) for row in found))
