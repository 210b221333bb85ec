"""What a reader asks by the query of a page or of its JSON: a period in the site's calendar, and how fine.

A view that asks for more subclasses `Question` and names its extra fields, so that links keep them.
"""

from datetime import UTC, datetime, time
from typing import Annotated, Any, Literal
from urllib.parse import urlencode

from fastapi import Depends, Query

from hefa_apps.client import Catalogue, Root
from hefa_apps.period import FARTHEST, Calendar, Period, PeriodError, resolve

Named = Literal["hour", "24h", "shift", "day", "plantday", "week", "month", "7d", "custom"]
DEFAULT: Named = "plantday"


class Question:
    """A period and a step. `extra` are the query fields of a subclass, by name."""

    extra: tuple[str, ...] = ()

    def __init__(
        self,
        period: Annotated[
            Named | None,
            Query(
                description="a running period, or one before it, see `back`; empty: `custom` with `from`, else plantday"
            ),
        ] = None,
        back: Annotated[
            int, Query(ge=0, le=FARTHEST, description="0: the running one, 1: the whole one before it, …")
        ] = 0,
        start: Annotated[str, Query(alias="from", description="for `custom`: ISO 8601, local time of the site")] = "",
        end: Annotated[str, Query(alias="to", description="for `custom`; now when empty")] = "",
        step: Annotated[str, Query(description="one of the steps that suit the period; chosen when empty")] = "",
    ) -> None:
        self.name: Named = period or ("custom" if start else DEFAULT)
        self.back, self.start, self.end, self.step = back, start, end, step

    def period(self, catalogue: Catalogue) -> Period:
        """Resolve the period in the site's calendar, now. Raises `PeriodError`."""
        return resolve(
            self.name,
            datetime.now(UTC),
            calendar(catalogue.root),
            back=self.back,
            start=self.start,
            end=self.end,
            step=self.step,
        )

    def shown(self, catalogue: Catalogue) -> tuple[Period, str | None]:
        """Return the period for a page, and the word id of what is wrong with the one asked for: then it is today."""
        try:
            return self.period(catalogue), None
        except PeriodError as error:
            return resolve(DEFAULT, datetime.now(UTC), calendar(catalogue.root)), error.reason

    def keep(self, name: str, value: str) -> None:
        """Keep another field of the query in links and in the form of the picker."""
        setattr(self, name, value)
        self.extra = (*(known for known in self.extra if known != name), name)

    def link(self, **changes: Any) -> str:
        """Return the query of this question with some fields changed; another period starts at the running one."""
        if "period" in changes:
            changes = {"back": 0, "from": "", "to": "", "step": ""} | changes
        fields: dict[str, Any] = {"period": self.name, "back": self.back or "", "from": self.start, "to": self.end}
        fields |= {"step": self.step} | {name: getattr(self, name) for name in self.extra} | changes
        return "?" + urlencode({name: value for name, value in fields.items() if value not in ("", None, 0)})


Asked = Annotated[Question, Depends(Question)]


def calendar(root: Root) -> Calendar:
    """Return the calendar of a site; one whose hours cannot be read has midnight and no shifts."""
    try:
        shifts = tuple(sorted(map(time.fromisoformat, root.shifts)))
        return Calendar(root.zone, time.fromisoformat(root.plantday), shifts)
    except ValueError:
        return Calendar(root.zone)
