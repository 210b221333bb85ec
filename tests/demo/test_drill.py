"""The drill's sums and sentences. The drill itself breaks a real demo: `hefa drill` beside `make demo`."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from hefa_demo.drill import Account, Blow, Drill, DrillError, Energy, _since, report
from hefa_demo.screen import Screen

T0 = datetime(2026, 11, 22, 8, 0, tzinfo=UTC)


def counts(received: int, stored: int, duplicate: int = 0) -> dict[str, int]:
    return {"received": received, "stored": stored, "duplicate": duplicate, "conflict": 0, "quarantined": 0}


def test_accounts_are_of_the_drill_only() -> None:
    before = {"gw-a1": counts(100, 100), "idle": counts(5, 5)}
    after = {"gw-a1": counts(160, 130, 30), "idle": counts(5, 5), "new": counts(3, 3)}
    assert _since(before, after) == [Account("gw-a1", 60, 30, 30, 0, 0), Account("new", 3, 3, 0, 0, 0)]


@pytest.mark.parametrize(
    ("account", "holds"), [((10, 5, 2, 1, 2), True), ((10, 5, 2, 1, 1), False), ((9, 5, 2, 1, 2), False)]
)
def test_the_identity(account: tuple[int, ...], holds: bool) -> None:
    one = Account("gw-a1", *account)
    assert one.holds is holds
    assert report([], [one], None)[3].endswith("holds" if holds else "BROKEN")


def test_the_report_tells_blows_accounts_and_energy() -> None:
    energy = Energy(99.0, 100.0, T0, T0 + timedelta(minutes=3))
    text = "\n".join(report([Blow("broker killed", 2.4)], [Account("gw-a1", 1200, 1000, 200, 0, 0)], energy))
    assert "broker killed                                        2 s" in text
    assert "1,200" in text
    assert "these 3 minutes: 99.0 kWh measured, 100.0 kWh true, error -1.00%" in text


def test_without_a_demo_it_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(DrillError, match="make demo"):
        Drill(tmp_path, Screen()).run()
