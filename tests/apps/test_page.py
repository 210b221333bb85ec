import json

import pytest

from hefa_apps.client import Catalogue, Limits, Node, Root, Tag
from hefa_apps.page import data_block, hues, places, places_of, slug


@pytest.mark.parametrize("text", ["</script><script>alert(1)</script>", "<!--", "a & b", "\u2028", "“ph” 22 °C"])
def test_data_in_a_page_stays_data(text: str) -> None:
    block = str(data_block({"text": text}))
    assert not set("<>&") & set(block)
    assert json.loads(block) == {"text": text}


def test_what_is_no_number_is_no_json() -> None:
    with pytest.raises(ValueError, match="JSON"):
        data_block(float("nan"))


def plant(areas: int) -> Catalogue:
    nodes = tuple(Node(f"A{i}", "area", f"A{i}", "" if i else "dissolution") for i in range(areas))
    return Catalogue(Root("E", "enterprise", "E", children=(Node("S", "site", "S", children=nodes),)))


def test_an_area_keeps_its_colour_by_its_place() -> None:
    assert list(hues(plant(10)).values()) == [1, 2, 3, 4, 5, 6, 7, 8, 1, 2]


def test_a_place_without_a_description_is_called_by_its_name() -> None:
    assert places(plant(2)) == {"S": "S", "A0": "dissolution", "A1": "A1"}


def test_decimals_of_a_tag() -> None:
    assert places_of(Tag("a.ph", "gauge", low=0, high=14)) == 2
    assert places_of(Tag("a.wt", "gauge", low=0, high=100, normal=50, limits=Limits(l=49.9, h=50.1))) == 2


@pytest.mark.parametrize(
    ("text", "name"), [("PrNd oxide", "prnd-oxide"), ("Na2CO3", "na2co3"), ('"><b', "---b"), ("水", "-")]
)
def test_any_text_makes_a_class(text: str, name: str) -> None:
    assert slug(text) == name


@pytest.mark.parametrize("zone", ["", "Nowhere/Nothing", "../etc/passwd"])
def test_an_unknown_zone_is_utc(zone: str) -> None:
    assert str(Root("E", "enterprise", "E", timezone=zone).zone) == "UTC"
