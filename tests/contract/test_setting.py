"""Settings by their rules: what is accepted, what is refused and in which words, and the seeds themselves."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from hefa_contract.setting import KINDS, SeedError, SettingError, judge, load

TARIFF: dict[str, Any] = {
    "carrier": "electricity", "currency": "CNY", "unit": "kW.h", "bands": {"day": 0.6, "night": 0.3},
    "calendar": [{"hours": {"night": [["00:00", "08:00"], ["22:00", "24:00"]], "day": [["08:00", "22:00"]]}}],
}  # fmt: skip
PRICE: dict[str, Any] = {"group": "energy", "value": 3, "currency": "CNY", "per": "m3{n}"}


def test_a_tariff_is_filled_with_its_defaults() -> None:
    read = judge("tariff", TARIFF)
    assert read["calendar"][0]["months"] == list(range(1, 13))
    assert (read["calendar"][0]["days"], read["capacity"], read["power_factor"]) == ("all", None, None)
    assert judge("tariff", read) == read


def test_multipliers_make_the_prices_of_the_bands() -> None:
    read = judge("tariff", {**TARIFF, "bands": {}, "base": 0.5, "multipliers": {"day": 1.85, "night": 0.2}})
    assert read["bands"] == {"day": 0.925, "night": 0.1}
    assert judge("tariff", read) == read


@pytest.mark.parametrize(
    ("kind", "value", "says"),
    [
        ("tariff", {**TARIFF, "calendar": [{"hours": {"day": [["00:00", "23:00"]]}}]}, "no band from 23:00 to 24:00"),
        ("tariff", {**TARIFF, "calendar": [{"hours": {"day": [["00:00", "24:00"]], "night": [["01:00", "02:00"]]}}]}, "two bands"),
        ("tariff", {**TARIFF, "calendar": [{"hours": {"day": [["08:00", "00:00"]], "night": [["00:00", "08:00"]]}}]}, "does not end"),
        ("tariff", {**TARIFF, "calendar": [{"hours": {"dusk": [["00:00", "24:00"]]}}]}, "'dusk', which has no price"),
        ("tariff", {**TARIFF, "calendar": [{"days": "workday", "hours": {"day": [["00:00", "24:00"]]}}]}, "no calendar rule fits a weekend in month 1"),
        ("tariff", {**TARIFF, "calendar": [{"hours": {"day": [["0:00", "24:00"]]}}]}, "`value.calendar[0]"),
        ("tariff", {**TARIFF, "bands": {}}, "needs bands"),
        ("tariff", {**TARIFF, "base": 1}, "base and multipliers go together"),
        ("tariff", {**TARIFF, "base": 1, "multipliers": {"day": 1, "night": 1}}, "bands differ"),
        ("tariff", {**TARIFF, "power_factor": 1.2}, "power_factor"),
        ("tariff", {}, "a tariff has carrier, currency, unit, calendar"),
        ("price", {**PRICE, "value": float("nan")}, "no finite number"),
        ("price", {**PRICE, "value": 10**400}, "beyond"),
        ("price", {**PRICE, "currency": "yuan"}, "currency"),
        ("price", {**PRICE, "per": "barrel"}, "no UCUM code"),
        ("price", {**PRICE, "strength": 0}, "strength"),
        ("price", {**PRICE, "colour": "red"}, "colour"),
        ("price", {**PRICE, "group": "energy\x00"}, "control characters"),
        ("price", [PRICE], "object"),
        ("factor", {"quantity": "CO2", "of": "gas", "value": 2.16, "unit": "kg", "per": "m3{n}", "scope": 4}, "scope"),
        ("target", {"value": 85, "unit": "%", "better": "higher", "warn": 90}, "better than the target"),
        ("target", {"value": 85, "unit": "%", "better": "greener"}, "better"),
        ("plan", {"t_per_day": -1, "rated_t_per_h": 1}, "t_per_day"),
        ("plan", {"t_per_day": 1, "rated_t_per_h": 1, "busy_h_per_day": 25}, "busy_h_per_day"),
        ("plan", {"t_per_day": 1, "rated_t_per_h": 1, "overhaul": [{"from": "2026-08-04", "to": "2026-07-20"}]}, "end after"),
        ("alarm", {"on_delay_s": -1}, "on_delay_s"),
        ("alarm", {"priorities": {"h": "urgent"}}, "priorities"),
        ("colour", {}, "no kind of setting"),
    ],
)  # fmt: skip
def test_a_mistake_is_told_with_what_would_do(kind: str, value: object, says: str) -> None:
    with pytest.raises(SettingError) as refused:
        judge(kind, value)
    assert says in str(refused.value)


def test_the_seeds_have_every_kind_with_where_it_is_from(seeds_dir: Path) -> None:
    texts = {p.relative_to(seeds_dir).as_posix(): p.read_text("utf-8") for p in seeds_dir.rglob("*.toml")}
    seeds = load(texts, "Asia/Shanghai")
    assert {seed.kind for seed in seeds} == set(KINDS) - {"baseline"}  # which people choose once they have days
    assert all(seed.source for seed in seeds)
    assert all(seed.example for seed in seeds if seed.kind != "alarm")
    named = {(seed.kind, seed.name): seed.value for seed in seeds}
    assert named["factor", "CO2 electricity national"]["value"] == 0.5366
    assert named["factor", "CO2 gas"]["value"] == 2.1622
    assert named["price", "HCl"]["strength"] == 0.31
    # A flat load of 1,900 kW for a day: 20,539 CNY.
    tariff = named["tariff", "electricity"]
    hours = {
        band: sum(int(end[:2]) - int(start[:2]) for start, end in spans)
        for band, spans in tariff["calendar"][0]["hours"].items()
    }
    assert hours == {"valley": 8, "flat": 9, "peak": 7}
    assert sum(1900 * hours[band] * price for band, price in tariff["bands"].items()) == pytest.approx(20539)


def test_a_day_begins_at_the_sites_midnight_and_mistakes_come_all_at_once() -> None:
    good = 'name = "gas"\nvalid_from = 2026-03-01\nsource = "s"\ngroup = "energy"\nvalue = 3\ncurrency = "CNY"\nper = "m3{n}"\n'
    seeds = load({"settings/p.toml": f"[[price]]\n{good}", "behaviour.toml": "not ours ["}, "Asia/Shanghai")
    assert seeds[0].valid_from == datetime(2026, 2, 28, 16, tzinfo=UTC)
    bad = f'[[price]]\n{good}[[price]]\n{good}[[price]]\nname = "x"\nvalid_from = 7\nsource = "s"\n[[party]]\n'
    with pytest.raises(SeedError) as refused:
        load({"settings/p.toml": bad, "settings/q.toml": "["}, "UTC")
    text = str(refused.value)
    assert "is there twice" in text
    assert "price.3.valid_from: must be a day" in text
    assert "party: must be tables" in text
    assert "settings/q.toml: is not TOML" in text
