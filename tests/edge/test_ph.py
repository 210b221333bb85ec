"""Titration curves: known points, inverses, and bounds."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hefa_edge.plant import ph


@pytest.mark.parametrize(
    ("excess", "expected"), [(-0.1, 1.0), (-0.0316, 1.5), (-1e-4, 4.0), (0.0, 7.0), (1e-4, 10.0), (0.1, 13.0)]
)
def test_strong_acid_and_base(excess: float, expected: float) -> None:
    assert ph.strong(excess) == pytest.approx(expected, abs=0.001)


@given(excess=st.floats(-50, 50), metals=st.floats(0, 1), ratio=st.floats(-5, 20))
def test_no_curve_leaves_the_scale(excess: float, metals: float, ratio: float) -> None:
    assert 0 <= ph.strong(excess) <= 14
    assert 0 <= ph.trimmed(excess, metals) <= 14
    assert ph.residual_re(ratio) >= 40
    assert ph.precipitating_slope(ratio) >= 1


@given(value=st.floats(0.5, 12), metals=st.floats(0, 0.2))
def test_trimming_has_an_inverse(value: float, metals: float) -> None:
    excess = ph.trimmed_excess(value, metals)
    assert ph.trimmed_excess(ph.trimmed(excess, metals), metals) == pytest.approx(excess, abs=1e-9)


@pytest.mark.parametrize("excess", [0.07, 0.1, 0.5, 1.5])
def test_too_much_base_meets_the_rare_earths_first(excess: float) -> None:
    """A liquor of 200 g/L cannot become caustic by an operator's hand: its RE fall out around pH 6 to 7."""
    assert 5.0 < ph.trimmed(excess, 0.067) < 7.2


@given(lower=st.floats(-0.5, 0.5), more=st.floats(1e-6, 0.5), metals=st.floats(0, 0.2))
def test_more_base_is_never_a_lower_ph(lower: float, more: float, metals: float) -> None:
    assert ph.trimmed(lower + more, metals) >= ph.trimmed(lower, metals) - 1e-9
    assert ph.strong(lower + more) >= ph.strong(lower)
    assert ph.precipitating(lower + more) >= ph.precipitating(lower)


@pytest.mark.parametrize(("ratio", "expected", "left"), [(1.0, 5.5, 40.0), (1.03, 6.326, 40.0), (0.95, 4.397, 7040.0)])
def test_precipitation_as_published(ratio: float, expected: float, left: float) -> None:
    assert ph.precipitating(ratio) == pytest.approx(expected, abs=0.001)
    assert ph.residual_re(ratio) == pytest.approx(left)
