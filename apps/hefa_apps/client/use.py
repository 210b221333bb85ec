"""Use of carriers and materials, from registers."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated

from pydantic import Field

from hefa_apps.client.connection import Asking, span


@dataclass(frozen=True)
class Use:
    """What one key (site, area, line, meter) used of one carrier or material in [start, end).

    `value` = measured + estimated, None when both are absent; `coverage` 0–1 of the time that readings cover.
    """

    key: str
    unit: str
    start: datetime
    end: datetime
    value: float | None
    measured: float | None = None
    estimated: float | None = None
    unknown: float | None = None
    coverage: float | None = None
    carrier: str | None = None
    material: str | None = None

    @property
    def subject(self) -> str:
        """The carrier or the material."""
        return self.carrier or self.material or ""


@dataclass(frozen=True)
class Consumption:
    """`GET /v1/consumption` as answered; `step` is None when each key has one row for the whole range."""

    from_: Annotated[datetime, Field(alias="from")]
    to: datetime
    tz: str
    by: str
    rows: tuple[Use, ...]
    step: str | None = None
    added_up_to: datetime | None = None


class UseCalls(Asking):
    """Consumption."""

    def consumption(
        self,
        start: datetime,
        end: datetime,
        *,
        by: str = "total",
        step: str | None = None,
        stream: str = "supply",
        carriers: Sequence[str] = (),
        materials: Sequence[str] = (),
    ) -> Consumption:
        """Return use over [start, end) of one stream; neither carriers nor materials: all carriers."""
        params = span(start, end) | {"by": by, "step": step, "stream": stream}
        params |= {"carrier": carriers, "material": materials}
        answer = self._one(Consumption, "consumption", params)
        self._told(answer.added_up_to, answer.to)
        return answer
