"""seeds/ against the study of the plant: every tag, field by field, and the site's totals."""

import csv
from collections import defaultdict
from pathlib import Path

import pytest

from hefa_contract.plant import Plant, Tag

REFERENCE = Path(__file__).with_name("reference_tags.csv")


@pytest.fixture(scope="module")
def reference() -> dict[str, dict[str, str]]:
    lines = [line for line in REFERENCE.read_text("utf-8").splitlines() if not line.startswith("#")]
    return {row["tag"]: row for row in csv.DictReader(lines)}


def figure(text: str) -> float | None:
    return float(text) if text else None


def expected(row: dict[str, str], tag: Tag) -> dict[str, object]:
    area, line, unit, suffix = row["tag"].split(".")
    fields: dict[str, object] = {
        "area": area,
        "line": line,
        "unit": unit,
        "suffix": suffix,
        "equipment": f"{area}.{line}.{unit}",
        "template": row["template"],
        "description": row["description"],
        "ucum": row["ucum"],
        "kind": {"analog": "gauge"}.get(row["kind"], row["kind"]),
        "normal": figure(row["normal"]),
        "low": figure(row["min"]),
        "high": figure(row["max"]),
        "noise_sd": figure(row["noise_sd"]),
        "period_s": figure(row["period_s"]),
        "ll": figure(row["LL"]),
        "l": figure(row["L"]),
        "h": figure(row["H"]),
        "hh": figure(row["HH"]),
        "users": tuple(row["users"]),
        "core": row["core"] == "1",
    }
    # Where the model knows better: a register ends at its modulus, a state at its last code, and the codes are data.
    if row["kind"] == "counter":
        fields["high"] = 1e7
    if row["kind"] == "state":
        assert tag.states is not None
        fields["high"] = float(max(tag.states))
        fields["description"] = tag.description
        fields["states"] = {int(c): n for c, n in zip(*[iter(row["description"].split(" "))] * 2, strict=True)}
    return fields


# Where the seeds have other figures than the study: all of them, field by field. Why: docs/decisions/0007.
REVIEWED = {
    "A2-SX.SXA.MS-A01.aq_re": "normal l h",
    "A2-SX.SXA.AN-221.la": "normal",
    "A2-SX.SXA.AN-221.ce": "normal",
    "A2-SX.SXA.AN-221.pr": "normal noise_sd",
    "A2-SX.SXA.AN-221.nd": "normal noise_sd",
    "A2-SX.SXA.AN-221.reo": "normal l h",
    "A2-SX.SXA.AN-222.la": "normal noise_sd",
    "A2-SX.SXA.AN-222.ce": "normal",
    "A2-SX.SXA.AN-222.pr": "normal",
    "A2-SX.SXA.AN-222.nd": "normal",
    "A2-SX.SXA.AN-223.la": "normal noise_sd",
    "A2-SX.SXA.AN-223.ce": "normal noise_sd",
    "A2-SX.SXA.AN-223.pr": "normal",
    "A2-SX.SXA.AN-223.nd": "normal",
    "A2-SX.SXA.AN-223.reo": "normal l h",
    **{f"A2-SX.SXB.MS-B{stage}.aq_re": "normal l h" for stage in ("01", "03", "05", "07", "09", "10")},
    **{f"A2-SX.SXB.AN-{unit}.{element}": "normal noise_sd" for unit in (224, 226) for element in ("la", "ce", "pr", "nd")},
    "A2-SX.SXB.AN-224.reo": "normal l h",
    "A2-SX.SXB.AN-225.la": "normal",
    "A2-SX.SXB.AN-225.ce": "normal",
    "A2-SX.SXB.AN-225.pr": "normal noise_sd",
    "A2-SX.SXB.AN-225.nd": "normal noise_sd",
    "A2-SX.SXB.AN-226.reo": "normal l h",
    "A4-CALC.TK1.TKN-401.mode": "normal",
    "A4-CALC.RK1.RKN-402.mode": "normal",
    "A4-CALC.PACK.PK-421.wt": "noise_sd",
    "A4-CALC.PACK.PK-422.wt": "noise_sd",
    "A5-WWT.NEUT.AIC-502.pv": "ll l h hh",
    "A6-UTIL.ELEC.PM-LIGHT.p": "h hh",
    "A6-UTIL.ELEC.PM-OFFICE.p": "h hh",
}  # fmt: skip


def test_every_tag_has_the_figures_of_the_study_but_for_those_reviewed(
    plant: Plant, reference: dict[str, dict[str, str]]
) -> None:
    assert len(reference) == 1103
    assert set(plant.tags) == set(reference)
    differences: dict[str, list[str]] = defaultdict(list)
    for name, row in reference.items():
        for field, value in expected(row, plant.tags[name]).items():
            ours = getattr(plant.tags[name], field)
            if ours != (pytest.approx(value, rel=1e-9) if isinstance(value, float) else value):
                differences[name].append(field)
    assert {name: " ".join(fields) for name, fields in differences.items()} == REVIEWED
    assert all("reviewed" in plant.tags[name].source for name in REVIEWED)


