"""One definition: the catalogue, the desk, and the same figure wherever it is shown."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest

from hefa_apps.client import Catalogue, Missing, Root
from hefa_apps.host import APPS, desk_of
from hefa_apps.metrics import CatalogueError, Desk, Metric, Outcome, Reckoning, load, plain
from hefa_apps.page import App

START = datetime(2026, 11, 22, tzinfo=UTC)
PLANT = Catalogue(Root("E", "enterprise", "E"))
ENTRY = 'name = "n"\ndescription = "d"\nformula = "f"\nunit = "kg"\nsource = "s"\naudience = ["energy"]\n'


def metric(id: str) -> Metric:
    return Metric(id, f"Name of {id}", "", "", "kg", "", ("energy",))


def reckoning(**formulas: Any) -> Reckoning:
    desk = Desk({id: metric(id) for id in formulas}, formulas)
    return desk.over(None, PLANT, START, START + timedelta(hours=1))  # type: ignore[arg-type]


def test_a_figure_is_reckoned_once() -> None:
    asked = []
    r = reckoning(
        a=lambda r: asked.append("a") or Outcome(2.0, coverage=0.5),
        b=lambda r: Outcome(r.figure("a").value + r.figure("a").value, (r.input("a"),)),
    )
    assert r.figure("b").value == 4.0
    assert r.figure("b").inputs[0].metric == "a"
    assert plain(r.figure("a")) == {
        "metric": "a", "name": "Name of a", "value": 2.0, "unit": "kg", "coverage": 0.5, "from": START,
        "to": START + timedelta(hours=1), "newest": None, "reason": None,
    }  # fmt: skip
    assert asked == ["a"]
    r.over(START, START + timedelta(hours=2)).figure("a")
    assert asked == ["a", "a"]  # another range is another figure


def test_formulas_that_need_each_other_are_an_error_and_leave_nothing_behind() -> None:
    r = reckoning(a=lambda r: Outcome(r.figure("b").value), b=lambda r: Outcome(r.figure("a").value))
    for _ in range(2):
        with pytest.raises(ValueError, match="needed to reckon itself"):
            r.figure("a")


def test_an_unknown_metric_is_missing() -> None:
    with pytest.raises(Missing, match="GET /api/metrics"):
        reckoning().figure("nothing")


def test_a_family_has_a_metric_for_each_subject() -> None:
    family = Metric("*.per_t", "{subject} per t", "", "use({subject})", "{unit}", "", ("energy",))
    desk = Desk({"*.per_t": family}, {"*.per_t": lambda r, subject: Outcome(len(subject))}, {"*.per_t": lambda _: {"HCl": "kg/t"}})  # fmt: skip
    r = desk.over(None, PLANT, START, START)  # type: ignore[arg-type]
    figure = r.figure("HCl.per_t")
    assert (figure.name, figure.unit, figure.value, figure.metric.formula) == ("HCl per t", "kg/t", 3, "use(HCl)")
    assert [m.id for m in desk.metrics(PLANT)] == ["HCl.per_t"]
    for strange in (".per_t", "NaOH.per_t", "HCl.per_", "*.per_t"):
        with pytest.raises(Missing):
            r.figure(strange)


def test_catalogue_and_formulas_belong_together() -> None:
    with pytest.raises(ValueError, match="a, b"):
        Desk({"a": metric("a")}, {"b": lambda r: Outcome(1.0)})
    with pytest.raises(ValueError, match="members"):
        Desk({"a.*": metric("a.*")}, {"a.*": lambda r, subject: Outcome(1.0)})


def test_two_apps_cannot_define_the_same_metric() -> None:
    twice = App("other", APPS[0].router, formulas={"use.*": lambda r, subject: Outcome(0.0)})
    with pytest.raises(ValueError, match=r"other: .*use"):
        desk_of([*APPS, twice])


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('["a"]\n' + ENTRY.replace("formula", "formel"), "a: unknown field formel"),
        ('["a"]\n' + ENTRY.replace('source = "s"\n', ""), "a: the field source is missing"),
        ('["a"]\n' + ENTRY.replace('"energy"', '"everybody"'), "everybody is no audience"),
        ('["a"]\n' + ENTRY.replace('"energy"', ""), "name an audience"),
        ("a = 1", "a is no table"),
    ],
)
def test_a_wrong_entry_says_what_is_wrong(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "x.toml").write_text(text)
    with pytest.raises(CatalogueError, match=says):
        load(tmp_path)


def test_a_metric_stands_in_one_file(tmp_path: Path) -> None:
    for name in ("x.toml", "y.toml"):
        (tmp_path / name).write_text('["a"]\n' + ENTRY)
    with pytest.raises(CatalogueError, match="one definition"):
        load(tmp_path)


# --- the same figure wherever it is shown ----------------------------------------------------------------------------


def told(body: Any) -> Iterator[tuple[str, Any, Any, Any]]:
    """Every figure in a JSON answer, however deep: metric, start, end, value."""
    if isinstance(body, dict):
        if {"metric", "value", "from", "to"} <= body.keys() and isinstance(body["metric"], str):
            yield body["metric"], _moment(body["from"]), _moment(body["to"]), body["value"]
        for inner in body.values():
            yield from told(inner)
    elif isinstance(body, list):
        for inner in body:
            yield from told(inner)


def shown(page: str) -> Iterator[tuple[str, Any, Any, Any]]:
    """Every figure on a page: the tiles carry what they show."""
    for tag in re.findall(r"<[^>]*\bdata-metric=[^>]*>", page):
        said = {name: unescape(text) for name, text in re.findall(r'data-(\w+)="([^"]*)"', tag)}
        yield (
            said["metric"],
            _moment(said["from"]),
            _moment(said["to"]),
            float(said["value"]) if said["value"] else None,
        )


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def test_a_metric_is_the_same_number_everywhere(portal: Any) -> None:
    """All pages with their parts and all JSON of all apps are asked for one period."""
    end = datetime.now(UTC).replace(second=0, microsecond=0) - timedelta(minutes=5)
    start = end - timedelta(hours=1)
    period = f"period=custom&from={start:%Y-%m-%dT%H:%MZ}&to={end:%Y-%m-%dT%H:%MZ}"
    seen: dict[tuple[str, Any, Any], dict[str, Any]] = {}

    def note(where: str, figures: Iterator[tuple[str, Any, Any, Any]]) -> None:
        for id, first, last, value in figures:
            seen.setdefault((id, first, last), {})[where] = value

    with portal.client() as client:
        paths = client.get("/api/openapi.json").json()["paths"]
        for path, operations in paths.items():
            asks = {p["name"] for p in operations.get("get", {}).get("parameters", ())}
            if "period" in asks and "{" not in path and not path.endswith(".csv"):
                answer = client.get(f"{path}?{period}")
                if answer.status_code == 200:
                    note(path, told(answer.json()))
        for app in APPS:
            for page in _pages(client, f"/{app.name}?{period}"):
                note(page.url.path, shown(page.text))
        for id, first, last in list(seen):
            custom = {"period": "custom", "from": first.isoformat(), "to": last.isoformat()}
            note("explain", told(client.get(f"/api/explain/{id}", params=custom).json()))
    assert any(len(places) > 2 for places in seen.values())
    for (id, *_), places in seen.items():
        values = list(places.values())
        assert all(v == pytest.approx(values[0], rel=1e-9) if v is not None else values[0] is None for v in values), (
            f"{id}: {places}"
        )


def _pages(client: httpx2.Client, url: str) -> Iterator[httpx2.Response]:
    """A page, its parts that scripts fetch, and what its own navigation leads to in the same app."""
    first = client.get(url)
    yield first
    app = urlsplit(url).path
    parts = {unescape(part) for part in re.findall(r'data-part="([^"]+)"', first.text)}
    tabs = {unescape(link) for link in re.findall(rf'href="({app}/\w+\?period=custom[^"]*)"', first.text)}
    for more in sorted(parts | tabs):
        answer = client.get(more)
        if answer.status_code == 200:
            yield answer
            for part in {unescape(p) for p in re.findall(r'data-part="([^"]+)"', answer.text)} - parts:
                yield client.get(part)
