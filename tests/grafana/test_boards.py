"""Every query of every board and alert rule, as Grafana would send it, on a real database as hefa_read."""

from __future__ import annotations

import dataclasses
import json
import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pglast
import psycopg
import pytest
from grafana_foundation_sdk.models import units

from hefa_contract.plant import Plant
from hefa_contract.units import KNOWN
from hefa_grafana import alerts, build
from hefa_grafana.query import DATASOURCE_TYPE, DATASOURCE_UID
from hefa_grafana.unit import grafana_unit

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy" / "grafana"
PORTAL = "http://127.0.0.1:8080"
BOARDS = {path.stem: json.loads(path.read_text("utf-8")) for path in sorted(DEPLOY.glob("dashboards/*.json"))}
BUDGET_S = 0.3
REFERENCE_S = 0.05
PANELS = [
    pytest.param(uid, panel, target, id=f"{uid}: {panel['title']}")
    for uid, board in BOARDS.items()
    for panel in board["panels"]
    for target in panel.get("targets", ())
]
RULES = [pytest.param(rule, id=rule["title"]) for rule in alerts.group()["rules"]]


def expand(text: str, variables: dict[str, str | list[str]], interval_s: int, span: timedelta) -> str:
    """What Grafana's front end and its PostgreSQL plugin make of a query, by their documented grammar."""

    def variable(match: re.Match[str]) -> str:
        value = variables[match[1]]
        values = value if isinstance(value, list) else [value]
        if match[2] == "sqlstring":
            return ",".join("'" + one.replace("'", "''") + "'" for one in values)
        return ",".join(values)

    end = datetime.now(UTC)
    since, until = (f"'{moment:%Y-%m-%dT%H:%M:%S.%fZ}'" for moment in (end - span, end))
    # The front end first: its own variables and the dashboard's.
    text = re.sub(r"\$\{(\w+)(?::(\w+))?\}", variable, text)
    text = text.replace("$__interval_ms", str(interval_s * 1000)).replace("$__interval", f"{interval_s}s")

    def seconds(step: str) -> int:
        found = re.fullmatch(r"'?(\d+)([smhd])'?", step.strip())
        assert found, step
        return int(found[1]) * {"s": 1, "m": 60, "h": 3600, "d": 86400}[found[2]]

    def group(match: re.Match[str]) -> str:
        column, step, *_fill = (part.strip() for part in match[2].split(","))
        size = seconds(step)
        made = f"floor(extract(epoch from {column})/{size})*{size}"
        return made + ' AS "time"' * (match[1] == "Alias")

    text = re.sub(r"\$__timeGroup(Alias)?\(([^()]*)\)", group, text)
    text = re.sub(r"\$__timeFilter\(([^()]*)\)", rf"\1 BETWEEN {since} AND {until}", text)
    return text.replace("$__timeFrom()", since).replace("$__timeTo()", until)


