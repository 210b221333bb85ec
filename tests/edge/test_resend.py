"""How long to wait before an envelope is sent again."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hefa_edge.resend import CEILING_S, ResendDelay


def test_without_an_ack_it_is_the_shortest() -> None:
    delay = ResendDelay(10.0)
    assert delay.first_s == delay.measured_s == delay.floor_s == 10.0


@pytest.mark.parametrize(
    ("took", "measured"),
    [
        ([0.05], 10.05),  # quick acks: the floor stands above them
        ([8.0], 8 + 4 * 4),  # the first: half of it is its deviation
        ([8.0, 8.0], 8 + 4 * 3),  # an equal one takes a quarter of the deviation
        ([8.0, 16.0], 9 + 4 * 5),  # one eighth of the way; a quarter of the way from 4 to 8
        ([30.0] * 100, 40.0),  # steady and slow: the floor above the mean
        ([1000.0], CEILING_S),
        ([1000.0] + [0.05] * 150, 10.05),  # one that was late is forgotten
    ],
)
def test_it_follows_the_acks(took: list[float], measured: float) -> None:
    delay = ResendDelay(10.0)
    for each in took:
        delay.acknowledged(each)
    assert delay.measured_s == pytest.approx(measured, abs=0.01)
    assert delay.first_s == delay.measured_s


def test_it_backs_off_until_an_ack_says_how_long_they_take() -> None:
    delay = ResendDelay(10.0)
    for again in (20.0, 20.0, 40.0, 20.0):  # of several envelopes the one that waits longest counts
        delay.expired(again)
    assert (delay.first_s, delay.measured_s) == (40.0, 10.0)
    delay.acknowledged(1.0)
    assert delay.first_s == delay.measured_s == 11.0
    delay.expired(300.0)
    assert (delay.first_s, delay.measured_s) == (CEILING_S, 11.0)


def test_a_floor_above_the_ceiling_is_both() -> None:
    delay = ResendDelay(500.0)
    delay.acknowledged(900.0)
    delay.expired(1000.0)
    assert delay.first_s == 500.0


@given(
    st.floats(0.1, 600.0),
    st.lists(st.tuples(st.booleans(), st.floats(0.0, 1e6)), max_size=50),
)
def test_it_stays_within_its_bounds(floor: float, steps: list[tuple[bool, float]]) -> None:
    delay = ResendDelay(floor)
    for acknowledged, seconds in steps:
        (delay.acknowledged if acknowledged else delay.expired)(seconds)
        assert floor <= delay.measured_s <= delay.first_s <= max(floor, CEILING_S)
