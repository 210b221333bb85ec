"""The shell that every page stands in, and how figures get into templates.

Hides Jinja, the versions of static files and the site's time zone. A page is a template that extends
`templates/shell.html` and gets: `t` (words), the filters of `figures`, `here` (app, site, theme, session) and what
its view passes. Templates escape everything; there is no inline script or style anywhere.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Request
from fastapi.encoders import jsonable_encoder
from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape
from markupsafe import Markup
from starlette.responses import HTMLResponse

from hefa_apps import figures
from hefa_apps.client import Caller, Catalogue, Denied, Me, Platform, Refused, Root, Tag, Unavailable
from hefa_apps.metrics import Basis, Formulas, Members
from hefa_apps.session import COOKIE, Sessions, bearer
from hefa_apps.words import Words

HERE = Path(__file__).parent
STATIC = HERE / "static"
THEME = "hefa_theme"  # cookie: light, dark; anything else follows the system


@dataclass(frozen=True)
class App:
    """One app of the portal: its pages under /<name>, its JSON under /api/<name>. Its title is the word `app.<name>`.

    `formulas` reckon its metrics, `members` name the subjects of its families of metrics, `basis` is what they are
    reckoned from; `listed` False keeps it out of the navigation.
    """

    name: str
    router: APIRouter
    formulas: Formulas = field(default_factory=dict)
    members: Mapping[str, Members] = field(default_factory=dict)
    basis: Basis | None = None
    listed: bool = True


@dataclass(frozen=True)
class Here:
    """Where the reader is: what the shell shows besides the page itself."""

    app: str
    apps: tuple[str, ...]
    known: bool  # the site is known, and with it the zone that times are shown in
    site: str
    zone: ZoneInfo
    now: datetime
    theme: str
    simulated: bool
    signed_in: bool
    csrf: str
    language: str
    me: Me | None  # who asks; None before the sign-in, and where the platform does not say
    adding: datetime | None  # from when on late readings are still being added up in what the page shows

    @property
    def role(self) -> str:
        return self.me.role if self.me else ""

    def may(self, role: str) -> bool:
        """Say whether the reader's key has this role or a higher one."""
        return self.me is not None and self.me.may(role)


class Pages:
    """Renders pages. One per process; knows the apps for the navigation."""

    def __init__(self, apps: tuple[str, ...], *, simulated: bool, words: Words) -> None:
        self._apps, self.simulated, self.words = apps, simulated, words
        self._jinja = Environment(
            loader=FileSystemLoader(HERE),
            autoescape=select_autoescape(["html"]),
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._jinja.globals.update(t=words, static=static, word=words.get, places_of=places_of)
        self._jinja.filters.update(
            unit=figures.unit,
            number=figures.number,
            quantity=figures.quantity,
            exact=figures.exact,
            percent=figures.percent,
            change=figures.change,
            json=data_block,
            slug=slug,
        )

    def render(
        self, request: Request, template: str, *, root: Root | None = None, status: int = 200, **fields: Any
    ) -> HTMLResponse:
        """Return the page. Without `root` (nobody signed in, platform away) times are UTC and the site has no name."""
        sessions = cast(Sessions, request.app.state.sessions)
        session = sessions.open(request.cookies.get(COOKIE))
        zone = root.zone if root else ZoneInfo("UTC")
        key = bearer(request) or (session.key if session else None)
        here = Here(
            app=template.partition("/")[0],
            apps=self._apps,
            known=root is not None,
            site=root.site if root else "",
            zone=zone,
            now=datetime.now(UTC),
            theme=request.cookies.get(THEME, ""),
            simulated=self.simulated,
            signed_in=session is not None,
            csrf=sessions.csrf(session.nonce) if session else "",
            language=self.words.language,
            me=_me(request, key) if key and root else None,
            adding=_adding(request),
        )
        script = {
            "words": self.words.for_scripts(here.app, self._apps),
            "zone": str(zone),
            "language": here.language,
            "now": int(here.now.timestamp() * 1000),
            "csrf": here.csrf,
        }

        def clock(moment: datetime) -> str:
            return figures.clock(moment, zone)

        def when(moment: datetime) -> Markup:
            return Markup('<time datetime="{}">{}</time>').format(moment.isoformat(), clock(moment))

        def age(seconds: float | None) -> str:
            word, n = figures.age(seconds)
            return self.words(word, n=n)

        html = self._jinja.get_template(template).render(
            here=here, script=script, clock=clock, when=when, age=age, **fields
        )
        return HTMLResponse(html, status, headers={"Cache-Control": "no-store"})


AT_ONCE = 49  # hours


def rest(request: Request, hours: float) -> str:
    """Return where the rest of a page comes from; "" where all of it comes at once.

    A page over a long period is its frame first, with tabs and period, and `static/rest.js` fetches what it tells.
    """
    if hours <= AT_ONCE or "rest" in request.query_params:
        return ""
    return f"{request.url.path}?{urlencode([*request.query_params.multi_items(), ('rest', '1')])}"


def _me(request: Request, key: str) -> Me | None:
    """Return who asks. A page is shown without it: what a role may not do, the platform refuses anyway."""
    try:
        return cast(Platform, request.app.state.platform).caller(key).me()
    except (Unavailable, Refused, Denied):
        return None


def _adding(request: Request) -> datetime | None:
    """Return from when on the answers behind the page may still grow."""
    asking = getattr(request.state, "caller", None)
    return cast(Caller, asking).adding_from if asking else None


def pages(request: Request) -> Pages:
    """Return the renderer of the running portal."""
    return cast(Pages, request.app.state.pages)


def starting(request: Request) -> bool:
    """Say whether the platform itself says that it is not ready: why a page may have nothing to show."""
    return not cast(Platform, request.app.state.platform).ready().ready


@cache
def static(path: str) -> str:
    """Return the URL of a static file; it changes with the content, so browsers may keep it for ever."""
    digest = hashlib.sha256((STATIC / path).read_bytes()).hexdigest()[:12]
    return f"/static/{path}?v={digest}"


def data_block(value: Any) -> Markup:
    """Return JSON that is safe inside `<script type="application/json">`: data, which the CSP lets stand."""
    text = json.dumps(jsonable_encoder(value), ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))  # noqa: S704 - escaped


def slug(text: str) -> str:
    """Return text as a CSS class or id."""
    return "".join(c if c.isalnum() and c.isascii() else "-" for c in text.lower())


def places_of(tag: Tag) -> int:
    """Return the decimals that a tag's values are shown with."""
    limits = tag.limits
    marks = (limits.ll, limits.l, tag.normal, limits.h, limits.hh) if limits else ()
    return figures.decimals(tag.low, tag.high, marks)


def hues(catalogue: Catalogue) -> Mapping[str, int]:
    """Give each area its colour, 1–8, by its place in the plant model: the same on every page and in every chart."""
    return {area.path: i % 8 + 1 for i, area in enumerate(catalogue.root.below("area"))}


def places(catalogue: Catalogue) -> Mapping[str, str]:
    """Return the description of each place by its path."""
    found: dict[str, str] = {}
    for level in ("site", "area", "line", "unit"):
        found |= {node.path: node.description or node.name for node in catalogue.root.below(level)}
    return found
