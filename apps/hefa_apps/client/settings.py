"""Settings: tariffs, factors, prices, targets, plans, alarm rules, baselines; each version valid from a day on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from hefa_apps.client.connection import Asking, span

Kind = Literal["tariff", "factor", "price", "target", "plan", "alarm", "baseline"]


@dataclass(frozen=True)
class Setting:
    """One version of a setting. `value` is None where it was withdrawn; `example` marks what no one has checked.

    `start` and `end` are set in an answer over a range: when in it this version was in force.
    """

    id: int
    kind: str
    name: str
    valid_from: datetime
    value: Mapping[str, Any] | None = None
    valid_to: datetime | None = None
    source: str = ""
    example: bool = False
    by: str = ""
    start: datetime | None = None
    end: datetime | None = None


class SettingCalls(Asking):
    """Dated settings."""

    def settings(self, kind: Kind, *, names: Sequence[str] = (), at: datetime | None = None) -> list[Setting]:
        """Return the versions of a kind in force at an instant, now unless said."""
        return self._all(Setting, f"settings/{kind}", {"name": names, "at": at.isoformat() if at else None})

    def settings_over(self, kind: Kind, start: datetime, end: datetime, *, names: Sequence[str] = ()) -> list[Setting]:
        """Return what was in force when in [start, end), cut where a version gives way to the next."""
        return self._all(Setting, f"settings/{kind}", span(start, end) | {"name": names})

    def enter_setting(
        self, kind: Kind, name: str, valid_from: datetime, value: Mapping[str, Any] | None, *, reason: str = ""
    ) -> Setting:
        """Add a version; without a value what held is withdrawn from then on. Audited. Needs the role engineer."""
        said = {"withdrawn": True} if value is None else {"value": dict(value)}
        body = {"name": name, "valid_from": valid_from, **said} | ({"reason": reason} if reason else {})
        return self._send(Setting, "POST", f"settings/{kind}", body)
