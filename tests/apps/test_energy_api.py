"""The energy app by REST, on a real platform with 24 made-up days of which everything is known."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from datetime import UTC, datetime, time, timedelta
from typing import Any
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

import httpx2
import numpy as np
import psycopg
import pytest
from playwright.sync_api import Browser, Page, expect

BAOTOU = ZoneInfo("Asia/Shanghai")
DAYS, FROZEN = 24, 18
STEP = timedelta(minutes=10)
SAVED = 0.22
PRICES = {"valley": 0.25, "flat": 0.45, "peak": 0.68}  # those of the seeds, as are the factors below


class Made:
    """The days as they were made: local start of each, kWh, t REO, mean temperature; and how power runs in a day."""

    def __init__(self) -> None:
        chance = np.random.default_rng(11)
        today = datetime.combine(datetime.now(BAOTOU).date(), time(8), BAOTOU)
        self.first = (today - timedelta(days=DAYS + 1)).astimezone(UTC)
        self.production = 29 + 2 * chance.standard_normal(DAYS)
        self.warmth = 8 + 6 * chance.standard_normal(DAYS)
        usual = 15_668 + 997 * self.production - 92 * self.warmth + 60 * chance.standard_normal(DAYS)
        self.energy = np.where(np.arange(DAYS) < FROZEN, usual, usual * (1 - SAVED))
        self.usual = usual
        shape = 1 + 0.1 * np.sin(np.arange(144) / 144 * 2 * np.pi)
        self.shape = shape / shape.sum()

    def day(self, i: int) -> datetime:
        """The start of a plant day."""
        return self.first + timedelta(days=i)

    def readings(self) -> Iterator[tuple[str, datetime, float]]:
        """Registers and gauges every ten minutes."""
        registers = {
            "A6-UTIL.ELEC.PM-MAIN.e": (1000.0, self.energy, self.shape),
            "A6-UTIL.ELEC.PM-MVR1.e": (500.0, self.energy * 0.45, self.shape),
            "A6-UTIL.METER.GM-MAIN.tot": (10.0, np.full(DAYS, 9_192.0), np.full(144, 1 / 144)),
            "A1-FEED.RECV.WT-161.tot": (5.0, self.production / 0.4354, np.full(144, 1 / 144)),
            "A1-FEED.RECV.WT-162.tot": (5.0, np.zeros(DAYS), np.full(144, 1 / 144)),
            "A5-WWT.MVR1.MVR-511.evap_tot": (7.0, np.full(DAYS, 432.0), np.full(144, 1 / 144)),
        }
        for tag, (start, totals, shape) in registers.items():
            steps = np.concatenate([[start], start + np.cumsum(np.concatenate([total * shape for total in totals]))])
            for i, value in enumerate(steps):
                yield tag, self.first + STEP * i, float(value)
        for i in range(DAYS * 144):
            yield "A6-UTIL.WEATHER.WX-641.tamb", self.first + STEP * i, float(self.warmth[i // 144])


MADE = Made()


@pytest.fixture(scope="module")
def plant_days(another_portal: Any) -> Iterator[Any]:
    """A portal of its own: 24 days of a few registers, no settings yet."""
    with another_portal() as running:
        with psycopg.connect(running.dsn) as connection:
            days = [(MADE.first + timedelta(days=i)).date() for i in range(-1, DAYS + 3)]
            connection.execute("SELECT ensure_partitions(%s::date[])", [days])
            tags = dict(connection.execute("SELECT name, tag_id FROM tag").fetchall())
            with connection.cursor().copy("COPY reading (tag_id, ts, value, quality) FROM STDIN") as copy:
                for tag, ts, value in MADE.readings():
                    copy.write_row((tags[tag], ts, value, 192))
            # Nothing is rolled up: what is newer than the last refresh is computed live, and that is quick enough here.
            connection.execute("UPDATE rollup_state SET watermark = %s", [MADE.first - timedelta(hours=1)])
            connection.execute("ANALYZE reading")
        yield running


@pytest.fixture(scope="module")
def asked(plant_days: Any) -> Iterator[httpx2.Client]:
    """A client of the portal."""
    with plant_days.client() as client:
        yield client


def span(first: int, last: int | None = None) -> dict[str, str]:
    return {"from": MADE.day(first).isoformat(), "to": MADE.day(last if last is not None else first + 1).isoformat()}


def get(asked: httpx2.Client, what: str, **params: Any) -> dict[str, Any]:
    answer = asked.get(f"/api/energy/{what}", params=params)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def test_cost_is_energy_by_the_local_clock(asked: httpx2.Client) -> None:
    found = get(asked, "cost", **span(3))
    by_hour = MADE.energy[3] * MADE.shape.reshape(24, 6).sum(axis=1)
    clock = [(8 + i) % 24 for i in range(24)]
    band = ["valley" if h < 8 else "peak" if h in (10, 11, 17, 18, 19, 20, 21) else "flat" for h in clock]
    wanted = {
        name: sum(e for e, b in zip(by_hour, band, strict=True) if b == name) for name in ("valley", "flat", "peak")
    }
    assert {b["band"]: b["kwh"] for b in found["bands"]} == pytest.approx(wanted, rel=1e-6)
    energy = sum(PRICES[name] * kwh for name, kwh in wanted.items())
    assert found["energy"] == pytest.approx(energy)
    start = MADE.day(3).astimezone(BAOTOU)
    month = (start.replace(day=28) + timedelta(days=4)).replace(day=1) - start.replace(day=1)
    demand = get(asked, "demand", **span(3))
    assert demand["peak"] == pytest.approx(max(MADE.shape) * MADE.energy[3] * 6, rel=0.01)
    if (start + timedelta(days=1)).month == start.month:
        assert found["capacity"] == pytest.approx(28 * demand["peak"] / month.days, rel=1e-3)
    assert found["power_factor"] is None  # no reactive register was read
    assert found["total"] == pytest.approx(found["energy"] + found["capacity"])
    assert sum(d["cost"] for d in found["days"]) == pytest.approx(found["energy"])
    assert sum(p["cost"] for p in found["areas"] if p["cost"]) == pytest.approx(found["energy"])
    assert found["figures"][0]["metric"] == "energy.cost"
    assert found["figures"][0]["value"] == pytest.approx(found["total"])
    assert found["simulated"] is True
    none = get(asked, "cost", **span(3), tariff="of nobody")
    assert (none["total"], none["bands"]) == (None, [])
    assert "no tariff" in none["reason"]


def test_carbon_and_specific_use_are_sums_divided(asked: httpx2.Client) -> None:
    found = get(asked, "emissions", **span(2, 4))
    kwh, tonnes = MADE.energy[2:4].sum(), MADE.production[2:4].sum()
    assert found["scope2_location"]["value"] == pytest.approx(kwh * 0.5366, rel=1e-6)
    parts = {p["subject"]: p["value"] for p in found["scope1"]["parts"]}
    process = {"dissolution": tonnes * 391, "precipitation": tonnes * 88, "calcination": tonnes * 282}
    assert parts == pytest.approx({"gas": 2 * 9192 * 2.1622} | process, rel=1e-6)
    assert found["scope1"]["u"] > 0
    assert found["scope2_market"]["value"] == pytest.approx(kwh * 0.5856, rel=1e-6)
    assert found["kgce"]["value"] == pytest.approx(kwh * 0.1229 + 2 * 9192 * 1.33, rel=1e-6)
    per = get(asked, "specific", **span(2, 4))
    whole = next(f for f in per["figures"] if f["metric"] == "electricity.per_t")
    assert whole["value"] == pytest.approx(kwh / tonnes, rel=1e-6)
    assert get(asked, "overview", **span(2, 4))["figures"][0]["value"] == whole["value"]


def test_the_tree_shows_what_nobody_metered(asked: httpx2.Client) -> None:
    found = get(asked, "tree", **span(5))
    main = found["meters"][0]
    assert (main["tag"], main["depth"]) == ("A6-UTIL.ELEC.PM-MAIN.e", 0)
    assert main["value"] == pytest.approx(MADE.energy[5], rel=1e-6)
    assert main["unaccounted"] is None  # meters below it told nothing, so the rest is not known
    silent = next(m for m in found["meters"] if m["tag"] == "A6-UTIL.ELEC.PM-SXA.e")
    assert silent["value"] is None
    assert silent["reason"]
    links = {(link["source"], link["target"]): link["value"] for link in get(asked, "sankey", **span(5))["links"]}
    assert links["electricity", "A5-WWT"] == pytest.approx(MADE.energy[5] * 0.45, rel=1e-6)


def test_a_proved_saving_is_claimed(asked: httpx2.Client) -> None:
    frozen = {"baseline_from": MADE.day(0).isoformat(), "baseline_to": MADE.day(FROZEN).isoformat()}
    now = span(FROZEN, DAYS)
    fitted = get(asked, "baseline", **now, **frozen)
    assert fitted["frozen"] is True
    assert fitted["accepted"] is True, fitted["reasons"]
    assert fitted["baseline_days_known"] == FROZEN
    values = {c["name"]: c["value"] for c in fitted["fit"]["coefficients"]}
    assert values["production"] == pytest.approx(997, abs=40)
    assert values["temperature"] == pytest.approx(-92, abs=15)
    told = get(asked, "saving", **now, **frozen)
    assert told["saving"]["share"] == pytest.approx(SAVED, abs=0.02)
    summed = get(asked, "cusum", **now, **frozen)
    counted = [d for d in summed["days"] if d["outside"] is False]
    assert summed["days"][0]["day"] == MADE.day(FROZEN).astimezone(BAOTOU).isoformat()
    assert counted[-1]["cusum"] == pytest.approx(-told["saving"]["saving"])
    assert told["saving"]["low"] <= SAVED * sum(d["expected"] for d in counted) <= told["saving"]["high"]
    assert told["verdict"] == ("saving" if not told["reasons"] else "refused")


def test_no_saving_before_it_and_a_weak_baseline_says_why(asked: httpx2.Client) -> None:
    frozen = {"baseline_from": MADE.day(0).isoformat(), "baseline_to": MADE.day(14).isoformat()}
    told = get(asked, "saving", **span(14, FROZEN), **frozen)
    assert told["verdict"] != "saving"
    few = get(
        asked, "saving", **span(8, 12), baseline_from=MADE.day(0).isoformat(), baseline_to=MADE.day(8).isoformat()
    )
    assert few["verdict"] == "refused"
    assert few["reasons"][0]["code"] == "few"
    assert "at least 12" in few["reasons"][0]["text"]
    none = get(asked, "saving", **span(0, 2))  # nothing is known before the first day
    assert (none["verdict"], none["saving"]) == ("refused", None)


def test_forecast_and_advice_say_that_too_little_is_known(asked: httpx2.Client) -> None:
    found = get(asked, "forecast")
    assert found["shown"] in (True, False)
    assert (found["reason"] is None) == found["shown"]
    assert get(asked, "load-shift")["outcome"] == "unknown"  # nothing was read for a day
    wished = {
        "total": 480,
        "low": 10,
        "high": 28,
        "energy": 48,
        "inflow": 25,
        "ramp": 28,
        "tank": 1e6,
        "tank_start": 5e5,
    }
    advised = get(asked, "load-shift", **wished, demand="false")
    assert advised["outcome"] == "advised"
    assert advised["saving"] == pytest.approx(1387.2)
    assert sum(h["best"] for h in advised["hours"]) == pytest.approx(480)
    crammed = get(asked, "load-shift", **wished | {"total": 700})
    assert crammed["outcome"] == "infeasible"
    assert crammed["reasons"][0]["code"] == "much"


def test_figures_of_your_own(asked: httpx2.Client) -> None:
    body = {
        "baseline": {
            "energy": [42.6, 44.1, 45.6, 46.0, 43.6, 41.1, 45.8, 43.4],
            "drivers": {
                "production": [26, 28, 30, 31, 29, 27, 32, 30], "temperature": [-10, -5, 0, 5, 10, 15, 20, 25],
            },
        },
        "report": {"energy": [43.5, 44.2, 42.4], "drivers": {"production": [30, 31, 29], "temperature": [10, 12, 8]}},
    }  # fmt: skip
    found = asked.post("/api/energy/baseline", json=body).json()
    assert [c["value"] for c in found["fit"]["coefficients"]] == pytest.approx([15.66806, 0.99736, -0.09215], abs=5e-6)
    assert found["saving"]["cusum"] == pytest.approx(-3.9020, abs=5e-5)
    assert found["saving"]["enpi"] == pytest.approx(0.97088, abs=5e-6)
    assert found["verdict"] == "refused"
    body["report"]["drivers"].pop("temperature")  # type: ignore[attr-defined]
    assert asked.post("/api/energy/baseline", json=body).status_code == 422
    assert asked.post("/api/energy/baseline", json={"baseline": {"energy": []}}).json()["accepted"] is False


@pytest.mark.parametrize(
    "what",
    [
        "cost?tz=Mars/Olympus", "cost?from=yesterday", "cost?from=2026-01-02&to=2026-01-01", "demand?from=2025-01-01T00:00Z",
        "tree?carrier=plutonium", "sankey?carrier=plutonium", "emissions?region=Atlantis", "specific?by=meter",
        "saving?level=1.5", "saving?area=A9", "saving?driver=moon", "saving?baseline_from=2026-01-01",
        "saving?baseline_from=x&baseline_to=y", "baseline?carrier=plutonium", "load-shift?unit=MVR-999",
        "load-shift?total=-1", "load-shift?high=nan", "use?carrier=plutonium", "cost?back=-1",
    ],
)  # fmt: skip
def test_questions_that_make_no_sense_are_told_so(asked: httpx2.Client, what: str) -> None:
    answer = asked.get(f"/api/energy/{what}")
    assert answer.status_code == 422, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert len(answer.json()["detail"]) > 10


@pytest.mark.parametrize(
    ("what", "columns"),
    [
        ("demand", "start,end,value,unit"),
        ("cost", "day,band,cost,currency"),
        ("emissions", "scope,subject,amount,amount_unit,value,u,unit"),
        ("specific", "carrier,key,name,value,unit,use,measured,estimated,unknown,coverage"),
        ("tree", "tag,name,serves,parent,role,depth,value,share,unaccounted,unit"),
        ("sankey", "source,target,value,unit"),
        ("cusum", "day,value,production,temperature,expected,difference,cusum,outside"),
    ],
)
def test_the_same_as_csv(asked: httpx2.Client, what: str, columns: str) -> None:
    answer = asked.get(f"/api/energy/{what}.csv", params=span(3, 5))
    assert answer.headers["content-type"].startswith("text/csv")
    rows = list(csv.reader(io.StringIO(answer.text)))
    assert rows[0] == columns.split(",")
    assert len(rows) > 1
    assert all(len(row) == len(rows[0]) for row in rows)


# --- a baseline that is kept, and what pages make of it ---------------------------------------


def key_of_role(plant_days: Any, role: str) -> dict[str, str]:
    body = {"name": f"an {role}", "role": role, "site": "*"}
    headers = {"Authorization": f"Bearer {plant_days.key}"}
    made = httpx2.post(f"{plant_days.api}/v1/keys", json=body, headers=headers, timeout=60).json()
    return {"Authorization": f"Bearer {made['key']}"}


def local(i: int) -> str:
    """The local date on which a plant day begins."""
    return MADE.day(i).astimezone(BAOTOU).date().isoformat()


def test_a_baseline_is_kept_for_everybody_dated_and_on_record(plant_days: Any, asked: httpx2.Client) -> None:
    viewer = key_of_role(plant_days, "viewer")
    body = {"from": local(0), "to": local(FROZEN), "reason": "before the new evaporator"}
    assert asked.post("/api/energy/baseline/kept", json=body, headers=viewer).status_code == 403
    assert asked.post("/api/energy/baseline/kept", json=body | {"to": local(0)}).status_code == 422
    assert asked.post("/api/energy/baseline/kept", json=body | {"to": "2999-01-01"}).status_code == 422
    assert asked.post("/api/energy/baseline/kept", json=body | {"driver": ["moon"]}).status_code == 422
    made = asked.post("/api/energy/baseline/kept", json=body | {"driver": ["production"]})
    assert made.status_code == 201, made.text
    try:
        seen = asked.get("/api/energy/saving", params=span(FROZEN, DAYS), headers=viewer).json()
        assert (seen["frozen"], seen["drivers"], seen["kept"]["id"]) == (True, ["production"], made.json()["id"])
        assert seen["baseline_from"].startswith(local(0))
        assert seen["baseline_days_known"] == FROZEN - 1  # the last one ends in the morning after
        mine = {"baseline_from": local(0), "baseline_to": local(14)}
        own = get(asked, "saving", **span(FROZEN, DAYS), **mine)
        assert (own["kept"], own["baseline_days_known"]) == (None, 13)  # the address of a page still wins
        before = get(asked, "saving", **span(8, 12))
        assert (before["frozen"], before["kept"]) == (False, None)  # a period within it cannot be compared with it
        history = httpx2.get(
            f"{plant_days.api}/v1/settings/baseline", params={"history": True}, timeout=60,
            headers={"Authorization": f"Bearer {plant_days.key}"},
        ).json()["items"]  # fmt: skip
        assert history[0]["value"] == {"carrier": "electricity", "from": local(0), "to": local(FROZEN), "area": None, "drivers": ["production"]}  # fmt: skip
        assert history[0]["reason"] == "before the new evaporator"
    finally:
        gone = asked.delete("/api/energy/baseline/kept")
    assert gone.status_code == 200, gone.text
    assert get(asked, "saving", **span(FROZEN, DAYS))["frozen"] is False
    assert asked.delete("/api/energy/baseline/kept").status_code == 422


@pytest.fixture
def shown(browser: Browser, plant_days: Any) -> Iterator[Page]:
    """A page of the administrator that writes nothing wrong on the console."""
    context = browser.new_context(extra_http_headers={"Authorization": f"Bearer {plant_days.key}"})
    page = context.new_page()
    page.set_default_timeout(60_000)
    faults: list[str] = []
    page.on("console", lambda m: m.type in ("error", "warning") and faults.append(m.text))
    page.on("pageerror", lambda e: faults.append(str(e)))
    yield page
    context.close()
    assert faults == []


def test_the_page_shows_a_good_baseline_and_keeps_it(plant_days: Any, shown: Page) -> None:
    period = urlencode(span(FROZEN, DAYS) | {"period": "custom"})
    shown.goto(f"{plant_days.url}/energy/baseline?{period}&baseline_from={local(0)}&baseline_to={local(FROZEN)}")
    verdict = shown.locator(".verdict")
    expect(verdict).to_have_class(re.compile("saving|refused"), timeout=60_000)
    expect(shown.get_by_role("table", name="The model")).to_contain_text("REO fed")
    expect(shown.locator("#energy-cusum canvas")).to_be_visible()
    expect(shown.locator(".facts-row")).to_contain_text("in the address of this page")
    shown.get_by_label("Why").fill("the page's test")
    shown.get_by_role("button", name="Keep it for everybody").click()
    expect(shown.locator(".facts-row")).to_contain_text("kept for everybody since", timeout=60_000)
    assert "baseline_from" not in shown.url
    shown.get_by_role("button", name="Keep none any more").click()
    expect(shown.locator(".facts-row")).to_contain_text("the days before, not frozen", timeout=60_000)


def test_the_page_says_how_many_days_a_baseline_lacks(plant_days: Any, shown: Page) -> None:
    period = urlencode(span(8, 12) | {"period": "custom"})
    shown.goto(f"{plant_days.url}/energy/baseline?{period}&baseline_from={local(0)}&baseline_to={local(8)}")
    expect(shown.locator(".verdict")).to_have_class(re.compile("refused"), timeout=60_000)
    expect(shown.locator(".verdict")).to_contain_text("7 usable days; at least 12 are needed: 5 more")


def test_the_outlook_says_how_many_days_it_lacks_and_is_drawn_once_they_are_there(
    browser: Browser, another_portal: Any
) -> None:
    """Nothing is known first; then thirty days, each with a load of its own."""
    with another_portal() as young:
        context = browser.new_context(extra_http_headers={"Authorization": f"Bearer {young.key}"})
        page = context.new_page()
        page.goto(f"{young.url}/energy/outlook")
        part = page.locator("[data-part*=forecast]")
        expect(part).to_contain_text("There are 0 days of hourly readings to learn from; 10 are needed", timeout=60_000)
        now = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
        hours = [now - timedelta(hours=h) for h in range(30 * 24, -1, -1)]
        chance = np.random.default_rng(5)
        load = 1900 * (1 + 0.08 * chance.standard_normal(40))
        shape = [load[h.astimezone(BAOTOU).toordinal() % 40] + 95 * np.sin(h.hour / 24 * 2 * np.pi) for h in hours]
        with psycopg.connect(young.dsn) as connection:
            days = sorted({h.date() for h in hours} | {(now + timedelta(days=1)).date()})
            connection.execute("SELECT ensure_partitions(%s::date[])", [days])
            row = connection.execute("SELECT tag_id FROM tag WHERE name = 'A6-UTIL.ELEC.PM-MAIN.e'").fetchone()
            assert row is not None
            with connection.cursor().copy("COPY reading (tag_id, ts, value, quality) FROM STDIN") as copy:
                for ts, value in zip(hours, 1e6 + np.cumsum(shape), strict=True):
                    copy.write_row((row[0], ts, float(value), 192))
            connection.execute("UPDATE rollup_state SET watermark = %s", [hours[0] - timedelta(hours=1)])
        page.goto(f"{young.url}/energy/outlook")
        expect(page.locator("#energy-forecast canvas")).to_be_visible(timeout=60_000)
        expect(part).to_contain_text("Expected in 24 h")
        context.close()
