"""Durations as people write them."""

from __future__ import annotations

from pathlib import Path

import pytest

from hefa_demo.config import Layout, parse_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90),
        ("90s", 90),
        ("1.5m", 90),
        ("5min", 300),
        ("6h", 21_600),
        ("2d", 172_800),
        ("1d12h", 129_600),
        ("1w", 604_800),
        (" 0s ", 0),
    ],
)
def test_parse_duration(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "soon", "2 d", "-5s", "5x", "s", "1d-2h", "1e3"])
def test_parse_duration_refuses(text: str) -> None:
    with pytest.raises(ValueError, match="is no duration: write 90s"):
        parse_duration(text)


def test_everything_lies_in_the_data_folder() -> None:
    layout = Layout(Path("/data"))
    for path in (*layout.kept, layout.lock, layout.document, layout.log("api")):
        assert path.is_relative_to("/data")
    assert layout.lock not in layout.kept  # held while the rest is deleted
