from datetime import UTC, datetime, timedelta

import pytest

from hefa_apps.client import Catalogue, Meter, Node, Root, Tag, Use
from hefa_apps.metrics import Figure, Metric
from hefa_apps.metrics.use import Subject
from hefa_apps.period import resolve
from hefa_apps.question import calendar
from hefa_apps.report import Field, Report, Tile, document, names, order, rows
from hefa_apps.usage import Amount, usage

NOW = datetime(2026, 11, 22, 1, 41, tzinfo=UTC)
LINES = (Node("RECV", "line", "A1.RECV"), Node("DISS", "line", "A1.DISS", "dissolving"))
AREAS = (Node("A1", "area", "A1", "feed", children=LINES), Node("A2", "area", "A2", "extraction"))
SITE = Node("S", "site", "S", "the plant", children=AREAS)


def meter(name: str, **more: str | None) -> Tag:
    about = {"stream": "supply", "serves": "A1", "role": "billing", "unit": "kg"} | more
    return Tag(name, "counter", equipment="A1.DISS", description="totaliser", meter=Meter(**about))  # type: ignore[arg-type]


def catalogue(*tags: Tag, plantday: str = "08:00") -> Catalogue:
    root = Root(
        "E",
        "enterprise",
        "E",
        children=(SITE,),
        site="S",
        timezone="Asia/Shanghai",
        plantday=plantday,
        shifts=("08:00",),
    )
    return Catalogue(root, {tag.tag: tag for tag in tags})


def test_supplies_come_before_products_and_check_meters_do_not_count() -> None:
    there = catalogue(
        meter("1", material="oxide", stream="export"),
        meter("2", material="Zn"),
        meter("3", material="HCl"),
        meter("4", material="water", stream="reuse"),
        meter("5", material="water"),
        meter("6", material="steam", role="check"),
        meter("7", carrier="electricity"),
    )
    found = Field("material", ("HCl", "NaOH")).subjects(there)
    assert [(s.name, s.stream, s.meters) for s in found] == [
        ("HCl", "supply", ("3",)), ("Zn", "supply", ("2",)), ("water", "supply", ("5",)), ("oxide", "export", ("1",))
    ]  # fmt: skip
    assert Field("carrier", ()).subjects(there) == [Subject("electricity", "supply", "carrier", ("7",))]


def test_keys_stand_in_the_plants_order() -> None:
    assert order(catalogue(meter("m"))) == ["S", "A1", "A1.RECV", "A1.DISS", "A2", "m"]


def test_names_of_places_and_meters() -> None:
    assert names(catalogue(meter("m")), {"A1", "A1.DISS", "m", "unaccounted"}) == {
        "A1": "feed", "A1.DISS": "dissolving", "m": "dissolving"
    }  # fmt: skip


@pytest.mark.parametrize(("plantday", "start"), [("08:00", 8), ("06:00:00", 6), ("nonsense", 0)])
def test_the_plant_day_is_the_sites(plantday: str, start: int) -> None:
    period = resolve("plantday", NOW, calendar(catalogue(plantday=plantday).root))
    assert period.start.hour == start
    assert str(period.start.tzinfo) == "Asia/Shanghai"


def report(*found: Use) -> Report:
    there = catalogue()
    period = resolve("hour", NOW, calendar(there.root))
    used = usage("HCl", found, order(there), lambda *_: True)
    metric = Metric("use.HCl", "Use of HCl", "", "", "kg", "", ())
    figure = Figure(metric, used.total.value, used.total.coverage, period.start, period.end)
    tile = Tile(figure, "HCl", "supply", "kg", Amount(), None, None, None)
    return Report(period, "Asia/Shanghai", "meter", "HCl", (tile,), used, {"A1": "=HYPERLINK(1)"}, found)


def test_rows_tell_times_of_the_site() -> None:
    start = NOW - timedelta(minutes=1)
    first, second = rows(report(Use("A1", "kg", start, NOW, None, material="HCl"), Use("-x", "kg", start, NOW, -2.5)))
    assert first[:4] == ("A1", "=HYPERLINK(1)", "HCl", "kg")
    assert first[4].isoformat() == "2026-11-22T09:40:00+08:00"
    assert first[6] is None
    assert second[6] == -2.5


def test_the_document_carries_every_bar() -> None:
    start = NOW - timedelta(minutes=1)
    body = document(report(Use("A1", "kg", start, NOW, 2.0, measured=2.0, coverage=1.0, material="HCl")))
    assert body["bars"] == [{"start": start, "end": NOW, "whole": True, "values": {"A1": 2.0}}]
    assert body["lines"][0]["share"] == 1.0
    assert body["total"].value == 2.0
    assert (body["metric"], body["value"], body["subjects"][0]["metric"]) == ("use.HCl", 2.0, "use.HCl")
