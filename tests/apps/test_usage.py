import math
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hefa_apps.client import Use
from hefa_apps.usage import Amount, change, ordered, per_hour, share, total, usage

START = datetime(2026, 11, 22, tzinfo=UTC)
HOUR = timedelta(hours=1)
ORDER = ("A1-FEED", "A2-SX")


def row(key: str, hour: int, measured: float | None, estimated: float | None = None, **more: float | None) -> Use:
    parts = [part for part in (measured, estimated) if part is not None]
    value = sum(parts) if parts else None
    start = START + hour * HOUR
    return Use(key, "kW.h", start, start + HOUR, value, measured, estimated, carrier="electricity", **more)


@pytest.mark.parametrize(
    ("rows", "amount"),
    [
        ([], Amount()),
        ([row("a", 0, None)], Amount()),
        ([row("a", 0, 1.0), row("a", 1, None)], Amount(1.0, 1.0)),
        ([row("a", 0, 1.0), row("a", 1, None, 2.0)], Amount(3.0, 1.0, 2.0)),
        ([row("a", 0, 0.0)], Amount(0.0, 0.0)),
        (
            [row("a", 0, 1.0, unknown=7.0, coverage=0.5), row("a", 1, 1.0, coverage=1.0)],
            Amount(2.0, 2.0, None, 7.0, 0.75),
        ),
    ],
)
def test_what_is_unknown_is_never_zero(rows: list[Use], amount: Amount) -> None:
    assert total(rows) == amount


def test_coverage_weighs_by_time() -> None:
    long = Use("a", "m3", START, START + 3 * HOUR, 1.0, coverage=1.0)
    short = Use("a", "m3", START + 3 * HOUR, START + 4 * HOUR, 1.0, coverage=0.0)
    assert total([long, short]).coverage == 0.75


def test_lines_stand_in_the_plants_order_and_add_up() -> None:
    rows = [
        row(key, hour, value)
        for hour in (0, 1)
        for key, value in (("unaccounted", 1.0), ("A2-SX", 6.0), ("A1-FEED", 3.0))
    ]
    found = usage("electricity", rows, ORDER, lambda start, _: start > START)
    assert [line.key for line in found.lines] == ["A1-FEED", "A2-SX", "unaccounted"]
    assert [line.share for line in found.lines] == [0.3, 0.6, 0.1]
    assert found.total.value == 20.0
    assert found.unit == "kW.h"
    assert found.stack.values == {"A1-FEED": (3.0, 3.0), "A2-SX": (6.0, 6.0), "unaccounted": (1.0, 1.0)}
    assert [bar.whole for bar in found.stack.bars] == [False, True]


def test_a_bucket_without_a_row_stays_a_gap() -> None:
    found = usage("water", [row("A1-FEED", 0, 1.0), row("A2-SX", 1, 2.0)], ORDER, lambda *_: True)
    assert found.stack.values == {"A1-FEED": (1.0, None), "A2-SX": (None, 2.0)}


def test_no_rows_is_an_answer() -> None:
    found = usage("water", [], ORDER, lambda *_: True)
    assert (found.lines, found.total, found.unit) == ((), Amount(), "")


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        (["unaccounted", "Z", "A2-SX", "B", "A1-FEED"], ["A1-FEED", "A2-SX", "B", "Z", "unaccounted"]),
        (["A2-SX", "A2-SX"], ["A2-SX"]),
        ([], []),
    ],
)
def test_keys_in_order(keys: list[str], expected: list[str]) -> None:
    assert ordered(keys, ORDER) == expected


@pytest.mark.parametrize(
    ("function", "arguments", "result"),
    [
        (share, (1.0, 4.0), 0.25),
        (share, (None, 4.0), None),
        (share, (1.0, 0.0), None),
        (share, (1.0, None), None),
        (change, (110.0, 100.0), 0.1),
        (change, (90.0, 100.0), -0.1),
        (change, (1.0, -2.0), 1.5),
        (change, (1.0, 0.0), None),
        (change, (None, 1.0), None),
        (per_hour, (48.0, 24.0), 2.0),
        (per_hour, (None, 24.0), None),
        (per_hour, (1.0, 0.0), None),
    ],
)
def test_ratios(function, arguments, result) -> None:
    assert function(*arguments) == pytest.approx(result) if result is not None else function(*arguments) is None


numbers = st.one_of(st.none(), st.floats(-1e6, 1e6))
some_rows = st.lists(
    st.builds(row, st.sampled_from([*ORDER, "unaccounted"]), st.integers(0, 30), numbers, numbers), max_size=60
)


@given(some_rows)
def test_lines_and_bars_add_up_to_the_total(rows: list[Use]) -> None:
    found = usage("electricity", rows, ORDER, lambda *_: True)
    lines = [line.amount.value for line in found.lines if line.amount.value is not None]
    bars = [cell for cells in found.stack.values.values() for cell in cells if cell is not None]
    for parts in (lines, bars):
        if found.total.value is None:
            assert parts == []
        else:
            assert math.isclose(sum(parts), found.total.value, rel_tol=1e-9, abs_tol=1e-6)
