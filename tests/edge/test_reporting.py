"""Report by exception, as a truth table and by properties."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hefa_contract.plant import Tag
from hefa_edge.reporting import Reporter

S = 1_000_000
T0 = 1_795_298_400 * S  # a whole hour, an even one


@pytest.fixture(scope="module")
def gauge(plant) -> Tag:
    return plant.tags["A1-FEED.DISS.R-101.ph"]


def reports(
    reporter: Reporter, samples: list[tuple[float, float] | tuple[float, float, int]]
) -> list[tuple[float, float]]:
    """Feed (second, value[, quality]) of one tag; return (second, value) of what was reported."""
    out = []
    for second, value, *quality in samples:
        chosen, values, _ = reporter.report(
            T0 + round(second * S), np.array([value]), np.array([*quality, 192][:1], dtype=np.uint8)
        )
        if len(chosen):
            out.append((second, float(values[0])))
    return out


@pytest.mark.parametrize(
    ("change", "samples", "expected"),
    [
        # deadband 0.04, period 2 s, heartbeat 60 s
        pytest.param({}, [(0, 1.0)], [(0, 1.0)], id="first"),
        pytest.param({}, [(1, 1.0)], [(1, 1.0)], id="first, off its grid"),
        pytest.param({}, [(0, 1.0), (2, 1.039), (4, 0.961)], [(0, 1.0)], id="within the deadband"),
        pytest.param({}, [(0, 1.0), (2, 1.05), (4, 1.0)], [(0, 1.0), (2, 1.05), (4, 1.0)], id="beyond it, both ways"),
        pytest.param({}, [(0, 1.0), (2, 1.03), (4, 1.06)], [(0, 1.0), (4, 1.06)], id="from the last report"),
        pytest.param({}, [(0, 1.0), (1, 2.0), (2, 1.0)], [(0, 1.0)], id="nobody looks between samples"),
        pytest.param({}, [(0, 1.0), (2, 1.0, 64), (4, 1.0, 64)], [(0, 1.0), (2, 1.0)], id="quality"),
        pytest.param({}, [(0, 1.0), (2, float("nan"), 0), (4, 1.0)], [(0, 1.0), (2, None), (4, 1.0)], id="gone and back"),
        pytest.param({}, [(k, 1.0) for k in range(0, 130, 2)], [(0, 1.0), (60, 1.0), (120, 1.0)], id="heartbeat"),
        pytest.param({}, [(k, 1.0) for k in range(1, 63)], [(1, 1.0), (60, 1.0)], id="heartbeat, never late"),
        pytest.param({}, [(0, 1.0), (60, 1.0), (120, 1.0)], [(0, 1.0), (60, 1.0), (120, 1.0)], id="ticks of a minute"),
        pytest.param(
            {"period_s": 0, "deadband": 0.0}, [(0, 1.0), (1, 1.0), (3, 2.0)], [(0, 1.0), (3, 2.0)], id="event"
        ),
        pytest.param(
            {"period_s": 0, "deadband": 0.0}, [(k, 1.0) for k in range(130)], [(0, 1.0), (60, 1.0), (120, 1.0)],
            id="event, heartbeat",
        ),
        pytest.param(
            {"period_s": 7200, "heartbeat_s": 3600},
            [(600 * k, float(k)) for k in range(15)],
            [(0, 0.0), (3600, 0.0), (7200, 12.0)],
            id="slower than its heartbeat: repeats what it holds",
        ),
        pytest.param(
            {"period_s": 600, "heartbeat_s": 3600},
            [(60 * k, 1.0) for k in range(1, 130)],
            [(60, 1.0), (3600, 1.0), (7200, 1.0)],
            id="heartbeat falls on a sample",
        ),
    ],
)  # fmt: skip
def test_what_is_reported(gauge: Tag, change: dict, samples: list, expected: list) -> None:
    said = reports(Reporter([replace(gauge, **change)]), samples)
    assert [(second, None if value != value else value) for second, value in said] == expected


@settings(max_examples=50, deadline=None)
@given(
    period=st.sampled_from([0, 1, 2, 5, 7, 10, 30, 60, 600, 7200]),
    tick=st.sampled_from([1, 5, 60]),
    seed=st.integers(0, 1000),
)
def test_silence_never_outlasts_the_heartbeat_nor_hides_a_change(gauge: Tag, period: int, tick: int, seed: int) -> None:
    tag = replace(gauge, period_s=period, heartbeat_s=max(60, min(3600, 10 * period)))
    reporter = Reporter([tag])
    walk = 3.0 + np.cumsum(np.random.default_rng(seed).normal(0, 0.01, 400))
    last = sampled = None
    for k, value in enumerate(walk):
        ts = T0 + k * tick * S
        chosen, values, _ = reporter.report(ts, np.array([value]), np.array([192], dtype=np.uint8))
        if last is None or period == 0 or ts // (period * S) != (ts - tick * S) // (period * S):
            sampled = float(value)
        if len(chosen):
            assert values[0] == sampled
            last = (ts, sampled)
        assert last is not None
        assert ts - last[0] <= max(tag.heartbeat_s, tick) * S
        assert abs(sampled - last[1]) <= tag.deadband


def test_it_goes_on_where_it_was(plant) -> None:
    tags = list(plant.tags.values())
    rng = np.random.default_rng(1)
    normal = np.array([tag.normal for tag in tags])
    values = [normal + rng.normal(0, [tag.noise_sd + 1e-9 for tag in tags]) for _ in range(40)]
    quality = np.full(len(tags), 192, dtype=np.uint8)
    whole, first = Reporter(tags), Reporter(tags)
    expected = [whole.report(T0 + k * S, value, quality) for k, value in enumerate(values)]
    for k, value in enumerate(values[:20]):
        first.report(T0 + k * S, value, quality)
    second = Reporter(tags)
    second.restore(first.dump())
    for k, value in enumerate(values[20:], 20):
        for got, wanted in zip(second.report(T0 + k * S, value, quality), expected[k], strict=True):
            assert np.array_equal(got, wanted)
