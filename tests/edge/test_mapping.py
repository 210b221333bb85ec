"""What foreign messages mean: every rule by example, every mistake by name."""

import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hefa_contract.envelope import MAX_TS, is_tag_name
from hefa_edge.config import ConfigError
from hefa_edge.mapping import Mapping, Reading, Unreadable, read

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "hall3.toml"
NOW = 1_795_334_400_000_000


def mapping(**rule: Any) -> Mapping:
    return Mapping.model_validate({"edge": "gw-x", "rule": [{"filter": "h/+/v", "tag": "H.{2}", **rule}]})


def one(sent: str | bytes, topic: str = "h/a/v", **rule: Any) -> Reading | Unreadable:
    content = sent if isinstance(sent, bytes) else sent.encode()
    (found,) = mapping(**rule).translate(topic, content, NOW)
    return found


JSON = {"payload": "json", "value": "$.d.v", "time": "$.t"}


@pytest.mark.parametrize(
    ("payload", "rule", "ts", "value", "quality"),
    [
        ("3.5", {}, NOW, 3.5, 64),
        (" -1e3\n", {}, NOW, -1000.0, 64),
        ("ON", {}, NOW, 1.0, 64),
        ("Open", {"words": {"Open": 7}}, NOW, 7.0, 64),
        ("Off", {"words": {"Open": 7}}, NOW, 0.0, 64),
        ('{"d":{"v":true},"t":1795334400000}', JSON | {"words": {"true": 0}}, NOW, 0.0, 192),
        ('{"d":{"v":2},"t":1795334400000}', JSON | {"words": {"2": 5}}, NOW, 5.0, 192),
        ("10", {"scale": 0.1, "offset": 2}, NOW, 3.0, 64),
        ('{"d":{"v":1},"t":1795334400000}', JSON, NOW, 1.0, 192),
        ('{"d":{"v":1},"t":1795334400.5}', JSON | {"time_unit": "s"}, NOW + 500_000, 1.0, 192),
        ('{"d":{"v":1},"t":1795334400000000}', JSON | {"time_unit": "us"}, NOW, 1.0, 192),
        ('{"d":{"v":1},"t":"2026-11-22T16:00:00+08:00"}', JSON | {"time_unit": "rfc3339"}, NOW, 1.0, 192),
        ('{"d":{"v":"1.5"},"t":1795334400000}', JSON, NOW, 1.5, 192),
        ('{"d":{"v":true},"t":1795334400000}', JSON, NOW, 1.0, 192),
        ('{"d":{"v":null},"t":1795334400000}', JSON, NOW, math.nan, 0),
        ('{"d":{"v":1},"t":1795334400000,"q":64}', JSON | {"quality": "$.q"}, NOW, 1.0, 64),
        ('{"d":{"v":1},"t":1795334400000,"q":"B"}', JSON | {"quality": "$.q", "qualities": {"B": 0}}, NOW, 1.0, 0),
        ('{"d":{"v":1},"t":1795334400000,"q":true}', JSON | {"quality": "$.q", "qualities": {"true": 65}}, NOW, 1.0, 65),
        ('{"a b":[0,{"v":2}]}', {"payload": "json", "value": '$["a b"][1].v'}, NOW, 2.0, 64),
        ("7", {"payload": "json"}, NOW, 7.0, 64),
    ],
)  # fmt: skip
def test_a_message_becomes_a_reading(payload: str, rule: Any, ts: int, value: float, quality: int) -> None:
    reading = one(payload, **rule)
    assert isinstance(reading, Reading)
    assert (reading.tag, reading.ts, reading.quality) == ("H.a", ts, quality)
    assert reading.value == pytest.approx(value, nan_ok=True)


@pytest.mark.parametrize(
    ("payload", "rule", "why"),
    [
        ("", {}, "no number"),
        ("1,5", {}, "no number"),
        ("nan", {}, "no number"),
        ("on", {"words": {"ON": 0}}, "no number"),
        ("1e999", {}, "beyond double"),
        ("1e999", {"scale": 0.0}, "beyond double"),
        (b"\xff", {}, "not UTF-8"),
        ("{", JSON, "no JSON"),
        ('{"a":1,"a":2}', JSON, "no JSON"),
        ("[" * 100_000, JSON, "no JSON"),
        ('{"t":1795334400000}', JSON, "there is no $.d.v"),
        ('{"d":{"v":[1]},"t":1795334400000}', JSON, "no number"),
        ('{"d":{"v":1}}', JSON, "$.t is not a time in ms"),
        ('{"d":{"v":1},"t":-5}', JSON, "$.t is not"),
        ('{"d":{"v":1},"t":1e300}', JSON, "$.t is not"),
        ('{"d":{"v":1},"t":"2026-11-22T16:00:00"}', JSON | {"time_unit": "rfc3339"}, "with offset"),
        ('{"d":{"v":1},"t":"1969-12-31T23:59:59Z"}', JSON | {"time_unit": "rfc3339"}, "$.t is not"),
        ('{"d":{"v":1},"t":"9999-12-31T23:59:59-14:00"}', JSON | {"time_unit": "rfc3339"}, "$.t is not"),
        ('{"d":{"v":1},"t":1795334400000}', JSON | {"quality": "$.q"}, "quality"),
        ('{"d":{"v":1},"t":1795334400000,"q":"Z"}', JSON | {"quality": "$.q", "qualities": {"B": 0}}, "mapping's"),
    ],
)
def test_what_cannot_be_read_says_why_and_what_came(payload: str | bytes, rule: Any, why: str) -> None:
    found = one(payload, **rule)
    assert isinstance(found, Unreadable)
    assert (found.tag, found.ts) == ("H.a", NOW)
    assert why in found.text
    assert found.text.startswith("h/a/v: ")


