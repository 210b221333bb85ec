"""The topic grammar."""

from __future__ import annotations

import pytest

from hefa_contract import topics
from hefa_contract.rejection import Code, Rejected


@pytest.mark.parametrize("edge", ["gw-a1", "0", "a_b-c", "x" * 63])
def test_a_sound_topic_is_taken_apart_and_put_together(edge: str) -> None:
    parsed = topics.parse(f"hefa/v1/{edge}/data")
    assert (parsed.edge, parsed.channel) == (edge, "data")
    assert str(parsed) == topics.topic(edge, "data")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "hefa/v1/gw-a1",
        "hefa/v1/gw-a1/data/x",
        "hefa/v2/gw-a1/data",
        "HEFA/v1/gw-a1/data",
        "hefa/v1/GW-A1/data",
        "hefa/v1/-a/data",
        "hefa/v1/gw\x00/data",
        f"hefa/v1/{'x' * 64}/data",
        "hefa/v1/state/data",
        "hefa/v1/ingest/data",
        "hefa/v1/api/data",
        "hefa/v1/gw-a1/readings",
        "hefa/v1//data",
        "hefa/v1/gw-a1\n/data",
    ],
)
def test_any_other_topic_is_invalid(text: str) -> None:
    with pytest.raises(Rejected) as caught:
        topics.parse(text)
    assert caught.value.code is Code.TOPIC_INVALID
    assert "\x00" not in caught.value.detail


def test_state_topics_are_no_gateway_topics() -> None:
    assert topics.ingest_state("ingest-0") == "hefa/v1/state/ingest/ingest-0"
    with pytest.raises(Rejected):
        topics.parse(topics.ingest_state("ingest-0"))
    with pytest.raises(ValueError, match="worker name"):
        topics.ingest_state("+")
