import csv
import io
from datetime import UTC, datetime

import pytest

from hefa_apps.table import cell, lines


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ""),
        (0.1 + 0.2, "0.30000000000000004"),
        (-2.5, "-2.5"),
        ("=HYPERLINK(1)", "'=HYPERLINK(1)"),
        ("-x", "'-x"),
        ("@cmd", "'@cmd"),
        ("plain, text", "plain, text"),
        (datetime(2026, 11, 22, 9, 40, tzinfo=UTC), "2026-11-22T09:40:00+00:00"),
        (True, "True"),
    ],
)
def test_a_cell_is_exact_inert_and_empty_where_nothing_is_known(value: object, text: str) -> None:
    assert cell(value) == text


def test_rows_are_written_as_they_come() -> None:
    text = "".join(lines(("a", "b"), ((str(i), i) for i in range(3))))
    assert list(csv.DictReader(io.StringIO(text)))[2] == {"a": "2", "b": "2"}
