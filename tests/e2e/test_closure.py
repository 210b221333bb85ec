"""The books close, as a customer reads them by REST: meters' trees, energy and reagents against truth, elements in
against out.

Hours of history from the simulated plant; what truly was comes from its own ledger, which the platform never sees.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sysconfig
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from hefa_demo.broker import Broker
from hefa_demo.process import wait_until

HEFA_EDGE = str(Path(sysconfig.get_path("scripts")) / "hefa-edge")
HOURS = 4
# What instruments and unseen hold-up leave open over three hours: four standard deviations of 36 hours of such windows.
CLOSED = 0.03
# Registers go through all that happens to registers while the books are kept; within any three hours each at least once.
REGISTERS = """
title = "Registers"
description = "Meters are replaced, fall to zero and roll over."
source = "estimate"
faults = [
  {fault = "meter-swap", unit = "A6-UTIL.METER.WM-SX.tot", every = "2h", first = "35m"},
  {fault = "meter-reset", unit = "A6-UTIL.METER.GM-TKN.tot", every = "2h", first = "1h20m"},
  {fault = "meter-rollover", unit = "A6-UTIL.ELEC.PM-MVR1.e", every = "2h", first = "50m"},
  {fault = "comms-loss", unit = "GW-6", every = "2h", first = "25m", lasts = "15m"},
]
"""
# g of oxide per g of metal: the ledger of truth counts metal.
OXIDE = {"La": 1.1728, "Ce": 1.2284, "Pr": 1.2082, "Nd": 1.1664}
# What the ledger of truth counts of a reagent, and g of pure substance per g of that.
REAGENTS = {
    "HCl": ("Cl", 36.461 / 35.453),
    "NaOH": ("Na", 39.997 / 22.990),
    "Na2CO3": ("Na", 105.988 / (2 * 22.990)),
    "NH4HCO3": ("N", 79.056 / 14.007),
}


class Books:
    """What the platform says of a window."""

    def __init__(self, stack: Any, begin: datetime, end: datetime) -> None:
        self._stack, self.window = stack, {"from": begin.isoformat(), "to": end.isoformat()}

    def use(self, by: str, **of: str) -> dict[str, float]:
        status, answer = self._stack.get("/v1/consumption?" + urlencode({**of, "by": by, **self.window}))
        assert status == 200, answer
        assert answer["rows"]
        assert [
            (row["key"], row["coverage"], row["unknown"])
            for row in answer["rows"]
            if row["coverage"] < 0.98 or row["unknown"]
        ] == []
        return {row["key"]: row["value"] for row in answer["rows"]}

    def oxide(self, *elements: str) -> dict[str, float]:
        """What the balance of the material app has measured, kg of oxide by stream and stock, of all or of elements."""
        total: dict[str, float] = {}
        for element in elements or ("",):
            asked = self.window | ({"element": element} if element else {})
            status, answer = self._stack.get_figures("/api/material/balance?" + urlencode(asked))
            assert status == 200, answer
            assert answer["accepted"], answer
            for stream in answer["streams"]:
                total[stream["name"]] = total.get(stream["name"], 0.0) + (stream["measured"] or 0.0)
        return total

    def complete(self) -> bool:
        """Whether all of the window has been rolled up."""
        query = {"material": "REO", "by": "total", **self.window}
        status, answer = self._stack.get("/v1/consumption?" + urlencode(query))
        self.said = answer
        return status == 200 and answer["rows"][0]["coverage"] > 0.98


@pytest.mark.timeout(600)  # four hours of a plant, which a busy machine takes its time for
@pytest.mark.parametrize("broker", ["iotcore"], indirect=True)
def test_the_books_close(stack: Any, broker: Broker, tmp_path: Path, seeds_dir: Path) -> None:
    for n in range(1, 7):
        (tmp_path / f"mqtt_url_gw-a{n}").write_text(broker.url(f"gw-a{n}"))
    seeds = Path(shutil.copytree(seeds_dir, tmp_path / "seeds"))
    (seeds / "scenarios" / "registers.toml").write_text(REGISTERS)
    site = ["--data-dir", str(tmp_path / "site"), "--seeds", str(seeds)]
    history = ["--history", f"{HOURS}h", "--progress", "none", "--secrets", str(tmp_path), *site]
    done = subprocess.run(
        [HEFA_EDGE, "backfill", "--scenario", "registers", *history],
        capture_output=True, text=True, timeout=400, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    end = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    begin = end - timedelta(hours=HOURS - 1)
    books = Books(stack, begin, end)
    assert wait_until(books.complete, 60, interval=0.5), books.said
    told = subprocess.run(
        [HEFA_EDGE, "truth", "--from", begin.isoformat(), "--to", end.isoformat(), "--json", *site],
        capture_output=True, text=True, timeout=60, check=True,
    ).stdout  # fmt: skip
    truth = json.loads(told)
    befell = {fault["fault"] for fault in truth["faults"]}
    assert befell == {"meter-swap", "meter-reset", "meter-rollover", "comms-loss"}

    # A register that falls takes with it what it has counted since it was read last: a minute at most, each time.
    falls = [fault["target"] for fault in truth["faults"] if fault["fault"] == "meter-reset"]

    # Each tree: what serves the areas and what nobody meters is what the site took in, and that is the truth.
    for carrier in ("electricity", "water", "gas", "steam"):
        (total,) = books.use("total", carrier=carrier).values()
        areas = books.use("area", carrier=carrier)
        assert sum(areas.values()) == pytest.approx(total, rel=1e-6), carrier
        meters = books.use("meter", carrier=carrier)
        true = truth["energy"][carrier]
        assert total == pytest.approx(true["value"], rel=0.005), carrier
        unmetered = 1.3 * (HOURS - 1) if carrier == "water" else 0.0
        assert sum(meters.values()) == pytest.approx(total, rel=1e-6), carrier
        assert meters.pop("unaccounted") == pytest.approx(unmetered, rel=0.4, abs=0.005 * total), carrier
        assert len(meters) >= 3
        for name, amount in meters.items():
            was = true["meters"][name]
            lost = falls.count(name) * was / (60 * (HOURS - 1))
            within = 0.01 * was + 0.25
            assert was - lost - within <= amount <= was + within, name

    # Reagents, as pure substance: what the loops counted is what the plant took in, and each line's part adds up to it.
    for reagent, (element, per) in REAGENTS.items():
        (total,) = books.use("total", material=reagent).values()
        assert total == pytest.approx(truth["streams"]["in"][reagent][element] * per, rel=0.015), reagent
        for by in ("area", "line"):
            assert sum(books.use(by, material=reagent).values()) == pytest.approx(total, rel=1e-6), (reagent, by)

    # Rare earths: what the belts brought, and what extraction took in, gave out and put by, as a whole and by element.
    carbonate = truth["streams"]["in"]["carbonate"]
    whole = books.oxide()
    brought = sum(OXIDE[element] * carbonate[element] for element in OXIDE)
    assert whole["carbonate"] == pytest.approx(brought, rel=0.015)  # the books take every lot for the usual one
    assert whole["liquor"] + whole["feed-tanks"] == pytest.approx(whole["carbonate"], rel=2 * CLOSED)
    # Praseodymium and neodymium change places within the cascade for days; together they are as many as came.
    for elements in ((), ("La",), ("Ce",), ("Pr", "Nd")):
        moved = books.oxide(*elements)
        out = sum(moved[name] for name in ("prnd", "ce", "la", "raffinate-tank"))
        assert out == pytest.approx(moved["liquor"], rel=CLOSED), elements or "all"
    for product in ("PrNd oxide", "CeO2"):
        made = truth["streams"]["out"][product]
        packed = sum(OXIDE[element] * made.get(element, 0.0) for element in OXIDE)
        assert whole[product] == pytest.approx(packed, rel=0.01), product

    for element, mass in truth["masses"].items():
        assert abs(mass["unexplained"]) < 1e-6 * max(mass["in"], 1.0), element
