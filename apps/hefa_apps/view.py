"""What the apps that tell figures over a period have in common: how an answer by REST begins, and a page of them."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Annotated, Any

from fastapi import Depends, Request
from starlette.responses import Response

from hefa_apps.metrics import Reckoning, targets
from hefa_apps.metrics.desk import reckoning
from hefa_apps.page import pages
from hefa_apps.question import Asked, Question
from hefa_apps.session import Asking
from hefa_apps.table import csv_answer


class View:
    """What every answer needs: the reader's figures over the asked period, the zone of its times, the words."""

    def __init__(self, request: Request, asking: Asking, question: Asked) -> None:
        catalogue = asking.catalogue()
        self.zone = catalogue.root.zone
        self.period = question.period(catalogue)
        self.r = reckoning(request, asking, catalogue, self.period)
        self.now = datetime.now(UTC)
        self.words = pages(request).words
        self.simulated = pages(request).simulated

    def answer(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Return a body with what every answer begins with."""
        start, end = self.r.start.astimezone(self.zone), self.r.end.astimezone(self.zone)
        return {"from": start, "to": end, "tz": str(self.zone), "simulated": self.simulated} | dict(body)

    def csv(self, name: str, columns: Sequence[str], rows: Iterable[Mapping[str, Any]], **same: str) -> Response:
        """Return rows as CSV, with columns of their own for what is the same in all of them, such as `unit`."""
        lines = ([*(row.get(column) for column in columns), *same.values()] for row in rows)
        return csv_answer(f"{name}_{self.period.start:%Y%m%dT%H%M}", (*columns, *same), lines)


Asks = Annotated[View, Depends(View)]


class Morning(Question):
    """The period of a page that nobody picked one for: the last 24 hours."""

    def __init__(self, request: Request, question: Asked) -> None:
        super().__init__(question.name, question.back, question.start, question.end, question.step)
        self.picked = bool({"period", "from"} & request.query_params.keys())
        if not self.picked:
            self.name, self.back = "24h", 0


AskedMorning = Annotated[Morning, Depends(Morning)]


def reckoned(request: Request, asking: Asking, question: Question) -> Reckoning:
    """Return the figures of a page: over the period asked for, or over today where that cannot be understood."""
    catalogue = asking.catalogue()
    return reckoning(request, asking, catalogue, question.shown(catalogue)[0])


def page(
    request: Request, r: Reckoning, question: Question, template: str, tabs: Sequence[str], **more: Any
) -> Response:
    """Return the page `<app>/<tab>` over a question, with what every such page passes to its template."""
    period, mistake = question.shown(r.catalogue)
    return pages(request).render(
        request,
        f"{template}.html",
        root=r.catalogue.root,
        tabs=tabs,
        tab=template.partition("/")[2],
        question=question,
        period=period,
        mistake=mistake,
        query=question.link()[1:],
        lamp=partial(targets.lamp, r),
        **more,
    )