@pytest.fixture(scope="module")
def read(read_dsn: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(read_dsn, autocommit=True, options="-c timezone=UTC") as connection:
        yield connection


def run(read: psycopg.Connection, text: str) -> tuple[list[str], list[tuple], float]:
    """Names of the columns, rows, and seconds: the best of some, as they would be on a machine of its own."""
    assert "$" not in text, text
    pglast.parse_sql(text)
    best = float("inf")
    for attempt in range(8):
        began = time.perf_counter()
        cursor = read.execute(text)
        rows = cursor.fetchall()
        took = time.perf_counter() - began
        best = min(best, took if took < BUDGET_S else took / busyness(read))
        if best < (BUDGET_S / 2 if attempt < 2 else BUDGET_S):
            break
    return [column.name for column in cursor.description or ()], rows, best


def busyness(read: psycopg.Connection) -> float:
    """How many times as long as alone a query takes here and now: told by a fixed piece of work."""
    began = time.perf_counter()
    read.execute("SELECT sum(sqrt(n)) FROM generate_series(1, 300000) AS n")
    return max(1.0, (time.perf_counter() - began) / REFERENCE_S)


def settings(read: psycopg.Connection, board: dict[str, Any]) -> list[dict[str, str | list[str]]]:
    """Every choice of a board's variables: what their own queries answer, one after the other."""
    made: list[dict[str, str | list[str]]] = [{}]
    for variable in board["templating"]["list"]:
        grown = []
        for chosen in made:
            if variable["type"] == "query":
                names, rows, took = run(read, expand(variable["query"], chosen, 60, timedelta(hours=6)))
                values = [str(row[0]) for row in rows]
                assert len(names) == 1
                assert values, variable["query"]
                assert took < BUDGET_S
                options: list[str | list[str]] = [values] if variable.get("includeAll") else list(values)
            else:
                options = [part.strip() for part in variable["query"].split(",")]
            grown += [{**chosen, variable["name"]: option} for option in options]
        made = grown
    return made


@pytest.fixture(scope="module")
def choices(read: psycopg.Connection) -> dict[str, list[dict[str, str | list[str]]]]:
    return {uid: settings(read, board) for uid, board in BOARDS.items()}


@pytest.mark.parametrize(("uid", "panel", "target"), PANELS)
def test_a_panel_answers_with_rows_of_its_form_and_in_time(
    read: psycopg.Connection,
    choices: dict[str, list[dict[str, str | list[str]]]],
    uid: str,
    panel: dict[str, Any],
    target: dict[str, Any],
) -> None:
    """For a board with variables: rows for at least one choice, the budget for all of them."""
    found: list[tuple] = []
    for chosen in choices[uid]:
        # Minutes of six hours; hours of two weeks.
        for interval_s, span in ((60, timedelta(hours=6)), (3600, timedelta(days=14))):
            names, rows, took = run(read, expand(target["rawSql"], chosen, interval_s, span))
            assert took < BUDGET_S, f"{took * 1000:.0f} ms, {chosen}"
            if target["format"] == "time_series":
                assert names in (["time", "metric", "value"], ["time", "value"])
                assert [row[0] for row in rows] == sorted(row[0] for row in rows)
                assert all(isinstance(row[-1], (int, float)) or float(row[-1]) is not None for row in rows)
            else:
                assert len(names) == len(set(names))
            if panel["type"] == "stat":
                assert len(names) == 1
                assert len(rows) == 1
            found = found or rows
    assert found


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.usefixtures("alive")
def test_a_rule_answers_with_one_number_a_row(read: psycopg.Connection, rule: dict[str, Any]) -> None:
    """Numbers, and texts that become labels; the healthy database of the test fires only what is wrong in it."""
    query = rule["data"][0]["model"]["rawSql"]
    _, rows, took = run(read, query)
    assert rows
    assert took < BUDGET_S
    evaluator = rule["data"][1]["model"]["conditions"][0]["evaluator"]
    firing = False
    for row in rows:
        numbers = [value for value in row if isinstance(value, float)]
        assert len(numbers) == 1
        assert all(isinstance(value, (float, str)) for value in row)
        firing |= (
            numbers[0] > evaluator["params"][0] if evaluator["type"] == "gt" else numbers[0] < evaluator["params"][0]
        )
    assert firing == (rule["uid"] == "hefa-quarantine")


def test_the_committed_files_are_those_of_the_plant_model(plant: Plant) -> None:
    """Run `hefa-grafana build` after a change of the seeds or of a board."""
    made = build.files(plant, PORTAL)
    assert {name: (DEPLOY / name).read_text("utf-8") for name in made} == made
    assert {f"dashboards/{uid}.json" for uid in BOARDS} == {name for name in made if name.startswith("dashboards/")}


def test_a_plant_that_measures_little_has_boards_too(plant: Plant) -> None:
    """No meter, no tank, no cascade: queries that find nothing, not queries that fail."""
    few = {tag.name: tag for tag in [t for t in plant.tags.values() if t.suffix == "temp" and t.meter is None][:3]}
    made = build.boards(dataclasses.replace(plant, tags=few), PORTAL)
    assert set(made) == set(BOARDS) - {"hefa-extraction", "hefa-energy"}
    chosen: dict[str, str | list[str]] = {"area": "a", "line": "l", "equipment": ["e'1", "e2"]}
    for board in made.values():
        for panel in board["panels"]:
            for target in panel.get("targets", ()):
                pglast.parse_sql(expand(target["rawSql"], chosen, 60, timedelta(hours=6)))


def test_every_board_is_whole() -> None:
    assert len({board["uid"] for board in BOARDS.values()}) == len(BOARDS) == 6
    yaml = (DEPLOY / "provisioning/datasources/hefa.yaml").read_text("utf-8")
    assert re.search(rf"^    uid: {DATASOURCE_UID}$", yaml, re.MULTILINE)
    assert re.search(rf"^    type: {DATASOURCE_TYPE}$", yaml, re.MULTILINE)
    for uid, board in BOARDS.items():
        assert board["uid"] == uid
        assert board["title"]
        assert board["description"]
        assert board["timezone"] == "Asia/Shanghai"
        assert {link["type"] for link in board["links"]} == {"dashboards", "link"}
        assert any(
            variable["name"] == "portal" and variable["type"] == "constant" for variable in board["templating"]["list"]
        )
        ids = [panel["id"] for panel in board["panels"]]
        assert len(set(ids)) == len(ids)
        taken: set[tuple[int, int]] = set()
        for panel in board["panels"]:
            place = panel["gridPos"]
            x, y = place.get("x", 0), place.get("y", 0)
            cells = {(a, b) for a in range(x, x + place["w"]) for b in range(y, y + place["h"])}
            assert not cells & taken, panel["title"]
            assert x + place["w"] <= 24
            taken |= cells


@pytest.mark.parametrize(("uid", "panel", "target"), PANELS)
def test_a_panel_says_what_it_shows(uid: str, panel: dict[str, Any], target: dict[str, Any]) -> None:
    known = {value for name, value in vars(units).items() if not name.startswith("_") and isinstance(value, str)}
    defaults = panel["fieldConfig"]["defaults"]
    assert len(panel["description"]) > 20
    assert defaults["noValue"]
    assert defaults["unit"] in known or defaults["unit"].startswith("suffix: ")
    assert defaults["thresholds"]["steps"][0]["value"] is None
    bounds = [step["value"] for step in defaults["thresholds"]["steps"][1:]]
    assert bounds == sorted(bounds)
    for source in (panel["datasource"], target["datasource"]):
        assert source == {"type": DATASOURCE_TYPE, "uid": DATASOURCE_UID}
    if panel["type"] == "timeseries":
        assert defaults["custom"]["spanNulls"] is False
        assert "NULL)" in target["rawSql"]  # without the fill Grafana would draw a line over what is missing


def test_every_unit_of_the_model_is_shown(plant: Plant) -> None:
    for ucum in {tag.ucum for tag in plant.tags.values()}:
        assert ucum in KNOWN
        assert grafana_unit(ucum)
    assert grafana_unit("m3{n}/h") == "suffix: Nm³/h"
    assert grafana_unit("furlong") == "suffix: furlong"