def at_design(plant: Plant) -> dict[tuple[str, str, str], float]:
    """Consumption per hour at normal flows by (medium, stream, what): 'total' of roots, 'children' of billing ones."""
    sums: dict[tuple[str, str, str], float] = defaultdict(float)
    for name, meter in plant.meters.items():
        tag = plant.tags[name]
        assert tag.integrates is not None
        assert tag.per_hour is not None
        use = plant.tags[tag.integrates].normal * tag.per_hour * meter.factor
        if meter.role == "billing":
            sums[meter.carrier or meter.material or "", meter.stream, "children" if meter.parent else "total"] += use
    return sums


@pytest.mark.parametrize(
    ("medium", "stream", "what", "amount", "tolerance"),
    [
        ("electricity", "supply", "total", 1900.0, 0.0),
        ("electricity", "supply", "children", 1900.0, 0.01),
        ("water", "supply", "total", 10.5, 0.0),
        ("water", "supply", "children", 9.2, 1e-9),  # 1.3 m3/h are unmetered
        ("water", "reuse", "total", 16.0, 0.0),
        ("gas", "supply", "total", 383.0, 0.0),
        ("gas", "supply", "children", 116.0 + 192 + 75, 1e-9),
        ("steam", "supply", "total", 1.0, 0.0),
        ("steam", "supply", "children", 0.4 + 0.3 + 0.3, 1e-9),
        ("HCl", "supply", "total", 61.2 * 36.461, 0.003),
        # The balance has no base for the neutralisers, 1.2 kmol/h here: see meters.toml.
        ("NaOH", "supply", "total", 36.0 * 39.997, 0.035),
        ("Na2CO3", "supply", "total", 17.9 / 2 * 105.988, 0.003),
        ("NH4HCO3", "supply", "total", 5.30 * 79.056, 0.003),
        ("REO", "supply", "total", 1262.6, 0.001),
        ("PrNd oxide", "export", "total", 284.1, 0.03),  # 284.1 kg/h at 100 % yield
        ("CeO2", "export", "total", 637.6, 0.005),
    ],
)
def test_the_meters_add_up_to_the_plants_balance(
    plant: Plant, medium: str, stream: str, what: str, amount: float, tolerance: float
) -> None:
    assert at_design(plant)[medium, stream, what] == pytest.approx(amount, rel=max(tolerance, 1e-12))


@pytest.mark.parametrize(
    ("material", "kg_per_t_reo"), [("HCl", 1770), ("Na2CO3", 752), ("NH4HCO3", 332)]
)  # the specific consumptions of the study
def test_specific_consumption_of_materials(plant: Plant, material: str, kg_per_t_reo: float) -> None:
    use = at_design(plant)
    specific = use[material, "supply", "total"] / (use["REO", "supply", "total"] / 1000)
    assert specific == pytest.approx(kg_per_t_reo, rel=0.005)


@pytest.mark.parametrize("medium", ["electricity", "water", "gas", "steam", "HCl", "NaOH"])
def test_use_is_known_by_area(plant: Plant, medium: str) -> None:
    """At least two areas of each can be told apart; a check meter alone would tell nothing."""
    areas = {
        meter.serves.split(".")[0]
        for meter in plant.meters.values()
        if medium in (meter.carrier, meter.material) and meter.role == "billing" and meter.serves != plant.site
    }
    assert len(areas) >= 2
    assert areas <= {area.path for area in plant.areas}


def test_a_compressor_behind_its_feeder_is_a_check_meter(plant: Plant) -> None:
    meters = plant.meters
    assert meters["A5-WWT.MVR1.MVR-511.e"].role == "check"
    assert meters["A5-WWT.MVR1.MVR-511.e"].parent == "A6-UTIL.ELEC.PM-MVR1.e"
    assert meters["A6-UTIL.ELEC.PM-MVR1.e"].serves == "A5-WWT.MVR1"
    assert meters["A4-CALC.TK1.TKN-401.gas_tot"].role == "check"


def test_every_counter_knows_how_it_grows(plant: Plant) -> None:
    counters = [tag for tag in plant.tags.values() if tag.kind == "counter"]
    assert len(counters) == 136
    for tag in counters:
        assert tag.resolution is not None
        assert tag.max_rate is not None
        assert tag.per_hour is not None
        assert tag.modulus == 1e7
        flow = plant.tags[tag.integrates] if tag.integrates else None
        usual = tag.per_hour * (flow.normal if flow else 1.0)
        # A register in steps: within one period it may move by the usual amount and a step on top.
        hours = tag.period_s / 3600
        assert usual * hours + tag.resolution <= tag.max_rate * hours * (1 + 1e-9), tag.name
    without_flow = {tag.name for tag in counters if tag.integrates is None}
    assert without_flow == {"A6-UTIL.AIR.AC-611.hrs", "A6-UTIL.AIR.AC-612.hrs"}


def test_register_steps(plant: Plant) -> None:
    steps = {tag.ucum: set[float]() for tag in plant.tags.values() if tag.kind == "counter"}
    for tag in plant.tags.values():
        if tag.kind == "counter" and tag.resolution is not None:
            steps[tag.ucum].add(tag.resolution)
    assert steps["kW.h"] == {0.1}
    assert steps["m3"] == {0.01}
    assert steps["t"] == {0.001}
    assert steps["kg"] == {1.0}


def test_every_tag_says_where_its_figures_are_from(plant: Plant) -> None:
    known = ("estimate", "computed", "normal: computed; otherwise estimate")
    assert [tag.name for tag in plant.tags.values() if not tag.source.startswith(known)] == []
    assert [name for name, meter in plant.meters.items() if not meter.source] == []
