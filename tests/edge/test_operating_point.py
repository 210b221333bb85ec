"""`hefa-edge steady`: the tables of the plant study, and settings that are told apart."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from hefa_edge.cli import app
from hefa_edge.operating_point import operating_point, parse_settings
from hefa_edge.plant import behaviour
from hefa_edge.plant.cascade import OperatingPointError

SEEDS = Path(__file__).resolve().parents[2] / "seeds"
PLANT = behaviour.read({behaviour.FILE: (SEEDS / behaviour.FILE).read_text(encoding="utf-8")})


@pytest.mark.parametrize(
    ("line", "settings", "raffinate", "product"),
    [
        ("SXA", {"S": 5.0}, 1.0315, 96.449),
        ("SXA", {"S": 6.0}, 0.1341, 99.538),
        ("SXA", {}, 0.0340, 99.883),
        ("SXA", {"n": 14, "m": 10}, 0.2003, 99.310),
        ("SXA", {"feed_factor": 0.95, "W": 5.316}, 0.0198, 94.932),
        ("SXA", {"feed_factor": 1.05, "W": 5.316}, 1.4548, 99.992),
        ("SXA", {"feed_factor": 0.95}, 0.0323, 99.881),
        ("SXA", {"feed_factor": 1.05}, 0.0360, 99.884),
        ("SXA", {"W_factor": 0.99}, 0.0218, 96.868),
        ("SXA", {"W_factor": 1.01}, 0.911, 99.991),
        ("SXB", {}, 0.137, 99.923),
    ],
)
def test_the_published_operating_points(
    line: str, settings: dict[str, float], raffinate: float, product: float
) -> None:
    point = operating_point(PLANT, line, settings)["extracted"]
    assert point["in_raffinate_mol_pct"] == pytest.approx(raffinate, rel=0.005)
    assert point["in_product_mol_pct"] == pytest.approx(product, abs=0.003)


def test_the_feed_factor_multiplies_what_is_extracted_and_nothing_else() -> None:
    plain = operating_point(PLANT, "SXA", {})["feed_mol_pct"]
    rich = operating_point(PLANT, "SXA", {"feed_factor": 1.05})["feed_mol_pct"]
    assert rich["PrNd"] == pytest.approx(1.05 * plain["PrNd"], rel=1e-12)
    assert rich["Ce"] / rich["La"] == pytest.approx(plain["Ce"] / plain["La"], rel=1e-12)
    assert rich["La"] + rich["Ce"] + rich["PrNd"] == pytest.approx(100.0, rel=1e-12)


def test_the_whole_answer_adds_up() -> None:
    point = operating_point(PLANT, "SXA", {"S": 6.0, "n": 12})
    flows = point["flows_kmol_h"]
    assert flows["raffinate"] + flows["product"] == pytest.approx(flows["F"], rel=1e-12)
    assert len(point["profile"]) == 12 + 14
    for element, recovery in point["recovery_pct"].items():
        if element != "extracted":
            into = flows["product"] * point["product_mol_pct"][element]
            assert recovery == pytest.approx(100 * into / (flows["F"] * point["feed_mol_pct"][element]), rel=1e-9)


def test_the_command_prints_the_point_as_json() -> None:
    result = CliRunner().invoke(
        app, ["steady", "--line", "SXA", "--set", "S=6.0", "--set", "W_factor=0.99", "--json", "--seeds", str(SEEDS)]
    )
    assert result.exit_code == 0, result.output
    point = json.loads(result.stdout)
    assert set(point["raffinate_mol_pct"]) == {"La", "Ce", "Pr", "Nd", "PrNd"}
    assert point["flows_kmol_h"]["W"] == pytest.approx(0.99 * (6.0 - 7.481 * 0.2251), rel=1e-6)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--line", "SXC"], "no line 'SXC'"),
        (["--set", "X=1"], "cannot set X"),
        (["--set", "S"], "is not NAME=NUMBER"),
        (["--set", "S=0.5"], "raise S above 1.68397 or set W"),
        (["--set", "S=30", "--set", "W=1"], "raffinate"),
        (["--set", "n=2.5"], "whole number"),
        (["--set", "n=inf"], "n must be a finite number"),
        (["--set", "m=nan"], "m must be a finite number"),
        (["--set", "n=1e6"], "up to 100"),
        (["--set", "S=nan"], "S must be a finite number"),
        (["--set", "S=5", "--set", "W=6"], "product S - W"),
        (["--set", "W=-1"], "must be above 0"),
        (["--set", "n=0"], "whole number from 1"),
        (["--set", "efficiency=1.2"], "efficiency"),
        (["--set", "feed_factor=9"], "between 0 and 1"),
        (["--seeds", "nowhere"], "no directory"),
    ],
)
def test_what_cannot_be_run_is_said_in_a_sentence(arguments: list[str], says: str) -> None:
    given = arguments if "--seeds" in arguments else [*arguments, "--seeds", str(SEEDS)]
    result = CliRunner().invoke(app, ["steady", *given])
    assert result.exit_code == 2
    assert says in result.stderr


@pytest.mark.parametrize(
    ("line", "settings", "raffinate", "product"),
    [
        # Integrated in time to rest by a stiff solver of general use, from the balances of a stage as they stand.
        (
            "SXA",
            {"n": 17, "m": 19, "S": 6.1, "F": 6.9, "W_factor": 1.004, "feed_factor": 0.93},
            0.3404654845,
            99.9989145650,
        ),
        ("SXA", {"m": 12, "S": 8.2, "feed_factor": 1.12, "W": 6.25}, 0.0061338931, 96.7031080192),
        (
            "SXB",
            {"n": 12, "m": 5, "S": 5.6, "F": 6.2, "W_factor": 0.98, "feed_factor": 1.03},
            5.562054e-06,
            99.2610556863,
        ),
        ("SXA", {"m": 15, "efficiency": 0.9}, 0.0539532218, 99.8142676518),
    ],
)
def test_settings_work_together(line: str, settings: dict[str, float], raffinate: float, product: float) -> None:
    point = operating_point(PLANT, line, settings)["extracted"]
    assert point["in_raffinate_mol_pct"] == pytest.approx(raffinate, rel=1e-4)
    assert point["in_product_mol_pct"] == pytest.approx(product, rel=1e-6)


@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_the_size_of_a_plant_changes_no_purity(scale: float) -> None:
    plain = operating_point(PLANT, "SXA", {})
    scaled = operating_point(PLANT, "SXA", {"F": 7.481 * scale, "S": 7.0 * scale})
    for stream in ("raffinate_mol_pct", "product_mol_pct"):
        assert scaled[stream] == pytest.approx(plain[stream], rel=1e-6)


def test_settings_are_numbers_by_name() -> None:
    assert parse_settings(["S=6", " n = 14"]) == {"S": 6.0, "n": 14.0}
    with pytest.raises(OperatingPointError):
        parse_settings(["S=a"])
