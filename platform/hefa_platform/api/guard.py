"""What a route gets to work with: the caller, known and allowed, and the database.

A route asks for `Viewer`, `Operator`, `Engineer` or `Admin`; who is less does not get in. The parts live in `app.state`.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, cast

from fastapi import Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from hefa_platform.access import Access, Principal
from hefa_platform.api.params import named_once
from hefa_platform.api.problems import Problem
from hefa_platform.store.database import Database
from hefa_platform.store.entry import Rules, site
from hefa_platform.store.keys import Role


@dataclass(frozen=True)
class Limits:
    """How much one caller may ask of the API."""

    rate: float = 50  # requests a second and key, on average
    burst: float = 200  # … and at once
    address_rate: float = 500  # requests a second and address without a valid key; one with a key counts for the key
    address_burst: float = 2000
    guess_rate: float = 0.2  # keys a second and address that are not known to be good
    guess_burst: float = 30
    body: int = 1 << 20  # bytes of a request body
    file: int = 256 << 20  # … that is a file to import
    readings: int = 10_000  # readings of one request
    points: int = 300_000  # points of all series of one answer
    points_per_tag: int = 10_000
    streams: int = 200  # open streams of all callers


@dataclass(frozen=True)
class Parts:
    """What one app is made of; `app.state.parts`. `disk` is a folder on the database's disk, where it can be seen."""

    database: Database
    access: Access
    limits: Limits
    rules: Rules = field(default_factory=Rules)
    disk: Path | None = None


@dataclass(frozen=True)
class Caller:
    """Who asks, and the parts to answer with."""

    principal: Principal
    parts: Parts

    @property
    def database(self) -> Database:
        return self.parts.database

    @property
    def site(self) -> str:
        return self.principal.site


_bearer = HTTPBearer(auto_error=False, description="An API key: `hefa_<id>_<secret>`", bearerFormat="hefa key")


class _Needs:
    """A dependency that lets a role and those above it pass, whose query can be meant one way only."""

    def __init__(self, role: Role) -> None:
        self._role = role

    def __call__(
        self, request: Request, _: Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)]
    ) -> Caller:
        parts = parts_of(request)
        address = request.client.host if request.client else ""
        principal = parts.access.principal(request.headers.get("authorization"), address)
        principal.require(self._role)
        named_once(request)
        return Caller(principal, parts)


def of_this_site(caller: Caller) -> None:
    """A key for one site enters nothing at another: what is entered becomes the gateway `api`'s, of this site. Else 403."""
    if caller.site not in ("*", site(caller.database)):
        detail = f"This key is for the site {caller.site!r}; what is entered here would be another site's."
        raise Problem(403, "site", "Not allowed", detail)


def parts_of(request: Request) -> Parts:
    """The parts of the app that serves this request."""
    return cast(Parts, request.app.state.parts)


Viewer = Annotated[Caller, Security(_Needs("viewer"))]
Operator = Annotated[Caller, Security(_Needs("operator"))]
Engineer = Annotated[Caller, Security(_Needs("engineer"))]
Admin = Annotated[Caller, Security(_Needs("admin"))]
