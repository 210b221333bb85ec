"""The desk of the running portal: what a view asks for its figures."""

from typing import cast

from fastapi import Request

from hefa_apps.client import Caller, Catalogue
from hefa_apps.metrics.reckoning import Desk, Reckoning
from hefa_apps.period import Period


def desk(request: Request) -> Desk:
    """Return the desk of the running portal."""
    return cast(Desk, request.app.state.desk)


def reckoning(request: Request, asking: Caller, catalogue: Catalogue, period: Period) -> Reckoning:
    """Return the figures of one reader over one period; make one per request and pass it on."""
    return desk(request).over(asking, catalogue, period.start, period.end)
