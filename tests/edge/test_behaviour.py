"""seeds/behaviour.toml: read strictly, every table with its provenance."""

import tomllib
from pathlib import Path

import pytest

from hefa_edge.plant import behaviour
from hefa_edge.plant.behaviour import BehaviourError

TEXT = (Path(__file__).resolve().parents[2] / "seeds" / behaviour.FILE).read_text(encoding="utf-8")


def test_every_table_says_where_its_numbers_come_from() -> None:
    assert all(table.get("source") for table in tomllib.loads(TEXT).values())


def test_the_feed_is_what_the_plant_is_rated_for() -> None:
    plant = behaviour.read({behaviour.FILE: TEXT})
    assert plant.feed.fractions.sum() == pytest.approx(1.0)
    # 10,000 t REO in 330 days.
    assert plant.feed.rate * 168.78 * 24 * 330 / 1e3 == pytest.approx(10_000, rel=1e-3)
    assert plant.extraction.beta == pytest.approx([1.0, 6.83, 6.83 * 2.03, 6.83 * 2.03 * 1.55])


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("rate = 7.481", "rate = 'much'"), "feed.rate"),
        (("loading = 0.18", "loadin = 0.18"), "loadin"),
        (("watch = 27", "watch = 99"), "watch is a stage"),
        (('extracted = ["Ce"]', 'extracted = ["Eu"]'), "extracted"),
        (("[feed]", "[feed"), "behaviour.toml"),
    ],
)
def test_a_mistake_is_told(change: tuple[str, str], says: str) -> None:
    text = TEXT.replace(*change)
    assert text != TEXT
    with pytest.raises(BehaviourError, match=says):
        behaviour.read({behaviour.FILE: text})


def test_a_missing_file_is_told() -> None:
    with pytest.raises(BehaviourError, match=r"behaviour\.toml is missing"):
        behaviour.read({})