def test_a_topic_that_makes_no_tag_and_one_without_a_rule_do_not_vanish() -> None:
    assert isinstance(one("1", "h/x\x01y/v"), Unreadable)
    assert isinstance(one("1", f"h/{'x' * 127}/v"), Unreadable)  # a name cut short would be that of another tag
    (found,) = mapping().translate("other", b"1", NOW)
    assert isinstance(found, Unreadable)


def test_several_rules_read_one_message_and_an_optional_one_may_be_silent() -> None:
    rules = read(str(EXAMPLE), EXAMPLE.read_text("utf-8"))
    found = rules.translate("hall3/tank1/level", b'{"d":{"t":1795334400000,"mA":12.0,"pump":1},"q":"OK"}', NOW)
    assert found == [Reading("HALL3.tank1.level", NOW, 50.0, 192), Reading("HALL3.tank1.pump", NOW, 1.0, 192)]
    assert len(rules.translate("hall3/tank1/level", b'{"d":{"t":1795334400000,"mA":12.0},"q":"OK"}', NOW)) == 1
    assert rules.translate("hall3/kiln2/run", b"TRIPPED", NOW) == [Reading("HALL3.kiln2.run", NOW, 2.0, 64)]
    assert rules.filters == ["hall3/+/temp", "hall3/+/run", "hall3/+/level"]


def test_every_mistake_is_named_at_once() -> None:
    text = """
    edge = "Bad Name"
    colour = 1
    [[rule]]
    filter = "a/b+/c"
    tag = "X.{9}"
    [[rule]]
    filter = "a/#"
    tag = "X.{9}"
    [[rule]]
    filter = "hefa/v1/+/data"
    payload = "xml"
    value = "d.v"
    time_unit = "h"
    scale = nan
    words = { ON = inf }
    """
    with pytest.raises(ConfigError) as error:
        read("m.toml", text)
    told = str(error.value)
    for part in (
        "m.toml: edge: 'Bad Name'", "m.toml: colour: unknown key; allowed here: edge, rule", "rule 1, filter: is no topic",
        "rule 2: tag: {9} is none of {1} to {1}", "rule 3, filter: would take in", "rule 3, tag: is missing",
        "rule 3, payload: ", "'text' or 'json'", "rule 3, value: 'd.v' is no path", "rule 3, time_unit", "rule 3, scale",
        "rule 3, words, ON: ",
    ):  # fmt: skip
        assert part in told, told


@pytest.mark.parametrize(
    ("one", "other", "overlap"),
    [
        ("a/+/c", "a/b/+", True), ("a/#", "a", True), ("a/#", "a/b/c", True), ("a/b", "a/c", False),
        ("a/+", "a/b/c", False), ("+/x", "y/z", False),
    ],
)  # fmt: skip
def test_filters_that_overlap_are_refused(one: str, other: str, overlap: bool) -> None:
    text = f'edge="g"\n[[rule]]\nfilter="{one}"\ntag="A"\n[[rule]]\nfilter="{other}"\ntag="B"'
    if overlap:
        with pytest.raises(ConfigError, match="overlap"):
            read("m", text)
    else:
        read("m", text)


@pytest.mark.parametrize("filter", ["#", "+/+/+/data", "$SYS/#", "hefa/#", "hefa/v1/gw-a1/data"])
def test_our_own_topics_are_not_foreign(filter: str) -> None:
    with pytest.raises(ConfigError, match="not foreign"):
        read("m", f'edge="g"\n[[rule]]\nfilter="{filter}"\ntag="A"')


@given(topic=st.text(max_size=300), payload=st.binary(max_size=400) | st.text().map(str.encode))
def test_whatever_comes_something_comes_of_it(topic: str, payload: bytes) -> None:
    rules = read(str(EXAMPLE), EXAMPLE.read_text("utf-8"))
    for where in (topic, "hall3/a/level", "hall3/a/temp"):
        found = rules.translate(where, payload, NOW)
        assert found
        for each in found:
            assert is_tag_name(each.tag)
            assert 0 <= each.ts <= MAX_TS
            if isinstance(each, Reading):
                assert not math.isinf(each.value)
                assert not math.isnan(each.value) or each.quality < 64
